"""Captioning by Ray Data on this machine."""

from __future__ import annotations

import io
import json
import secrets
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
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray leaves one in the home folder
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    photos, out = tmp_path / "photos", tmp_path / "captions"
    photos.mkdir()
    for index in range(6):
        (photos / f"{index}.png").write_bytes(encoded(index))
    (photos / "bad.png").write_bytes(b"<html>")
    ray.init(
        "local",
        num_cpus=2,
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
    )
    try:
        captions = ray.data.read_binary_files(str(photos), include_paths=True).map_batches(
            CaptionBatches,
            fn_constructor_args=(str(tiny_model),),
            fn_constructor_kwargs={"max_length": 8, "device": "cpu"},
            batch_size=4,
            compute=ray.data.ActorPoolStrategy(size=1),
        )
        captions.drop_columns(["bytes"]).write_json(str(out))
    finally:
        ray.shutdown()
    rows = [json.loads(line) for path in out.iterdir() for line in path.read_text().splitlines()]
    made = {Path(row["path"]).name: row for row in rows}
    assert len(rows) == len(made) == 7
    bad = made.pop("bad.png")
    assert bad["caption"] == ""
    assert "a web page" in bad["error"]
    names = [f"{index}.png" for index in range(6)]
    expected = load(tiny_model).caption([photos / name for name in names], max_length=8)
    captions_of = {name: row["caption"] for name, row in made.items()}
    assert captions_of == {name: one.text for name, one in zip(names, expected, strict=True)}
    assert not any(row["error"] for row in made.values())
