from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from captioner.bundle import Bundle
from captioner.captioning.caption_files import CaptionFiles
from captioner.captioning.records import CaptionResult
from captioner.decoding import make_search
from captioner.errors import ImageError
from captioner.pipeline import CaptionPipeline


@pytest.fixture
def results(random_model: Bundle) -> list[CaptionResult]:
    """A caption, an unreadable photo, a caption."""
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    search = make_search(1, max_length=6)
    return list(CaptionPipeline(random_model).stream([photo, b"<html>", photo], search=search))


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_result_is_written_when_it_is_added(results: list[CaptionResult], tmp_path: Path) -> None:
    (tmp_path / "errors.jsonl").write_text("of an earlier run")
    with CaptionFiles(tmp_path, kinds=["html", "png"]) as files:
        for result in results:
            files.add(Path(f"{result.index}.jpg"), result)
        assert len(list((tmp_path / "overlays").glob("*.png"))) == 2
        assert not (tmp_path / "index.html").exists()
    assert [line["image"] for line in lines(tmp_path / "captions.jsonl")] == ["0.jpg", "2.jpg"]
    assert [line["image"] for line in lines(tmp_path / "errors.jsonl")] == ["1.jpg"]
    assert (tmp_path / "index.html").read_text(encoding="utf-8").count('<section class="entry"') == 2


def test_what_was_written_before_an_error_stays_and_no_page_appears(
    results: list[CaptionResult], tmp_path: Path
) -> None:
    def stop() -> None:
        with CaptionFiles(tmp_path, kinds=["html"]) as files:
            files.add(Path("0.jpg"), results[0])
            raise ImageError("stopped")

    with pytest.raises(ImageError, match="stopped"):
        stop()
    assert len(lines(tmp_path / "captions.jsonl")) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captions.jsonl"]
