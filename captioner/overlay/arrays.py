"""How are a caption's raw numbers kept for other programs? One NPZ file a photo, without pickle.

    words             str     [words]                               the caption's words, in order
    logprobs          float32 [words]                               nats
    visual_mass       float32 [words]                               share of attention on the photo
    word_maps         float32 [words, rows, cols]                   what to show of a word, see `Word.map`
    maps              float32 [words, layers, heads, rows, cols]    attention
    explanation.NAME  float32 [words, rows, cols]                   one array for each method of `explain=`
    caption           str                                           as shown
    score, logprob    float64                                       of the caption, nats
    photo             str                                           path of the photo; "" where it had none
    photo_size        int64   [2]                                   rows, cols of the upright photo
    orientation       int64                                         EXIF orientation of the file, 1 to 8
    view              float64 [4]                                   top, left, bottom, right: what the model saw, in
                                                                    pixels of the upright photo
    input_size        int64   [2]                                   rows, cols of the model input
    cells             float64 [4]                                   top, left, bottom, right: what the cells divide
                                                                    evenly, in pixels of the model input
    more              str                                           JSON: alternatives of each word, other captions

`numpy.load(file)` reads them; `read_arrays(file)` gives the `Caption` back, whose `geometry.to_original(map)` puts a
map onto the upright photo.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from captioner.caption import Alternative, Caption, Word
from captioner.errors import UsageError
from captioner.image.geometry import ImageGeometry

_EXPLANATION = "explanation."


def write_arrays(path: Path, caption: Caption, *, photo: str = "") -> None:
    """Write the arrays of a caption, laid out as this file's head says.

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
        # An empty list would make an array of numbers.
        "words": np.array([word.text for word in caption.words], dtype=np.str_),
        "logprobs": np.array([word.logprob for word in caption.words], np.float32),
        "visual_mass": np.array([word.visual_mass for word in caption.words], np.float32),
        "word_maps": np.array([word.map for word in caption.words], np.float32).reshape(-1, rows, cols),
        "maps": caption.maps.astype(np.float32),
        "caption": np.array(caption.text),
        "score": np.array(caption.score),
        "logprob": np.array(caption.logprob),
        # Names of files may hold bytes that are no text.
        "photo": np.array(photo.encode("utf-8", "backslashreplace").decode()),
        "photo_size": np.array(geometry.size),
        "orientation": np.array(geometry.orientation),
        "view": np.array(geometry.view),
        "input_size": np.array(geometry.input_size),
        "cells": np.array(geometry.cells or (0, 0, *geometry.input_size), np.float64),
        "more": np.array(json.dumps(more)),
        **{_EXPLANATION + name: maps for name, maps in caption.explanations.items()},
    }
    with path.open("wb") as file:  # `savez` would add a suffix to a name that it does not like
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_arrays(path: str | Path) -> Caption:
    """Read back what `write_arrays` wrote.

    Raises:
        UsageError: The file is not there, or not one of these.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return _caption({name: arrays[name] for name in arrays.files})
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{path} is no file of a caption's arrays as overlay=npz writes them: {error}"
        ) from error


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
            name.removeprefix(_EXPLANATION): array
            for name, array in arrays.items()
            if name.startswith(_EXPLANATION)
        },
        others=tuple(Alternative(*pair) for pair in more["others"]),
    )
