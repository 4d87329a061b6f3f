from __future__ import annotations

from pathlib import Path

import pytest

from captioner.errors import DataError
from captioner.metrics.document_frequency import (
    document_frequency,
    load_document_frequency,
    save_document_frequency,
)


@pytest.mark.parametrize("name", ["df.json", "df.json.gz"])
def test_a_saved_file_is_loaded_under_its_name(tmp_path: Path, name: str) -> None:
    counted = document_frequency([["a dog", "a dog runs"], ["a café"]], "here")
    assert counted.images["a"] == 2
    assert counted.images["a dog"] == 1
    save_document_frequency(counted, tmp_path / name)
    loaded = load_document_frequency(tmp_path / name)
    assert (loaded.num_images, loaded.images, loaded.name) == (2, counted.images, name)


@pytest.mark.parametrize(
    ("name", "content"), [("a.json", b"{"), ("b.json", b"[1]"), ("c.json.gz", b"no gzip")]
)
def test_another_file_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} is not a file of document frequencies"):
        load_document_frequency(tmp_path / name)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.json is not a file of document frequencies"):
        load_document_frequency(tmp_path / "nowhere.json")
