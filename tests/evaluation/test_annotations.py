"""Messages about annotations that do not fit the images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Finished


def entities(folder: Path, name: str) -> Path:
    """A folder of Flickr30k Entities with one photo, in which nothing is annotated."""
    (folder / "Annotations").mkdir(parents=True)
    (folder / "Sentences").mkdir()
    size = "<size><width>96</width><height>48</height></size>"
    (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}</annotation>")
    (folder / "Sentences" / f"{name}.txt").write_text("A dog .")
    return folder


@pytest.mark.parametrize("kind", ["coco", "entities"])
@pytest.mark.parametrize("belongs", [True, False])
def test_annotations_of_other_images_are_reported(
    coco_like: Path,
    tiny_model: Path,
    tmp_path: Path,
    command: Callable[..., Finished],
    kind: str,
    belongs: bool,
) -> None:
    if kind == "entities":
        file = entities(tmp_path / "entities", "1" if belongs else "elsewhere")
    else:
        file = tmp_path / "instances_other.json"
        content = json.loads((coco_like / "instances.json").read_text())
        if not belongs:
            for image in content["images"]:
                image["id"] += 100
            for thing in content["annotations"]:
                thing["image_id"] += 100
        file.write_text(json.dumps(content))
    done = command(
        "evaluate",
        f"model={tiny_model}",
        *("data=coco", f"data.root={coco_like}", "data.test.split=all", "novelty=false", "page=0"),
        *("grounding=true", f"annotations={file}", "beam_size=1", "max_length=5"),
        f"output_dir={tmp_path / 'out'}",
    )
    assert done.status == 0
    refused = [line for line in done.out.splitlines() if str(file) in line and "annotations=" in line]
    assert bool(refused) is not belongs
    assert all("none of the 6 photos" in line for line in refused)
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["grounding"]["annotations"] == str(file)


def test_boxes_beyond_their_photos_are_reported_once(
    coco_like: Path, tiny_model: Path, tmp_path: Path, command: Callable[..., Finished]
) -> None:
    folder = entities(tmp_path / "entities", "1")
    corners = [(200, 300), (10, 300), (10, 40)]  # outside, cut, whole
    boxes = "".join(
        f"<object><name>1</name><bndbox><xmin>{left}</xmin><ymin>1</ymin><xmax>{right}</xmax><ymax>20</ymax>"
        "</bndbox></object>"
        for left, right in corners
    )
    size = "<size><width>96</width><height>48</height></size>"
    (folder / "Annotations" / "1.xml").write_text(f"<annotation>{size}{boxes}</annotation>")
    (folder / "Sentences" / "1.txt").write_text("[/EN#1/animals A dog] .")
    done = command(
        "evaluate",
        f"model={tiny_model}",
        *("data=coco", f"data.root={coco_like}", "data.test.split=all", "novelty=false", "page=0"),
        *("grounding=true", "faithfulness=true", f"annotations={folder}", "beam_size=1", "max_length=5"),
        f"output_dir={tmp_path / 'out'}",
    )
    assert done.status == 0
    assert done.out.count("1 boxes outside their photo left out") == 1
    assert done.out.count("1 boxes cut at the edge of their photo") == 1
