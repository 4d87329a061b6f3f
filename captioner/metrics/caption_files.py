"""Readers of caption files for scoring; no photo is opened.

Candidates: COCO results JSON, JSON lines or CSV of image and caption. References: COCO captions JSON, Karpathy's
JSON, Flickr's token file, or JSON lines or CSV with one line per caption.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from captioner.errors import DataError, UsageError, did_you_mean

Namings = list[dict[str, list[str]]]
"""Captions by image name, once for each naming of the images in the file: by number, by file name."""

Captions = TypeVar("Captions")

_TOKEN_LINE = re.compile(r"(.+)#\d+\t(.*)")


def read_candidates(path: Path) -> dict[str, str]:
    """One caption for each image.

    Raises:
        DataError: The file is missing, empty or malformed, or an image has more than one caption.
    """
    captions = read_multiple_candidates(path)
    if repeated := [image for image, of_image in captions.items() if len(of_image) > 1]:
        examples = ", ".join(repeated[:5])
        raise DataError(
            f"{path} has more than one caption for {len(repeated)} of its images ({examples}); keep one for each"
        )
    return {image: of_image[0] for image, of_image in captions.items()}


def read_multiple_candidates(path: Path) -> dict[str, list[str]]:
    """All captions of each image in a file of candidates.

    Raises:
        DataError: The file is missing, empty or malformed.
    """
    captions = _single_naming(_read(path, split=None), path)
    if not captions:
        raise DataError(f"{path} has no caption; give a line or an entry for each image")
    return captions


def read_references(path: Path, split: str | None = None) -> Namings:
    """All captions of each image, for each naming of the images in the file.

    Args:
        path: The file.
        split: Read only this split, of a file with splits (Karpathy's).

    Raises:
        DataError: The file is missing, malformed or has no caption.
        UsageError: `split` is not in the file, or the file has none.
    """
    namings = _read(path, split=split)
    if not any(namings):
        raise DataError(f"{path} has no reference caption; check that it is the right file")
    return namings


def match_names(
    candidates: Sequence[Mapping[str, Captions]], references: Namings
) -> tuple[list[dict[str, Captions]], dict[str, list[str]]]:
    """Candidates (one or several captions of each image) and references under common image names.

    The first naming of the references that contains a candidate's name is used. If none does, candidates are matched
    by the last part of their names, since `predict` names photos by their paths.

    Raises:
        DataError: Two candidates' paths end in the same name.
    """
    as_given = [dict(captions) for captions in candidates]
    for naming in references:
        if any(image in naming for captions in as_given for image in captions):
            return as_given, naming
    by_file = [{PurePosixPath(image).name: text for image, text in c.items()} for c in candidates]
    for naming in references:
        if any(image in naming for captions in by_file for image in captions):
            for given, short in zip(as_given, by_file, strict=True):
                if len(short) < len(given):
                    counts = Counter(PurePosixPath(image).name for image in given)
                    name = counts.most_common(1)[0][0]
                    raise DataError(
                        f"several candidates are for a photo named {name}; give each photo its own name"
                    )
            return by_file, naming
    return as_given, references[0]


def _single_naming(namings: Namings, path: Path) -> dict[str, list[str]]:
    if len(namings) != 1:
        raise DataError(f"{path} has references, not candidates; give COCO results, JSON lines or CSV")
    return namings[0]


def _read(path: Path, *, split: str | None) -> Namings:
    text = _text(path)
    start = text.lstrip()[:1]
    if path.suffix == ".jsonl":
        namings = [_json_lines(text, path)]
    elif start == "[":
        namings = [_group(_entries(_json(text, path), path, "image_id"))]
    elif start == "{":
        namings = _json_object(text, path, split)
    elif path.suffix == ".csv" or text.split("\n", 1)[0].strip().startswith("image,"):
        namings = [_csv(text, path)]
    else:
        namings = [_token_file(text, path)]
    if split is not None and not (start == "{" and len(namings) > 1):
        raise UsageError(f"split={split} needs a file with splits, and {path} has none; leave it out")
    return namings


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from error


def _json(text: str, path: Path, line: int | None = None) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {line or error.lineno}, column {error.colno}"
        raise DataError(
            f"{path} is not valid JSON: {error.msg} at {where}; the file may be truncated"
        ) from error
    except RecursionError as error:
        raise DataError(f"{path} is nested too deeply for a file of captions") from error


def _json_object(text: str, path: Path, split: str | None) -> Namings:
    first_line = text.strip().split("\n", 1)[0].rstrip()
    if first_line.endswith("}") and '"caption"' in first_line and '"annotations"' not in first_line:
        return [_json_lines(text, path)]
    content = _json(text, path)
    images = content.get("images")
    if isinstance(content.get("annotations"), list):
        return _coco(content, path)
    if isinstance(images, list) and all(isinstance(i, dict) and "sentences" in i for i in images):
        return _karpathy(images, path, split)
    raise DataError(
        f"{path} is a JSON object without annotations (COCO) or images with sentences (Karpathy); "
        "give one of these, COCO results, or JSON lines of image and caption"
    )


def _json_lines(text: str, path: Path) -> dict[str, list[str]]:
    rows = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    return _group(_entries([_json(line, path, number) for number, line in rows], path, "image"))


def _coco(content: Mapping[str, Any], path: Path) -> Namings:
    by_id = _group(_entries(content["annotations"], path, "image_id"))
    images = content.get("images")
    if not isinstance(images, list):
        return [by_id, {}]
    ids = Counter(str(image.get("id")) for image in images if isinstance(image, dict))
    if repeated := [image for image, count in ids.items() if count > 1]:
        raise DataError(f"{path} has several images with the id {repeated[0]}; keep one")
    by_file = {}
    for image in images:
        if isinstance(image, dict) and "file_name" in image and str(image.get("id")) in by_id:
            by_file[str(image["file_name"])] = by_id[str(image["id"])]
    return [by_id, by_file]


def _karpathy(images: Sequence[Mapping[str, Any]], path: Path, split: str | None) -> Namings:
    splits = sorted({str(image.get("split")) for image in images})
    if split is not None and split not in splits:
        raise UsageError(
            f"split={split} is not in {path}; choose from {', '.join(splits)}{did_you_mean(split, splits)}"
        )
    namings: Namings = []
    for key in ("cocoid", "filename", "imgid"):
        captions: dict[str, list[str]] = {}
        for image in images:
            if key in image and split in (None, str(image.get("split"))):
                name = str(image[key])
                if name in captions:
                    raise DataError(f"{path} has two images with {key} {name}; keep one")
                sentences = image["sentences"]
                if not all(isinstance(s, dict) and isinstance(s.get("raw"), str) for s in sentences):
                    raise DataError(f"{path}: a sentence of image {name} has no raw text")
                captions[name] = [sentence["raw"] for sentence in sentences]
        namings.append(captions)
    return namings


def _csv(text: str, path: Path) -> dict[str, list[str]]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        if not {"image", "caption"} <= set(reader.fieldnames or ()):
            raise DataError(
                f"{path} has no header with the columns image and caption; add the line image,caption at the top"
            )
        rows = list(reader)
    except csv.Error as error:
        raise DataError(f"{path} is not valid CSV: {error}; the file may be truncated") from error
    return _group(_entries(rows, path, "image"))


def _token_file(text: str, path: Path) -> dict[str, list[str]]:
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        match = _TOKEN_LINE.fullmatch(line.rstrip("\r"))
        if not match:
            raise DataError(
                f"{path}, line {number} is neither name#number<TAB>caption nor JSON: {line[:60]!r}; give COCO or "
                "Karpathy JSON, a Flickr token file, JSON lines or CSV"
            )
        captions.setdefault(match[1], []).append(match[2])
    return captions


def _entries(rows: Any, path: Path, key: str) -> Iterable[tuple[str, str]]:
    """Validated image and caption of each entry."""
    if not isinstance(rows, list):
        raise DataError(f"{path} must be a list of {key} and caption")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not {key, "caption"} <= row.keys():
            raise DataError(f"{path}, entry {number} lacks {key} or caption: {str(row)[:60]}")
        image, caption = row[key], row["caption"]
        if not isinstance(image, str | int) or isinstance(image, bool):
            raise DataError(f"{path}, entry {number}: {key} is {image!r}; it must be a name or a number")
        if not isinstance(caption, str):
            raise DataError(f"{path}: the caption of image {image} is {caption!r}; it must be text")
        yield str(image), caption


def _group(entries: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    captions: dict[str, list[str]] = {}
    for image, caption in entries:
        captions.setdefault(image, []).append(caption)
    return captions
