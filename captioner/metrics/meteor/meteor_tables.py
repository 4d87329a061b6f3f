"""Where do METEOR's synonyms, paraphrases and function words come from? From an installed `pycocoevalcap`.

The tables are WordNet's and the METEOR authors'; none is part of this package. They are read where pip put them, the
paraphrases into memory (about 300 MB), and looked up by bisection, since a corpus needs few of the five million.
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

# How METEOR brings a word to the form that WordNet lists; the first that is listed counts.
_ENDINGS = (
    *(("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man")),
    *(("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    *(("er", ""), ("er", "e"), ("est", ""), ("est", "e")),
)


class Synonyms:
    """Sets of words with one meaning, by the numbers of those sets."""

    def __init__(self, synsets: list[str], exceptions: list[str]) -> None:
        self._listed = {word: frozenset(numbers.split()) for word, numbers in _pairs(synsets)}
        self._lemmas: dict[str, list[str]] = {}
        for lemma, forms in _pairs(exceptions):
            self._lemmas.setdefault(lemma, [])
            for form in forms.split():
                self._lemmas.setdefault(form, []).append(lemma)
        self._found: dict[str, frozenset[str]] = {}

    def sets_of(self, word: str) -> frozenset[str]:
        """The sets that a word in any inflection belongs to."""
        found = self._found.get(word)
        if found is None:
            found = self._found[word] = self._look_up(word)
        return found

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
    """Phrases and what may be said instead."""

    def __init__(self, data: bytes | bytearray) -> None:
        """Take the table: for each pair three lines, probability, phrase, paraphrase, sorted by phrase."""
        self._data = data
        self._starts = _record_starts(data).data  # a memoryview: quicker to read one by one
        self._found: dict[str, tuple[list[list[str]], int]] = {}

    def of(self, words: list[str]) -> list[tuple[int, int, list[list[str]]]]:
        """The phrases in `words` that the table has: where one begins, its number of words, its paraphrases."""
        found = []
        for begin in range(len(words)):
            phrase, low = "", 0
            for length in range(1, min(MAX_PHRASE, len(words) - begin) + 1):
                phrase = f"{phrase} {words[begin + length - 1]}" if phrase else words[begin]
                known = self._found.get(phrase)
                if known is None:
                    known = self._found[phrase] = self._look_up(phrase.encode(), low)
                paraphrases, low = known
                if paraphrases:
                    found.append((begin, length, paraphrases))
                if low < 0:
                    break
        return found

    def _look_up(self, phrase: bytes, low: int) -> tuple[list[list[str]], int]:
        """The paraphrases of one phrase, at or after record `low`; and the first record that goes on from it, or -1."""
        low = self._first(phrase, low)
        paraphrases: list[list[str]] = []
        while low < len(self._starts):
            other, paraphrase = self._record(low)
            if other != phrase:
                # Nothing sorts between a phrase and its continuations: the blank is the smallest character.
                return paraphrases, low if other.startswith(phrase + b" ") else -1
            paraphrases.append(paraphrase.decode().split())
            low += 1
        return paraphrases, -1

    def _first(self, phrase: bytes, low: int) -> int:
        """The first record from `low` on whose phrase is not before `phrase`: in doubling steps, then by halves."""
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
        function_words: Words that count for less.
        synonyms: Words with one meaning.
        paraphrases: Phrases with one meaning.
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
                f"METEOR's tables cannot be read from {jar} and {paraphrases} ({error}): install pycocoevalcap again."
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
    """A gzip file's content, with room for it made once: its size stands in the last four bytes."""
    with path.open("rb") as file:
        compressed = file.seek(-4, 2)
        size = int.from_bytes(file.read(4), "little")
    if size > 1100 * compressed:  # more than deflate can do: these are not the size
        raise EOFError("it ends early")
    data = bytearray(size)
    view, filled = memoryview(data), 0
    with gzip.open(path) as stream:
        while filled < len(data):
            filled += stream.readinto(view[filled : filled + (1 << 24)]) or len(data)
    if filled != len(data):
        raise EOFError("it ends early")
    return data


def _record_starts(data: bytes | bytearray) -> NDArray[np.int64]:
    """Where each record of three lines begins. In slices, so that no mask of the whole table is held."""
    codes = np.frombuffer(data, np.uint8)
    slices = range(0, len(codes), 1 << 24)
    kept, seen = [np.zeros(1, np.int64)], 0
    for begin in slices:
        ends = np.flatnonzero(codes[begin : begin + (1 << 24)] == ord("\n"))
        kept.append(ends[(2 - seen) % 3 :: 3] + begin + 1)
        seen += len(ends)
    starts = np.concatenate(kept)
    return starts[starts < len(codes)]
