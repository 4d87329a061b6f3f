"""Does Ray Data, on this machine, get the captions of the library?"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.data.scenes import Scenes
from captioner.pipeline import load
from captioner.ray import CaptionBatches


def encoded(index: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(Scenes("val", size=8, image_size=40).photo(index).pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_batch_gets_captions_and_errors(tiny_model: Path) -> None:
    photos = [encoded(0), b"<html>", encoded(1)]
    caption = CaptionBatches(str(tiny_model), beam_size=2, max_length=8, device="cpu")
    made = caption({"bytes": np.array(photos, dtype=object), "path": np.array(["a", "b", "c"])})
    expected = load(tiny_model).caption([photos[0], photos[2]], beam_size=2, max_length=8)
    assert made["path"].tolist() == ["a", "b", "c"]
    assert made["caption"].tolist() == [expected[0].text, "", expected[1].text]
    assert made["score"][[0, 2]].tolist() == pytest.approx([one.score for one in expected], rel=1e-4)
    assert [bool(error) for error in made["error"]] == [False, True, False]
    assert "a web page" in made["error"][1]


def test_ray_data_captions_a_folder(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # no calls home
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    for index in range(6):
        (tmp_path / f"{index}.png").write_bytes(encoded(index))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        photos = ray.data.read_binary_files(str(tmp_path), include_paths=True)
        made = photos.map_batches(
            CaptionBatches,
            fn_constructor_args=(str(tiny_model),),
            fn_constructor_kwargs={"max_length": 8, "device": "cpu"},
            batch_size=4,
            concurrency=1,
        ).take_all()
    finally:
        ray.shutdown()
    captions = {Path(row["path"]).name: row["caption"] for row in made}
    names = [f"{index}.png" for index in range(6)]
    expected = load(tiny_model).caption([tmp_path / name for name in names], max_length=8)
    assert captions == {name: one.text for name, one in zip(names, expected, strict=True)}
