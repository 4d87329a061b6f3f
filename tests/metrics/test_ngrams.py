from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from captioner.metrics.ngrams import count_ngrams, find

CAPTIONS = st.lists(st.sampled_from("abc"), max_size=7).map(" ".join)
CORPORA = st.lists(st.tuples(CAPTIONS, st.lists(CAPTIONS, min_size=1, max_size=3)), min_size=1, max_size=5)


def counted(caption: str, order: int) -> Counter[tuple[str, ...]]:
    words = caption.split()
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))


@given(CORPORA)
def test_counts_are_those_of_a_plain_loop(pairs: list[tuple[str, list[str]]]) -> None:
    candidates = [candidate for candidate, _ in pairs]
    references = [of_image for _, of_image in pairs]
    corpus = count_ngrams(candidates, references)
    flat = [caption for of_image in references for caption in of_image]
    for order in range(1, 5):
        for captions, counts in ((candidates, corpus.candidates), (flat, corpus.references)):
            table = counts[order - 1]
            found: list[Counter[tuple[str, ...]]] = [Counter() for _ in captions]
            for caption, ngram, count in zip(table.caption, table.ngram, table.count, strict=True):
                first = table.where[ngram]
                words = [corpus.vocabulary[word] for word in corpus.ids[first : first + order]]
                found[caption][tuple(words)] = int(count)
            assert found == [counted(caption, order) for caption in captions]
    assert corpus.candidate_length.tolist() == [len(caption.split()) for caption in candidates]
    assert corpus.image.tolist() == [i for i, of_image in enumerate(references) for _ in of_image]


@given(st.sets(st.integers(0, 20)), st.lists(st.integers(-1, 21)))
def test_find_returns_index_and_membership(keys: set[int], wanted: list[int]) -> None:
    table = np.array(sorted(keys), np.int64)
    at, found = find(table, np.array(wanted, np.int64))
    assert found.tolist() == [key in keys for key in wanted]
    assert table[at[found]].tolist() == [key for key in wanted if key in keys]
