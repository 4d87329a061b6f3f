from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
import pickle
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import LayerNorm

from captioner import bundle as bundles
from captioner.bundle import Bundle, build_captioner, load, save
from captioner.captioning.engine import CaptioningEngine
from captioner.decoding import make_search
from captioner.errors import CaptionerError, ModelFileError, UsageError
from captioner.files import replace_file
from captioner.image.geometry import ImageGeometry

PHOTO = ImageGeometry((32, 48), 1, (0.0, 0.0, 32.0, 48.0), (32, 48))


@pytest.fixture(scope="module")
def file(random_model: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "model.safetensors"
    save(path, random_model)
    return path


def contents(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata()  # noqa: SIM118


def rewritten(path: Path, to: Path, **metadata: str | None) -> Path:
    """The same model with other metadata, as someone would forge it: the checksums fit."""
    tensors, old = contents(path)
    new = {key: value for key, value in {**old, **metadata}.items() if value is not None}
    if "description_sha256" not in metadata:
        parts = [new.get(name, "") for name in ("format", "spec", "tokenizer", "transform", "card")]
        new["description_sha256"] = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    save_file(tensors, to, new)
    return to


def captions(model: Bundle) -> list[tuple[str, float]]:
    images = 3 * torch.randn(6, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    engine = CaptioningEngine(model.captioner, model.tokenizer)
    found = engine.caption([images], [PHOTO] * 6, search=make_search(3, max_length=9))
    return [(caption.text, caption.logprob) for caption in found]


def test_a_loaded_model_is_the_saved_one(random_model: Bundle, file: Path) -> None:
    loaded = load(file)
    expected, found = random_model.captioner.state_dict(), loaded.captioner.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert not loaded.captioner.training
    assert loaded.transform == random_model.transform
    assert loaded.tokenizer.to_json() == random_model.tokenizer.to_json()
    assert loaded.card == random_model.card
    assert loaded.spec == random_model.spec
    assert captions(loaded) == captions(random_model)
    assert load(str(file)).card == loaded.card


def same(path: Path, other: Path) -> bool:
    """Whether two files hold the same; safetensors writes metadata in any order."""
    (tensors, metadata), (others, other_metadata) = contents(path), contents(other)
    return (
        metadata == other_metadata
        and tensors.keys() == others.keys()
        and all(torch.equal(value, others[name]) for name, value in tensors.items())
    )


def test_saving_a_loaded_model_gives_the_same_contents(file: Path, tmp_path: Path) -> None:
    save(tmp_path / "again.safetensors", load(file))
    assert same(tmp_path / "again.safetensors", file)


def test_the_weights_a_model_started_from_are_forgotten(random_model: Bundle, tmp_path: Path) -> None:
    started = {**random_model.spec["encoder"], "weights": "/somewhere/x.pth", "accept_license": True}
    save(
        tmp_path / "m.safetensors",
        dataclasses.replace(random_model, spec={**random_model.spec, "encoder": started}),
    )
    loaded = load(tmp_path / "m.safetensors")  # without that file being there
    assert loaded.spec == random_model.spec


def test_nothing_is_unpickled(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    assert load(file).captioner is not None


def test_a_compiled_model_is_saved_under_the_same_names(
    random_model: Bundle, file: Path, tmp_path: Path
) -> None:
    compiled = copy.deepcopy(random_model.captioner)
    compiled.compile(backend="eager")
    compiled.decoder.compile(backend="eager")
    save(tmp_path / "compiled.safetensors", dataclasses.replace(random_model, captioner=compiled))
    assert same(tmp_path / "compiled.safetensors", file)


def test_a_flipped_byte_is_refused_wherever_it_is(file: Path, tmp_path: Path) -> None:
    whole = bytearray(file.read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    # All kinds of places: the length, the header with every piece of metadata, the tensors.
    generator = torch.Generator().manual_seed(0)
    header_places = torch.randint(8, header, (60,), generator=generator).tolist()
    places = [0, 3, 7, *header_places, header, (header + len(whole)) // 2, len(whole) - 1]
    damaged = tmp_path / "model.safetensors"
    for place in places:
        whole[place] ^= 0b101
        damaged.write_bytes(whole)
        with pytest.raises(ModelFileError, match=f"^{re.escape(str(damaged))} "):
            load(damaged)
        whole[place] ^= 0b101


def test_a_tensor_read_as_another_type_is_refused(file: Path, tmp_path: Path) -> None:
    # One byte of the header makes F32 an I32 of the same size; the bytes, and so a checksum of them, stay.
    content = file.read_bytes()
    assert content.count(b'"dtype":"F32"') > 10
    damaged = tmp_path / "model.safetensors"
    damaged.write_bytes(content.replace(b'"dtype":"F32"', b'"dtype":"I32"', 1))
    with pytest.raises(ModelFileError, match=f"{damaged} .*shapes.*1 weights"):
        load(damaged)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, 5000, -1])
def test_a_file_cut_short_is_refused(file: Path, tmp_path: Path, size: int) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ModelFileError, match=f"{cut} .*model file.*cut short"):
        load(cut)


def test_what_is_not_a_model_file_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "model.txt"
    text.write_text("I am a model, believe me. " * 100)
    with pytest.raises(ModelFileError, match=f"{text} is not a captioner model file"):
        load(text)
    pickled = tmp_path / "model.pt"
    torch.save({"a": torch.zeros(3)}, pickled)
    with pytest.raises(ModelFileError, match=f"{pickled} .*model file"):
        load(pickled)
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(3)}, other)
    with pytest.raises(ModelFileError, match=f"{other} .*safetensors.*captioner"):
        load(other)
    save_file({"a": torch.zeros(3)}, other, {"format": "captioner-0"})
    with pytest.raises(ModelFileError, match=f"{other} .*safetensors.*captioner"):
        load(other)
    for missing in (tmp_path / "nowhere.safetensors", tmp_path):
        with pytest.raises(ModelFileError, match=f"{missing}.*python -m"):
            load(missing)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"spec": None}, "lacks part of its description"),
        ({"tokenizer": None}, "lacks part of its description"),
        ({"card": "{"}, "lacks part of its description"),
        ({"spec": "[" * 100_000}, "lacks part of its description"),
        ({"tokenizer": "{}"}, "not a tokenizer of ours"),
        ({"transform": "{}"}, "the image transform needs the fields"),
        ({"transform": '{"size": [9999, 1]}'}, "the image transform needs the fields"),
        ({"spec": "[]"}, "_target_"),
        ({"spec": "3"}, "_target_"),
        ({"spec": '{"_target_": "captioner.models.nothing.Model"}'}, "captioner.models.nothing.Model"),
        ({"spec": '{"_target_": "captioner.models.captioner.Captioner"}'}, "does not take these settings"),
        ({"sha256": "0" * 64}, "is damaged: its weights do not match"),
        ({"sha256": None}, "is damaged: its weights do not match"),
        ({"description_sha256": None}, "is damaged: its description does not match"),
        ({"description_sha256": "0" * 64}, "is damaged: its description does not match"),
    ],
)
def test_a_damaged_description_is_refused_with_the_files_name(
    file: Path, tmp_path: Path, changes: dict[str, str | None], reason: str
) -> None:
    path = rewritten(file, tmp_path / "m.safetensors", **changes)
    with pytest.raises(ModelFileError, match=f"^{re.escape(str(path))} .*{re.escape(reason)}"):
        load(path)


def changed_spec(file: Path, change: Callable[[dict[str, Any]], None]) -> str:
    spec = json.loads(contents(file)[1]["spec"])
    change(spec)
    return json.dumps(spec)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "torch.nn.Linear",
        "captioner.cli.run",
        "captioner.training.fit.fit",
        "captioner.models",
        "captioner.models.encoders.pretrained.Path",
        "captioner.models.encoders.pretrained.from_file",
        "captioner.models..os.system",
        "captioner.models.encoders.encoder.timm.create_model",
        "captioner.models_evil.Model",
        "",
    ],
)
@pytest.mark.parametrize("where", ["top", "inside", "deep"])
def test_a_spec_that_names_other_code_is_refused_and_not_run(
    file: Path, tmp_path: Path, target: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(os, "system", ran.append)
    call = {"_target_": target, "command": "touch owned"}

    def change(spec: dict[str, Any]) -> None:
        if where == "top":
            spec["_target_"] = target
        elif where == "inside":
            spec["decoder"] = call
        else:
            spec["encoder"]["model_args"] = {"list": [{"and": call}]}

    path = rewritten(file, tmp_path / "m.safetensors", spec=changed_spec(file, change))
    with pytest.raises(ModelFileError, match=f"^{re.escape(str(path))} .*(_target_|model_args)"):
        load(path)
    assert not ran


TRAP = "/trap/weights.pth"
ENCODER = "captioner.models.encoders.encoder.ImageEncoder"
TRAPS: dict[str, Callable[[dict[str, Any]], None]] = {
    "weights": lambda spec: spec["encoder"].update(weights=TRAP),
    "timm's weights": lambda spec: spec["encoder"].update(weights="timm"),
    "licence": lambda spec: spec["encoder"].update(accept_license=True),
    "weights of the decoder": lambda spec: spec["decoder"].update(weights=TRAP),
    "weights of the model": lambda spec: spec.update(weights=TRAP),
    "encoder as decoder": lambda spec: spec.update(decoder={**spec["encoder"], "weights": "timm"}),
    "encoder in model_args": lambda spec: spec["encoder"].update(model_args={"x": dict(spec["encoder"])}),
    "encoder in a list": lambda spec: spec["encoder"].update(finer=[{**spec["encoder"], "weights": TRAP}]),
    "encoder as a number": lambda spec: spec.update(dropout={**spec["encoder"], "weights": TRAP}),
    "decoder as encoder": lambda spec: spec.update(encoder=spec["decoder"]),
    "model as encoder": lambda spec: spec.update(encoder=dict(spec)),
    "no encoder": lambda spec: spec.update(encoder=TRAP),
    "checkpoint": lambda spec: spec["encoder"].update(model_args={"checkpoint_path": TRAP}),
    "pretrained": lambda spec: spec["encoder"].update(model_args={"pretrained": True}),
    "configuration": lambda spec: spec["encoder"].update(model_args={"pretrained_cfg": {"file": TRAP}}),
    "cache": lambda spec: spec["encoder"].update(model_args={"cache_dir": "here"}),
    "path in model_args": lambda spec: spec["encoder"].update(model_args={"norm_layer": TRAP}),
    "nested path": lambda spec: spec["encoder"].update(model_args={"block": {"x": [{"y": "C:\\\\trap"}]}}),
    "address in model_args": lambda spec: spec["encoder"].update(model_args={"act_layer": "hf-hub:a/b"}),
    "hub as name": lambda spec: spec["encoder"].update(name="hf-hub:someone/model"),
    "folder as name": lambda spec: spec["encoder"].update(name="local-dir:/trap"),
    "logger": lambda spec: spec.update(decoder={"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": TRAP}),
    "dataset": lambda spec: spec.update(decoder={"_target_": "captioner.data.readers.coco.CocoCaptions", "root": TRAP}),
}  # fmt: skip
_events: list[tuple[str, str]] | None = None


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    if _events is not None and (event == "open" or event.startswith(("socket.", "subprocess.", "os.system"))):
        _events.append((event, str(arguments[0]) if arguments else ""))


@pytest.fixture(scope="module")
def recorded() -> None:
    sys.addaudithook(_record)  # stays, and records nothing between the tests


@pytest.mark.parametrize("trap", TRAPS)
def test_a_forged_file_opens_no_file_and_no_socket(
    recorded: None, file: Path, tmp_path: Path, trap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own modules may be imported; the model file itself is opened by safetensors, which is not recorded."""
    global _events

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    path = rewritten(file, tmp_path / "m.safetensors", spec=changed_spec(file, TRAPS[trap]))
    _events = []
    try:
        with pytest.raises(ModelFileError, match=f"^{re.escape(str(path))} "):
            load(path)
    finally:
        seen, _events = _events, None
    code = (".py", ".pyc", ".so")
    assert [(event, name) for event, name in seen if event != "open" or not name.endswith(code)] == []


def test_tensors_that_share_memory_are_saved(random_model: Bundle, tmp_path: Path) -> None:
    captioner = copy.deepcopy(random_model.captioner)
    first, second = (captioner.decoder.get_submodule(f"layers.{i}.self_norm") for i in range(2))
    assert isinstance(first, LayerNorm)
    assert isinstance(second, LayerNorm)
    assert first.weight.shape == second.weight.shape
    second.weight = first.weight
    save(tmp_path / "m.safetensors", dataclasses.replace(random_model, captioner=captioner))
    loaded = load(tmp_path / "m.safetensors").captioner.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in captioner.state_dict().items())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda spec: spec["decoder"].update(dim=32), "has wrong shapes or types for"),
        (lambda spec: spec["decoder"].update(depth=3), "lacks 22 weights"),
        (lambda spec: spec["decoder"].update(depth=1), "has unknown"),
        (lambda spec: spec["decoder"].update(dropout=7), "cannot be built by this version"),
        (lambda spec: spec["decoder"].update(dim=2**40), "cannot be built by this version"),
        (lambda spec: spec["decoder"].update(vocab_size="many"), "cannot be built by this version"),
        (lambda spec: spec["encoder"].update(name="resnet_9000"), "cannot be built by this version"),
        (lambda spec: spec["encoder"].update(name="test_resnet"), "lacks"),
        (lambda spec: spec.update(nonsense=1), "cannot be built by this version"),
        (lambda spec: spec["encoder"].update(align=2), "cannot be built by this version"),
    ],
)
def test_a_description_of_another_model_is_refused(
    file: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], problem: str
) -> None:
    path = rewritten(file, tmp_path / "m.safetensors", spec=changed_spec(file, change))
    with pytest.raises(ModelFileError, match=f"^{re.escape(str(path))} {problem}"):
        load(path)


def test_a_spec_of_something_else_is_no_captioner(random_model: Bundle) -> None:
    with pytest.raises(ModelFileError, match=r"TransformerDecoder .*model"):
        build_captioner(random_model.spec["decoder"])
    with pytest.raises(UsageError, match=r"Captioner .*settings"):
        build_captioner({**random_model.spec, "colour": "red"})


def test_a_folder_in_the_way_is_reported_and_nothing_is_left_behind(
    random_model: Bundle, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    path.mkdir()
    with pytest.raises(CaptionerError, match=f"cannot write the model file {path}: "):
        save(path, random_model)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    with pytest.raises(CaptionerError, match=f"{blocked}/model.safetensors: "):
        save(blocked / "model.safetensors", random_model)


def test_folders_are_made(random_model: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "new" / "and deep" / "model.safetensors"
    save(path, random_model)
    assert load(path).card == random_model.card


def test_a_write_that_stops_half_way_leaves_the_old_file(
    random_model: Bundle, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(file.read_bytes())

    def full(tensors: object, name: str, metadata: object) -> None:
        Path(name).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundles, "save_file", full)
    with pytest.raises(CaptionerError, match=f"{path}: .*No space left on device"):
        save(path, random_model)
    assert path.read_bytes() == file.read_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]

    def interrupted(name: str) -> None:
        Path(name).write_bytes(b"half of it")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, interrupted)
    assert path.read_bytes() == file.read_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]


def test_the_mode_of_the_file_lets_others_read_it(file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o644
