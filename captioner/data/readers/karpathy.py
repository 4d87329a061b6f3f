"""Reader of Karpathy's splits of COCO, Flickr8k and Flickr30k, which most captioning papers use.

Source: Karpathy & Fei-Fei 2015, "Deep Visual-Semantic Alignments for Generating Image Descriptions".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from captioner.data.integrity.faults import Faults, OnBad
from captioner.data.readers.caption_rows import CaptionRow, PhotoLocation, build_samples, group_by_photo
from captioner.data.readers.coco_json import id_of, numbered_entries, read_json
from captioner.data.readers.file_dataset import FileDataset
from captioner.data.readers.photo_folder import check_inside, existing_folder, first_existing
from captioner.data.readers.splits import check_split
from captioner.errors import DataError, did_you_mean

_FILES = ("dataset_coco.json", "dataset_flickr8k.json", "dataset_flickr30k.json", "dataset.json")
# COCO's own folders are named by each photo's `filepath`; the others' photos lie in one.
_IMAGE_FOLDERS = ("images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset", "flickr30k-images")
_SPLITS = ("train", "restval", "val", "test")


class Karpathy(FileDataset):
    """Photos and captions of one of Karpathy's splits, in the order of the file.

    A photo lies at `filepath/filename` below the folder of photos, as COCO's do, or at `filename`. A sample's id is
    `cocoid` where the entry has one, which identifies COCO's instances, else the photo's name.

    Args:
        root: The root folder.
        split: "train", "val" or "test"; "restval" for these alone.
        annotations: The JSON file, relative to `root`; None for `dataset_coco.json` or another that exists.
        images: The folder of photos, relative to `root`; None for the usual ones.
        restval: Whether the training split includes "restval": the part of COCO's validation photos that is neither val
            nor test. Papers train on them.
        on_bad: "stop" at a malformed entry, or "skip" it.
        allow_outside: Whether files outside `root` may be read.

    Attributes:
        source: The JSON file that was read.
        report: What was found and what was left out.

    Raises:
        UsageError: `split` or `on_bad` is not known.
        DataError: A file or folder is missing or malformed, or no photo of the split exists with captions.
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        annotations: str | None = None,
        images: str | None = None,
        restval: bool = True,
        on_bad: OnBad = "stop",
        allow_outside: bool = False,
    ) -> None:
        split = check_split(split, "a Karpathy JSON", known=_SPLITS)
        faults = Faults(on_bad)
        base = existing_folder(root, "root of the Karpathy JSON")
        home = None if allow_outside else base
        self.source = first_existing(
            [base / name for name in (_FILES if annotations is None else [annotations])],
            what="the Karpathy JSON",
            remedy="name it by annotations",
            home=home,
        )
        entries = numbered_entries(read_json(self.source), "images", self.source, faults)
        ids: dict[str, str] = {}
        rows = list(_rows(entries, ids, faults))
        wanted = {split, "restval"} if split == "train" and restval else {split}
        captioned = group_by_photo(rows, faults, allow_outside=allow_outside)
        names = [name for name in captioned.texts if captioned.splits[name] in wanted]
        photos = check_inside(_photo_folder(base, images, names), "photos of the Karpathy JSON", home)
        samples, report = build_samples(
            names,
            captioned.only(names),
            PhotoLocation(base, photos, allow_outside),
            faults,
            file=self.source,
            source=self.source,
            noun=f"{split} photos",
            remedy="set images to the folder that does",
            ids=ids,
        )
        super().__init__(samples, report)


def _photo_folder(base: Path, images: str | None, names: list[str]) -> Path:
    """The given folder, or the first of the usual ones that has the first photo's parent folder."""
    if images is not None:
        return existing_folder(base / images, "photos of the Karpathy JSON")
    folders = [base / name for name in (*_IMAGE_FOLDERS, "")]
    return next((folder for folder in folders for name in names[:1] if (folder / name).parent.is_dir()), base)


def _rows(
    entries: Iterable[tuple[str, dict[str, Any]]], ids: dict[str, str], faults: Faults
) -> Iterator[CaptionRow]:
    """A row for each image; adds its id to `ids` under its name."""
    seen: dict[str, str] = {}
    for where, entry in entries:
        with faults:
            name = _text(entry, "filename", where)
            if entry.get("filepath"):
                name = f"{_text(entry, 'filepath', where)}/{name}"
            name = PurePosixPath(name).as_posix()
            if name in ids:
                raise DataError(f"{where} is a second photo called {name}; give every photo its own name")
            own = id_of(entry, "cocoid", where) if "cocoid" in entry else name
            if own in seen:
                raise DataError(f"{where}.cocoid is {own}, as that of {seen[own]}; give every photo its own")
            split = _text(entry, "split", where)
            if split not in _SPLITS:
                raise DataError(
                    f"{where}.split is {split!r}; a split is one of {', '.join(_SPLITS)}{did_you_mean(split, _SPLITS)}"
                )
            captions = tuple(_captions(entry, where))
            seen[own], ids[name] = name, own
            yield CaptionRow(where, name, captions, split)


def _captions(entry: dict[str, Any], where: str) -> Iterator[str]:
    sentences = entry.get("sentences")
    if not isinstance(sentences, list):
        raise DataError(f"{where} has no list 'sentences'; is this a Karpathy JSON?")
    for number, sentence in enumerate(sentences):
        raw = sentence.get("raw") if isinstance(sentence, dict) else None
        tokens = sentence.get("tokens") if isinstance(sentence, dict) else None
        if isinstance(raw, str):
            yield raw
        elif raw is None and isinstance(tokens, list) and all(isinstance(token, str) for token in tokens):
            yield " ".join(tokens)  # some files in this format have tokens only
        else:
            raise DataError(f"{where}.sentences[{number}] has no text 'raw' and no list 'tokens'")


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise DataError(f"{where}.{key} is {value!r}, not a text")
    return value
