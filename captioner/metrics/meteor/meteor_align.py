"""Word alignment of METEOR 1.5.

Source: M. Denkowski and A. Lavie, "Meteor Universal", 2014, and the output of METEOR 1.5 where the paper leaves details
open.

Four matchers propose pairs of words or phrases. Pairs that are the only proposal for all their words are fixed. The
others are chosen by a beam search over the reference, which maximises the weighted number of words, then minimises
chunks, then maximises pairs. As in METEOR 1.5, the weighted words of a pair are truncated to integers, so a single stem
match of weight 0.6 counts 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

from captioner.metrics.meteor.meteor_tables import MeteorTables
from captioner.metrics.meteor.stem import stem

EXACT, STEM, SYNONYM, PARAPHRASE = range(4)
WEIGHTS = (1.0, 0.6, 0.8, 0.6)
BEAM = 40


class Match(NamedTuple):
    """A proposed pair of words or phrases: first word and number of words on each side, and the matcher."""

    candidate: int
    reference: int
    candidate_words: int
    reference_words: int
    matcher: int


# A hypothesis of the search: negative weight, chunks and negative pairs, by which hypotheses are ranked, smallest
# first; the used words of the candidate as bits; the first word of the reference that may still be paired; the ends of
# the last match in candidate and reference; that match; the previous hypothesis. A plain tuple, since creating these
# takes most of the time.
_Path = tuple[int, int, int, int, int, int, int, Match | None, "_Path | None"]


class Aligner:
    """Aligner of candidates and references; without tables, by exact words and stems only."""

    def __init__(self, tables: MeteorTables | None) -> None:
        self._tables = tables
        self._matchers: dict[str, dict[str, tuple[int, ...]]] = {}

    def align(self, candidate: list[str], references: Sequence[list[str]]) -> list[list[Match]]:
        """The chosen matches for each reference, in the order of its words."""
        proposals = {
            word: self._proposals(candidate, word) for word in dict.fromkeys(chain.from_iterable(references))
        }
        # Paraphrases of the candidate's phrases by their first word: begin and length of the phrase, paraphrase.
        paraphrases: dict[str, list[tuple[int, int, list[str]]]] = {}
        if self._tables:
            for begin, length, phrases in self._tables.paraphrases.of(candidate):
                for phrase in phrases:
                    paraphrases.setdefault(phrase[0], []).append((begin, length, phrase))
        positions: dict[str, list[int]] = {}
        for at, word in enumerate(candidate):
            positions.setdefault(word, []).append(at)

        chosen = []
        for reference in references:
            matches = [
                [Match(index, at, 1, 1, matcher) for index, matcher in proposals[word]]
                for at, word in enumerate(reference)
            ]
            if self._tables:
                for begin, length, phrases in self._tables.paraphrases.of(reference):
                    for phrase in phrases:
                        for at in positions.get(phrase[0], ()):
                            if len(phrase) == 1 or candidate[at : at + len(phrase)] == phrase:
                                matches[begin].append(Match(at, begin, len(phrase), length, PARAPHRASE))
                for at, word in enumerate(reference):
                    for begin, length, phrase in paraphrases.get(word, ()):
                        if len(phrase) == 1 or reference[at : at + len(phrase)] == phrase:
                            matches[at].append(Match(begin, at, length, len(phrase), PARAPHRASE))
            chosen.append(_choose(matches, len(candidate)))
        return chosen

    def _proposals(self, candidate: list[str], word: str) -> list[tuple[int, int]]:
        """The words of the candidate that match a word of the reference, as index and matcher."""
        known = self._matchers.setdefault(word, {})
        found = []
        for index, other in enumerate(candidate):
            matchers = known.get(other)
            if matchers is None:
                matchers = known[other] = self._compare(other, word)
            if matchers:
                found += [(matcher, index) for matcher in matchers]
        return [(index, matcher) for matcher, index in sorted(found)]

    def _compare(self, word: str, other: str) -> tuple[int, ...]:
        """The matchers that match two words: the exact one alone, or any of stem and synonym."""
        if word == other:
            return (EXACT,)
        found = (STEM,) if stem(word) == stem(other) else ()
        if self._tables:
            synonyms = self._tables.synonyms
            if not synonyms.sets_of(word).isdisjoint(synonyms.sets_of(other)):
                return (*found, SYNONYM)
        return found


def _choose(matches: list[list[Match]], candidate_length: int) -> list[Match]:
    """The matches chosen by beam search; `matches` are listed by their first reference word."""
    fixed = _fixed_matches(matches, candidate_length)
    paths: list[_Path] = [(0, 0, 0, sum(_bits(match) for match in fixed.values()), 0, -1, -1, None, None)]
    for at, here in enumerate(matches):
        if not here:
            continue
        is_fixed = at in fixed
        options = [
            (match, 0 if is_fixed else _bits(match), _value(match))
            for match in ([fixed[at]] if is_fixed else here)
            if match.reference_words == 1 or not any(at + i in fixed for i in range(1, match.reference_words))
        ]
        new: list[_Path] = []
        for path in paths:
            weight, chunks, pairs, used, free, candidate_end, reference_end, _, _ = path
            if free > at:
                new.append(path)
                continue
            for match, bits, value in options:
                if not used & bits:
                    begin, _, words, reference_words, _ = match
                    end = at + reference_words
                    opens = candidate_end != begin or reference_end != at
                    new.append(
                        (
                            weight - value,
                            chunks + opens,
                            pairs - 1,
                            used | bits,
                            end,
                            begin + words,
                            end,
                            match,
                            path,
                        )
                    )
            if not is_fixed:
                new.append(path)
        if len(new) > BEAM:
            new.sort(key=itemgetter(0, 1, 2))
            del new[BEAM:]
        paths = new
    best: _Path | None = min(paths, key=itemgetter(0, 1, 2))
    chosen = []
    while best is not None and best[7] is not None:
        chosen.append(best[7])
        best = best[8]
    return chosen[::-1]


def _value(match: Match) -> int:
    """The weighted words of both sides, each truncated to an integer."""
    weight = WEIGHTS[match.matcher]
    return int(weight * match.candidate_words) + int(weight * match.reference_words)


def _bits(match: Match) -> int:
    return ((1 << match.candidate_words) - 1) << match.candidate


def _fixed_matches(matches: list[list[Match]], candidate_length: int) -> dict[int, Match]:
    """The matches whose words, on both sides, are in no other match, by reference word."""
    in_candidate, in_reference = [0] * candidate_length, [0] * len(matches)
    for here in matches:
        for match in here:
            for at in range(match.candidate, match.candidate + match.candidate_words):
                in_candidate[at] += 1
            for at in range(match.reference, match.reference + match.reference_words):
                in_reference[at] += 1
    return {
        match.reference: match
        for here in matches
        for match in here
        if max(in_candidate[match.candidate : match.candidate + match.candidate_words]) == 1
        and max(in_reference[match.reference : match.reference + match.reference_words]) == 1
    }
