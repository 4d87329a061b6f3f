"""Groups of identical and near-identical photos, found without comparing all pairs.

Two hashes that differ in at most 24 of their 256 bits agree in all bits of at least one of 25 bands (the pigeonhole
principle), so only photos that share a band are compared. This finds every such pair.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from captioner.data.integrity.fingerprints import Fingerprint

MAX_BITS = 24
"""Most bits, of 256, in which the hashes of near-identical photos differ. Unrelated ones differ in 60 and more."""

MAX_COLOUR = 12.0
"""Largest mean difference of their mean colours, of 255."""

_BITS = 256


def group_photos(fingerprints: Sequence[Fingerprint]) -> list[list[int]]:
    """Groups of identical or near-identical photos, at least two in each.

    Similarity is transitive here: if A is near B and B near C, all three form one group.

    Args:
        fingerprints: One for each photo. Those without a hash are compared as files only; empty files are not compared.

    Returns:
        Groups of indices into `fingerprints`, each in ascending order, in the order of their first.
    """
    parents = list(range(len(fingerprints)))  # a disjoint-set forest

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    def merge(one: int, other: int) -> None:
        first, second = sorted((root(one), root(other)))
        parents[second] = first

    # Equal hashes are grouped by a dictionary; one of each takes part in the comparisons.
    by_hash: dict[tuple[bytes, bytes | None], int] = {}
    by_digest: dict[bytes, int] = {}
    for index, each in enumerate(fingerprints):
        if each.bits is not None:
            merge(by_hash.setdefault((each.bits, each.colours), index), index)
        if each.digest != EMPTY:
            merge(by_digest.setdefault(each.digest, index), index)
    distinct = sorted(by_hash.values())
    for one, other in _near_pairs([fingerprints[index] for index in distinct]):
        merge(distinct[one], distinct[other])
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for index in range(len(parents)):
        groups[root(index)].append(index)
    return [group for _, group in sorted(groups.items()) if len(group) > 1]


EMPTY = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
"""The digest of an empty file."""


def _near_pairs(fingerprints: Sequence[Fingerprint]) -> list[tuple[int, int]]:
    """Indices of all pairs that are near-identical."""
    if len(fingerprints) < 2:
        return []
    packed = np.frombuffer(b"".join(p.bits or b"" for p in fingerprints), dtype=np.uint8).reshape(
        len(fingerprints), -1
    )
    colours = np.frombuffer(b"".join(p.colours or b"" for p in fingerprints), dtype=np.uint8)
    colours = colours.reshape(len(fingerprints), -1)
    words = np.ascontiguousarray(packed).view(np.uint64)  # [N, 4]
    pairs: set[tuple[int, int]] = set()
    for keys in _bands(np.unpackbits(packed, axis=1)):
        order = np.argsort(keys, kind="stable")
        ordered, first = keys[order], words[order, 0]
        starts = np.arange(len(fingerprints) - 1)
        for step in range(1, len(fingerprints)):
            starts = starts[starts < len(fingerprints) - step]
            starts = starts[
                ordered[starts] == ordered[starts + step]
            ]  # photos that share a band are adjacent
            if not len(starts):
                break
            # The first quarter of the bits excludes most pairs.
            likely = starts[np.bitwise_count(first[starts] ^ first[starts + step]) <= MAX_BITS]
            one, other = order[likely], order[likely + step]
            near = _near(words, colours, one, other)
            pairs |= set(zip(one[near].tolist(), other[near].tolist(), strict=True))
    return sorted(pairs)


def _bands(bits: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
    """Each band of bits `[N, 256]` as a number, `[N]`. Bands are scattered: neighbouring bits are often equal."""
    order = np.random.default_rng(0).permutation(_BITS)
    return [
        bits[:, band].astype(np.int64) @ (1 << np.arange(len(band)))
        for band in np.array_split(order, MAX_BITS + 1)
    ]


def _near(
    words: NDArray[np.uint64], colours: NDArray[np.uint8], one: NDArray[np.intp], other: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Indices of the pairs (one, other) that are near-identical."""
    bits = np.bitwise_count(words[one] ^ words[other]).sum(1, dtype=np.int32)
    near = np.flatnonzero(bits <= MAX_BITS)
    apart = np.abs(colours[one[near]].astype(np.int16) - colours[other[near]]).mean(1)
    similar: NDArray[np.intp] = near[apart <= MAX_COLOUR]
    return similar
