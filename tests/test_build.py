"""Tests of the construction of parts from plain mappings."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from captioner.build import as_list, build
from captioner.errors import CaptionerError, ModelFileError, UsageError
from captioner.models.captioner import Captioner
from captioner.models.decoders.lstm import LstmDecoder
from captioner.objectives.mixed import Mixed
from captioner.objectives.teacher_forcing import TeacherForcing

TEACHER_FORCING = "captioner.objectives.teacher_forcing.TeacherForcing"
SELF_CRITICAL = "captioner.objectives.self_critical.SelfCritical"
MIXED = "captioner.objectives.mixed.Mixed"
LSTM = "captioner.models.decoders.lstm.LstmDecoder"
ENCODER = "captioner.models.encoders.encoder.ImageEncoder"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, []),
        ("", []),
        ("html", ["html"]),
        ("html, png,", ["html", "png"]),
        (OmegaConf.create(["html", "png"]), ["html", "png"]),
        ([1, " 2 "], ["1", "2"]),
    ],
)
def test_as_list(value: Any, expected: list[str]) -> None:
    assert as_list(value) == expected


def test_the_class_of_target_is_made_with_values_of_the_configuration() -> None:
    cfg = OmegaConf.create(
        {"rate": 0.25, "loss": {"_target_": TEACHER_FORCING, "label_smoothing": "${rate}"}}
    )
    assert isinstance(build(cfg.loss, kind="objective"), TeacherForcing)


def test_parts_are_made_first() -> None:
    spec = {"_target_": MIXED, "teacher_forcing": {"_target_": TEACHER_FORCING}}
    spec["self_critical"] = {"_target_": SELF_CRITICAL, "reward": {"CIDEr-D": 1.0}}
    assert isinstance(build(spec, kind="objective"), Mixed)


def test_a_mapping_and_a_list_of_the_configuration_become_plain() -> None:
    sizes = OmegaConf.create({"_target_": ENCODER, "name": "test_vit", "image_size": [32, 48]})
    assert build(sizes, kind="encoder").image_size == (32, 48)


@pytest.mark.parametrize(
    ("spec", "kind", "error", "message"),
    [
        ({"_target_": "os.system", "command": "true"}, "dataset", ModelFileError, "os.system"),
        ({"_target_": "captioner.datax.Trap"}, "dataset", ModelFileError, "captioner.datax.Trap"),
        ({"_target_": "captioner.data.open.open_split"}, "dataset", ModelFileError, "open_split"),
        ({"_target_": "captioner.data.open.UsageError"}, "dataset", ModelFileError, "UsageError"),
        ({"_target_": "captioner.data.nowhere.Thing"}, "dataset", UsageError, "captioner.data.nowhere.Thing"),
        ({"_target_": LSTM, "vocab_size": 9, "dim": 4}, "encoder", ModelFileError, LSTM),
        ({"_target_": ENCODER, "name": "test_vit"}, "decoder", ModelFileError, ENCODER),
        ({"_target_": TEACHER_FORCING}, "decoder", ModelFileError, TEACHER_FORCING),
        ({"_target_": LSTM, "vocab_size": 9, "dim": {"_target_": LSTM}}, "decoder", ModelFileError, "decoder.dim"),
        ({"_target_": MIXED, "teacher_forcing": {"_target_": LSTM}}, "objective", ModelFileError, LSTM),
        ({"_target_": TEACHER_FORCING, "smoothing": 1}, "objective", UsageError, "smoothing"),
        ({"_target_": LSTM, "vocab_size": "many", "dim": 4}, "decoder", UsageError, "vocab_size='many'"),
        ({"_target_": LSTM, "vocab_size": 9, "dim": 4.5}, "decoder", UsageError, "dim=4.5"),
        ({"_target_": LSTM, "vocab_size": 9, "dim": True}, "decoder", UsageError, "dim=True"),
        ({"dim": 3}, "decoder", ModelFileError, "decoder"),
        ("text", "decoder", ModelFileError, "text"),
        ({"_target_": ["os.system"]}, "decoder", ModelFileError, "list"),
        ({"_target_": LSTM.replace("Lstm", "Lsmt")}, "decoder", ModelFileError, r"did you mean .*LstmDecoder\?"),
    ],
)  # fmt: skip
def test_wrong_specs_are_refused(spec: Any, kind: Any, error: type[CaptionerError], message: str) -> None:
    with pytest.raises(error, match=message):
        build(spec, kind=kind)


def test_nothing_is_made_of_a_spec_with_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder comes first, but the fault of the decoder is found before the encoder is made."""
    made: list[str] = []

    def record(self: object, *args: object, **kwargs: object) -> None:
        made.append(type(self).__name__)

    monkeypatch.setattr("captioner.models.encoders.encoder.ImageEncoder.__init__", record)
    spec = {"_target_": f"{Captioner.__module__}.Captioner", "encoder": {"_target_": ENCODER}}
    with pytest.raises(ModelFileError, match="decoder"):
        build({**spec, "decoder": {"_target_": ENCODER}}, kind="model")
    assert not made


def test_a_bug_in_a_constructor_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, vocab_size: int, dim: int) -> None:
        raise TypeError("a bug of ours")

    monkeypatch.setattr(LstmDecoder, "__init__", broken)
    with pytest.raises(TypeError, match="a bug of ours"):
        build({"_target_": LSTM, "vocab_size": 9, "dim": 4}, kind="decoder")
