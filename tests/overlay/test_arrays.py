from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from captioner.caption import Alternative, Caption, Explanation
from captioner.errors import UsageError
from captioner.image.geometry import ImageGeometry
from captioner.overlay.arrays import read_arrays, write_arrays

MakeCaption = Callable[..., Caption]


@pytest.mark.parametrize("text", ["a dog runs", "", "犬 🐈 <b>\"'"])
@pytest.mark.parametrize("cells", [None, (-4.0, -4.0, 28.0, 28.0)])
def test_what_is_written_comes_back(
    make_caption: MakeCaption, tmp_path: Path, text: str, cells: tuple[float, float, float, float] | None
) -> None:
    caption = make_caption(text, view=(0, 10, 60, 70))
    rng = np.random.default_rng(0)
    words = tuple(replace(word, alternatives=(Alternative("", -2.5),)) for word in caption.words)
    caption = replace(
        caption,
        words=words,
        geometry=ImageGeometry((60, 80), 6, (0.0, 10.0, 60.0, 70.0), (32, 32), cells),
        explanations={
            "occlusion:2x3": Explanation(rng.normal(size=(len(words), 2, 3)).astype(np.float32), "nats"),
            "a method:of one's own": Explanation(rng.random((len(words), 4, 4), np.float32), "relevance"),
        },
        others=(Alternative("a cat", -0.25),),
    )
    write_arrays(tmp_path / "a.npz", caption, photo="b.jpg")
    again = read_arrays(tmp_path / "a.npz")
    assert (again.text, again.score, again.logprob, again.others) == (text, -0.5, -1.5, caption.others)
    np.testing.assert_array_equal(again.maps, caption.maps)
    assert list(again.explanations) == list(caption.explanations)
    for name, one in caption.explanations.items():
        assert again.explanations[name].unit == one.unit
        np.testing.assert_array_equal(again.explanations[name].values, one.values)
    for ours, theirs in zip(again.words, words, strict=True):
        assert (ours.text, ours.alternatives) == (theirs.text, theirs.alternatives)
        assert ours.logprob == pytest.approx(theirs.logprob, rel=1e-6)
        np.testing.assert_array_equal(ours.map, theirs.map)
    # Maps are put onto the photo as before.
    map_ = np.random.default_rng(1).random((4, 5)).astype(np.float32)
    np.testing.assert_allclose(
        again.geometry.to_original(map_), caption.geometry.to_original(map_), atol=1e-6
    )


def test_the_layout_is_what_the_documentation_says(make_caption: MakeCaption, tmp_path: Path) -> None:
    caption = replace(
        make_caption(), explanations={"grad_cam": Explanation(np.zeros((3, 7, 7), np.float32), "relevance")}
    )
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    write_arrays(tmp_path / "odd name", caption, photo=name)
    with np.load(tmp_path / "odd name", allow_pickle=False) as arrays:
        found = {key: (arrays[key].shape, arrays[key].dtype.kind) for key in arrays.files}
        assert str(arrays["photo"]) == "caf\\udce9.jpg"
    assert found == {
        "words": ((3,), "U"), "logprobs": ((3,), "f"), "visual_mass": ((3,), "f"), "word_maps": ((3, 4, 5), "f"),
        "maps": ((3, 2, 3, 4, 5), "f"), "explanation.grad_cam": ((3, 7, 7), "f"), "unit.grad_cam": ((), "U"),
        "caption": ((), "U"),
        "score": ((), "f"), "logprob": ((), "f"), "photo": ((), "U"), "photo_size": ((2,), "i"),
        "orientation": ((), "i"), "view": ((4,), "f"), "input_size": ((2,), "i"), "cells": ((4,), "f"),
        "more": ((), "U"),
    }  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"no arrays", None])
def test_other_files_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.npz"
    if content is None:
        np.savez(path, words=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"a\.npz .*overlay=npz"):
        read_arrays(path)
    with pytest.raises(UsageError, match=r"gone .*overlay=npz"):
        read_arrays(tmp_path / "gone")
