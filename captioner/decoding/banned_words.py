"""Which words may not be spelled? For tokenizers that cut words into pieces, of which most words have many cuts.

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


class Unspelled:
    """No caption contains one of these words, from whatever pieces it is put together; it may begin a longer one.

    "catfish" may be said where "cat" may not, so a word stands only when the next one begins or the caption ends: once
    its letters are there, only what continues it may follow. Reads the tokens as text, on the CPU.

    Args:
        words: Words or phrases, each the pieces of its tokens joined: "Ġred" or "ĠredĠball".
        pieces: The text of each token, with `BLANK` in front where it begins a word.
        begun: A word within the first so many tokens does not count.
        kept: Tokens, EOS not among them, that other rules may demand at the end: there is no room then for what would
            continue a word.
    """

    shortest = 1

    def __init__(self, words: Sequence[str], pieces: Sequence[str], *, begun: int = 0, kept: int = 0) -> None:
        self._words = tuple(words)
        self._pieces = pieces
        self._begun = begun
        self._kept = kept
        self._beginning = torch.tensor([piece.startswith(BLANK) for piece in pieces])
        self._reach = max(map(len, words))  # tokens that the last word can have at most: each has a letter
        ids = {piece: token for token, piece in enumerate(pieces)}
        self._last = [
            (word[:at], ids[word[at:]]) for word in words for at in range(len(word)) if word[at:] in ids
        ]

    def forbid(self, logprobs: Tensor, prefix: Tensor, *, left: int, special: SpecialTokens) -> None:
        """After a word's letters leave what continues it; where nothing more fits, forbid its last piece."""
        texts = [[self._text(row) for row in image] for image in prefix[..., -self._reach :].tolist()]
        if prefix.shape[-1] > self._begun:
            complete = torch.tensor([[text.endswith(self._words) for text in image] for image in texts])
            ending = self._beginning.clone()
            ending[special.end] = True
            logprobs.masked_fill_((complete[..., None] & ending).to(logprobs.device), NEG_INF)
        if left <= self._kept + 2:
            for image, row in product(range(len(texts)), range(len(texts[0]))):
                last = [token for head, token in self._last if texts[image][row].endswith(head)]
                logprobs[image, row, last] = NEG_INF

    def _text(self, tokens: Sequence[int]) -> str:
        text = "".join(self._pieces[token] for token in tokens)
        return text if text.startswith(BLANK) else BLANK + text  # a caption begins with a word

    def spec(self) -> dict[str, Any]:
        """How many there are."""
        return {"banned": len(self._words)}
