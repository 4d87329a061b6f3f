"""Annotations of a split's photos: scenes, COCO's instances, Flickr30k Entities, or COCO's category names alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from captioner.caption import Caption
from captioner.data.annotations.annotated_photo import AnnotatedPhoto
from captioner.data.annotations.coco_instances import CocoInstances, usual_instances
from captioner.data.annotations.flickr30k_entities import Flickr30kEntities
from captioner.data.annotations.nouns import coco_nouns
from captioner.data.readers.photo_folder import check_inside
from captioner.data.samples import CaptionDataset
from captioner.data.scenes import Scenes
from captioner.errors import DataError, UsageError
from captioner.evaluation.judges.judge import Case
from captioner.evaluation.measures.naming import Named, annotate_scene, name_coco, name_entities, name_scene


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Annotations of one photo, and the nouns of its caption.

    Attributes:
        photo: The annotations.
        names: The nouns of the caption, whether the photo has their object or not.
    """

    photo: AnnotatedPhoto
    names: Sequence[Named]


class Truth(Protocol):
    """Source of annotations."""

    @property
    def source(self) -> Path | None:
        """The file or folder of annotations; None if there is none."""
        ...

    def about(self, case: Case) -> Known | None:
        """Annotations of a photo, and its caption's nouns; None if the photo has none."""
        ...

    def nouns(self, case: Case) -> list[tuple[int, int]]:
        """The nouns of a caption, as word indices (start, end)."""
        ...


class SceneTruth:
    """Scenes, which are annotated exactly."""

    source = None

    def __init__(self, scenes: Scenes) -> None:
        self._scenes = scenes

    def about(self, case: Case) -> Known:
        """The scene and the nouns of the caption."""
        scene = self._scenes.scene(case.index)
        photo = annotate_scene(scene)
        return Known(photo, name_scene(case.caption.text, scene, photo))

    def nouns(self, case: Case) -> list[tuple[int, int]]:
        """Nouns of shapes."""
        return [(named.start, named.end) for named in self.about(case).names]


class CocoTruth:
    """Nouns of COCO's categories, with instances if there are some.

    Args:
        instances: Annotated objects of the photos; None without annotations.
        source: Their file.
    """

    def __init__(self, instances: CocoInstances | None = None, *, source: Path | None = None) -> None:
        self._instances = instances
        self.source = source

    def about(self, case: Case) -> Known | None:
        """The photo's instances and the caption's nouns."""
        photo = self._instances.photo(case.sample.id) if self._instances else None
        return None if photo is None else Known(photo, name_coco(said(case.caption), photo))

    def nouns(self, case: Case) -> list[tuple[int, int]]:
        """Nouns of COCO's categories."""
        return [(noun.start, noun.end) for noun in coco_nouns(said(case.caption))]


class EntityTruth:
    """Phrases of Flickr30k Entities.

    Args:
        entities: The boxes and phrases.
        source: Their folder.
    """

    def __init__(self, entities: Flickr30kEntities, *, source: Path) -> None:
        self._entities = entities
        self.source = source

    def about(self, case: Case) -> Known | None:
        """The photo's boxes and the words with which its phrases end; a malformed file is reported and skipped."""
        try:
            photo = self._entities.photo(case.sample.id)
        except DataError as error:
            print(f"error: {error}", file=sys.stderr)
            return None
        return None if photo is None else Known(photo, name_entities(said(case.caption), photo))

    def nouns(self, case: Case) -> list[tuple[int, int]]:
        """Nouns of COCO's categories, which do not depend on the photo."""
        return [(noun.start, noun.end) for noun in coco_nouns(said(case.caption))]


def said(caption: Caption) -> list[str]:
    """The words of a caption."""
    return [word.text for word in caption.words]


def open_truth(dataset: CaptionDataset, data: Any, annotations: str | None) -> Truth:
    """Open the annotations of a split.

    Args:
        dataset: The split.
        data: Its configuration; annotations are searched in `root`.
        annotations: An instances JSON, or the folder of Flickr30k Entities; None for the default locations.

    Raises:
        UsageError: If annotations are given for scenes.
        DataError: If the annotations cannot be read, or the default locations have none.
    """
    if isinstance(dataset, Scenes):
        if annotations is not None:
            raise UsageError(f"annotations={annotations}: scenes have annotations of their own; leave it out")
        return SceneTruth(dataset)
    if annotations is not None:
        path = Path(annotations).expanduser()
        if path.is_dir():
            return EntityTruth(Flickr30kEntities(path), source=path)
        return _instances(path)
    candidates = [place for source in _sources(dataset, data) for place in usual_instances(source)]
    for candidate in dict.fromkeys(candidates):
        if candidate.is_file():
            home = None if data.get("allow_outside") else Path(str(data.get("root", "."))).expanduser()
            return _instances(check_inside(candidate, "boxes of the photos' objects", home))
    looked_for = ", ".join(dict.fromkeys(map(str, candidates))) or "no folder"
    raise DataError(
        f"grounding=true needs annotated boxes (not found: {looked_for}); set annotations= to COCO's instances "
        "JSON or the folder of Flickr30k Entities"
    )


def _instances(path: Path) -> CocoTruth:
    instances = CocoInstances(path)
    print(f"{path}: {instances.report.summary()}", file=sys.stderr)
    return CocoTruth(instances, source=path)


def _sources(dataset: CaptionDataset, data: Any) -> list[Path]:
    """Possible caption files, which instances files lie beside."""
    root = Path(str(data.get("root", "."))).expanduser()
    source = getattr(dataset, "source", None)
    return [*([source] if isinstance(source, Path) else []), root / "captions.json"]
