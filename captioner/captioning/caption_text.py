"""Conversion between tokens and texts: captions, their alternatives, and captions that a user gives.

Axis letters: `B` images, `K` captions per image, `L` tokens, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from captioner.caption import Alternative
from captioner.decoding import Hypotheses, SpecialTokens
from captioner.errors import UsageError
from captioner.text.tokenizer import Tokenizer

NUM_ALTERNATIVES = 5
_SHOWN = 60  # characters of a caption that a message quotes


def best_texts(hypotheses: Hypotheses, tokenizer: Tokenizer) -> list[str]:
    """The text of the best caption of each image."""
    return [tokenizer.decode(tokens) for tokens in hypotheses.tokens[:, 0].tolist()]


def other_captions(
    best: str, tokens: Sequence[Sequence[int]], scores: Sequence[float], tokenizer: Tokenizer
) -> tuple[Alternative, ...]:
    """The further captions of one image, each text once and without the best.

    Args:
        best: The text of the best caption.
        tokens: `[K - 1, L]`.
        scores: `[K - 1]`; -inf where the search found fewer captions.
        tokenizer: The model's.
    """
    further: dict[str, float] = {}
    for ids, score in zip(tokens, scores, strict=True):
        text = tokenizer.decode(ids)
        if score > float("-inf") and text != best:
            further.setdefault(text, score)
    return tuple(Alternative(text, score) for text, score in further.items())


def token_alternatives(
    logits: Tensor, special: SpecialTokens, tokenizer: Tokenizer
) -> list[list[tuple[Alternative, ...]]]:
    """The most probable tokens `[B][L]` at each position, without those that a search never emits.

    Args:
        logits: `[B, L, V]`.
        special: The ids that are no words.
        tokenizer: The model's.
    """
    never = sorted({special.pad, special.begin, *special.banned})
    total = logits.logsumexp(dim=-1, keepdim=True)
    allowed = logits.index_fill(-1, torch.tensor(never, device=logits.device), float("-inf"))
    best = allowed.topk(min(NUM_ALTERNATIVES, logits.shape[-1] - len(never)), dim=-1)
    texts: dict[int, str] = {special.end: ""}

    def text(token: int) -> str:
        if token not in texts:
            # A token of white space decodes to nothing: it is shown as the vocabulary stores it.
            texts[token] = tokenizer.decode([token]) or tokenizer.id_to_token(token)
        return texts[token]

    return [
        [
            tuple(Alternative(text(token), logprob) for token, logprob in zip(ids, values, strict=True))
            for ids, values in zip(of_tokens, of_values, strict=True)
        ]
        for of_tokens, of_values in zip(best.indices.tolist(), (best.values - total).tolist(), strict=True)
    ]


def caption_tokens(texts: Sequence[str], tokenizer: Tokenizer, max_length: int) -> Tensor:
    """The tokens int64 `[B, 1, L]` of given captions: words, EOS, padding.

    Args:
        texts: One caption for each image.
        tokenizer: The model's.
        max_length: Longest caption of the decoder in tokens, EOS included.

    Raises:
        UsageError: If a caption has no words, too many, or words that the model does not know.
    """
    rows = [_caption_ids(text, tokenizer, max_length) for text in texts]
    longest = max(map(len, rows))
    return torch.tensor([[row + [tokenizer.pad_id] * (longest - len(row))] for row in rows])


def _caption_ids(text: str, tokenizer: Tokenizer, max_length: int) -> list[int]:
    ids = tokenizer.encode(text)
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    if not ids:
        raise UsageError(f"the caption {shown!r} has no words; give at least one")
    if len(ids) + 1 > max_length:
        raise UsageError(
            f"the caption {shown!r} has {len(ids)} tokens; this model takes at most {max_length - 1}: shorten it"
        )
    if tokenizer.unk_id in ids:
        words = tokenizer.normalize(text).split()
        unknown = dict.fromkeys(word for word in words if tokenizer.unk_id in tokenizer.encode(word))
        raise UsageError(
            f"this model does not know {', '.join(map(repr, unknown))}; use words of its training captions"
        )
    return [*ids, tokenizer.eos_id]
