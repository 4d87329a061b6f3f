"""The command `captioner.predict`."""

from __future__ import annotations

import html
import io
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captioner.data.scenes import Scenes
from captioner.errors import UsageError
from captioner.overlay.arrays import read_arrays
from captioner.pipeline import load
from captioner.predict import predict
from tests.conftest import Finished, compose

Command = Callable[..., Finished]


def photo(path: Path, index: int = 0, size: tuple[int, int] = (48, 40)) -> Path:
    """A scene, squeezed to (width, height), written as the file's suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(Scenes("val", image_size=48).photo(index).pixels).resize(size).save(path)
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with sub-folders; the current folder is the one above it."""
    monkeypatch.chdir(tmp_path)
    for index, name in enumerate(["10.jpg", "2.png", "b/1.jpg", "a/1.jpg"]):
        photo(tmp_path / "photos" / name, index, size=(40 + 10 * index, 40))
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    return tmp_path / "photos"


IN_ORDER = ["photos/2.png", "photos/10.jpg", "photos/a/1.jpg", "photos/b/1.jpg"]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ("photos", IN_ORDER),
        ("photos/2.png", IN_ORDER[:1]),
        ("photos/**/1.jpg", IN_ORDER[2:]),
        ("[photos/b,photos/2.png,photos/b/1.jpg]", ["photos/b/1.jpg", "photos/2.png", "photos/b/1.jpg"]),
        ("list.txt", ["photos/10.jpg", "photos/2.png"]),
    ],
)
def test_photos_are_captioned_in_order(
    images: str, expected: list[str], photos: Path, tiny_model: Path, command: Command
) -> None:
    Path("list.txt").write_text("# two of them\nphotos/10.jpg\n\nphotos/2.png\n")
    done = command("predict", f"model={tiny_model}", f"images={images}", "overlay=null")
    assert done.status == 0
    said = [line.split("\t") for line in done.out.splitlines()]
    assert [name for name, _ in said] == expected
    records = lines(Path("captions/captions.jsonl"))
    assert [(record["image"], record["caption"]) for record in records] == [tuple(pair) for pair in said]
    assert f"{len(expected)} of {len(expected)} photos captioned" in done.err
    assert sorted(path.name for path in Path("captions").iterdir()) == ["captions.jsonl"]


def test_captions_jsonl_holds_the_captions_of_the_library(
    photos: Path, tiny_model: Path, tmp_path: Path
) -> None:
    cfg = compose("predict", f"model={tiny_model}", "images=photos", "output_dir=out", "beam_size=2")
    assert predict(cfg) == 0
    captions = load(tiny_model).caption(IN_ORDER, beam_size=2)
    assert any(caption.words for caption in captions), "empty captions would pass trivially"
    for record, caption in zip(lines(Path("out/captions.jsonl")), captions, strict=True):
        assert set(record) == {"image", "caption", "score", "logprob", "words", "others"}
        assert record["caption"] == caption.text
        assert record["score"] == pytest.approx(caption.score, rel=1e-5)
        assert record["logprob"] == pytest.approx(caption.logprob, rel=1e-5)
        assert " ".join(word["word"] for word in record["words"]) == caption.text
        assert record["logprob"] <= sum(word["logprob"] for word in record["words"])
        assert all(0 <= word["visual_mass"] <= 1 + 1e-6 for word in record["words"])


def test_captions_do_not_depend_on_the_batch_size(photos: Path, tiny_model: Path) -> None:
    for size in (1, 3, 16):
        predict(
            compose(
                "predict",
                f"model={tiny_model}",
                "images=photos",
                f"output_dir=out{size}",
                f"batch_size={size}",
            )
        )
    alone, three, all_ = (lines(Path(f"out{size}/captions.jsonl")) for size in (1, 3, 16))
    for one, *others in zip(alone, three, all_, strict=True):
        for other in others:
            assert (one["image"], one["caption"]) == (other["image"], other["caption"])
            assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_writes_a_page_and_a_sheet_for_each_photo(photos: Path, tiny_model: Path) -> None:
    (photos / "a" / "2.png").write_bytes((photos / "2.png").read_bytes())
    predict(
        compose(
            "predict",
            f"model={tiny_model}",
            "images=photos",
            "output_dir=out",
            "overlay='html,png'",
            "max_length=6",
        )
    )
    page = Path("out/index.html").read_text(encoding="utf-8")
    for record in lines(Path("out/captions.jsonl")):
        assert page.count(f">{record['image']}</h2>") == 1
        assert f">{record['caption']}</p>" in page
    # Two photos are called 1 and two are called 2: the number keeps them apart.
    sheets = sorted(path.name for path in Path("out/overlays").glob("*.png"))
    assert sheets == ["00001-2.png", "00002-10.png", "00003-1.png", "00004-2.png", "00005-1.png"]
    first, last = (np.asarray(Image.open(Path("out/overlays", name))) for name in (sheets[0], sheets[-1]))
    assert first.ndim == last.ndim == 3
    assert first.std() > 5
    assert first.shape != last.shape or (first != last).any()


def test_writes_every_kind_for_a_photo_of_any_name(
    tiny_model: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "<img src=x onerror=alert(1)> \"'&\n🐈.png"
    photo(tmp_path / "plain.png").rename(name)
    kinds = "html,png,words,gif,webp,svg,pdf,npz"
    asked = (
        f"model={tiny_model}",
        "images=.",
        "explain=occlusion,attention",
        f"overlay={kinds}",
        "max_length=6",
    )
    done = command("predict", *asked)
    assert done.status == 0
    (record,) = lines(Path("captions/captions.jsonl"))
    assert record["image"] == name
    assert record["words"], "empty captions would pass trivially"
    made = sorted(path.name for path in Path("captions/overlays").iterdir())
    stem = "00001--img src=x onerror=alert(1)- -'&-🐈"
    assert made == [
        ".not-photos",
        stem,
        *(f"{stem}.{kind}" for kind in ("gif", "npz", "pdf", "png", "svg", "webp")),
    ]
    assert len(list(Path("captions/overlays", stem).iterdir())) == len(record["words"])
    page = Path("captions/index.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert '"title":"Occlusion"' in page
    caption = read_arrays(Path("captions/overlays", f"{stem}.npz"))
    assert list(caption.explanations) == ["occlusion", "attention"]
    ElementTree.parse(Path("captions/overlays", f"{stem}.svg"))

    again = command("predict", *asked)  # what was made lies among the photos now
    assert (again.status, again.out) == (0, done.out)


def test_pictures_show_the_first_method(photos: Path, tiny_model: Path) -> None:
    for folder, explain in (("a1", "attention"), ("a2", "attention,grad_cam"), ("g", "grad_cam,attention")):
        asked = (
            f"model={tiny_model}",
            "images=photos/2.png",
            f"output_dir={folder}",
            "overlay=png",
            f"explain='{explain}'",
        )
        assert predict(compose("predict", *asked)) == 0
    first, same, other = (
        np.asarray(Image.open(f"{folder}/overlays/00001-2.png")) for folder in ("a1", "a2", "g")
    )
    np.testing.assert_array_equal(first, same)
    assert first.shape != other.shape or (first != other).any()


ODD_NAMES = (
    "two words.jpg", "a=b.jpg", "a,b.jpg", "[1].jpg", "it's.jpg", 'a "q".jpg', "back\\slash.jpg", "~.jpg", "null",
    "*.jpg", "\\'.jpg", "(1){2}.jpg", "$HOME.jpg", "100%.jpg", "#1.jpg", "null.jpg", "œuvre 写真 🐈.jpg",
    "x" * 251 + ".jpg", "写" * 80 + ".jpg", os.fsdecode(b"caf\xe9.jpg"),
)  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES[:10])
def test_any_file_name_is_accepted_on_the_command_line(
    name: str, tiny_model: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "plain.jpg").rename(name)
    done = command("predict", f"model={tiny_model}", f"images={name}", "output_dir=o, [=]", "overlay=null")
    assert (done.status, done.err) == (0, "1 of 1 photos captioned: o, [=]/captions.jsonl\n")
    assert [record["image"] for record in lines(Path("o, [=]/captions.jsonl"))] == [name]


def test_any_file_name_appears_on_the_page(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Names that are not text cannot be sent from one test process to another.
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    saved = photo(tmp_path / "photos" / "plain.jpg")
    names = [name for name in ODD_NAMES if name != "null"]  # a folder gives what has a photo's suffix
    for name in names:
        (saved.parent / name).write_bytes(saved.read_bytes())
    saved.unlink()
    assert (
        predict(
            compose("predict", f"model={tiny_model}", "images=photos", "overlay='html,png'", "max_length=6")
        )
        == 0
    )
    records = lines(Path("captions/captions.jsonl"))
    assert {record["image"] for record in records} == {f"photos/{name}" for name in names}
    page = Path("captions/index.html").read_text(encoding="utf-8")
    for record in records:
        shown = html.escape(record["image"].encode(errors="replace").decode())
        assert page.count(f">{shown}</h2>") == 1
    sheets = sorted(path.name for path in Path("captions/overlays").glob("*.png"))
    assert [name[:6] for name in sheets] == [f"{number:05d}-" for number in range(1, len(names) + 1)]


def test_an_unreadable_photo_is_reported_and_the_others_are_captioned(
    photos: Path, tiny_model: Path, command: Command
) -> None:
    whole = (photos / "10.jpg").read_bytes()
    (photos / "10.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "a" / "1.jpg").write_text("<html>not found</html>")
    arguments = (f"model={tiny_model}", "images=photos", "output_dir=out", "overlay=html,png", "max_length=6")
    done = command("predict", *arguments)
    assert done.status == 1
    assert [line.split("\t")[0] for line in done.out.splitlines()] == [IN_ORDER[0], IN_ORDER[3]]
    reports = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert [name in report for name, report in zip(IN_ORDER[1:3], reports, strict=True)] == [True, True]
    assert "2 could not be read: out/errors.jsonl" in done.err
    errors = lines(Path("out/errors.jsonl"))
    assert [(error["image"], f"error: {error['error']}") for error in errors] == list(
        zip(IN_ORDER[1:3], reports, strict=True)
    )
    assert [record["image"] for record in lines(Path("out/captions.jsonl"))] == [IN_ORDER[0], IN_ORDER[3]]
    assert sorted(path.name for path in Path("out/overlays").glob("*.png")) == ["00001-2.png", "00004-1.png"]

    (photos / "10.jpg").write_bytes(whole)
    photo(photos / "a" / "1.jpg")
    assert command("predict", *arguments).status == 0
    assert not Path("out/errors.jsonl").exists(), "errors that are none any more"


def test_animations_are_reported_once_and_their_first_frame_is_captioned(
    tmp_path: Path, tiny_model: Path, command: Command
) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "b.gif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    done = command("predict", f"model={tiny_model}", f"images={tmp_path}", f"output_dir={tmp_path / 'out'}")
    assert done.status == 0
    assert done.out.count("\t") == 2
    assert done.err.count("a.gif is an animation") == 1
    assert done.err.count("is an animation") == 1


def test_the_status_is_1_when_no_photo_can_be_read(photos: Path, tiny_model: Path, command: Command) -> None:
    done = command("predict", f"model={tiny_model}", "images=[photos/notes.jpg]", "output_dir=out")
    assert done.status == 2  # a name on the command line that is not there is a slip
    Path("list.txt").write_text("photos/notes.jpg\n")
    done = command("predict", f"model={tiny_model}", "images=list.txt", "output_dir=out")
    assert done.status == 1
    assert "0 of 1 photos captioned" in done.err
    assert Path("out/captions.jsonl").read_text() == ""


@pytest.mark.parametrize(
    ("arguments", "tokens"),
    [
        (["model=nowhere.safetensors"], ["nowhere.safetensors", "captioner.train"]),
        (["model=text"], ["text", "model file"]),
        (["model=photos"], ["photos"]),
        (["model=null"], ["null"]),
        (["images=nowhere"], ["'nowhere'"]),
        (["images=no where"], ["'no where'"]),
        (["images=photos/*.gif"], ["'photos/*.gif'"]),
        (["images=empty"], ["empty"]),
        (["images="], ["images="]),
        (["images=[]"], ["images="]),
        (["overlay=bmp"], ["overlay=bmp", "html, png, words, gif, webp, svg, pdf, npz"]),
        (["overlay=html,pgn"], ["overlay=pgn", "did you mean png?"]),
        (["explain=psychic"], ["explain=psychic", "attention"]),
        (["explain=attention:layer9"], ["explain=attention:layer9", "1 layers"]),
        (["explain=rollout"], ["explain=rollout"]),
        (["explain="], ["explain", "attention"]),
        (["scale=photo"], ["scale=photo", "caption", "word"]),
        (["output_dir=text"], ["output_dir=text"]),
        (["output_dir=text/below"], ["output_dir=text/below"]),
        (["device=abacus"], ["device=abacus", "auto"]),
        (["batch_size=0"], ["batch_size=0"]),
        (["beam_size=0"], ["beam_size=0"]),
        (["max_length=0"], ["max_length=0"]),
    ],
)
def test_wrong_settings_are_refused_in_one_line_that_names_them(
    arguments: list[str], tokens: list[str], photos: Path, tiny_model: Path
) -> None:
    Path("text").write_text("no model")
    Path("empty").mkdir()
    asked = [f"model={tiny_model}", "images=photos", "output_dir=out", *arguments]
    with pytest.raises(UsageError) as refused:
        predict(compose("predict", *asked))
    message = str(refused.value)
    assert [token for token in tokens if token not in message] == []
    assert "\n" not in message
    assert not Path("out").exists()


def test_a_method_that_the_encoder_cannot_support_is_left_out(
    photos: Path, tiny_model: Path, command: Command
) -> None:
    asked = ("images=photos", "output_dir=out", "explain=rollout,attention,attention:best", "max_length=6")
    done = command("predict", f"model={tiny_model}", *asked)
    rollout, best = (line for line in done.err.splitlines() if line.startswith("warning: "))
    assert rollout.startswith("warning: explain=rollout ")
    assert rollout.endswith("using attention")
    assert best.startswith("warning: explain=attention:best")
    assert '"title":"Attention"' in Path("out/index.html").read_text(encoding="utf-8")
    assert lines(Path("out/captions.jsonl"))


def test_a_model_file_cut_short_is_refused(photos: Path, tiny_model: Path, command: Command) -> None:
    Path("short.safetensors").write_bytes(tiny_model.read_bytes()[:-1000])
    done = command("predict", "model=short.safetensors", "images=photos")
    assert done.status == 2
    assert done.err.startswith("error: short.safetensors is not a captioner model file, or it is cut short")


def test_as_a_process_it_reads_any_names_from_standard_input(tiny_model: Path, tmp_path: Path) -> None:
    names = [b"b 2.png", b"# no photo but a comment", b"", b"caf\xe9.png", b"gone.png", b"a\\1.png"]
    for index in (0, 3, 5):
        os.rename(photo(tmp_path / "plain.png", index), tmp_path / os.fsdecode(names[index]))
    done = subprocess.run(
        [sys.executable, "-m", "captioner.predict", f"model={tiny_model}", "images=-", "overlay=null"],
        input=b"\n".join(names),
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert [line.split(b"\t")[0] for line in done.stdout.splitlines()] == [
        b"b 2.png",
        b"caf\xe9.png",
        b"a\\1.png",
    ]
    assert b"Traceback" not in done.stderr
    assert b"gone.png" in done.stderr.splitlines()[0]
    assert done.stderr.splitlines()[1:] == [
        b"3 of 4 photos captioned: captions/captions.jsonl",
        b"1 could not be read: captions/errors.jsonl",
    ]
    assert [record["image"] for record in lines(tmp_path / "captions" / "captions.jsonl")] == [
        "b 2.png", os.fsdecode(b"caf\xe9.png"), "a\\1.png"
    ]  # fmt: skip
