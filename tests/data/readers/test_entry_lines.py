from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.readers.coco import CocoCaptions
from captioner.data.readers.entry_lines import EntryLines, entry_lines
from captioner.data.readers.karpathy import Karpathy
from captioner.errors import DataError

VALUES: Any = st.recursive(
    st.none() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(VALUES, max_size=5), st.dictionaries(st.text(max_size=3), VALUES, max_size=3), st.booleans())
def test_entries_are_found_in_any_json(entries: list[Any], others: dict[str, Any], ascii_only: bool) -> None:
    marked = [{"mark": number, "value": value} for number, value in enumerate(entries)]
    content = {**others, "images": marked, "other": others}
    for indent in (None, 0, 2):
        text = json.dumps(content, indent=indent, ensure_ascii=ascii_only)
        lines = entry_lines(text, "images")
        assert len(lines) == len(marked)
        for number, line in enumerate(lines):
            rest = "\n".join(text.split("\n")[line - 1 :])
            assert rest.index(f'"mark": {number},') < (5 + 2 * 8 if indent is not None else len(text))


def images(**second: Any) -> list[dict[str, Any]]:
    first = {"id": 1, "file_name": "a.jpg", "filename": "a.jpg", "split": "train", "sentences": []}
    return [first, {**first, "id": 2, **second}]


@pytest.mark.parametrize("on_bad", ["stop", "skip"])
@pytest.mark.parametrize(("indent", "line"), [(1, 10), (None, 1)])
@pytest.mark.parametrize("reader", [CocoCaptions, Karpathy])
def test_faults_of_json_name_the_line(
    reader: Any, indent: int | None, line: int, on_bad: str, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    name, split = ("captions.json", "all") if reader is CocoCaptions else ("dataset.json", "train")
    content = {"images": images(file_name=3, filename=3), "annotations": []}
    (tmp_path / name).write_text(json.dumps(content, indent=indent))
    with pytest.raises(DataError, match=rf"{name}:{line}: images\[1\]\.file_?name is 3, not a text"):
        reader(tmp_path, split, on_bad=on_bad)


def test_a_message_without_a_known_entry_is_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in ("", "{", '{"images": [', '{"images": {}}', '{"images": []}', "[]"):
        path.write_text(text)
        assert EntryLines(path)(f"{path}: images[0] is wrong") == f"{path}: images[0] is wrong"
    assert EntryLines(path)("another fault") == "another fault"
