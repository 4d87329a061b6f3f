"""Which photos of a set are the same or nearly so? Groups of them, found without comparing all pairs.

Two hashes that differ in at most 24 of their 256 bits agree wholly in at least one of 25 bands of bits (the pigeonhole
principle), so only photos that share a band are compared. That finds every such pair.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from captioner.data.integrity.fingerprints import Fingerprint

MAX_BITS = 24
"""Hashes of near-identical photos differ in at most so many of 256 bits. Unrelated ones differ in 60 and more."""

MAX_COLOUR = 12.0
"""And their mean colours by at most so much on average, of 255."""

_BITS = 256


def group_photos(fingerprints: Sequence[Fingerprint]) -> list[list[int]]:
    """Groups of photos that are the same or nearly so, at least two in each.

    Likeness is passed on: if A is like B and B like C, all three are one group.

    Args:
        fingerprints: One for each photo. Those without a hash are only compared as files; empty files are not.

    Returns:
        Groups of places in `fingerprints`, each in order, in the order of their first.
    """
    leaders = list(range(len(fingerprints)))

    def leader(place: int) -> int:
        while leaders[place] != place:
            leaders[place] = leaders[leaders[place]]
            place = leaders[place]
        return place

    def join(one: int, other: int) -> None:
        first, second = sorted((leader(one), leader(other)))
        leaders[second] = first

    # What is equal in everything is found by name, and stands for itself in the comparisons once.
    same: dict[tuple[bytes, bytes | None], int] = {}
    for place, print_ in enumerate(fingerprints):
        if print_.bits is not None:
            join(same.setdefault((print_.bits, print_.colours), place), place)
    by_digest: dict[bytes, int] = {}
    for place, print_ in enumerate(fingerprints):
        if print_.digest != EMPTY:
            join(by_digest.setdefault(print_.digest, place), place)
    distinct = sorted(same.values())
    for one, other in _near_pairs([fingerprints[place] for place in distinct]):
        join(distinct[one], distinct[other])
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for place in range(len(leaders)):
        groups[leader(place)].append(place)
    return [group for _, group in sorted(groups.items()) if len(group) > 1]


EMPTY = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
"""The digest of an empty file."""


def _near_pairs(prints: Sequence[Fingerprint]) -> list[tuple[int, int]]:
    """Places of all pairs that are nearly the same."""
    if len(prints) < 2:
        return []
    packed = np.frombuffer(b"".join(p.bits or b"" for p in prints), dtype=np.uint8).reshape(len(prints), -1)
    colours = np.frombuffer(b"".join(p.colours or b"" for p in prints), dtype=np.uint8)
    colours = colours.reshape(len(prints), -1)
    words = np.ascontiguousarray(packed).view(np.uint64)  # [N, 4]
    found: set[tuple[int, int]] = set()
    for keys in _bands(np.unpackbits(packed, axis=1)):
        order = np.argsort(keys, kind="stable")
        ordered, first = keys[order], words[order, 0]
        starts = np.arange(len(prints) - 1)
        for step in range(1, len(prints)):
            starts = starts[starts < len(prints) - step]
            starts = starts[ordered[starts] == ordered[starts + step]]  # what a band shares lies together
            if not len(starts):
                break
            # Most pairs are told apart by the first quarter of their bits.
            likely = starts[np.bitwise_count(first[starts] ^ first[starts + step]) <= MAX_BITS]
            one, other = order[likely], order[likely + step]
            near = _near(words, colours, one, other)
            found |= set(zip(one[near].tolist(), other[near].tolist(), strict=True))
    return sorted(found)


def _bands(bits: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
    """Each band of bits `[N, 256]` as a number, `[N]`. Scattered bits: neighbours are often alike."""
    order = np.random.default_rng(0).permutation(_BITS)
    return [
        bits[:, band].astype(np.int64) @ (1 << np.arange(len(band)))
        for band in np.array_split(order, MAX_BITS + 1)
    ]


def _near(
    words: NDArray[np.uint64], colours: NDArray[np.uint8], one: NDArray[np.intp], other: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Which of the pairs (one, other) are nearly the same."""
    bits = np.bitwise_count(words[one] ^ words[other]).sum(1, dtype=np.int32)
    near = np.flatnonzero(bits <= MAX_BITS)
    apart = np.abs(colours[one[near]].astype(np.int16) - colours[other[near]]).mean(1)
    alike: NDArray[np.intp] = near[apart <= MAX_COLOUR]
    return alike
