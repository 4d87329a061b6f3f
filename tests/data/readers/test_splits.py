from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np

from captioner.data.integrity.fingerprints import Fingerprint
from captioner.data.readers.splits import split_by_hash, split_members, splits_by_content
from captioner.data.readers.table_reader import Table


def test_a_split_by_content_keeps_copies_together_under_any_name(copies: Path) -> None:
    names = sorted(path.name for path in copies.iterdir())
    parts = {
        split: split_members(names, split, by="content", photos=copies) for split in ("train", "val", "test")
    }
    assert sorted(name for part in parts.values() for name in part) == names
    numbers = [{name[-6:-4] for name in part} for part in parts.values()]
    assert not any(one & other for one, other in combinations(numbers, 2))
    by_name = [
        {name[-6:-4] for name in split_members(names, split, by="hash", photos=copies)} for split in parts
    ]
    assert any(one & other for one, other in combinations(by_name, 2))  # the reason for "content"


def test_the_smallest_digest_of_a_group_decides_its_split() -> None:
    bits = np.zeros((3, 256), int)
    bits[1, 3] = 1
    bits[2] = 1
    prints = [
        Fingerprint(bytes([9 - number]) * 32, np.packbits(row.astype(np.uint8)).tobytes(), bytes(192))
        for number, row in enumerate(bits)
    ]
    group, alone = split_by_hash((bytes([8]) * 32).hex()), split_by_hash((bytes([7]) * 32).hex())
    assert splits_by_content(prints) == [group, group, alone]
    assert splits_by_content(prints[::-1]) == [alone, group, group]


def test_a_table_can_be_split_by_content(copies: Path) -> None:
    names = sorted(path.name for path in copies.iterdir() if path.suffix != ".csv")
    (copies / "captions.csv").write_text("image,caption\n" + "".join(f"{name},a scene\n" for name in names))
    parts = {s: Table(copies, s, images=".", split_by="content") for s in ("train", "val", "test")}
    for split, part in parts.items():
        assert [part[i].id for i in range(len(part))] == split_members(
            names, split, by="content", photos=copies
        )
