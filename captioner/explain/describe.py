"""Where did the decoder look for each word of a caption it chose? One teacher-forced pass over the winners.

A search carries no attention. Its winning captions go once more through the decoder, all words at once, with
`need_weights=True`; the weights are those that produced the caption, and the log-probabilities equal the search's.

Axis letters: `B` images, `K` captions per image, `L` tokens, `H` heads, `N` image tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from captioner.caption import Caption, Word
from captioner.decoding import Hypotheses, Search, SpecialTokens
from captioner.image.geometry import ImageGeometry
from captioner.models.captioner import Captioner, Memory
from captioner.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class TeacherForced:
    """What the second pass gives.

    Attributes:
        token_logprobs: `[B, K, L]` nats of the hypotheses' tokens; 0 where padded.
        attention: `[B, K, L, layers, H, N]`: the cross-attention with which each token was predicted.
    """

    token_logprobs: Tensor
    attention: Tensor


def special_tokens(tokenizer: Tokenizer) -> SpecialTokens:
    """What a search must know of a tokenizer: UNK, too, is never emitted."""
    return SpecialTokens(
        pad=tokenizer.pad_id, begin=tokenizer.bos_id, end=tokenizer.eos_id, banned=(tokenizer.unk_id,)
    )


@torch.no_grad()
def teacher_force(
    captioner: Captioner, memory: Memory, tokens: Tensor, special: SpecialTokens
) -> TeacherForced:
    """Run the captions `tokens` `[B, K, L]` (EOS-terminated, padded) through the decoder with weights."""
    inputs = torch.cat([torch.full_like(tokens[:, :, :1], special.begin), tokens[:, :, :-1]], dim=2)
    output = captioner.decoder(inputs, memory.features, need_weights=True)
    logprobs = output.logits.float().log_softmax(dim=-1).gather(-1, tokens[..., None])[..., 0]
    return TeacherForced(logprobs.masked_fill(tokens == special.pad, 0.0), output.cross_attention.float())


@torch.no_grad()
def describe(
    captioner: Captioner,
    images: Tensor,
    geometries: Sequence[ImageGeometry],
    *,
    tokenizer: Tokenizer,
    search: Search,
) -> list[Caption]:
    """Caption a batch: encode, search, then read the maps of the winners.

    Args:
        captioner: In evaluation mode.
        images: float `[B, 3, rows, cols]`, normalised.
        geometries: Where each image lies on its photo.
        tokenizer: The model's own.
        search: How captions are chosen.

    Returns:
        The best caption of each image, in order.
    """
    special = special_tokens(tokenizer)
    memory = captioner.encode(images)
    found = search(captioner.decoder, memory.features, special)
    longest = int((found.tokens[:, :1] != special.pad).sum(dim=-1).max())
    best = Hypotheses(
        found.tokens[:, :1, :longest], found.scores[:, :1], found.token_logprobs[:, :1, :longest]
    )
    forced = teacher_force(captioner, memory, best.tokens, special)
    rows = zip(
        best.tokens[:, 0].cpu().numpy(),
        best.scores[:, 0].tolist(),
        best.token_logprobs[:, 0].cpu().numpy(),
        forced.attention[:, 0].cpu().numpy(),
        (replace(geometry, cells=memory.cells) for geometry in geometries),
        strict=True,
    )
    return [
        _caption(tokens, score, logprobs, attention, geometry, memory.grid, tokenizer)
        for tokens, score, logprobs, attention, geometry in rows
    ]


def _caption(
    tokens: np.ndarray[tuple[int], np.dtype[np.int64]],
    score: float,
    logprobs: np.ndarray[tuple[int], np.dtype[np.float32]],
    attention: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    geometry: ImageGeometry,
    grid: tuple[int, int],
    tokenizer: Tokenizer,
) -> Caption:
    """One caption from its tokens `[L]` and their attention `[L, layers, H, N]`.

    A word of several tokens gets the mean of their maps and the sum of their log-probabilities.
    """
    rows, cols = grid
    # The grid is the last rows*cols tokens; what stands before has no place on the photo.
    patches = attention[..., attention.shape[-1] - rows * cols :].reshape(*attention.shape[:-1], rows, cols)
    spans = tokenizer.words(tokens.tolist())
    words, maps = [], []
    for span in spans:
        all_maps = patches[span.start : span.end].mean(axis=0)  # [layers, H, rows, cols]
        mean_map = all_maps.mean(axis=(0, 1))
        words.append(
            Word(
                text=span.text,
                logprob=float(logprobs[span.start : span.end].sum()),
                visual_mass=float(mean_map.sum()),
                map=mean_map,
            )
        )
        maps.append(all_maps)
    empty = np.zeros((0, *attention.shape[1:3], rows, cols), dtype=np.float32)
    return Caption(
        text=" ".join(span.text for span in spans),
        words=tuple(words),
        score=score,
        logprob=float(logprobs.sum()),
        maps=np.stack(maps) if maps else empty,
        geometry=geometry,
    )
