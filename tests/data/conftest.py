from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def saved(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **options)  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.fixture(scope="session")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures of soft blobs, each in three more versions under other names."""
    folder = tmp_path_factory.mktemp("copies")
    random = np.random.default_rng(0)
    for number in range(20):
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
