"""What do the tests share?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photos, captions and weights named by CAPTIONER_REAL_DATA."""
    folder = os.environ.get("CAPTIONER_REAL_DATA")
    if not folder:
        pytest.skip("CAPTIONER_REAL_DATA is not set: it names the folder of real photos and weights")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"CAPTIONER_REAL_DATA={folder} is not a folder")
    return path.resolve()
