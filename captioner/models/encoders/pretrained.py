"""Initial weights of an encoder: from timm's hub or a local file, checked before they are used."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
from safetensors import SafetensorError, safe_open
from timm.models import load_state_dict
from torch import Tensor

from captioner.errors import UsageError

PERMISSIVE_LICENSES = ("apache-2.0", "mit", "bsd-3-clause", "bsd-2-clause", "cc-by-4.0", "cc0-1.0")
HUB = ("huggingface.co", 443)
_PREFIX = "encoder.model."  # of the encoder's weights in a captioner model file


def from_captioner(path: str) -> dict[str, Tensor] | None:
    """The encoder's weights in a captioner model file, without the layers that were removed in training.

    Args:
        path: A file of weights.

    Returns:
        The state of the timm model; None if the file is of another kind.
    """
    file = Path(path).expanduser()
    try:
        with safe_open(file, framework="pt") as stored:
            names = [name for name in stored.keys() if name.startswith(_PREFIX)]  # noqa: SIM118, not a dict
            return {name.removeprefix(_PREFIX): stored.get_tensor(name) for name in names} or None
    except (OSError, SafetensorError):
        return None  # `from_file` reports the error


def from_file(path: str, name: str) -> dict[str, Any]:
    """The configuration with which timm loads a local file strictly: no weight stays random.

    Args:
        path: A safetensors file, or a .pth file of tensors.
        name: The timm model it is for.

    Returns:
        A `pretrained_cfg_overlay` for `timm.create_model(..., num_classes=0)`.

    Raises:
        UsageError: If the file does not exist, cannot be read, or holds no tensors.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UsageError(
            f"encoder.weights={path} is not a file; give a safetensors or .pth file, 'timm' for timm's pretrained "
            "weights, or null for random ones"
        )
    try:
        state = load_state_dict(str(file), weights_only=True)  # a pickle that names code is refused
        tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    except Exception as error:  # each kind of damage raises another class
        raise UsageError(
            f"encoder.weights={path} cannot be read: {brief(error)}; give a safetensors file, or a .pth file of "
            "tensors alone"
        ) from error
    if not tensors:
        raise UsageError(f"encoder.weights={path} holds no tensors; give the weights of {name}")
    # The classifier is not built. If timm dropped its weights, it would load the rest without strict checks.
    config = _pretrained(name)
    heads = (config.classifier or ()) if config is not None else ()
    prefixes = tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads))
    tensors = {key: value for key, value in tensors.items() if not key.startswith(prefixes)}
    return {"state_dict": tensors, "num_classes": 0, "label_offset": 0}


def _pretrained(name: str) -> Any:
    """The configuration of timm's weights for a model, or None."""
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = ", ".join(timm.list_models(f"{name.partition('.')[0]}.*", pretrained=True))
        raise UsageError(
            f"encoder.name={name!r}: timm has no weights of that tag; choose from {tags}"
        ) from error


def check_license(name: str, *, accept: bool) -> None:
    """Refuse timm's weights for `name` unless their licence is permissive or `accept` is True.

    Raises:
        UsageError: If it is refused, or timm has no such weights.
    """
    config = _pretrained(name)
    license_name = (config.license or "unknown") if config is not None else "unknown"
    if not accept and license_name.lower() not in PERMISSIVE_LICENSES:
        raise UsageError(
            f"timm's weights for {name} are under the licence {license_name}; "
            "set encoder.accept_license=true if your use allows it, or choose another encoder"
        )


def check_reachable(name: str) -> None:
    """Fail in a second where timm would retry for most of a minute.

    Raises:
        UsageError: If timm's weights for `name` are neither in the cache nor can be downloaded.
    """
    config = _pretrained(name)
    if config is None or not (config.hf_hub_id or config.url or config.file):
        raise UsageError(
            f"timm has no pretrained weights for {name}; give a file in encoder.weights, or null"
        )
    if config.hf_hub_id:
        from huggingface_hub import try_to_load_from_cache

        for filename in ("model.safetensors", "pytorch_model.bin"):
            if isinstance(try_to_load_from_cache(config.hf_hub_id, filename), str):
                return
    hub = first_hop()
    try:
        socket.create_connection(hub, timeout=1).close()
    except OSError as error:
        raise UsageError(
            f"timm's weights for {name} are not on this machine and {hub[0]} cannot be reached; download "
            f"{config.hf_hub_id or config.url} elsewhere and give the file in encoder.weights=FILE, "
            "or encoder.weights=null for random weights"
        ) from error


def first_hop() -> tuple[str, int]:
    """Host and port that a download connects to: a proxy, a mirror, or the hub itself."""
    url = getproxies().get("https") or os.environ.get("HF_ENDPOINT")
    if not url:
        return HUB
    parts = urlsplit(url if "//" in url else f"//{url}")
    return parts.hostname or HUB[0], parts.port or (80 if parts.scheme == "http" else 443)


def brief(error: BaseException) -> str:
    """An error message in one line of at most 300 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + " …"
