from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from captioner.metrics.meteor.meteor_align import EXACT, STEM, Aligner, Match

WORDS = st.lists(st.sampled_from(["a", "b", "c", "dog", "dogs", "runs", "running"]), max_size=8)


def chunks(matches: list[Match]) -> int:
    ends = [(m.candidate + m.candidate_words, m.reference + m.reference_words) for m in matches]
    return sum((m.candidate, m.reference) != end for m, end in zip(matches, [(-1, -1), *ends], strict=False))


@given(WORDS, WORDS)
def test_no_word_is_matched_twice_and_every_match_is_valid(
    candidate: list[str], reference: list[str]
) -> None:
    [matches] = Aligner(None).align(candidate, [reference])
    assert len({m.candidate for m in matches}) == len({m.reference for m in matches}) == len(matches)
    for match in matches:
        one, other = candidate[match.candidate], reference[match.reference]
        assert match.matcher == (EXACT if one == other else STEM)
    exact = sum(min(candidate.count(word), reference.count(word)) for word in set(candidate))
    assert sum(match.matcher == EXACT for match in matches) == exact


def test_among_equal_words_those_in_fewest_chunks_are_matched() -> None:
    candidate, reference = ["a", "dog", "on", "a", "mat"], ["on", "a", "mat", "a", "cat"]
    [matches] = Aligner(None).align(candidate, [reference])
    assert chunks(sorted(matches)) == 2
    assert (2, 0) in {(m.candidate, m.reference) for m in matches}


def test_an_exact_match_precedes_a_stem_match() -> None:
    [matches] = Aligner(None).align(["dogs"], [["dog", "dogs"]])
    assert matches == [Match(0, 1, 1, 1, EXACT)]
