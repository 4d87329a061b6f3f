"""Boxes and phrases of Flickr30k Entities (Plummer et al. 2015).

`Annotations/ID.xml` lists the boxes of each coreference chain of phrases, `Sentences/ID.txt` the captions with their
phrases in brackets: `[/EN#chain/kind/... words]`.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

from captioner.data.annotations.annotated_photo import AnnotatedObject, AnnotatedPhoto
from captioner.data.annotations.coco_instances import clip_box
from captioner.data.annotations.token_regions import CaptionWithBoxes
from captioner.data.readers.photo_folder import existing_folder
from captioner.data.readers.text_files import read_text
from captioner.errors import DataError
from captioner.image.geometry import Box
from captioner.text.normalization import caption_normalizer

_PHRASE = re.compile(r"\[/EN#(\d+)((?:/[^\s/\]]+)+)\s+([^\]]+)\]")
_NOT_VISUAL = "0"  # the chain of phrases without a visible object
_MAX_XML_LENGTH = 5_000_000  # characters; real files have some thousand


class Flickr30kEntities:
    """The boxes of each photo, by the photo's name without its suffix.

    The names of an object are the last words of all phrases of its chain ("a small brown dog" is a "dog"), in lower
    case; its kind is the chain's first type, such as "people". Chains without box (scenes, objects not shown) are left
    out. Boxes beyond the photo are clipped or left out, and counted. A sample's id is the photo's file name.

    Args:
        root: The folder that contains `Annotations` and `Sentences`.

    Raises:
        DataError: A folder is missing.
    """

    def __init__(self, root: Path | str) -> None:
        base = existing_folder(root, "Flickr30k Entities")
        self._boxes = existing_folder(base / "Annotations", "boxes of Flickr30k Entities")
        self._phrases = existing_folder(base / "Sentences", "phrases of Flickr30k Entities")
        self._normalizer = caption_normalizer(lowercase=False)

    def photo(self, image_id: str) -> AnnotatedPhoto | None:
        """The objects of a photo; None if the photo is not annotated.

        Raises:
            DataError: One of its two files is missing or malformed.
        """
        name = Path(image_id).stem
        source = self._boxes / f"{name}.xml"
        if not source.is_file():
            return None
        size, boxes = _read_boxes(source)
        by_chain, outside, clipped = _clip_boxes(boxes, size)
        phrases = _read_chains(_read_lines(self._phrases / f"{name}.txt"))
        objects = tuple(
            AnnotatedObject(names, box, None, kind)
            for chain, names, kind in phrases
            for box in by_chain.get(chain, ())
        )
        return AnnotatedPhoto(size, objects, outside, clipped)

    def captions_with_boxes(self, image_id: str) -> tuple[CaptionWithBoxes, ...]:
        """The captions of a photo; the last word of a phrase has all boxes of its chain. Empty without annotation.

        Raises:
            DataError: One of its two files is missing or malformed.
        """
        name = Path(image_id).stem
        source = self._boxes / f"{name}.xml"
        if not source.is_file():
            return ()
        size, boxes = _read_boxes(source)
        by_chain, _, _ = _clip_boxes(boxes, size)
        captions = []
        for line in _read_lines(self._phrases / f"{name}.txt"):
            text, chains = self._last_words(line)
            kept = {word: tuple(by_chain[chain]) for word, chain in chains.items() if chain in by_chain}
            captions.append(CaptionWithBoxes(text, kept, size))
        return tuple(captions)

    def _last_words(self, line: str) -> tuple[str, dict[int, str]]:
        """A caption without its brackets, and the chain of each phrase by the index of its last word."""
        plain, end = "", 0
        chains: dict[int, str] = {}
        for phrase in _PHRASE.finditer(line):
            before = plain + line[end : phrase.start()]
            plain, end = before + phrase[3], phrase.end()
            words = self._count_words(plain)
            if phrase[1] != _NOT_VISUAL and words > self._count_words(before):
                chains[words - 1] = phrase[1]
        return self._normalizer.normalize_str(plain + line[end:]), chains

    def _count_words(self, text: str) -> int:
        return len(self._normalizer.normalize_str(text).split())


def _clip_boxes(
    boxes: list[tuple[list[str], Box]], size: tuple[int, int]
) -> tuple[dict[str, list[Box]], int, int]:
    """Each chain's boxes clipped to the photo; the number of boxes beyond it, and of clipped boxes."""
    by_chain: defaultdict[str, list[Box]] = defaultdict(list)
    outside = clipped = 0
    for chains, box in boxes:
        kept, was_clipped = clip_box(box, size)
        if kept is None:
            outside += 1
            continue
        clipped += was_clipped
        for chain in chains:
            by_chain[chain].append(kept)
    return dict(by_chain), outside, clipped


def _read_boxes(path: Path) -> tuple[tuple[int, int], list[tuple[list[str], Box]]]:
    """The photo's (rows, cols), and each box, half-open, with its chains."""
    text = read_text(path)
    # XML entities could expand a small file without bound; the VOC layout does not use them.
    if len(text) > _MAX_XML_LENGTH or "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(
            f"{path} is not an annotation of Flickr30k Entities: it is too long, or declares XML entities"
        )
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  # no entities, as checked above
        size = (_number(root, "size/height"), _number(root, "size/width"))
        boxes: list[tuple[list[str], Box]] = []
        for thing in root.iterfind("object"):
            if thing.find("bndbox") is None:
                continue
            left, top, right, bottom = (
                _number(thing, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")
            )
            # Pixels are counted from 1 and both ends belong to the box.
            box = (top - 1.0, left - 1.0, float(bottom), float(right))
            boxes.append(([(name.text or "").strip() for name in thing.iterfind("name")], box))
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path} is not an annotation of Flickr30k Entities: {error}") from error
    if min(size) < 1:
        raise DataError(f"{path}: the photo's size is {size[1]} x {size[0]} pixels; it must be positive")
    return size, boxes


def _number(root: ElementTree.Element, path: str) -> int:
    text = root.findtext(path)
    if text is None:
        raise ValueError(f"element {path} is missing")
    return int(text)


def _read_lines(path: Path) -> list[str]:
    """The captions of a photo, a line each."""
    if not path.is_file():
        raise DataError(f"{path} is missing; Flickr30k Entities has one for each photo")
    return [line for line in read_text(path).splitlines() if line.strip()]


def _read_chains(lines: list[str]) -> list[tuple[str, frozenset[str], str]]:
    """Chain, names and kind of each chain of phrases, in the order of the captions."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    kinds: dict[str, str] = {}
    for line in lines:
        for chain, types, words in _PHRASE.findall(line):
            if chain != _NOT_VISUAL:
                names[chain].add(words.split()[-1].lower())
                kinds.setdefault(chain, types.split("/")[1])
    return [(chain, frozenset(names[chain]), kinds[chain]) for chain in names]
