from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO

from captioner.data.annotations.annotated_photo import AnnotatedPhoto
from captioner.data.annotations.coco_instances import CocoInstances, clip_box, usual_instances
from captioner.errors import DataError


def content() -> dict[str, Any]:
    crowd = np.zeros((6, 8), dtype=np.uint8)
    crowd[1:3, 2:7] = 1
    packed = run_lengths.encode(np.asfortranarray(crowd))
    return {
        "images": [{"id": 1, "height": 6, "width": 8}, {"id": 2, "height": 5, "width": 5}],
        "categories": [
            {"id": 18, "name": "dog", "supercategory": "animal"},
            {"id": 1, "name": "person", "supercategory": "person"},
        ],
        "annotations": [
            {
                **{"id": 1, "image_id": 1, "category_id": 18, "iscrowd": 0, "bbox": [1, 2, 3, 2]},
                "segmentation": [[1, 2, 4, 2, 4, 4, 1, 4]],
            },
            {
                **{"id": 2, "image_id": 1, "category_id": 1, "iscrowd": 1, "bbox": [2, 1, 5, 2]},
                "segmentation": {"size": [6, 8], "counts": packed["counts"].decode()},
            },
        ],
    }


def write(folder: Path, data: Any) -> Path:
    path = folder / "instances.json"
    path.write_text(json.dumps(data))
    return path


def photo(path: Path, image_id: str = "1") -> AnnotatedPhoto:
    found = CocoInstances(path).photo(image_id)
    assert found is not None
    return found


def test_boxes_and_masks_are_those_of_the_file(tmp_path: Path) -> None:
    data = CocoInstances(write(tmp_path, content()))
    found = data.photo("1")
    assert found is not None
    dog, people = found.objects
    assert (set(dog.names), dog.kind, dog.box) == ({"dog"}, "animal", (2.0, 1.0, 4.0, 4.0))
    assert np.argwhere(found.mask([dog])).tolist() == [[r, c] for r in (2, 3) for c in (1, 2, 3)]
    assert np.argwhere(found.mask([people])).tolist() == [[r, c] for r in (1, 2) for c in range(2, 7)]
    assert (found.mask([dog, people]) == (found.mask([dog]) | found.mask([people]))).all()
    assert (found.boxes([dog.box]) == found.mask([dog])).all()
    assert data.report.summary() == "2 objects in 2 photos"
    empty = data.photo("2")
    assert empty is not None
    assert (empty.size, empty.objects) == ((5, 5), ())
    assert data.photo("3") is None


def test_irregular_annotations_are_counted_and_left_out(tmp_path: Path) -> None:
    data = content()
    base = data["annotations"][0]
    data["annotations"] += [
        {**base, "image_id": 99},
        {**base, "bbox": [20, 20, 3, 3]},
        {**base, "bbox": [1, 1, 0, 3]},
        {**base, "bbox": [6, 4, 10, 10]},
        {**base, "segmentation": [[1, 2, 3]]},
        {**base, "segmentation": {"size": [6, 8], "counts": "junk"}},
        {**base, "segmentation": {"size": [60, 8], "counts": [480]}},
        {**base, "segmentation": {"size": [6, 8], "counts": [480]}},
        {**base, "segmentation": {"size": [6, 8], "counts": [8, 40]}},
    ]
    found = CocoInstances(write(tmp_path, data))
    report = found.report
    assert (report.photos, report.objects, report.unlisted) == (2, 8, 1)
    assert (report.outside, report.clipped, report.without_mask) == (2, 1, 4)
    assert all(number in report.summary() for number in ("8 objects", "2 photos", "4 objects"))
    objects = photo(write(tmp_path, data)).objects
    assert objects[2].box == (4.0, 6.0, 6.0, 8.0)
    assert [thing.rle is None for thing in objects] == [
        False,
        False,
        False,
        True,
        True,
        True,
        True,
        False,
    ]
    at_box = photo(write(tmp_path, data)).mask([objects[3]])
    assert at_box.sum() == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("categories"), "has no list 'categories'"),
        (lambda data: data["images"][0].pop("height"), r"images\[0\] has height None and width 8"),
        (lambda data: data["annotations"][1].update(bbox=[1, 2, 3]), r"annotations\[1\].bbox is \[1, 2, 3\]"),
        (lambda data: data["annotations"][1].update(bbox=[1, 2, 3, "4"]), r"annotations\[1\].bbox"),
        (lambda data: data["annotations"][0].update(category_id=7), "category_id is 7, which is none"),
        (lambda data: data["annotations"][0].update(image_id=None), r"annotations\[0\].image_id is None"),
        (lambda data: data["categories"][0].update(name=5), r"categories\[0\].name is 5"),
    ],
)
def test_a_malformed_entry_is_named(tmp_path: Path, change: Any, message: str) -> None:
    data = content()
    change(data)
    with pytest.raises(DataError, match=message):
        CocoInstances(write(tmp_path, data))


def test_a_box_is_clipped_at_the_edge() -> None:
    assert clip_box((1, 1, 3, 3), (4, 4)) == ((1, 1, 3, 3), False)
    assert clip_box((-0.4, 1, 3, 3), (4, 4)) == ((0, 1, 3, 3), False)
    assert clip_box((-9, 1, 3, 9), (4, 4)) == ((0, 1, 3, 4), True)
    assert clip_box((4, 0, 6, 3), (4, 4)) == (None, True)


def test_usual_paths_of_the_instances_file() -> None:
    assert usual_instances(Path("d/annotations/captions_val2017.json"))[0] == Path(
        "d/annotations/instances_val2017.json"
    )
    assert usual_instances(Path("d/captions.json"))[0] == Path("d/instances.json")


@pytest.mark.real
def test_real_masks_are_those_of_pycocotools(real_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = real_data / "coco" / "instances.json"
    data, reference = CocoInstances(path), COCO(str(path))
    assert data.report.summary() == "1,248 objects in 154 photos"
    for image_id in sorted(reference.imgs)[:60]:
        found = data.photo(str(image_id))
        assert found is not None
        annotations = reference.imgToAnns[image_id]
        assert len(annotations) == len(found.objects)
        for annotation, thing in zip(annotations, found.objects, strict=True):
            assert (reference.annToMask(annotation).astype(bool) == found.mask([thing])).all()
