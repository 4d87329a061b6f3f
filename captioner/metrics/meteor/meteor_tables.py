"""Tables of METEOR: synonyms, paraphrases and function words of an installed `pycocoevalcap`.

The tables are WordNet's and the METEOR authors'; none is part of this package. They are read from where pip installed
them. The paraphrases stay in memory as text (about 300 MB) and are found by bisection, since a corpus needs few of the
five million.
"""

from __future__ import annotations

import gzip
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from captioner.errors import DataError

MAX_PHRASE = 7  # words

# Suffix rules by which METEOR derives the form listed in WordNet; the first whose result is listed applies.
_ENDINGS = (
    *(("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man")),
    *(("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    *(("er", ""), ("er", "e"), ("est", ""), ("est", "e")),
)


class Synonyms:
    """Sets of synonyms (synsets), by their numbers."""

    def __init__(self, synsets: list[str], exceptions: list[str]) -> None:
        self._listed = {word: frozenset(numbers.split()) for word, numbers in _pairs(synsets)}
        self._lemmas: dict[str, list[str]] = {}
        for lemma, forms in _pairs(exceptions):
            self._lemmas.setdefault(lemma, [])
            for form in forms.split():
                self._lemmas.setdefault(form, []).append(lemma)
        self._cache: dict[str, frozenset[str]] = {}

    def sets_of(self, word: str) -> frozenset[str]:
        """The synsets of a word in any inflection."""
        sets = self._cache.get(word)
        if sets is None:
            sets = self._cache[word] = self._look_up(word)
        return sets

    def _look_up(self, word: str) -> frozenset[str]:
        listed = self._listed.get(word, frozenset())
        if word in self._lemmas:
            return listed.union(*(self._listed.get(lemma, frozenset()) for lemma in self._lemmas[word]))
        if len(word) > 2:
            for ending, replacement in _ENDINGS:
                if word.endswith(ending) and not (ending == "s" and word.endswith("ss")):
                    lemma = word.removesuffix(ending) + replacement
                    if lemma in self._listed:
                        return listed | self._listed[lemma]
        return listed


class Paraphrases:
    """Phrases and their paraphrases."""

    def __init__(self, data: bytes | bytearray) -> None:
        """Index the table: three lines for each pair (probability, phrase, paraphrase), sorted by phrase."""
        self._data = data
        self._starts = _record_starts(data).data  # a memoryview: faster access to single elements
        self._cache: dict[str, tuple[list[list[str]], int]] = {}

    def of(self, words: list[str]) -> list[tuple[int, int, list[list[str]]]]:
        """The phrases of the table in `words`: index of the first word, number of words, paraphrases."""
        found = []
        for begin in range(len(words)):
            phrase, low = "", 0
            for length in range(1, min(MAX_PHRASE, len(words) - begin) + 1):
                phrase = f"{phrase} {words[begin + length - 1]}" if phrase else words[begin]
                known = self._cache.get(phrase)
                if known is None:
                    known = self._cache[phrase] = self._look_up(phrase.encode(), low)
                paraphrases, low = known
                if paraphrases:
                    found.append((begin, length, paraphrases))
                if low < 0:
                    break
        return found

    def _look_up(self, phrase: bytes, low: int) -> tuple[list[list[str]], int]:
        """The paraphrases of a phrase, at or after record `low`, and the first record that continues it, or -1."""
        low = self._first(phrase, low)
        paraphrases: list[list[str]] = []
        while low < len(self._starts):
            other, paraphrase = self._record(low)
            if other != phrase:
                # Continuations directly follow a phrase: the blank sorts before every other character.
                return paraphrases, low if other.startswith(phrase + b" ") else -1
            paraphrases.append(paraphrase.decode().split())
            low += 1
        return paraphrases, -1

    def _first(self, phrase: bytes, low: int) -> int:
        """The first record from `low` on whose phrase is at least `phrase`, by galloping search."""
        step, high = 1, low
        while high < len(self._starts) and self._record(high)[0] < phrase:
            low, high, step = high + 1, high + step, 2 * step
        high = min(high, len(self._starts))
        while low < high:
            middle = (low + high) // 2
            if self._record(middle)[0] < phrase:
                low = middle + 1
            else:
                high = middle
        return low

    def _record(self, index: int) -> tuple[bytes | bytearray, bytes | bytearray]:
        begin = self._data.index(b"\n", self._starts[index]) + 1
        middle = self._data.index(b"\n", begin)
        return self._data[begin:middle], self._data[middle + 1 : self._data.index(b"\n", middle + 1)]


class MeteorTables:
    """METEOR's English tables.

    Attributes:
        function_words: Words of lower weight.
        synonyms: Words with the same meaning.
        paraphrases: Phrases with the same meaning.
    """

    def __init__(self, jar: Path, paraphrases: Path) -> None:
        """Read the tables.

        Args:
            jar: `meteor-1.5.jar`, a zip archive; only the tables in it are read.
            paraphrases: `paraphrase-en.gz`.

        Raises:
            DataError: A file cannot be read or lacks a table.
        """
        try:
            with zipfile.ZipFile(jar) as archive:

                def lines(name: str) -> list[str]:
                    return archive.read(name).decode().splitlines()

                self.function_words = frozenset(lines("function/english.words"))
                self.synonyms = Synonyms(
                    lines("synonym/english.synsets"), lines("synonym/english.exceptions")
                )
            self.paraphrases = Paraphrases(_decompressed(paraphrases))
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(
                f"METEOR's tables cannot be read from {jar} and {paraphrases} ({error}); reinstall pycocoevalcap"
            ) from error


@cache
def installed_tables() -> MeteorTables | None:
    """The tables of the installed `pycocoevalcap`, read once; None where it is not installed."""
    spec = find_spec("pycocoevalcap")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        jar = Path(folder) / "meteor" / "meteor-1.5.jar"
        paraphrases = Path(folder) / "meteor" / "data" / "paraphrase-en.gz"
        if jar.is_file() and paraphrases.is_file():
            return MeteorTables(jar, paraphrases)
    return None


def _pairs(lines: list[str]) -> zip[tuple[str, str]]:
    return zip(lines[0::2], lines[1::2], strict=False)


def _decompressed(path: Path) -> bytearray:
    """The content of a gzip file, in a buffer of the size given by its last four bytes."""
    with path.open("rb") as file:
        compressed = file.seek(-4, 2)
        size = int.from_bytes(file.read(4), "little")
    if size > 1100 * compressed:  # above the maximum ratio of deflate: the last bytes are not a size
        raise EOFError("truncated file")
    data = bytearray(size)
    view, filled = memoryview(data), 0
    with gzip.open(path) as stream:
        while filled < len(data):
            filled += stream.readinto(view[filled : filled + (1 << 24)]) or len(data)
    if filled != len(data):
        raise EOFError("truncated file")
    return data


def _record_starts(data: bytes | bytearray) -> NDArray[np.int64]:
    """The offset of each record of three lines, computed in slices to avoid a mask of the whole table."""
    codes = np.frombuffer(data, np.uint8)
    slices = range(0, len(codes), 1 << 24)
    kept, seen = [np.zeros(1, np.int64)], 0
    for begin in slices:
        ends = np.flatnonzero(codes[begin : begin + (1 << 24)] == ord("\n"))
        kept.append(ends[(2 - seen) % 3 :: 3] + begin + 1)
        seen += len(ends)
    starts = np.concatenate(kept)
    return starts[starts < len(codes)]
