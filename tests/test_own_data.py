"""The commands of docs/own-data.md, run as written on small photos."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from captioner.data.scenes import Scenes
from tests.conftest import Finished, compose

DOC = Path(__file__).parents[1] / "docs" / "own-data.md"
TEXT = DOC.read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python -m captioner\.(\w+) (.*)$", TEXT, re.M)
SMALL = {  # overrides that make each command take seconds without network
    "doctor": ["processes=1"],
    "train": [
        "encoder=tiny", "encoder.weights=null", "encoder.image_size=[32,32]", "encoder.trainable=none",
        "model.decoder.dim=16", "model.decoder.depth=1", "model.decoder.num_heads=2", "trainer=cpu",
        "trainer.max_epochs=1", "trainer.precision=32-true", "data.num_workers=0", "samples=1",
    ],
    "evaluate": ["metrics=[BLEU]", "page=2", "beam_size=1", "device=cpu"],
    "predict": ["beam_size=1", "device=cpu"],
}  # fmt: skip


@pytest.fixture
def my_photos(tmp_path: Path) -> Path:
    """Sixty small photos with two captions each, in the layout that the page describes."""
    root = tmp_path / "my-photos"
    (root / "images" / "garden").mkdir(parents=True)
    scenes = Scenes("train", size=60, image_size=48)
    lines = ["image,caption"]
    for number in range(60):
        name = f"garden/{number}.png" if number % 3 else f"beach {number}.jpg"
        Image.fromarray(scenes.photo(number).pixels).save(root / "images" / name)
        lines += [f'{name},"{caption}"' for caption in scenes[number].captions[:2]]
    (root / "captions.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    return root


def test_the_four_commands_make_a_captioner_and_its_report(
    my_photos: Path, command: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(my_photos.parent)
    assert [name for name, _ in COMMANDS] == ["doctor", "train", "evaluate", "predict"]
    for name, arguments in COMMANDS:
        done = command(name, *shlex.split(arguments), *SMALL[name])
        assert done.status == 0, done.err
    run = Path("runs/mine")
    scores = json.loads((run / "test" / "scores.json").read_text())
    captions = [json.loads(line) for line in (run / "captions" / "captions.jsonl").read_text().splitlines()]
    assert scores["images"] + len(ids_of("train")) + len(ids_of("val")) == len(captions) == 60
    for page in re.findall(r"`(\S+\.html)`", TEXT):
        assert Path(page).is_file(), page


def ids_of(split: str) -> list[str]:
    """Ids of a split, with the settings of the training command."""
    from captioner.data.open import open_split

    dataset = open_split(compose("train", *shlex.split(COMMANDS[1][1])).data, split)
    return [dataset[index].id for index in range(len(dataset))]


def test_every_data_setting_of_the_page_composes() -> None:
    ways = re.findall(r"`(data=\w+[^`]*)`", TEXT)
    assert len({way.split()[0] for way in ways}) >= 8
    for way in ways:
        settings = [part.replace("FILE", "a.csv").replace("NAME", "a") for part in way.split()]
        assert compose("train", *settings, "data.root=x").data.root == "x"
