"""Comparison of two records of `record_behaviour.py`: what differs, and by how much.

    python scripts/compare_records.py A.json B.json [--rename old=new]

Each entry that differs is printed with its largest difference. The status is 1 if one exceeds 1e-5, cannot be measured
or is missing. `--rename old=new`, once for each, renames a setting of A that has a new name in B.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 1e-5


def leaves_of(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested mappings and lists by its dotted name."""
    if isinstance(value, dict | list) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves_of(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def renamed(text: str, pairs: Sequence[tuple[str, str]]) -> str:
    for old, new in pairs:
        text = text.replace(old, new)
    return text


def difference(ours: Any, theirs: Any) -> float:
    """Of two values: 0 for equal ones, infinity for those that cannot be measured."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (ours, theirs))
    if ours == theirs or (numbers and math.isnan(ours) and math.isnan(theirs)):
        return 0.0
    found = abs(ours - theirs) if numbers else math.inf
    return math.inf if math.isnan(found) else found


def compare(paths: Sequence[Path], rename: Sequence[tuple[str, str]]) -> int:
    """Print what differs; gives the exit status."""
    first, second = (json.loads(path.read_text())["entries"] for path in paths)
    first = {renamed(name, rename): entry for name, entry in first.items()}
    arrays_first, arrays_second = (np.load(path.with_suffix(".npz")) for path in paths)
    old_names = {renamed(name, rename): name for name in arrays_first.files}
    equal = near = far = 0
    for name in sorted({*first, *second}):
        if name not in first or name not in second:
            print(f"{name}: only in {paths[0] if name in first else paths[1]}")
            far += 1
            continue
        mine = {renamed(key, rename): value for key, value in leaves_of(first[name])}
        other = dict(leaves_of(second[name]))
        marks = {key: difference(mine.get(key, "-"), other.get(key, "-")) for key in {*mine, *other}}
        if not any(marks.values()):
            equal += 1
            continue
        largest = max(marks.values())
        if name in old_names and name in arrays_second.files and mine["kind"] == other["kind"]:
            apart = np.abs(arrays_first[old_names[name]].astype(float) - arrays_second[name].astype(float))
            largest = float(apart.max())
        elif "sha256" in mine and mine.keys() == other.keys():
            # The checksums differ, the means say by how much.
            largest = max(mark for key, mark in marks.items() if not key.startswith("sha256"))
        near, far = near + (largest <= TOLERANCE), far + (largest > TOLERANCE)
        print(
            f"{name}: {sum(map(bool, marks.values()))} of {len(marks)} values differ, by at most {largest:.3g}"
        )
        for key in sorted(marks, key=lambda key: (-marks[key], key))[:3]:
            if marks[key] and largest > TOLERANCE:
                print(
                    f"    {key}: {str(mine.get(key, 'missing'))[:200]} | {str(other.get(key, 'missing'))[:200]}"
                )
    print(f"{equal} entries equal to the bit, {near} within {TOLERANCE:g}, {far} further apart or missing")
    return 1 if far else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", nargs=2, type=Path, metavar="RECORD")
    parser.add_argument("--rename", action="append", default=[], type=lambda text: tuple(text.split("=")))
    options = parser.parse_args()
    return compare(options.records, options.rename)


if __name__ == "__main__":
    sys.exit(main())
