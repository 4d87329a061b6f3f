"""Evaluation of a model of native shapes, whose grids differ from photo to photo."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from captioner.training.fit import fit
from tests.conftest import Finished, compose

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


def test_grids_of_many_shapes_are_judged_together(
    coco_like: Path, tmp_path: Path, command: Callable[..., Finished]
) -> None:
    trained = fit(compose("train", *TRAINING, f"data.root={coco_like}", f"output_dir={tmp_path / 'run'}"))
    assert trained is not None
    done = command(
        "evaluate",
        f"model={trained.model_file}",
        *("data=coco", f"data.root={coco_like}", "data.test.split=all", "novelty=false", "page=2"),
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
