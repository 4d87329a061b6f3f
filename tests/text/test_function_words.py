from __future__ import annotations

from captioner.text.function_words import COMMON_FUNCTION_WORDS, FUNCTION_WORDS, NEVER_LAST


def test_each_list_holds_what_its_use_needs() -> None:
    assert COMMON_FUNCTION_WORDS < FUNCTION_WORDS
    assert {"the", "of", "with", "is"} <= COMMON_FUNCTION_WORDS & NEVER_LAST
    for words in (COMMON_FUNCTION_WORDS, FUNCTION_WORDS, NEVER_LAST):
        assert all(word == word.lower() and word.isalpha() for word in words)
        assert not words & {"dog", "man", "red", "two"}
    assert not NEVER_LAST & {"it", "them", "up", "down", "out", "there"}  # a caption may end with these


def test_the_lists_are_those_of_the_measured_runs() -> None:
    """A changed list changes published figures and captions under constraints.no_trailing."""
    assert [len(words) for words in (COMMON_FUNCTION_WORDS, FUNCTION_WORDS, NEVER_LAST)] == [39, 61, 75]
