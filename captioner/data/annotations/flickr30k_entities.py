"""Where are the things that Flickr30k's captions name? Boxes and phrases of Flickr30k Entities (Plummer et al. 2015).

`Annotations/ID.xml` has the boxes of each chain of phrases, `Sentences/ID.txt` the captions with their phrases in
brackets: `[/EN#chain/kind/... words]`.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

from captioner.data.annotations.annotated_photo import AnnotatedObject, AnnotatedPhoto
from captioner.data.annotations.coco_instances import inside
from captioner.data.annotations.regions import MarkedCaption
from captioner.data.readers.photo_folder import existing_folder
from captioner.data.readers.text_files import read_text
from captioner.errors import DataError
from captioner.image.geometry import Box
from captioner.text.normalization import caption_normalizer

_PHRASE = re.compile(r"\[/EN#(\d+)((?:/[^\s/\]]+)+)\s+([^\]]+)\]")
_UNSEEN = "0"  # the chain of what cannot be seen
_LARGEST_XML = 5_000_000  # bytes; a real one has some thousand


class Flickr30kEntities:
    """The boxes of each photo, by the photo's name without its ending.

    An object's names are the last words of all phrases of its chain ("a small brown dog" is a "dog"), in lower case;
    its kind is the chain's first type, such as "people". Chains without box (scenes, things not shown) are left out.
    What lies beyond the photo is cut or left out, and counted.
    A sample's id is the photo's file name; `Flickr8k` reads Flickr30k's token file too.

    Args:
        root: The folder that holds `Annotations` and `Sentences`.

    Raises:
        DataError: A folder is missing.
    """

    def __init__(self, root: Path | str) -> None:
        base = existing_folder(root, "Flickr30k Entities")
        self._boxes = existing_folder(base / "Annotations", "boxes of Flickr30k Entities")
        self._phrases = existing_folder(base / "Sentences", "phrases of Flickr30k Entities")
        self._normalizer = caption_normalizer(lowercase=False)

    def photo(self, image_id: str) -> AnnotatedPhoto | None:
        """The objects of a photo; None where the photo was not annotated.

        Raises:
            DataError: One of its two files is missing or malformed.
        """
        name = Path(image_id).stem
        source = self._boxes / f"{name}.xml"
        if not source.is_file():
            return None
        size, boxes = _read_boxes(source)
        found, outside, clipped = _within(boxes, size)
        phrases = _by_chain(_read_lines(self._phrases / f"{name}.txt"))
        objects = tuple(
            AnnotatedObject(names, box, None, kind)
            for chain, names, kind in phrases
            for box in found.get(chain, ())
        )
        return AnnotatedPhoto(size, objects, outside, clipped)

    def marked(self, image_id: str) -> tuple[MarkedCaption, ...]:
        """The captions of a photo; the last word of a phrase has all boxes of its chain. None without annotation.

        Raises:
            DataError: One of its two files is missing or malformed.
        """
        name = Path(image_id).stem
        source = self._boxes / f"{name}.xml"
        if not source.is_file():
            return ()
        size, boxes = _read_boxes(source)
        found, _, _ = _within(boxes, size)
        captions = []
        for line in _read_lines(self._phrases / f"{name}.txt"):
            text, chains = self._last_words(line)
            kept = {word: tuple(found[chain]) for word, chain in chains.items() if chain in found}
            captions.append(MarkedCaption(text, kept, size))
        return tuple(captions)

    def _last_words(self, line: str) -> tuple[str, dict[int, str]]:
        """A caption without its brackets, and by the index of a phrase's last word the phrase's chain."""
        plain, end = "", 0
        chains: dict[int, str] = {}
        for phrase in _PHRASE.finditer(line):
            before = plain + line[end : phrase.start()]
            plain, end = before + phrase[3], phrase.end()
            words = self._words(plain)
            if phrase[1] != _UNSEEN and words > self._words(before):
                chains[words - 1] = phrase[1]
        return self._normalizer.normalize_str(plain + line[end:]), chains

    def _words(self, text: str) -> int:
        return len(self._normalizer.normalize_str(text).split())


def _within(
    boxes: list[tuple[list[str], Box]], size: tuple[int, int]
) -> tuple[dict[str, list[Box]], int, int]:
    """Each chain's boxes as far as they lie on the photo; how many lie beyond it, and how many were cut."""
    found: defaultdict[str, list[Box]] = defaultdict(list)
    outside = clipped = 0
    for chains, box in boxes:
        kept, cut = inside(box, size)
        if kept is None:
            outside += 1
            continue
        clipped += cut
        for chain in chains:
            found[chain].append(kept)
    return dict(found), outside, clipped


def _read_boxes(path: Path) -> tuple[tuple[int, int], list[tuple[list[str], Box]]]:
    """The photo's (rows, cols), and each box, half-open, with the chains that it belongs to."""
    text = read_text(path)
    # Entities would let a small file grow without end; VOC's layout has no use for them.
    if len(text) > _LARGEST_XML or "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(
            f"{path} is no annotation of Flickr30k Entities: it is too long, or declares entities"
        )
    try:
        root = ElementTree.fromstring(text)
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
        raise DataError(f"{path} is no annotation of Flickr30k Entities: {error}") from error
    if min(size) < 1:
        raise DataError(f"{path}: the photo's size is {size[1]} x {size[0]} pixels; it must be positive")
    return size, boxes


def _number(root: ElementTree.Element, path: str) -> int:
    text = root.findtext(path)
    if text is None:
        raise ValueError(f"it has no {path}")
    return int(text)


def _read_lines(path: Path) -> list[str]:
    """The captions of a photo, a line each."""
    if not path.is_file():
        raise DataError(f"{path} is missing; Flickr30k Entities has one for each photo")
    return [line for line in read_text(path).splitlines() if line.strip()]


def _by_chain(lines: list[str]) -> list[tuple[str, frozenset[str], str]]:
    """Chain, names and kind of each chain of phrases, in the order of the captions."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    kinds: dict[str, str] = {}
    for line in lines:
        for chain, types, words in _PHRASE.findall(line):
            if chain != _UNSEEN:
                names[chain].add(words.split()[-1].lower())
                kinds.setdefault(chain, types.split("/")[1])
    return [(chain, frozenset(names[chain]), kinds[chain]) for chain in names]
