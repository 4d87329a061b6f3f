"""Constraint that bans words for subword tokenizers, with which most words have several segmentations.

Axis letters: `B` images, `K` captions of each image, `L` tokens so far, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from captioner.decoding.constraints import NEG_INF
from captioner.decoding.hypotheses import SpecialTokens
from captioner.text.tokenizer import BLANK


class BannedWords:
    """No caption contains one of these words in any segmentation; longer words that begin with one are allowed.

    "catfish" is allowed where "cat" is banned, so a word is complete only when the next word begins or the caption
    ends: after its letters, only a token that continues the word may follow. Decodes the tokens to text, on the CPU.

    Args:
        words: Words or phrases, each as the joined pieces of its tokens: "Ġred" or "ĠredĠball".
        pieces: The text of each token, which starts with `BLANK` where the token begins a word.
        prefix_length: Words that end within this number of first tokens are allowed.
        reserved: Number of tokens, EOS excluded, that other constraints may require at the end, where a word cannot be
            continued.
    """

    shortest = 1

    def __init__(
        self, words: Sequence[str], pieces: Sequence[str], *, prefix_length: int = 0, reserved: int = 0
    ) -> None:
        self._words = tuple(words)
        self._pieces = pieces
        self._prefix_length = prefix_length
        self._reserved = reserved
        self._begins_word = torch.tensor([piece.startswith(BLANK) for piece in pieces])
        self._max_tokens = max(map(len, words))  # of the longest word: each token has at least one letter
        ids = {piece: token for token, piece in enumerate(pieces)}
        # All ways to split off a word's last token: (the text before it, the token).
        self._completions = [
            (word[:at], ids[word[at:]]) for word in words for at in range(len(word)) if word[at:] in ids
        ]

    def mask(self, logprobs: Tensor, prefix: Tensor, *, remaining: int, special: SpecialTokens) -> None:
        """After a word's letters allow only what continues it; where no continuation fits, forbid its last token."""
        texts = [[self._text(row) for row in image] for image in prefix[..., -self._max_tokens :].tolist()]
        if prefix.shape[-1] > self._prefix_length:
            complete = torch.tensor([[text.endswith(self._words) for text in image] for image in texts])
            ends_word = self._begins_word.clone()
            ends_word[special.end] = True
            logprobs.masked_fill_((complete[..., None] & ends_word).to(logprobs.device), NEG_INF)
        if remaining <= self._reserved + 2:
            for image, row in product(range(len(texts)), range(len(texts[0]))):
                last = [token for head, token in self._completions if texts[image][row].endswith(head)]
                logprobs[image, row, last] = NEG_INF

    def _text(self, tokens: Sequence[int]) -> str:
        text = "".join(self._pieces[token] for token in tokens)
        return text if text.startswith(BLANK) else BLANK + text  # the first token of a caption begins a word

    def spec(self) -> dict[str, Any]:
        """The number of words."""
        return {"banned": len(self._words)}
