"""Training on photos of their own shapes, with grids and maps that follow them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import captioner
from captioner.errors import UsageError
from captioner.training.fit import fit
from tests.conftest import compose

SIZES = ((64, 64), (96, 48), (40, 80))  # cols, rows
SETTINGS = (
    "data=table",
    "data.split_column=split",
    "data.batch_size=3",
    "data.num_workers=0",
    "encoder=timm",
    "encoder.name=test_convnext",
    "encoder.image_size=[128,128]",
    "encoder.trainable=none",
    "model.decoder.dim=16",
    "model.decoder.num_heads=2",
    "model.decoder.depth=1",
    "tokenizer.min_count=1",
    "trainer=cpu",
    "trainer.precision=32-true",
    "trainer.max_epochs=1",
    "image.fit=native",
    "image.augment={scale: [0.6, 1.0], flip: 0.5}",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    rows = ["image,caption,split"]
    for number in range(16):
        noise = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        photo = Image.fromarray(noise).resize(SIZES[number % 3], Image.Resampling.BICUBIC)
        photo.save(tmp_path / "images" / f"{number}.jpg")
        rows.append(f"{number}.jpg,a photo of noise,{'train' if number < 10 else 'val'}")
    (tmp_path / "captions.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_grids_follow_the_photos_from_training_to_maps(folder: Path) -> None:
    run = folder / "run"
    result = fit(compose("train", *SETTINGS, f"data.root={folder}", f"output_dir={run}", "samples=4"))
    assert result is not None
    assert np.isfinite(result.scores["val/loss"])
    assert len(list((run / "samples").glob("*.png"))) == 4
    model = captioner.load(result.model_file, device="cpu")
    photos = [folder / "images" / f"{number}.jpg" for number in range(6)]
    together = model.caption(photos)
    for number, (photo, caption) in enumerate(zip(photos, together, strict=True)):
        cols, rows = SIZES[number % 3]
        assert caption.geometry.size == (rows, cols)
        height, width = caption.geometry.input_size
        assert caption.words[0].map.shape == (height // 32, width // 32)
        assert (height > width) == (rows > cols)
        (alone,) = model.caption(photo)
        assert alone.text == caption.text
        np.testing.assert_allclose(alone.words[0].map, caption.words[0].map, atol=1e-5)
    assert len({caption.words[0].map.shape for caption in together}) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("cache=features",), r"image\.fit=native .*cache=none"),
        (
            ("encoder.name=vit_tiny_patch16_224",),
            r"vit_tiny_patch16_224 .*encoder\.model_args\.dynamic_img_size=true",
        ),
    ],
)
def test_incompatible_settings_are_refused(folder: Path, settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit(compose("train", *SETTINGS, f"data.root={folder}", f"output_dir={folder / 'run'}", *settings))
