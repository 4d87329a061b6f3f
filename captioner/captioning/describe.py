"""What is said of a photo, and where does each word come from? Encode, search, one pass over the winners, methods.

Axis letters: `B` images, `K` captions per image, `L` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captioner.caption import Alternative, Caption, Explanation, Word
from captioner.decoding import EnsembleSearch, Search, SpecialTokens
from captioner.decoding.hypotheses import special_tokens
from captioner.errors import UsageError
from captioner.explain.attention import Attention, on_grid
from captioner.explain.methods import Method
from captioner.explain.teacher_forcing import CaptionedBatch, Others, teacher_force
from captioner.image.geometry import ImageGeometry
from captioner.models.captioner import Captioner
from captioner.text.tokenizer import Tokenizer, WordSpan

NUM_ALTERNATIVES = 5
_DEFAULT: tuple[Method, ...] = (Attention(),)


@torch.no_grad()
def describe(
    captioner: Captioner,
    images: Tensor,
    geometries: Sequence[ImageGeometry],
    *,
    tokenizer: Tokenizer,
    search: Search,
    methods: Sequence[Method] = _DEFAULT,
    others: Others = (),
    average: str = "logprobs",
    bf16: bool = False,
) -> list[Caption]:
    """Caption a batch: encode, search, then read the maps of the winners.

    Args:
        captioner: In evaluation mode.
        images: float `[B, 3, rows, cols]`, normalised.
        geometries: Where each image lies on its photo.
        tokenizer: The model's own.
        search: How captions are chosen.
        methods: How they are explained; the first gives `Word.map`. They do not change the captions.
        others: Further models that decide on each word, and judge it, with this one. Maps are this one's.
        average: How they are averaged, as in `EnsembleDecoder`.
        bf16: Encode and search in bfloat16. Words are judged and explained in float32 nevertheless: of what is given,
            only scores are the search's.

    Returns:
        The best caption of each image, in order.
    """
    special = special_tokens(tokenizer)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        encoded = captioner.encoder(images)
        memory = captioner.encode(encoded)
        joined = EnsembleSearch(search, others, average=average) if others else search
        found = joined(captioner.decoder, memory.features, special)
    if bf16:
        memory = replace(memory, features=memory.features.float())
        others = [(decoder, features.float()) for decoder, features in others]
    tokens = _winners(found.tokens, special)
    forced = teacher_force(captioner, memory, tokens, special, others=others, average=average)
    batch = CaptionedBatch(
        captioner, images, memory, tokens[:, 0], special, forced, encoded=None if bf16 else encoded
    )
    captions = _explained(batch, found.scores[:, 0], tokenizer, geometries, methods)
    further = zip(found.tokens[:, 1:].tolist(), found.scores[:, 1:].tolist(), strict=True)
    return [
        replace(caption, others=other_captions(caption.text, ids, scores, tokenizer))
        for caption, (ids, scores) in zip(captions, further, strict=True)
    ]


@torch.no_grad()
def describe_given(
    captioner: Captioner,
    images: Tensor,
    geometries: Sequence[ImageGeometry],
    texts: Sequence[str],
    *,
    tokenizer: Tokenizer,
    methods: Sequence[Method] = _DEFAULT,
) -> list[Caption]:
    """Explain captions that the caller gives, one for each image, as if the search had chosen them.

    Arguments are those of `describe`. The score of a caption is its log-probability.

    Raises:
        UsageError: If a caption has no words, too many, or words that the model does not know.
    """
    special = special_tokens(tokenizer)
    rows = [_ids(text, tokenizer, captioner.decoder.max_length) for text in texts]
    longest = max(map(len, rows))
    tokens = torch.tensor(
        [[row + [special.pad] * (longest - len(row))] for row in rows], device=images.device
    )
    encoded = captioner.encoder(images)
    memory = captioner.encode(encoded)
    forced = teacher_force(captioner, memory, tokens, special)
    batch = CaptionedBatch(captioner, images, memory, tokens[:, 0], special, forced, encoded=encoded)
    return _explained(batch, forced.token_logprobs[:, 0].sum(dim=-1), tokenizer, geometries, methods)


def _ids(text: str, tokenizer: Tokenizer, max_length: int) -> list[int]:
    """The tokens of a caption and EOS."""
    ids = tokenizer.encode(text)
    shown = text if len(text) <= 60 else text[:60] + "…"
    if not ids:
        raise UsageError(f"the caption {shown!r} has no words; give at least one")
    if len(ids) + 1 > max_length:
        raise UsageError(
            f"the caption {shown!r} has {len(ids)} tokens; this model reads at most {max_length - 1}: shorten it"
        )
    if tokenizer.unk_id in ids:
        words = tokenizer.normalize(text).split()
        unknown = dict.fromkeys(word for word in words if tokenizer.unk_id in tokenizer.encode(word))
        raise UsageError(
            f"this model does not know {', '.join(map(repr, unknown))}; it can explain only words that occurred "
            "in its training captions"
        )
    return [*ids, tokenizer.eos_id]


def _winners(tokens: Tensor, special: SpecialTokens) -> Tensor:
    """The first caption `[B, 1, L]` of each image of `[B, K, L]`, without padding that all of them have."""
    longest = int((tokens[:, 0] != special.pad).sum(dim=-1).max())
    return tokens[:, :1, :longest]


def _explained(
    batch: CaptionedBatch,
    scores: Tensor,
    tokenizer: Tokenizer,
    geometries: Sequence[ImageGeometry],
    methods: Sequence[Method],
) -> list[Caption]:
    """The captions of a batch with their words and maps, all from its one teacher-forced pass; scores are `[B]`."""
    forced, memory = batch.forced, batch.memory
    maps = {method.name: method(batch).float().cpu().numpy() for method in methods}
    attention = on_grid(forced.attention[:, 0], memory.grid).cpu().numpy()
    alternatives = _alternatives(forced.logits[:, 0], batch.special, tokenizer)
    rows = zip(batch.tokens.tolist(), scores.tolist(), forced.token_logprobs[:, 0].tolist(), strict=True)
    return [
        _caption(
            tokenizer.words(of_caption),
            score,
            logprobs,
            attention[b],
            {method.name: Explanation(maps[method.name][b], method.unit) for method in methods},
            alternatives[b],
            # The encoder knows where its cells look.
            replace(geometries[b], cells=memory.cells),
        )
        for b, (of_caption, score, logprobs) in enumerate(rows)
    ]


def _caption(
    spans: Sequence[WordSpan],
    score: float,
    logprobs: Sequence[float],
    attention: NDArray[np.float32],
    explanations: dict[str, Explanation],
    alternatives: Sequence[tuple[Alternative, ...]],
    geometry: ImageGeometry,
) -> Caption:
    """One caption from what is known of its tokens: attention `[L, layers, H, rows, cols]`, explanations `[L, ...]`.

    A word of several tokens gets the mean of their maps and the sum of their log-probabilities.
    """
    maps = _merged(attention, spans)
    merged = {name: Explanation(_merged(one.values, spans), one.unit) for name, one in explanations.items()}
    word_maps = next(iter(merged.values())).non_negative()
    words = tuple(
        Word(
            text=span.text,
            logprob=sum(logprobs[span.start : span.end]),
            visual_mass=float(maps[k].mean(axis=(0, 1)).sum()),
            map=word_maps[k],
            alternatives=alternatives[span.start],
        )
        for k, span in enumerate(spans)
    )
    return Caption(
        text=" ".join(span.text for span in spans),
        words=words,
        score=score,
        logprob=sum(logprobs),
        maps=maps,
        geometry=geometry,
        explanations=merged,
    )


def _merged(of_tokens: NDArray[np.float32], spans: Sequence[WordSpan]) -> NDArray[np.float32]:
    """From tokens `[L, ...]` to words `[words, ...]`: the mean over each word's tokens."""
    merged = np.empty((len(spans), *of_tokens.shape[1:]), dtype=np.float32)
    for k, span in enumerate(spans):
        of_tokens[span.start : span.end].mean(axis=0, out=merged[k])
    return merged


def _alternatives(
    logits: Tensor, special: SpecialTokens, tokenizer: Tokenizer
) -> list[list[tuple[Alternative, ...]]]:
    """The most probable tokens `[B][L]` in each place of `logits` `[B, L, V]`; none that a search never emits."""
    never = sorted({special.pad, special.begin, *special.banned})
    total = logits.logsumexp(dim=-1, keepdim=True)
    allowed = logits.index_fill(-1, torch.tensor(never, device=logits.device), float("-inf"))
    best = allowed.topk(min(NUM_ALTERNATIVES, logits.shape[-1] - len(never)), dim=-1)
    texts: dict[int, str] = {special.end: ""}

    def text(token: int) -> str:
        if token not in texts:
            # A piece of white space spells no word: it is shown as it is stored.
            texts[token] = tokenizer.decode([token]) or tokenizer.id_to_token(token)
        return texts[token]

    return [
        [
            tuple(Alternative(text(token), logprob) for token, logprob in zip(ids, values, strict=True))
            for ids, values in zip(of_tokens, of_values, strict=True)
        ]
        for of_tokens, of_values in zip(best.indices.tolist(), (best.values - total).tolist(), strict=True)
    ]


def other_captions(
    best: str, tokens: Sequence[Sequence[int]], scores: Sequence[float], tokenizer: Tokenizer
) -> tuple[Alternative, ...]:
    """The further hypotheses of one image; where there are fewer than beams, the rest scores -inf.

    What was drawn several times, or is the best caption, is not given again.
    """
    further: dict[str, float] = {}
    for ids, score in zip(tokens, scores, strict=True):
        text = tokenizer.decode(ids)
        if score > float("-inf") and text != best:
            further.setdefault(text, score)
    return tuple(Alternative(text, score) for text, score in further.items())
