"""Boxes and masks of objects in COCO's instances JSON (Lin et al. 2014)."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools import mask as run_lengths

from captioner.data.annotations.annotated_photo import AnnotatedObject, AnnotatedPhoto
from captioner.data.readers.coco_json import entries_of, id_of, read_json
from captioner.errors import DataError
from captioner.image.geometry import Box


@dataclass(frozen=True, slots=True)
class InstancesReport:
    """Counts of what an instances file contains and what was left out.

    Attributes:
        photos: Annotated photos, including those without objects.
        objects: Objects that are used.
        unlisted: Annotations of photos that the file does not list.
        outside: Boxes that lie beyond their photo, or have no area.
        clipped: Boxes clipped at the edge of their photo.
        without_mask: Objects whose mask cannot be read; the box stands in for it.
    """

    photos: int
    objects: int
    unlisted: int
    outside: int
    clipped: int
    without_mask: int

    def summary(self) -> str:
        """One line for the terminal: counts, and irregularities, if any."""
        irregular = ", ".join(
            f"{count:,} {what}"
            for count, what in (
                (self.unlisted, "annotations of photos that the file does not list left out"),
                (self.outside, "boxes outside their photo left out"),
                (self.clipped, "boxes clipped at the edge of their photo"),
                (self.without_mask, "objects whose mask cannot be read, replaced by their boxes"),
            )
            if count
        )
        return f"{self.objects:,} objects in {self.photos:,} photos" + (
            f" ({irregular})" if irregular else ""
        )


class CocoInstances:
    """The objects of each photo of an instances file, by image id.

    Crowds (`iscrowd`) are treated as objects: the mask covers the whole crowd.

    Args:
        path: A JSON file with `images`, `annotations` and `categories` in COCO's layout.

    Attributes:
        report: What was found and what was left out.

    Raises:
        DataError: The file is missing or malformed: names the entry.
    """

    def __init__(self, path: Path | str) -> None:
        source = Path(path).expanduser()
        content = read_json(source)
        if not isinstance(content.get("categories"), list):
            raise DataError(f"{source} has no list 'categories': it contains no boxes; take instances_*.json")
        sizes = _sizes(content, source)
        names = _categories(content, source)
        self._objects: defaultdict[str, list[AnnotatedObject]] = defaultdict(list)
        counts: Counter[str] = Counter()
        for number, entry in enumerate(entries_of(content, "annotations", source)):
            where = f"{source}: annotations[{number}]"
            image_id = id_of(entry, "image_id", where)
            if image_id not in sizes:
                counts["unlisted"] += 1
                continue
            category = id_of(entry, "category_id", where)
            if category not in names:
                raise DataError(f"{where}.category_id is {category}, which is none of the file's categories")
            box, was_clipped = clip_box(_box(entry, where), sizes[image_id])
            if box is None:
                counts["outside"] += 1
                continue
            counts["clipped"] += was_clipped
            rle = _rle(entry.get("segmentation"), sizes[image_id])
            counts["without_mask"] += rle is None
            name, kind = names[category]
            self._objects[image_id].append(AnnotatedObject(frozenset({name}), box, rle, kind))
        self._sizes = sizes
        self.report = InstancesReport(
            photos=len(sizes),
            objects=sum(map(len, self._objects.values())),
            **{key: counts[key] for key in ("unlisted", "outside", "clipped", "without_mask")},
        )

    def __len__(self) -> int:
        return len(self._sizes)

    def photo(self, image_id: str) -> AnnotatedPhoto | None:
        """The objects of a photo, possibly none; None if the photo is not annotated."""
        if image_id not in self._sizes:
            return None
        return AnnotatedPhoto(self._sizes[image_id], tuple(self._objects.get(image_id, ())))


def usual_instances(captions: Path) -> list[Path]:
    """The usual paths of the instances file that belongs to a COCO captions file.

    Args:
        captions: Such as `annotations/captions_val2017.json`, or a single `captions.json`.
    """
    name = captions.name.replace("captions", "instances", 1)
    return [captions.with_name(name), captions.with_name("instances.json")]


def clip_box(box: Box, size: tuple[int, int]) -> tuple[Box | None, bool]:
    """The part of a box inside a photo of `size` (rows, cols), or None; and whether the box was clipped.

    COCO rounds to hundredths, so up to one pixel beyond the edge does not count as clipping.
    """
    rows, cols = size
    top, left, bottom, right = box
    kept = (max(0.0, top), max(0.0, left), min(float(rows), bottom), min(float(cols), right))
    if kept[0] >= kept[2] or kept[1] >= kept[3]:
        return None, True
    return kept, max(kept[0] - top, kept[1] - left, bottom - kept[2], right - kept[3]) > 1


def _sizes(content: dict[str, Any], path: Path) -> dict[str, tuple[int, int]]:
    sizes: dict[str, tuple[int, int]] = {}
    for number, entry in enumerate(entries_of(content, "images", path)):
        where = f"{path}: images[{number}]"
        sides = [entry.get("height"), entry.get("width")]
        if not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides):
            raise DataError(
                f"{where} has height {sides[0]!r} and width {sides[1]!r}; both must be positive whole numbers of pixels"
            )
        sizes[id_of(entry, "id", where)] = (int(sides[0]), int(sides[1]))  # type: ignore[arg-type]
    return sizes


def _categories(content: dict[str, Any], path: Path) -> dict[str, tuple[str, str]]:
    """Name and supercategory by category id."""
    names = {}
    for number, entry in enumerate(entries_of(content, "categories", path)):
        where = f"{path}: categories[{number}]"
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            raise DataError(f"{where}.name is {name!r}, not a text")
        names[id_of(entry, "id", where)] = (name, str(entry.get("supercategory") or name))
    return names


def _box(entry: Mapping[str, Any], where: str) -> Box:
    """COCO's [left, top, width, height] as (top, left, bottom, right)."""
    given = entry.get("bbox")
    if not isinstance(given, list) or len(given) != 4 or not all(map(_is_number, given)):
        raise DataError(f"{where}.bbox is {given!r}; it must be [left, top, width, height] in pixels")
    left, top, width, height = map(float, given)
    return (top, left, top + height, left + width)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _rle(segmentation: Any, size: tuple[int, int]) -> Mapping[str, Any] | None:
    """Polygons or run lengths as compressed run lengths; None for anything else, or for another size."""
    rows, cols = size
    if isinstance(segmentation, list):
        polygons = [part for part in segmentation if _is_polygon(part)]
        if not polygons or len(polygons) < len(segmentation):
            return None
        merged: Mapping[str, Any] = run_lengths.merge(run_lengths.frPyObjects(polygons, rows, cols))
        return merged
    if not isinstance(segmentation, dict) or segmentation.get("size") != [rows, cols]:
        return None
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        # pycocotools reads past the end of damaged run lengths, so only complete ones are passed to it.
        return (
            {"size": [rows, cols], "counts": counts.encode()} if _is_complete(counts, rows * cols) else None
        )
    if not isinstance(counts, list) or not all(isinstance(run, int) and run >= 0 for run in counts):
        return None
    if sum(counts) != rows * cols:
        return None
    packed: Mapping[str, Any] = run_lengths.frPyObjects(segmentation, rows, cols)
    return packed


def _is_polygon(part: Any) -> bool:
    return isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0 and all(map(_is_number, part))


def _is_complete(counts: str, pixels: int) -> bool:
    """Whether compressed run lengths add up to this number of pixels."""
    runs: list[int] = []
    letters: Iterable[int] = counts.encode()
    value = shift = 0
    for letter in letters:
        code = letter - 48
        if not 0 <= code < 64:
            return False
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value |= -1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return shift == 0 and sum(runs) == pixels and min(runs, default=0) >= 0
