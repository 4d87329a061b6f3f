"""The model file: safetensors with the weights, and with everything else that captioning needs as metadata.

The metadata are four JSON texts, `spec` (how to build the model), `tokenizer`, `transform` and `card` (data, scores,
versions, date), and checksums of all tensors and of these texts, since a flipped byte would load silently otherwise.
Nothing is pickled. A spec is built from an allow-list of classes, and may not name weights or other files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from captioner.build import build
from captioner.errors import CaptionerError, ModelFileError, UsageError
from captioner.files import replace_file
from captioner.image.transforms import ImageTransform
from captioner.models.captioner import Captioner
from captioner.text.tokenizer import Tokenizer

FORMAT = "captioner-1"
_PLAIN_TEXT = re.compile(r"[\w.-]*")  # no path, no address


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """Everything captioning needs.

    Attributes:
        captioner: The model, in evaluation mode.
        tokenizer: Built from the training captions.
        transform: Brings a photo to the pixels the encoder takes.
        spec: How `captioner` is built: nested mappings with `_target_`.
        card: The training card: data, settings, scores, versions, date.
    """

    captioner: Captioner
    tokenizer: Tokenizer
    transform: ImageTransform
    spec: dict[str, Any]
    card: dict[str, Any]


def build_captioner(spec: Mapping[str, Any]) -> Captioner:
    """The model that a spec describes, with random weights (or those its encoder names).

    Raises:
        ModelFileError: If the spec names a class that is not allowed in its place.
        UsageError: If its arguments do not fit.
    """
    captioner: Captioner = build(spec, kind="model")
    return captioner


def save(path: Path, bundle: Bundle) -> None:
    """Write a model file; the old one stays until the new one is complete.

    Raises:
        CaptionerError: If the file cannot be written.
    """
    tensors = _unshared(bundle.captioner.state_dict())
    metadata = {
        "format": FORMAT,
        "spec": json.dumps(_without_weights(bundle.spec)),
        "tokenizer": bundle.tokenizer.to_json(),
        "transform": json.dumps(bundle.transform.spec()),
        "card": json.dumps(bundle.card),
        "sha256": _checksum(tensors),
    }
    metadata["description_sha256"] = _description_checksum(metadata)
    try:
        replace_file(path, lambda temporary: save_file(tensors, temporary, metadata))
    except (OSError, SafetensorError) as error:
        raise CaptionerError(f"cannot write the model file {path}: {error}; the old one is intact") from error


def load(path: str | Path, *, device: str | torch.device = "cpu") -> Bundle:
    """Read a model file.

    Raises:
        ModelFileError: If it is missing, not a captioner's, cut short or damaged, or names a file, an address, or a
            class that is not allowed in its place. Nothing else is opened then.
    """
    path = Path(path).expanduser()
    tensors, metadata = _read(path)
    texts = _description_checksum(metadata)
    for part, kept, found in (
        ("weights do", metadata.get("sha256"), _checksum(tensors)),
        ("description does", metadata.get("description_sha256"), texts),
    ):
        if kept != found:
            raise ModelFileError(
                f"{path} is damaged: its {part} not match the checksum; copy or train it again"
            )
    try:
        spec, card = json.loads(metadata["spec"]), json.loads(metadata["card"])
        transform = ImageTransform.from_spec(json.loads(metadata["transform"]))
        tokenizer = Tokenizer.from_json(metadata["tokenizer"])
    except (KeyError, json.JSONDecodeError, RecursionError) as error:
        raise ModelFileError(
            f"{path} lacks part of its description ({error}); train or download it again"
        ) from error
    except ModelFileError as error:
        raise ModelFileError(f"{path} is refused: {error}") from error
    try:
        _refuse_files(spec)
        captioner = build_captioner(spec)
    except ModelFileError as error:
        raise ModelFileError(f"{path} is refused: {error}") from error
    except (UsageError, RuntimeError, TypeError, ValueError, MemoryError) as error:  # whatever is forged
        raise ModelFileError(f"{path} cannot be built by this version of captioner: {error}") from error
    _load_weights(captioner, tensors, path)
    captioner.to(device).eval()
    return Bundle(captioner, tokenizer, transform, spec, card)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise ModelFileError(f"no model file at {path}; train one with python -m captioner.train")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ModelFileError(
                    f"{path} is a safetensors file, but not a captioner model (format {FORMAT}); "
                    "give the model.safetensors that captioner.train wrote"
                )
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            f"{path} is not a captioner model file, or it is cut short ({error}); "
            "give the model.safetensors that captioner.train wrote"
        ) from error


def _load_weights(captioner: Captioner, tensors: Mapping[str, Tensor], path: Path) -> None:
    own = captioner.state_dict()
    missing = sorted(own.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - own.keys())
    misfits = sorted(
        name
        for name in own.keys() & tensors.keys()
        if (own[name].shape, own[name].dtype) != (tensors[name].shape, tensors[name].dtype)
    )
    for problem, names in (
        ("lacks", missing),
        ("has unknown", unknown),
        ("has wrong shapes or types for", misfits),
    ):
        if names:
            raise ModelFileError(
                f"{path} {problem} {len(names)} weights ({names[0]} first) of the model it describes; "
                "it is damaged or from another version of captioner or timm"
            )
    captioner.load_state_dict(tensors)


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _description_checksum(metadata: Mapping[str, str]) -> str:
    parts = [metadata.get(name, "") for name in ("format", "spec", "tokenizer", "transform", "card")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _unshared(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors on the CPU that share no memory, which safetensors would refuse: of shared ones, copies."""
    tensors, seen = {}, set()
    for name, value in state.items():
        tensor = value.detach().cpu().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return tensors


def _without_weights(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec as it is stored: a model file has weights of its own, whatever its encoder started from."""
    encoder = {
        key: value for key, value in spec["encoder"].items() if key not in ("weights", "accept_license")
    }
    return {**spec, "encoder": encoder}


def _refuse_files(spec: Any) -> None:
    """Refuse a spec whose encoder names weights, a path or an address.

    Raises:
        ModelFileError: If it does.
    """
    encoder = spec.get("encoder") if isinstance(spec, dict) else None
    if not isinstance(encoder, dict):
        return  # refused as no encoder when it is built
    for key in ("weights", "accept_license"):
        if encoder.get(key):
            raise ModelFileError(
                f"its encoder names {key}={encoder[key]!r}, and a model file has its own weights"
            )
    for name, value in _texts(encoder.get("model_args"), "model_args"):
        if not _PLAIN_TEXT.fullmatch(value) or re.search(
            r"pretrained|checkpoint|cache_dir|file|url|hub", name
        ):
            raise ModelFileError(f"its encoder names {name}={value!r}; a model file may name no other file")


def _texts(node: Any, name: str) -> Iterator[tuple[str, str]]:
    """Every key and text of nested mappings and lists, with its dotted name."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield f"{name}.{key}", ""
            yield from _texts(value, f"{name}.{key}")
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value, name)
    elif isinstance(node, str):
        yield name, node
