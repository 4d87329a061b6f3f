"""Reader of captions in COCO's JSON format (Chen et al. 2015).

pycocotools checks nothing: repeated ids and captions of unknown images are accepted or dropped silently, and a file
name may lead out of the folder. This reader checks everything, and every message names the file and the entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from captioner.data.annotations.coco_boxes import CocoBoxes
from captioner.data.annotations.coco_instances import usual_instances
from captioner.data.annotations.token_regions import CaptionWithBoxes
from captioner.data.integrity.faults import Faults, OnBad
from captioner.data.readers.caption_rows import CaptionRow, PhotoLocation, build_samples, group_by_photo
from captioner.data.readers.coco_json import id_of, numbered_entries, read_json
from captioner.data.readers.file_dataset import FileDataset
from captioner.data.readers.photo_folder import check_photo_name, existing_folder, first_existing
from captioner.data.readers.splits import SplitBy, check_split, check_split_by, split_members
from captioner.data.readers.text_files import check_text
from captioner.errors import DataError, UsageError

_YEARS = (2017, 2014)
_SINGLE = "captions.json"


class CocoCaptions(FileDataset):
    """Photos and captions of one COCO annotation file, in the order of its `images`.

    Two layouts are detected: COCO's own, `annotations/captions_train2017.json` beside `train2017/`
    (also `val`, 2014, and the photos in `images/train2017`), and a folder with one `captions.json` beside
    `images/`, whose only split is `"all"`, unless `split_by` makes three of it.

    A sample's id is the image's id as text. Captions whose image is missing or unknown are left out and
    counted.

    Args:
        root: The root folder.
        split: `"train"`, `"val"` or `"all"`; with `split_by` also `"test"`.
        annotations: The JSON file, relative to `root`, where its name differs.
        images: The folder of photos, relative to `root`, where its name differs.
        instances: The JSON file of boxes, relative to `root`; None for the one beside the captions. Only
            `captions_with_boxes` needs it.
        year: 2017 or 2014, where both exist; None for 2017, or else 2014.
        split_by: None for COCO's own splits. A single file is split 80 % train, 10 % val, 10 % test by `"hash"` of
            the photo's name or by `"content"`, near-identical photos together.
        on_bad: `"stop"` at a malformed entry, or `"skip"` it.
        allow_outside: Whether files outside `root` may be read.

    Attributes:
        source: The JSON file that was read.
        report: What was found and what was left out.

    Raises:
        UsageError: `split`, `year`, `split_by` or `on_bad` is not known.
        DataError: A file or folder is missing or malformed, or no image exists with captions.
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        annotations: str | None = None,
        images: str | None = None,
        instances: str | None = None,
        year: int | None = None,
        split_by: SplitBy | None = None,
        on_bad: OnBad = "stop",
        allow_outside: bool = False,
    ) -> None:
        if split_by is None:
            split = check_split(split, "COCO", known=("train", "val", "all"))
        else:
            split = check_split(split, "a COCO file")
            check_split_by(split_by, get_args(SplitBy))
        if year is not None and year not in _YEARS:
            raise UsageError(f"data.year={year} is not a year of COCO; choose 2017 or 2014, or null")
        faults = Faults(on_bad)
        base = existing_folder(root, "root of COCO")
        home = None if allow_outside else base
        single = split == "all" or split_by is not None
        parts = [f"{split}{number}" for number in ([year] if year else _YEARS)]
        usual = [_SINGLE] if single else [f"annotations/captions_{part}.json" for part in parts]
        self.source = first_existing(
            [base / name for name in (usual if annotations is None else [annotations])],
            what=f"{split} captions of COCO",
            remedy="name the file by annotations, or choose another split "
            f"(train and val are COCO's own files, all is a single {_SINGLE})",
            home=home,
        )
        folders = ["images"] if single else [*parts, *(f"images/{part}" for part in parts)]
        photos = first_existing(
            [base / name for name in (folders if images is None else [images])],
            what=f"{split} photos of COCO",
            remedy="name the folder by images",
            home=home,
        )
        self._boxes = CocoBoxes(
            usual_instances(self.source) if instances is None else [base / instances], home=home
        )
        location = PhotoLocation(base, existing_folder(photos, "photos of COCO"), allow_outside)
        content = read_json(self.source)
        by_id = _images(content, self.source, faults, allow_outside)
        unlisted: list[str] = []
        rows = _rows(content, self.source, by_id, unlisted, faults)
        captioned = group_by_photo(rows, faults, allow_outside=allow_outside)
        names = list(by_id.values())
        if split_by is not None:
            names = split_members(names, split, by=split_by, photos=photos)
            captioned = captioned.only(names)
        samples, report = build_samples(
            names,
            captioned,
            location,
            faults,
            file=self.source,
            source=self.source,
            noun="images",
            remedy="set images to the folder that does",
            ids={name: image_id for image_id, name in by_id.items()},
            unknown=len(unlisted),
        )
        super().__init__(samples, report)

    def captions_with_boxes(self, index: int) -> tuple[CaptionWithBoxes, ...]:
        """The captions at `index` with the boxes of what their nouns name. Raises as `CocoBoxes.marked`."""
        return self._boxes.captions_with_boxes(self[index])


def _images(content: dict[str, Any], path: Path, faults: Faults, allow_outside: bool) -> dict[str, str]:
    """The file name of each image by its id, ids as text."""
    by_id: dict[str, str] = {}
    seen: dict[str, str] = {}
    for where, entry in numbered_entries(content, "images", path, faults):
        with faults:
            image_id = id_of(entry, "id", where)
            if image_id in by_id:
                raise DataError(f"{where} repeats the id {image_id}; give every image its own")
            name = _text(entry, "file_name", where)
            name = check_photo_name(check_text(name, where), where, allow_outside=allow_outside)
            if name in seen:
                raise DataError(
                    f"{where} is a second image of the photo {name}, after id {seen[name]}; keep one"
                )
            by_id[image_id], seen[name] = name, image_id
    return by_id


def _rows(
    content: dict[str, Any], path: Path, by_id: dict[str, str], unlisted: list[str], faults: Faults
) -> Iterator[CaptionRow]:
    """A row for each caption; captions of images that the file does not list are noted in `unlisted`."""
    seen: set[str] = set()
    for where, entry in numbered_entries(content, "annotations", path, faults):
        with faults:
            annotation_id = id_of(entry, "id", where)
            if annotation_id in seen:
                raise DataError(f"{where} repeats the id {annotation_id}; give every caption its own")
            seen.add(annotation_id)
            caption = _text(entry, "caption", where)
            check_text(caption, f"{where}.caption")
            image_id = id_of(entry, "image_id", where)
            if image_id in by_id:
                yield CaptionRow(where, by_id[image_id], (caption,))
            elif caption.strip():
                unlisted.append(where)


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if value is None:
        hint = "; this seems to be a file of boxes, take captions_*.json" if "bbox" in entry else ""
        raise DataError(f"{where} has no {key}{hint}")
    if not isinstance(value, str):
        raise DataError(f"{where}.{key} is {value!r}, not a text")
    return value
