"""Which words do the token ids of sampled captions spell? By a table, or by decoding where tokens are pieces of words.

Axis letters: `R` rows of token ids, `L` tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from captioner.metrics.ngrams import Ints
from captioner.metrics.ptb.ptb_tokenizer import tokenize

END = "\0"
"""Stands for the end of a caption where that counts as a word; no caption can spell it."""


@dataclass(frozen=True, slots=True, eq=False)
class Spelled:
    """Captions as numbers of words.

    Attributes:
        words: int64, the words of all captions, one after the other.
        length: int64 `[R]`, the words of each, `END` among them.
        ended: int64 `[R]`, 1 where `END` is one of them.
        vocabulary: All numbers are below it.
    """

    words: Ints
    length: Ints
    ended: Ints
    vocabulary: int


class Spelling(Protocol):
    """How a tokenizer's ids become words.

    Attributes:
        count_end: Whether EOS is a word, `END`.
    """

    count_end: bool

    def number(self, words: dict[str, int]) -> None:
        """Take over the numbers of the references' words, and number further words in the same mapping."""
        ...

    def __call__(self, tokens: NDArray[np.integer]) -> Spelled:
        """The words of rows `[R, L]` of token ids, each up to its EOS."""
        ...


class WordSpelling:
    """Each token id stands for words of its own: a table, looked up for all rows at once.

    Args:
        words: For each token id the words it stands for in a caption: "" for control tokens. They are tokenized as
            captions are, so a comma's id counts for nothing.
        eos_id: What stands after it is not part of the caption.
        count_end: Whether EOS is a word, `END`.
    """

    def __init__(self, words: Sequence[str], *, eos_id: int, count_end: bool = False) -> None:
        self._split = [tokenize(text).split() for text in words]
        self._split[eos_id] = [END] if count_end else []
        self.count_end = count_end
        self._eos_id = eos_id
        self.number({})

    def number(self, words: dict[str, int]) -> None:
        """As in `Spelling`."""
        of_token = [[words.setdefault(word, len(words)) for word in of_one] for of_one in self._split]
        self._vocabulary = len(words)
        # Token id -> words, ragged: where they begin in one list, and how many they are.
        self._words = np.array([word for of_one in of_token for word in of_one] or [0], np.int64)
        self._length = np.array([len(of_one) for of_one in of_token], np.int64)
        self._start = np.cumsum(self._length) - self._length

    def __call__(self, tokens: NDArray[np.integer]) -> Spelled:
        """As in `Spelling`."""
        end = tokens == self._eos_id
        written = np.cumsum(end, axis=1) == end  # EOS itself, too
        lengths = self._length[tokens] * written
        starts = self._start[tokens].ravel()
        words = self._words[ranges(starts, starts + lengths.ravel())]
        ended = end.any(axis=1) & self.count_end
        return Spelled(words, lengths.sum(1), ended.astype(np.int64), self._vocabulary)


class DecodedSpelling:
    """Tokens are pieces of words: each row is decoded to text and tokenized as captions are.

    Args:
        decode: Token ids up to EOS to text.
        eos_id: What stands after it is not part of the caption.
        count_end: Whether EOS is a word, `END`.
    """

    def __init__(
        self, decode: Callable[[Sequence[int]], str], *, eos_id: int, count_end: bool = False
    ) -> None:
        self._decode = decode
        self._eos_id = eos_id
        self.count_end = count_end
        self._words: Mapping[str, int] = {}

    def number(self, words: dict[str, int]) -> None:
        """As in `Spelling`."""
        self._words = words

    def __call__(self, tokens: NDArray[np.integer]) -> Spelled:
        """As in `Spelling`; words that no reference has are numbered anew in each call."""
        new: dict[str, int] = {}
        known = len(self._words)
        found: list[int] = []
        lengths = []
        ended = (tokens == self._eos_id).any(axis=1) & self.count_end
        for row, has_end in zip(tokens.tolist(), ended.tolist(), strict=True):
            words = tokenize(self._decode(row)).split() + [END] * has_end
            for word in words:
                number = self._words.get(word)
                found.append(new.setdefault(word, known + len(new)) if number is None else number)
            lengths.append(len(words))
        return Spelled(
            np.array(found, np.int64), np.array(lengths, np.int64), ended.astype(np.int64), known + len(new)
        )


def ranges(starts: Ints, stops: Ints) -> Ints:
    """The numbers of all ranges, one after the other."""
    lengths = stops - starts
    ends = np.cumsum(lengths)
    return np.repeat(stops - ends, lengths) + np.arange(ends[-1] if len(ends) else 0)
