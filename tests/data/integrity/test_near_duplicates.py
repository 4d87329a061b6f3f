from __future__ import annotations

import hashlib
from itertools import combinations
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.integrity.fingerprints import Fingerprint, fingerprint
from captioner.data.integrity.near_duplicates import EMPTY, MAX_BITS, MAX_COLOUR, group_photos


def print_of(bits: np.ndarray, colours: np.ndarray | None = None, digest: bytes | None = None) -> Fingerprint:
    packed = np.packbits(bits.astype(np.uint8)).tobytes()
    flat = np.zeros(192, np.uint8) if colours is None else colours
    return Fingerprint(digest or hashlib.sha256(packed).digest(), packed, flat.tobytes())


def by_all_pairs(prints: list[Fingerprint]) -> list[list[int]]:
    """The definition: join every near-identical pair."""
    groups = [{place} for place in range(len(prints))]
    for one, other in combinations(range(len(prints)), 2):
        a, b = prints[one], prints[other]
        bits = sum((x ^ y).bit_count() for x, y in zip(a.bits or b"", b.bits or b"", strict=True))
        colours = np.abs(
            np.frombuffer(a.colours or b"", np.uint8).astype(int) - np.frombuffer(b.colours or b"", np.uint8)
        )
        if (bits <= MAX_BITS and colours.mean() <= MAX_COLOUR) or a.digest == b.digest:
            merged = next(g for g in groups if one in g) | next(g for g in groups if other in g)
            groups = [g for g in groups if not g & merged] + [merged]
    return sorted(sorted(group) for group in groups if len(group) > 1)


@given(st.integers(0, 2**32 - 1))
def test_the_bands_find_what_all_pairs_find(seed: int) -> None:
    random = np.random.default_rng(seed)
    prints: list[Fingerprint] = []
    for _ in range(4):  # families whose members differ in around as many bits as are allowed
        first = random.integers(0, 2, 256)
        for _ in range(5):
            bits = first.copy()
            bits[random.choice(256, random.integers(0, 2 * MAX_BITS), replace=False)] ^= 1
            prints.append(
                print_of(bits, random.integers(90, 90 + random.integers(1, 50), 192).astype(np.uint8))
            )
    order = random.permutation(len(prints))
    prints = [prints[place] for place in order]
    assert group_photos(prints) == by_all_pairs(prints)


def test_similarity_is_transitive_and_colours_distinguish_flat_photos() -> None:
    bits = np.zeros((3, 256), int)
    bits[1, :MAX_BITS] = 1
    bits[2, : 2 * MAX_BITS] = 1
    assert group_photos([print_of(row) for row in bits]) == [[0, 1, 2]]
    assert group_photos([print_of(bits[0]), print_of(bits[2])]) == []
    white = np.full(192, 255, np.uint8)
    assert group_photos([print_of(bits[0]), print_of(bits[0], white, b"2" * 32)]) == []
    unreadable = Fingerprint(b"1" * 32, None, None)
    empty = Fingerprint(EMPTY, None, None)
    assert group_photos([unreadable, empty, unreadable, empty]) == [[0, 2]]
    assert group_photos([]) == group_photos([unreadable]) == []


def test_copies_scaled_and_recompressed_are_one_group(copies: Path) -> None:
    paths = sorted(copies.iterdir())
    prints = [fingerprint(path) for path in paths]
    groups = [{paths[place].name for place in group} for group in group_photos(prints)]
    assert len(groups) == 20
    for group in groups:
        assert len(group) == 4
        assert len({name[-6:-4] for name in group}) == 1  # the number of the picture
