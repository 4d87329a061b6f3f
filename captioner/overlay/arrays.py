"""NPZ files with the words, maps and geometry of one caption, for other programs; without pickle.

    words             str     [words]                               the caption's words, in order
    logprobs          float32 [words]                               nats
    visual_mass       float32 [words]                               share of attention on the photo
    word_maps         float32 [words, rows, cols]                   see `Word.map`
    maps              float32 [words, layers, heads, rows, cols]    cross-attention
    explanation.NAME  float32 [words, rows, cols]                   one array for each method of `explain=`
    unit.NAME         str                                           its unit: attention, nats or relevance
    caption           str                                           as shown
    score, logprob    float64                                       of the caption, nats
    photo             str                                           path of the photo; "" where unknown
    photo_size        int64   [2]                                   rows, cols of the upright photo
    orientation       int64                                         EXIF orientation of the file, 1 to 8
    view              float64 [4]                                   top, left, bottom, right of the model's input, in
                                                                    pixels of the upright photo
    input_size        int64   [2]                                   rows, cols of the model input
    cells             float64 [4]                                   top, left, bottom, right of the rectangle that the
                                                                    cells divide evenly, in pixels of the model input
    more              str                                           JSON: alternatives of each word, other captions

`numpy.load(file)` reads the arrays; `read_arrays(file)` returns the `Caption`, whose `geometry.to_original(map)`
brings a map to the pixels of the upright photo.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any, get_args

import numpy as np

from captioner.caption import Alternative, Caption, Explanation, Unit, Word
from captioner.errors import UsageError
from captioner.image.geometry import ImageGeometry

_EXPLANATION, _UNIT = "explanation.", "unit."


def write_arrays(path: Path, caption: Caption, *, photo: str = "") -> None:
    """Write the arrays of a caption, as listed in the module's docstring.

    Args:
        path: An `.npz` file.
        caption: The caption.
        photo: Path of the photo.
    """
    geometry = caption.geometry
    rows, cols = caption.maps.shape[-2:]
    more = {
        "alternatives": [[[a.text, a.logprob] for a in word.alternatives] for word in caption.words],
        "others": [[other.text, other.logprob] for other in caption.others],
    }
    arrays: dict[str, Any] = {
        # Without the dtype an empty list would become a float array.
        "words": np.array([word.text for word in caption.words], dtype=np.str_),
        "logprobs": np.array([word.logprob for word in caption.words], np.float32),
        "visual_mass": np.array([word.visual_mass for word in caption.words], np.float32),
        "word_maps": np.array([word.map for word in caption.words], np.float32).reshape(-1, rows, cols),
        "maps": caption.maps.astype(np.float32),
        "caption": np.array(caption.text),
        "score": np.array(caption.score),
        "logprob": np.array(caption.logprob),
        # File names may hold bytes that do not decode as text.
        "photo": np.array(photo.encode("utf-8", "backslashreplace").decode()),
        "photo_size": np.array(geometry.size),
        "orientation": np.array(geometry.orientation),
        "view": np.array(geometry.view),
        "input_size": np.array(geometry.input_size),
        "cells": np.array(geometry.cells or (0, 0, *geometry.input_size), np.float64),
        "more": np.array(json.dumps(more)),
        **{_EXPLANATION + name: one.values for name, one in caption.explanations.items()},
        **{_UNIT + name: np.array(one.unit) for name, one in caption.explanations.items()},
    }
    with path.open("wb") as file:  # given a path, `savez` would append ".npz" to other suffixes
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_arrays(path: str | Path) -> Caption:
    """Read a file that `write_arrays` wrote.

    Raises:
        UsageError: If the file is missing or was not written by `write_arrays`.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return _caption({name: arrays[name] for name in arrays.files})
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is not a caption's NPZ file as overlay=npz writes it: {error}") from error


def _caption(arrays: dict[str, Any]) -> Caption:
    more = json.loads(str(arrays["more"]))
    words = [
        Word(str(text), float(logprob), float(mass), map_, tuple(Alternative(*pair) for pair in alternatives))
        for text, logprob, mass, map_, alternatives in zip(
            arrays["words"],
            arrays["logprobs"],
            arrays["visual_mass"],
            arrays["word_maps"],
            more["alternatives"],
            strict=True,
        )
    ]
    top, left, bottom, right = (float(edge) for edge in arrays["view"])
    rows, cols = (int(length) for length in arrays["photo_size"])
    high, wide = (int(length) for length in arrays["input_size"])
    cells = tuple(float(edge) for edge in arrays["cells"])
    geometry = ImageGeometry(
        (rows, cols),
        int(arrays["orientation"]),
        (top, left, bottom, right),
        (high, wide),
        (cells[0], cells[1], cells[2], cells[3]),
    )
    return Caption(
        text=str(arrays["caption"]),
        words=tuple(words),
        score=float(arrays["score"]),
        logprob=float(arrays["logprob"]),
        maps=arrays["maps"],
        geometry=geometry,
        explanations={
            name: Explanation(arrays[_EXPLANATION + name], _unit(str(arrays[_UNIT + name])))
            for name in (key.removeprefix(_EXPLANATION) for key in arrays if key.startswith(_EXPLANATION))
        },
        others=tuple(Alternative(*pair) for pair in more["others"]),
    )


def _unit(text: str) -> Unit:
    for unit in get_args(Unit):
        if text == unit:
            return unit  # type: ignore[no-any-return]
    raise ValueError(f"unknown unit {text!r}")
