from __future__ import annotations

import pickle
import socket
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from captioner.errors import UsageError
from captioner.models.encoders.encoder import ImageEncoder
from captioner.models.encoders.pretrained import check_reachable


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights as timm publishes them, classifier included."""
    torch.manual_seed(7)
    file = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), file)
    return file


def equals_file(encoder: ImageEncoder, tensors: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, tensors[name]) for name, value in encoder.model.state_dict().items())


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "wrapped.pth", "headless.safetensors"])
def test_weights_come_from_a_local_file(weights: Path, tmp_path: Path, suffix: str) -> None:
    tensors = load_file(weights)
    file = tmp_path / f"file.{suffix}"
    if suffix == "pth":
        torch.save(tensors, file)
    elif suffix == "wrapped.pth":
        torch.save({"state_dict": {f"module.{name}": value for name, value in tensors.items()}}, file)
    elif suffix == "headless.safetensors":
        save_file({name: value for name, value in tensors.items() if not name.startswith("head")}, file)
    else:
        save_file(tensors, file)
    encoder = ImageEncoder("test_resnet", (32, 32), weights=str(file))
    assert equals_file(encoder, tensors)
    assert "state_dict" not in encoder.model.pretrained_cfg
    config = timm.get_pretrained_cfg("test_resnet")
    assert config is not None
    assert encoder.mean == tuple(config.mean)
    cut = ImageEncoder("test_resnet", (32, 32), weights=str(file), level=1)
    assert equals_file(cut, tensors)


def test_a_captioners_own_model_file_gives_its_encoder(tmp_path: Path) -> None:
    first = ImageEncoder("test_resnet", (32, 32), level=1)
    file = tmp_path / "model.safetensors"
    save_file({f"encoder.{name}": value.contiguous() for name, value in first.state_dict().items()}, file)
    second = ImageEncoder("test_resnet", (32, 32), weights=str(file), level=1, trainable="none")
    assert equals_file(second, first.model.state_dict())
    with pytest.raises(UsageError, match=r"model.safetensors.*Missing key.*layer2"):
        ImageEncoder("test_resnet", (32, 32), weights=str(file), level=3)


def test_weights_that_do_not_fit_are_refused_not_left_out(weights: Path, tmp_path: Path) -> None:
    tensors = load_file(weights)
    with pytest.raises(UsageError, match=r"weights=.*model.safetensors.*(size mismatch|Missing key)"):
        ImageEncoder("resnet10t", (32, 32), weights=str(weights))
    lacking = tmp_path / "lacking.safetensors"
    save_file({name: value for name, value in tensors.items() if "layer4" not in name}, lacking)
    with pytest.raises(UsageError, match=r"lacking.safetensors.*Missing key.*layer4"):
        ImageEncoder("test_resnet", (32, 32), weights=str(lacking))
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, other)
    with pytest.raises(UsageError, match=r"other.safetensors.*Missing key"):
        ImageEncoder("test_resnet", (32, 32), weights=str(other))


class Trap:
    """What a malicious pickle does when it is opened."""

    sprung = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _spring, ()


def _spring() -> dict[str, Tensor]:
    Trap.sprung = True
    return {}


@pytest.mark.parametrize("name", ["cut.safetensors", "text.safetensors", "text.pth", "empty.pth", "trap.pth"])
def test_a_file_that_is_no_weights_is_refused(weights: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    content = {
        "cut": weights.read_bytes()[:2000],
        "text": b"<html>not found</html>",
        "empty": b"",
        "trap": pickle.dumps(Trap()),
    }
    file.write_bytes(content[file.stem])
    with pytest.raises(UsageError, match=f"encoder.weights={file} .*safetensors"):
        ImageEncoder("test_resnet", (32, 32), weights=str(file))
    assert not Trap.sprung


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "log.pth")
    with pytest.raises(UsageError, match=r"log\.pth .*test_resnet"):
        ImageEncoder("test_resnet", (32, 32), weights=str(tmp_path / "log.pth"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No cache, no proxy, and a hub where nobody answers."""
    monkeypatch.setattr("captioner.models.encoders.pretrained.HUB", ("127.0.0.1", 9))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("offline")
def test_pretrained_weights_offline_fail_after_one_attempt_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither timm nor its hub is called, which would retry for most of a minute."""
    attempts: list[tuple[Any, float]] = []

    def refuse(address: Any, timeout: float) -> socket.socket:
        attempts.append((address, timeout))
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a second connection"))
    with pytest.raises(
        UsageError,
        match=r"test_resnet .*127\.0\.0\.1 .*encoder\.weights=",
    ):
        ImageEncoder("test_resnet", (32, 32), weights="timm")
    assert attempts == [(("127.0.0.1", 9), 1)]


@pytest.mark.usefixtures("offline")
def test_pretrained_weights_in_the_cache_need_no_network(weights: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--timm--test_resnet.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "snapshots" / "abc" / "model.safetensors").write_bytes(weights.read_bytes())
    check_reachable("test_resnet")  # timm's own loading is timm's matter


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "HF_ENDPOINT"])
def test_a_proxy_or_a_mirror_is_asked_instead_of_the_hub(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv(variable, f"http://127.0.0.1:{port}")
        check_reachable("test_resnet")
    with pytest.raises(UsageError, match=r"127.0.0.1 cannot be reached"):
        check_reachable("test_resnet")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "license_name"), [("convnextv2_atto", "cc-by-nc-4.0"), ("csatv2", "unknown")]
)
def test_a_licence_that_is_not_permissive_must_be_accepted(name: str, license_name: str) -> None:
    with pytest.raises(UsageError, match=rf"{name} .*licence {license_name}; .*encoder.accept_license=true"):
        ImageEncoder(name, (64, 64), weights="timm")
    with pytest.raises(UsageError, match="cannot be reached"):
        ImageEncoder(name, (64, 64), weights="timm", accept_license=True)


@pytest.mark.usefixtures("offline")
def test_weights_that_timm_does_not_have_are_refused() -> None:
    with pytest.raises(UsageError, match=r"tag.*resnet18\.a1_in1k"):
        ImageEncoder("resnet18.nonsense", (32, 32), weights="timm")
    without = next(name for name in timm.list_models() if not timm.is_model_pretrained(name))
    with pytest.raises(UsageError, match=f"timm .*{without}.*file"):
        ImageEncoder(without, (32, 32), weights="timm")
