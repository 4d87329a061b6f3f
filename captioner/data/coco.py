"""How are captions in COCO's JSON format read? pycocotools indexes them (Chen et al. 2015).

pycocotools takes what it gets: double ids and captions of unknown images pass or vanish without a word, and a
file name may lead anywhere. So all is checked before it goes in, and every message names the file and the
entry.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from captioner.data.coco_json import entries_of, id_of, read_json
from captioner.data.photo_folder import check_photo_name, existing_folder, first_existing, present
from captioner.data.report import ReadingReport
from captioner.data.samples import CaptionSample, photo_of, sample_at
from captioner.errors import DataError, UsageError
from captioner.image.decode import Photo

_OFFICIAL = "annotations/captions_{folder}.json"
_SINGLE = "captions.json"
_FOLDERS = {"train": ("train2017", "train2014"), "val": ("val2017", "val2014"), "all": ("images",)}


class CocoCaptions:
    """Photos and captions of one COCO annotation file, in the order of its `images`.

    Two layouts are found by themselves: COCO's own, `annotations/captions_train2017.json` beside `train2017/`
    (also `val` and 2014), and a folder with one `captions.json` beside `images/`, whose only split is
    `"all"`.

    A sample's id is the image's id as text. Captions whose image is missing or unknown are left out and
    counted.

    Args:
        root: The folder with everything.
        split: `"train"`, `"val"` or `"all"`.
        annotations: The JSON file, relative to `root`, where its name is another.
        images: The folder of photos, relative to `root`, where its name is another.

    Attributes:
        source: The JSON file that was read.
        report: What was found and what was left out.

    Raises:
        UsageError: `split` is not known.
        DataError: A file or folder is missing or malformed, or no image is there with captions.
    """

    def __init__(
        self, root: Path | str, split: str, *, annotations: str | None = None, images: str | None = None
    ) -> None:
        if split not in _FOLDERS:
            raise UsageError(
                f"COCO has no split {split!r} with captions; choose one of {', '.join(_FOLDERS)}"
            )
        base = existing_folder(root, "root of COCO")
        usual = [_SINGLE] if split == "all" else [_OFFICIAL.format(folder=name) for name in _FOLDERS[split]]
        source = first_existing(
            [base / name for name in (usual if annotations is None else [annotations])],
            what=f"{split} captions of COCO",
            remedy="name the file by annotations, or choose another split "
            f"(train and val are COCO's own files, all is a single {_SINGLE})",
        )
        photos = first_existing(
            [base / name for name in (_FOLDERS[split] if images is None else [images])],
            what=f"{split} photos of COCO",
            remedy="name the folder by images",
        )
        self.source = source
        content = read_json(source)
        images_ = _images(content, source)
        kept, empty = _annotations(content, source)
        index = _index(images_, kept)
        there = present(existing_folder(photos, "photos of COCO"), (image["file_name"] for image in images_))
        found = [image for image in images_ if image["file_name"] in there]
        if not found:
            raise DataError(
                f"{photos} holds none of the {len(images_)} images of {source}"
                + (f" (such as {images_[0]['file_name']})" if images_ else "")
                + "; set images to the folder that does"
            )
        self._samples = tuple(
            CaptionSample(
                image["id"],
                tuple(annotation["caption"] for annotation in index.imgToAnns[image["id"]]),
                photos / image["file_name"],
            )
            for image in found
            if index.imgToAnns[image["id"]]
        )
        if not self._samples:
            raise DataError(f"{source} has no caption for any of the {len(found)} images in {photos}")
        captions = sum(len(sample.captions) for sample in self._samples)
        self.report = ReadingReport(
            images=len(self._samples),
            captions=captions,
            missing_images=len(images_) - len(found),
            dropped_captions=len(kept) - captions,
            empty_captions=empty,
            uncaptioned_images=len(found) - len(self._samples),
        )

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> CaptionSample:
        return sample_at(self._samples, index)

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        """The decoded, upright photo at `index`. Raises `ImageError` naming the file."""
        return photo_of(self[index], min_size)


def _images(content: dict[str, Any], path: Path) -> list[dict[str, str]]:
    """`id` and `file_name` of each image, ids as text."""
    images: dict[str, dict[str, str]] = {}
    for number, entry in enumerate(entries_of(content, "images", path)):
        where = f"{path}: images[{number}]"
        image_id = id_of(entry, "id", where)
        if image_id in images:
            raise DataError(f"{where} repeats the id {image_id}; give every image its own")
        name = check_photo_name(_text(entry, "file_name", where), where)
        images[image_id] = {"id": image_id, "file_name": name}
    return list(images.values())


def _annotations(content: dict[str, Any], path: Path) -> tuple[list[dict[str, str]], int]:
    """`id`, `image_id` and `caption` of each caption, ids as text, and the number of empty ones left out."""
    annotations: dict[str, dict[str, str]] = {}
    seen: set[str] = set()
    for number, entry in enumerate(entries_of(content, "annotations", path)):
        where = f"{path}: annotations[{number}]"
        annotation_id = id_of(entry, "id", where)
        if annotation_id in seen:
            raise DataError(f"{where} repeats the id {annotation_id}; give every caption its own")
        seen.add(annotation_id)
        caption = _text(entry, "caption", where)
        image_id = id_of(entry, "image_id", where)
        if caption.strip():
            annotations[annotation_id] = {"id": annotation_id, "image_id": image_id, "caption": caption}
    return list(annotations.values()), len(seen) - len(annotations)


def _index(images: list[dict[str, str]], annotations: list[dict[str, str]]) -> COCO:
    index = COCO()
    index.dataset = {"images": images, "annotations": annotations}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        index.createIndex()
    return index


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if value is None:
        hint = "; this looks like a file of boxes, take captions_*.json" if "bbox" in entry else ""
        raise DataError(f"{where} has no {key}{hint}")
    if not isinstance(value, str):
        raise DataError(f"{where}.{key} is {value!r}, not a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}.{key} is not valid Unicode: {value!r} holds half a surrogate pair"
        ) from error
    return value
