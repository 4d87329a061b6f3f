"""Small data sets in COCO's and Flickr30k's layouts, with boxes for the words of their captions."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

SIZE = (40, 80)  # (rows, cols)
DOG, PEOPLE = (4.0, 40.0, 36.0, 76.0), ((0.0, 0.0, 20.0, 10.0), (0.0, 12.0, 40.0, 30.0))
CAPTIONS = (
    "Two young men, with a dog .",
    "A hot dog stand; a man 's dog",
)


def write_coco(root: Path, *, instances: str | None = "instances.json") -> None:
    """A folder with one `captions.json`: two photos, the second without annotation."""
    (root / "images").mkdir()
    photos = [{"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in (7, 8)]
    for photo in photos:
        Image.new("RGB", SIZE[::-1], "grey").save(root / "images" / str(photo["file_name"]))
    rows = [{"id": n, "image_id": 7 + n // 2, "caption": CAPTIONS[n % 2]} for n in range(4)]
    (root / "captions.json").write_text(json.dumps({"images": photos, "annotations": rows}))
    boxes = [(1, DOG), *((2, box) for box in PEOPLE)]
    content = {
        "images": photos[:1],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "person"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"image_id": 7, "category_id": of, "bbox": [left, top, right - left, bottom - top]}
            for of, (top, left, bottom, right) in boxes
        ],
    }
    if instances:
        (root / instances).write_text(json.dumps(content))


def write_flickr30k(root: Path, *, entities: str | None = "flickr30k_entities") -> None:
    """A token file, lists, photos, and Flickr30k Entities: two photos, the second without annotation."""
    (root / "images").mkdir()
    for name in ("7.png", "8.png"):
        Image.new("RGB", SIZE[::-1], "grey").save(root / "images" / name)
    (root / "results_20130124.token").write_text(
        "".join(f"{name}.png#{k}\t{CAPTIONS[k]}\n" for name in (7, 8) for k in (0, 1))
    )
    (root / "train.txt").write_text("7.png\n8.png\n")
    if not entities:
        return
    objects = "".join(
        f"<object><name>{chain}</name><bndbox><xmin>{int(left) + 1}</xmin><ymin>{int(top) + 1}</ymin>"
        f"<xmax>{int(right)}</xmax><ymax>{int(bottom)}</ymax></bndbox></object>"
        for chain, (top, left, bottom, right) in ((1, DOG), *((2, box) for box in PEOPLE))
    )
    size = f"<size><width>{SIZE[1]}</width><height>{SIZE[0]}</height></size>"
    phrases = (
        "[/EN#2/people Two young men] , with [/EN#1/animals a dog] .\n"
        "[/EN#0/notvisual A hot dog stand] ; [/EN#3/people a man] [/EN#1/animals 's dog]\n"
    )
    for folder, name, text in (
        ("Annotations", "7.xml", f"<annotation>{size}{objects}</annotation>"),
        ("Sentences", "7.txt", phrases),
    ):
        (root / entities / folder).mkdir(parents=True)
        (root / entities / folder / name).write_text(text)
