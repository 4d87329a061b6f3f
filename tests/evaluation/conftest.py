"""Fixtures of the tests of evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZES = ((64, 64), (96, 48), (40, 80))  # cols, rows


@pytest.fixture
def coco_like(tmp_path: Path) -> Path:
    """Photos of three shapes with a captions and an instances file in COCO's layout."""
    folder = tmp_path / "coco"
    (folder / "images").mkdir(parents=True)
    images, captions, objects = [], [], []
    for number in range(6):
        cols, rows = SIZES[number % 3]
        noise = np.random.default_rng(number).integers(0, 256, (rows, cols, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": rows, "width": cols})
        captions.append({"id": number, "image_id": number, "caption": "a dog and a cat"})
        box = [0, 0, cols // 2, rows // 2]
        objects.append({"id": number, "image_id": number, "category_id": 18, "bbox": box, "iscrowd": 0})
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": captions}))
    categories = [{"id": 18, "name": "dog", "supercategory": "animal"}]
    (folder / "instances.json").write_text(
        json.dumps({"images": images, "annotations": objects, "categories": categories})
    )
    return folder
