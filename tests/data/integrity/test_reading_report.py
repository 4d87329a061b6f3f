from __future__ import annotations

from types import SimpleNamespace

from captioner.data.integrity.reading_report import ReadingReport, omission_lines

WHOLE = ReadingReport(5, 9, 0, 0, 0, 0)


def test_each_fault_is_listed_once_and_each_split_counted() -> None:
    faults = tuple(f"file:{number}: odd" for number in range(30))
    train = ReadingReport(2, 3, 0, 0, 1, 0, faults=30, messages=faults)
    val = ReadingReport(1, 1, 0, 0, 0, 0, faults=30, messages=faults)
    sets = {"train": train, "val": val, "test": WHOLE}
    lines = omission_lines(
        {split: SimpleNamespace(report=report) for split, report in sets.items()} | {"more": object()}
    )
    assert lines[:20] == [f"left out: {fault}" for fault in faults[:20]]
    assert lines[20:] == [
        "left out: 10 more faulty entries",
        "train: 2 images, 3 captions (left out: 1 empty caption, 30 faulty entries)",
        "val: 1 image, 1 caption (left out: 30 faulty entries)",
    ]


def test_a_complete_report_gives_no_lines() -> None:
    assert omission_lines({"train": SimpleNamespace(report=WHOLE)}) == []
    assert WHOLE.complete
    assert not ReadingReport(5, 9, 0, 0, 0, 1).complete
