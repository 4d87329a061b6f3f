from __future__ import annotations

import json
from pathlib import Path

import pytest

from captioner.data.readers.karpathy import Karpathy
from captioner.errors import UsageError


def test_restval_joins_the_training_split(root: Path) -> None:
    images = [
        {"filename": "a.jpg", "filepath": "sub", "cocoid": 5, "split": "train", "sentences": [{"raw": "A dog."}]},
        {"filename": "b.jpg", "filepath": "sub", "cocoid": 7, "split": "restval",
         "sentences": [{"tokens": ["a", "cat"]}]},
    ]  # fmt: skip
    (root / "dataset_coco.json").write_text(json.dumps({"images": images}))
    (root / "sub").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (root / "images" / name).rename(root / "sub" / name)
    train = Karpathy(root, "train")
    assert [(train[i].id, train[i].captions) for i in range(2)] == [("5", ("A dog.",)), ("7", ("a cat",))]
    assert train[1].path == root / "sub" / "b.jpg"
    assert len(Karpathy(root, "train", restval=False)) == 1
    assert Karpathy(root, "restval")[0].id == "7"
    with pytest.raises(UsageError, match=r"'tset'.*train, restval, val, test.*did you mean test"):
        Karpathy(root, "tset")
