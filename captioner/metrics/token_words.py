"""Words of sampled token ids: by a table, or by decoding where tokens are parts of words.

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
"""The word of EOS where that counts as one; it occurs in no caption."""


@dataclass(frozen=True, slots=True, eq=False)
class WordRows:
    """Captions as ids of words.

    Attributes:
        words: int64, the words of all captions, concatenated.
        length: int64 `[R]`, the number of words of each, `END` included.
        ended: int64 `[R]`, 1 where `END` is one of them.
        vocabulary: Upper bound of the ids.
    """

    words: Ints
    length: Ints
    ended: Ints
    vocabulary: int


class TokenWords(Protocol):
    """Map from a tokenizer's ids to words.

    Attributes:
        count_end: Whether EOS counts as the word `END`.
    """

    count_end: bool

    def set_vocabulary(self, vocabulary: dict[str, int]) -> None:
        """Use the ids of the references' words; ids of further words may be added to the same mapping."""
        ...

    def __call__(self, tokens: NDArray[np.integer]) -> WordRows:
        """The words of rows `[R, L]` of token ids, each up to its EOS."""
        ...


class TableWords:
    """Words of tokens that are whole words, by table look-up.

    Args:
        words: The words of each token id in a caption, "" for control tokens. They are tokenized as captions are, so
            the id of a comma stands for no word.
        eos_id: End of a caption; tokens after it are ignored.
        count_end: Whether EOS counts as the word `END`.
    """

    def __init__(self, words: Sequence[str], *, eos_id: int, count_end: bool = False) -> None:
        self._split = [tokenize(text).split() for text in words]
        self._split[eos_id] = [END] if count_end else []
        self.count_end = count_end
        self._eos_id = eos_id
        self.set_vocabulary({})

    def set_vocabulary(self, vocabulary: dict[str, int]) -> None:
        """As in `TokenWords`."""
        of_tokens = [
            [vocabulary.setdefault(word, len(vocabulary)) for word in words] for words in self._split
        ]
        self._vocabulary = len(vocabulary)
        # Ragged rows: the words of token i are _words[_start[i] : _start[i] + _length[i]]
        self._words = np.array([word for words in of_tokens for word in words] or [0], np.int64)
        self._length = np.array([len(words) for words in of_tokens], np.int64)
        self._start = np.cumsum(self._length) - self._length

    def __call__(self, tokens: NDArray[np.integer]) -> WordRows:
        """As in `TokenWords`."""
        end = tokens == self._eos_id
        kept = np.cumsum(end, axis=1) == end  # up to the first EOS, included
        lengths = self._length[tokens] * kept
        starts = self._start[tokens].ravel()
        words = self._words[ranges(starts, starts + lengths.ravel())]
        ended = end.any(axis=1) & self.count_end
        return WordRows(words, lengths.sum(1), ended.astype(np.int64), self._vocabulary)


class DecodedWords:
    """Words of tokens that are parts of words: each row is decoded to text and tokenized as captions are.

    Args:
        decode: Decodes token ids up to EOS to text.
        eos_id: End of a caption; tokens after it are ignored.
        count_end: Whether EOS counts as the word `END`.
    """

    def __init__(
        self, decode: Callable[[Sequence[int]], str], *, eos_id: int, count_end: bool = False
    ) -> None:
        self._decode = decode
        self._eos_id = eos_id
        self.count_end = count_end
        self._vocabulary: Mapping[str, int] = {}

    def set_vocabulary(self, vocabulary: dict[str, int]) -> None:
        """As in `TokenWords`."""
        self._vocabulary = vocabulary

    def __call__(self, tokens: NDArray[np.integer]) -> WordRows:
        """As in `TokenWords`; each call assigns its own ids to words that occur in no reference."""
        new: dict[str, int] = {}
        size = len(self._vocabulary)
        ids: list[int] = []
        lengths = []
        ended = (tokens == self._eos_id).any(axis=1) & self.count_end
        for row, has_end in zip(tokens.tolist(), ended.tolist(), strict=True):
            words = tokenize(self._decode(row)).split() + [END] * has_end
            for word in words:
                index = self._vocabulary.get(word)
                ids.append(new.setdefault(word, size + len(new)) if index is None else index)
            lengths.append(len(words))
        return WordRows(
            np.array(ids, np.int64), np.array(lengths, np.int64), ended.astype(np.int64), size + len(new)
        )


def ranges(starts: Ints, stops: Ints) -> Ints:
    """The integers of all ranges, concatenated."""
    lengths = stops - starts
    ends = np.cumsum(lengths)
    return np.repeat(stops - ends, lengths) + np.arange(ends[-1] if len(ends) else 0)
