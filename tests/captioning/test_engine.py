from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from captioner.bundle import Bundle
from captioner.caption import Caption
from captioner.captioning.engine import CaptioningEngine
from captioner.decoding import make_search
from captioner.decoding.hypotheses import special_tokens
from captioner.errors import UsageError
from captioner.explain.methods import METHODS, make_methods
from captioner.explain.teacher_forcing import teacher_force
from captioner.image.geometry import ImageGeometry
from captioner.models.captioner import Captioner
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.models.encoders.encoder import ImageEncoder
from captioner.text.tokenizer import Tokenizer

PHOTO = ImageGeometry((64, 96), 1, (0.0, 0.0, 64.0, 96.0), (32, 48))


def images(count: int) -> Tensor:
    return 3 * torch.randn(count, 3, 32, 48, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def bpe_model() -> tuple[Captioner, Tokenizer]:
    """A captioner with a byte-pair vocabulary and no prefix tokens."""
    tokenizer = Tokenizer.train(["a red dog runs", "two cats sit on the mat"] * 3, kind="bpe", vocab_size=275)
    torch.manual_seed(1)
    encoder = ImageEncoder("resnet10t", (32, 48), level=2)
    decoder = TransformerDecoder(tokenizer.vocab_size, 16, depth=1, num_heads=2, max_length=20)
    captioner = Captioner(encoder, decoder).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.normal_(std=0.6)
        # Mostly pieces of words, sometimes the end.
        decoder.token_embedding.weight[4:200] *= 0.3
    return captioner, tokenizer


@pytest.mark.parametrize("beam_size", [1, 3])
def test_the_teacher_forced_pass_has_the_log_probabilities_of_the_search(
    random_model: Bundle, beam_size: int
) -> None:
    captioner, special = random_model.captioner, special_tokens(random_model.tokenizer)
    with torch.no_grad():
        memory = captioner.encode(images(6))
    found = make_search(beam_size, max_length=9)(captioner.decoder, memory.features, special)
    forced = teacher_force(captioner, memory, found.tokens, special)
    torch.testing.assert_close(forced.token_logprobs, found.token_logprobs, atol=1e-4, rtol=0)
    # Layers, heads, one prefix token and the grid; each row of weights sums to 1.
    assert forced.attention.shape == (*found.tokens.shape, 2, 2, 1 + 6)
    torch.testing.assert_close(
        forced.attention.sum(-1), torch.ones(forced.attention.shape[:-1]), atol=1e-5, rtol=0
    )


def test_a_search_emits_no_control_token(random_model: Bundle) -> None:
    tokenizer = random_model.tokenizer
    special = special_tokens(tokenizer)
    emitted = {special.pad, special.begin, *special.banned}
    assert emitted == {tokenizer.pad_id, tokenizer.bos_id, tokenizer.unk_id}
    assert special.end == tokenizer.eos_id


def check(caption: Caption, tokenizer: Tokenizer, *, layers: int, heads: int, grid: tuple[int, int]) -> None:
    """What holds for every caption."""
    assert [word.text for word in caption.words] == caption.text.split()
    assert caption.maps.shape == (len(caption.words), layers, heads, *grid)
    assert caption.maps.dtype == np.float32
    assert not re.search("<(pad|bos|eos|unk)>", caption.text)
    for word, maps in zip(caption.words, caption.maps, strict=True):
        assert word.map.shape == grid
        assert word.map.dtype == np.float32
        np.testing.assert_allclose(word.map, maps.mean(axis=(0, 1)), atol=1e-6)
        np.testing.assert_allclose(word.map.sum(), word.visual_mass, atol=1e-5)
        assert 0 <= word.visual_mass <= 1 + 1e-5
        assert word.map.min() >= 0
        assert word.logprob <= 0
    assert caption.logprob <= sum(word.logprob for word in caption.words) + 1e-5


@pytest.mark.parametrize("beam_size", [1, 4])
def test_what_holds_for_every_caption(random_model: Bundle, beam_size: int) -> None:
    captions = CaptioningEngine(random_model.captioner, random_model.tokenizer).caption(
        [images(8)], [PHOTO] * 8, search=make_search(beam_size, max_length=9)
    )
    assert len({caption.text for caption in captions}) > 3
    for caption in captions:
        check(caption, random_model.tokenizer, layers=2, heads=2, grid=(2, 3))
        assert all(word.visual_mass < 1 for word in caption.words)  # the class token gets its share
        length = len(caption.words) + 1
        np.testing.assert_allclose(caption.score, caption.logprob / length**0.7, rtol=1e-4)


def test_words_of_several_tokens_get_their_mean_map_and_summed_log_probability(
    bpe_model: tuple[Captioner, Tokenizer],
) -> None:
    captioner, tokenizer = bpe_model
    search = make_search(1, max_length=18)
    captions = CaptioningEngine(captioner, tokenizer).caption([images(8)], [PHOTO] * 8, search=search)
    special = special_tokens(tokenizer)
    with torch.no_grad():
        memory = captioner.encode(images(8))
        found = search(captioner.decoder, memory.features, special)
        forced = teacher_force(captioner, memory, found.tokens, special)
    several = 0
    for b, caption in enumerate(captions):
        check(caption, tokenizer, layers=1, heads=2, grid=(4, 6))
        spans = tokenizer.words(found.tokens[b, 0].tolist())
        assert [span.text for span in spans] == [word.text for word in caption.words]
        for k, (span, word) in enumerate(zip(spans, caption.words, strict=True)):
            several += span.end - span.start > 1
            expected = forced.attention[b, 0, span.start : span.end].mean(0).view(1, 2, 4, 6)
            np.testing.assert_allclose(caption.maps[k], expected, atol=1e-5)
            summed = float(forced.token_logprobs[b, 0, span.start : span.end].sum())
            np.testing.assert_allclose(word.logprob, summed, atol=1e-4)
    assert several > 3


def test_the_maps_of_a_word_are_the_attention_that_predicted_it(random_model: Bundle) -> None:
    captioner, tokenizer = random_model.captioner, random_model.tokenizer
    (caption,) = CaptioningEngine(captioner, tokenizer).caption(
        [images(1)], [PHOTO], search=make_search(1, max_length=9)
    )
    assert len(caption.words) >= 2
    ids = tokenizer.encode(caption.text)
    with torch.no_grad():
        memory = captioner.encode(images(1))
        for k in range(len(ids)):
            # The input of step k: BOS and the words before word k.
            prefix = torch.tensor([[[tokenizer.bos_id, *ids[:k]]]])
            output = captioner.decoder(prefix, memory.features, need_weights=True)
            assert output.cross_attention is not None
            expected = output.cross_attention[0, 0, -1, :, :, 1:].view(2, 2, 2, 3)
            np.testing.assert_allclose(caption.maps[k], expected, atol=1e-5)
            logprob = float(output.logits[0, 0, -1].log_softmax(-1)[ids[k]])
            np.testing.assert_allclose(caption.words[k].logprob, logprob, atol=1e-4)


def test_an_empty_caption_has_no_words_and_no_maps(random_model: Bundle) -> None:
    (caption,) = CaptioningEngine(random_model.captioner, random_model.tokenizer).caption(
        [images(1)], [PHOTO], search=make_search(1, max_length=1)
    )
    assert caption.text == ""
    assert caption.words == ()
    assert caption.maps.shape == (0, 2, 2, 2, 3)
    assert caption.maps.dtype == np.float32
    assert caption.logprob < 0


def test_an_images_caption_does_not_depend_on_its_batch(random_model: Bundle) -> None:
    search = make_search(3, max_length=9)
    together = CaptioningEngine(random_model.captioner, random_model.tokenizer).caption(
        [images(6)], [PHOTO] * 6, search=search
    )
    for b in range(6):
        (alone,) = CaptioningEngine(random_model.captioner, random_model.tokenizer).caption(
            [images(6)[b : b + 1]], [PHOTO], search=search
        )
        assert alone.text == together[b].text
        np.testing.assert_allclose(alone.maps, together[b].maps, atol=1e-4)  # sums round by the batch
        np.testing.assert_allclose(alone.logprob, together[b].logprob, atol=1e-4)
        assert replace(together[b].geometry, cells=None) == PHOTO


@pytest.mark.parametrize("beam_size", [1, 3])
def test_methods_change_no_caption_and_leave_nothing_behind(random_model: Bundle, beam_size: int) -> None:
    captioner, tokenizer = random_model.captioner, random_model.tokenizer
    search = make_search(beam_size, max_length=9)
    plain = CaptioningEngine(captioner, tokenizer).caption([images(4)], [PHOTO] * 4, search=search)
    methods = make_methods("occlusion,all", captioner)
    explained = CaptioningEngine(captioner, tokenizer).caption(
        [images(4)], [PHOTO] * 4, search=search, methods=methods
    )
    for a, b in zip(plain, explained, strict=True):
        assert (a.text, a.score, a.logprob, a.others) == (b.text, b.score, b.logprob, b.others)
        assert [word.alternatives for word in a.words] == [word.alternatives for word in b.words]
        assert [word.visual_mass for word in a.words] == [word.visual_mass for word in b.words]
        np.testing.assert_array_equal(a.maps, b.maps)
        assert list(a.explanations) == ["attention"]
        assert sorted(b.explanations) == sorted(METHODS)
        assert next(iter(b.explanations)) == "occlusion"
        np.testing.assert_array_equal(a.explanations["attention"].values, b.explanations["attention"].values)
        for method in methods:
            one = b.explanations[method.name]
            assert one.values.shape == (len(b.words), 2, 3)
            assert one.values.dtype == np.float32
            assert one.unit == method.unit
    assert all(parameter.grad is None for parameter in captioner.parameters())


def test_the_map_of_a_word_is_that_of_the_first_method(random_model: Bundle) -> None:
    captions = CaptioningEngine(random_model.captioner, random_model.tokenizer).caption(
        [images(6)],
        [PHOTO] * 6,
        search=make_search(1, max_length=9),
        methods=make_methods("occlusion:3x4,attention", random_model.captioner),
    )
    captions = [caption for caption in captions if caption.words]
    assert len(captions) > 2
    for caption in captions:
        positive = np.maximum(caption.explanations["occlusion:3x4"].values, 0)
        sums = [float(word.map.sum()) for word in caption.words]
        assert max(sums) == pytest.approx(1)
        for k, word in enumerate(caption.words):
            np.testing.assert_allclose(word.map, positive[k] / positive.sum(axis=(1, 2)).max(), atol=1e-6)
            # The visual mass is that of the attention, whatever the method.
            np.testing.assert_allclose(
                word.visual_mass, caption.explanations["attention"].values[k].sum(), atol=1e-5
            )


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_alternatives_are_the_most_probable_tokens_in_each_place(
    random_model: Bundle, bpe_model: tuple[Captioner, Tokenizer], kind: str
) -> None:
    captioner, tokenizer = bpe_model if kind == "bpe" else (random_model.captioner, random_model.tokenizer)
    captions = CaptioningEngine(captioner, tokenizer).caption(
        [images(6)], [PHOTO] * 6, search=make_search(1, max_length=9)
    )
    special = special_tokens(tokenizer)
    ended = 0
    for b, caption in enumerate(captions):
        with torch.no_grad():
            memory = captioner.encode(images(6)[b : b + 1])
            found = make_search(1, max_length=9)(captioner.decoder, memory.features, special)
            ids = found.tokens[0, 0].tolist()
            for word, span in zip(caption.words, tokenizer.words(ids), strict=True):
                prefix = torch.tensor([[[special.begin, *ids[: span.start]]]])
                logprobs = captioner.decoder(prefix, memory.features).logits[0, 0, -1].log_softmax(-1)
                order = [i for i in logprobs.argsort(descending=True).tolist() if i not in (0, 1, 3)][:5]
                np.testing.assert_allclose(
                    [alternative.logprob for alternative in word.alternatives],
                    logprobs[order],
                    atol=1e-4,
                )
                for token, alternative in zip(order, word.alternatives, strict=True):
                    ended += token == special.end
                    assert (alternative.text == "") == (token == special.end)
                    assert alternative.text == tokenizer.decode([token]) or not tokenizer.decode([token])
                # Greedy search took the first; but where there was room for the end alone.
                assert order[0] == ids[span.start]
                assert word.logprob <= word.alternatives[0].logprob + 1e-4
    assert ended > 0


def test_the_other_captions_that_a_search_considered(random_model: Bundle) -> None:
    captioner, tokenizer = random_model.captioner, random_model.tokenizer
    search = make_search(4, max_length=9)
    captions = CaptioningEngine(captioner, tokenizer).caption([images(5)], [PHOTO] * 5, search=search)
    with torch.no_grad():
        found = search(captioner.decoder, captioner.encode(images(5)).features, special_tokens(tokenizer))
    for b, caption in enumerate(captions):
        assert [other.text for other in caption.others] == [
            tokenizer.decode(ids) for ids in found.tokens[b, 1:].tolist()
        ]
        scores = [caption.score, *(other.logprob for other in caption.others)]
        assert scores == sorted(scores, reverse=True)
        assert len({caption.text, *(other.text for other in caption.others)}) == 4
    (alone,) = CaptioningEngine(captioner, tokenizer).caption(
        [images(1)], [PHOTO], search=make_search(4, max_length=1)
    )
    assert alone.others == ()  # only one caption is possible
    (greedy,) = CaptioningEngine(captioner, tokenizer).caption(
        [images(1)], [PHOTO], search=make_search(1, max_length=9)
    )
    assert greedy.others == ()


def test_an_empty_caption_has_no_explanations(random_model: Bundle) -> None:
    (caption,) = CaptioningEngine(random_model.captioner, random_model.tokenizer).caption(
        [images(1)],
        [PHOTO],
        search=make_search(1, max_length=1),
        methods=make_methods("all", random_model.captioner),
    )
    assert {name: one.values.shape for name, one in caption.explanations.items()} == dict.fromkeys(
        METHODS, (0, 2, 3)
    )


def test_a_given_caption_is_explained_like_a_searched_one(random_model: Bundle) -> None:
    captioner, tokenizer = random_model.captioner, random_model.tokenizer
    methods = make_methods("attention,occlusion", captioner)
    search = make_search(2, max_length=9)
    found = CaptioningEngine(captioner, tokenizer).caption(
        [images(4)], [PHOTO] * 4, search=search, methods=methods
    )
    worded = [b for b, caption in enumerate(found) if caption.words]
    assert len(worded) > 1
    found = [found[b] for b in worded]
    given = CaptioningEngine(captioner, tokenizer).explain(
        images(4)[worded], [PHOTO] * len(worded), [caption.text.upper() for caption in found], methods=methods
    )
    for a, b in zip(found, given, strict=True):
        assert a.text == b.text
        assert b.logprob == pytest.approx(a.logprob, abs=1e-4)
        assert b.score == pytest.approx(b.logprob)
        assert b.others == ()
        np.testing.assert_allclose(
            [word.logprob for word in a.words], [word.logprob for word in b.words], atol=1e-4
        )
        for name in a.explanations:
            np.testing.assert_allclose(a.explanations[name].values, b.explanations[name].values, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a zebra runs on the moon", "does not know 'zebra', 'moon'"),
        (" \n ", "has no words"),
        ("a dog " * 6, "has 12 tokens; .* 11"),
    ],
)
def test_a_given_caption_that_the_model_cannot_write_is_refused(
    random_model: Bundle, text: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        CaptioningEngine(random_model.captioner, random_model.tokenizer).explain(images(1), [PHOTO], [text])
