"""Is a model of photos in their own shapes judged like others, though every shape has a grid of its own?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner.training.fit import fit
from tests.conftest import Finished, compose

SIZES = ((64, 64), (96, 48), (40, 80))  # cols, rows
TRAINING = (
    "data=coco",
    "data.train.split=all",
    "data.val.split=all",
    "data.batch_size=3",
    "data.num_workers=0",
    "encoder=timm",
    "encoder.name=test_vit",
    "encoder.image_size=[64,64]",
    "+encoder.model_args.dynamic_img_size=true",
    "encoder.trainable=none",
    "model.decoder.dim=16",
    "model.decoder.num_heads=2",
    "model.decoder.depth=1",
    "tokenizer.min_count=1",
    "image.fit=native",
    "image.cover=0",
    "trainer=cpu",
    "trainer.precision=32-true",
    "trainer.max_epochs=1",
    "samples=0",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
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


def test_grids_of_many_shapes_are_judged_together(
    root: Path, tmp_path: Path, command: Callable[..., Finished]
) -> None:
    trained = fit(compose("train", *TRAINING, f"data.root={root}", f"output_dir={tmp_path / 'run'}"))
    assert trained is not None
    done = command(
        "evaluate",
        f"model={trained.model_file}",
        *("data=coco", f"data.root={root}", "data.test.split=all", "novelty=false", "page=2"),
        *("grounding=true", "faithfulness=true", "explain=all", "constraints.required=[dog]", "max_length=6"),
        f"output_dir={tmp_path / 'out'}",
    )
    assert (done.status, "Traceback" in done.err) == (0, False)
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["grounding"]["nouns_named_there"] >= 6
    methods = {row["method"] for row in scores["grounding"]["rows"]}
    assert {"attention", "occlusion", "rollout", "average map"} <= methods
    assert scores["faithfulness"]["followed_nouns"] >= 6
    assert 0 < scores["health"]["map_entropy"] <= 1
    assert "average map" in done.out
