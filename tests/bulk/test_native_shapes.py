"""Bulk captioning with a model of native shapes, whose batches hold inputs of several sizes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.pipeline import load
from captioner.predict import predict
from captioner.training.fit import fit
from tests.conftest import TINY, compose

SIZES = ((64, 64), (96, 48), (64, 64), (40, 80), (96, 48))  # columns, rows


@pytest.fixture(scope="module")
def native_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of native shapes, trained for one epoch."""
    settings = [setting for setting in TINY if "image_size" not in setting]
    native = ("encoder=timm", "encoder.name=test_vit", "encoder.image_size=[64,64]", "image.fit=native")
    more = ("+encoder.model_args.dynamic_img_size=true", "encoder.trainable=none", "data.image_size=64")
    folder = tmp_path_factory.mktemp("native")
    result = fit(compose("train", *settings, *native, *more, f"output_dir={folder}"))
    assert result is not None
    return result.model_file


def test_photos_of_several_shapes_are_captioned_as_alone(native_model: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number, (cols, rows) in enumerate(SIZES):
        noise = np.random.default_rng(number).integers(0, 256, (rows, cols, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "photos" / "2a.png").write_bytes(b"<html>")
    settings = (f"model={native_model}", f"images={tmp_path}/photos", f"output_dir={tmp_path}/out")
    assert predict(compose("predict", *settings, "bulk=true", "batch_size=4", "overlay=null")) == 1
    lines = [json.loads(line) for line in (tmp_path / "out/parts/00000000.jsonl").read_text().splitlines()]
    names = ["0", "1", "2", "2a", "3", "4"]
    assert [Path(line["image"]).stem for line in lines] == names
    assert ["error" in line for line in lines] == [name == "2a" for name in names]
    pipeline = load(native_model)
    for line in lines:
        if "error" not in line:
            (alone,) = pipeline.caption(line["image"])
            assert line["score"] == pytest.approx(alone.score, abs=1e-3)
