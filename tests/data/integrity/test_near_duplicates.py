"""Are near-identical photos found, all of them, and kept together by a split?"""

from __future__ import annotations

import hashlib
import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captioner.data.integrity.fingerprints import Fingerprint, fingerprint
from captioner.data.integrity.near_duplicates import EMPTY, MAX_BITS, MAX_COLOUR, group_photos
from captioner.data.readers.splits import members, share, shares_by_content
from captioner.data.readers.table_reader import Table

COPIED = 20


def print_of(bits: np.ndarray, colours: np.ndarray | None = None, digest: bytes | None = None) -> Fingerprint:
    packed = np.packbits(bits.astype(np.uint8)).tobytes()
    flat = np.zeros(192, np.uint8) if colours is None else colours
    return Fingerprint(digest or hashlib.sha256(packed).digest(), packed, flat.tobytes())


def by_all_pairs(prints: list[Fingerprint]) -> list[list[int]]:
    """The definition: join every pair that is near."""
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


def test_likeness_is_passed_on_and_colours_tell_flat_photos_apart() -> None:
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


def saved(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **options)  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures of soft blobs, each in three more versions under other names."""
    folder = tmp_path_factory.mktemp("copies")
    random = np.random.default_rng(0)
    for number in range(COPIED):
        blobs = random.integers(0, 256, (9, 9, 3), np.uint8)
        picture = Image.fromarray(blobs).resize((128, 128), Image.Resampling.BICUBIC)
        half = picture.resize((64, 64), Image.Resampling.LANCZOS)
        for name, data in {
            f"{number:02d}.png": saved(picture, format="PNG"),
            f"small-{number:02d}.jpg": saved(half, format="JPEG", quality=90),
            f"poor-{number:02d}.jpg": saved(picture, format="JPEG", quality=40),
            f"copy of {number:02d}.png": saved(picture, format="PNG"),
        }.items():
            (folder / name).write_bytes(data)
    return folder


def test_copies_scaled_and_recompressed_are_one_group(copies: Path) -> None:
    paths = sorted(copies.iterdir())
    prints = [fingerprint(path) for path in paths]
    groups = [{paths[place].name for place in group} for group in group_photos(prints)]
    assert len(groups) == COPIED
    for group in groups:
        assert len(group) == 4
        assert len({name[-6:-4] for name in group}) == 1  # the number of the picture


def test_a_split_by_content_keeps_copies_together_whatever_they_are_called(copies: Path) -> None:
    names = sorted(path.name for path in copies.iterdir())
    parts = {split: members(names, split, by="content", photos=copies) for split in ("train", "val", "test")}
    assert sorted(name for part in parts.values() for name in part) == names
    numbers = [{name[-6:-4] for name in part} for part in parts.values()]
    assert not any(one & other for one, other in combinations(numbers, 2))
    by_name = [{name[-6:-4] for name in members(names, split, by="hash", photos=copies)} for split in parts]
    assert any(one & other for one, other in combinations(by_name, 2))  # which is what content is for


def test_a_split_by_content_goes_by_the_file_and_its_smallest_kin() -> None:
    bits = np.zeros((3, 256), int)
    bits[1, 3] = 1
    bits[2] = 1
    prints = [print_of(row, digest=bytes([9 - number]) * 32) for number, row in enumerate(bits)]
    kin, alone = share((bytes([8]) * 32).hex()), share((bytes([7]) * 32).hex())
    assert shares_by_content(prints) == [kin, kin, alone]
    assert shares_by_content(prints[::-1]) == [alone, kin, kin]


def test_a_table_can_be_split_by_content(copies: Path) -> None:
    names = sorted(path.name for path in copies.iterdir() if path.suffix != ".csv")
    (copies / "captions.csv").write_text("image,caption\n" + "".join(f"{name},a scene\n" for name in names))
    parts = {s: Table(copies, s, images=".", split_by="content") for s in ("train", "val", "test")}
    for split, part in parts.items():
        assert [part[i].id for i in range(len(part))] == members(names, split, by="content", photos=copies)
