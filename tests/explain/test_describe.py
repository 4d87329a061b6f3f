from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from captioner.bundle import Bundle
from captioner.caption import Caption
from captioner.decoding import make_search
from captioner.explain.describe import describe
from captioner.explain.teacher_forcing import special_tokens, teacher_force
from captioner.image.geometry import ImageGeometry
from captioner.models.captioner import Captioner
from captioner.models.encoder import ImageEncoder
from captioner.models.transformer import TransformerDecoder
from captioner.text.tokenizer import Tokenizer

PHOTO = ImageGeometry((64, 96), 1, (0.0, 0.0, 64.0, 96.0), (32, 48))


def images(count: int) -> Tensor:
    return 3 * torch.randn(count, 3, 32, 48, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def bpe_model() -> tuple[Captioner, Tokenizer]:
    """A captioner that writes bytes and pieces of words, without prefix tokens."""
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
def test_the_second_pass_gives_the_searchs_own_log_probabilities(
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
    captions = describe(
        random_model.captioner,
        images(8),
        [PHOTO] * 8,
        tokenizer=random_model.tokenizer,
        search=make_search(beam_size, max_length=9),
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
    captions = describe(captioner, images(8), [PHOTO] * 8, tokenizer=tokenizer, search=search)
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


def test_each_word_is_shown_with_the_attention_that_predicted_it(random_model: Bundle) -> None:
    captioner, tokenizer = random_model.captioner, random_model.tokenizer
    (caption,) = describe(
        captioner, images(1), [PHOTO], tokenizer=tokenizer, search=make_search(1, max_length=9)
    )
    assert len(caption.words) >= 2
    ids = tokenizer.encode(caption.text)
    with torch.no_grad():
        memory = captioner.encode(images(1))
        for k in range(len(ids)):
            # The decoder has read BOS and the words before, and is about to write word k.
            prefix = torch.tensor([[[tokenizer.bos_id, *ids[:k]]]])
            output = captioner.decoder(prefix, memory.features, need_weights=True)
            expected = output.cross_attention[0, 0, -1, :, :, 1:].view(2, 2, 2, 3)
            np.testing.assert_allclose(caption.maps[k], expected, atol=1e-5)
            logprob = float(output.logits[0, 0, -1].log_softmax(-1)[ids[k]])
            np.testing.assert_allclose(caption.words[k].logprob, logprob, atol=1e-4)


def test_an_empty_caption_has_no_words_and_no_maps(random_model: Bundle) -> None:
    (caption,) = describe(
        random_model.captioner,
        images(1),
        [PHOTO],
        tokenizer=random_model.tokenizer,
        search=make_search(1, max_length=1),  # room for the end alone
    )
    assert caption.text == ""
    assert caption.words == ()
    assert caption.maps.shape == (0, 2, 2, 2, 3)
    assert caption.maps.dtype == np.float32
    assert caption.logprob < 0


def test_an_images_caption_does_not_depend_on_its_batch(random_model: Bundle) -> None:
    search = make_search(3, max_length=9)
    together = describe(
        random_model.captioner, images(6), [PHOTO] * 6, tokenizer=random_model.tokenizer, search=search
    )
    for b in range(6):
        (alone,) = describe(
            random_model.captioner,
            images(6)[b : b + 1],
            [PHOTO],
            tokenizer=random_model.tokenizer,
            search=search,
        )
        assert alone.text == together[b].text
        np.testing.assert_allclose(alone.maps, together[b].maps, atol=1e-5)
        np.testing.assert_allclose(alone.logprob, together[b].logprob, atol=1e-4)
        assert replace(together[b].geometry, cells=None) == PHOTO
