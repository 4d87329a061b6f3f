from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.data.readers.formats import TRAIN, VAL


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    for number, name in enumerate({**TRAIN, **VAL}):
        Image.new("RGB", (6, 4 + number), (40 * number, 0, 0)).save(root / "images" / name)
    return root
