"""Captions with words and maps, from one teacher-forced pass and the explanation methods.

Axis letters: `B` images, `L` tokens, `H` heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from captioner.caption import Alternative, Caption, Explanation, Word
from captioner.captioning.caption_text import token_alternatives
from captioner.explain.attention import on_grid
from captioner.explain.methods import Method
from captioner.explain.teacher_forcing import CaptionedBatch
from captioner.image.geometry import ImageGeometry
from captioner.text.tokenizer import Tokenizer, WordSpan


def explained_captions(
    batch: CaptionedBatch,
    scores: Tensor,
    tokenizer: Tokenizer,
    geometries: Sequence[ImageGeometry],
    methods: Sequence[Method],
) -> list[Caption]:
    """The captions of a batch with their words and maps.

    Args:
        batch: The captions' tokens and their teacher-forced pass.
        scores: `[B]` nats.
        tokenizer: The model's.
        geometries: Where each input lies on its photo.
        methods: The first gives `Word.map`.
    """
    forced, memory = batch.forced, batch.memory
    maps = {method.name: method(batch).float().cpu().numpy() for method in methods}
    attention = on_grid(forced.attention[:, 0], memory.grid).cpu().numpy()
    alternatives = token_alternatives(forced.logits[:, 0], batch.special, tokenizer)
    rows = zip(batch.tokens.tolist(), scores.tolist(), forced.token_logprobs[:, 0].tolist(), strict=True)
    return [
        _caption(
            tokenizer.words(of_caption),
            score,
            logprobs,
            attention[b],
            {method.name: Explanation(maps[method.name][b], method.unit) for method in methods},
            alternatives[b],
            # The encoder knows the part of the input that its grid covers.
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
    """One caption from attention `[L, layers, H, rows, cols]` and explanations `[L, rows, cols]` of its tokens.

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
