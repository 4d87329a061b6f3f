"""The model that training starts from: a new one as configured, or one from a model file."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from captioner.bundle import build_captioner, load
from captioner.data.samples import CaptionDataset
from captioner.errors import DataError, UsageError
from captioner.image.transforms import ImageTransform
from captioner.models.captioner import Captioner
from captioner.models.encoders.native import native_step
from captioner.text.tokenizer import Tokenizer

_CHANGEABLE = ("model.dropout", "model.decoder.dropout", "encoder.trainable")
"""Settings of a model from a file that may be changed: they affect its training, not its architecture."""
_VOCABULARY_SAMPLE = 1000  # training images whose captions are checked against the file's vocabulary
_MAX_UNKNOWN = 0.5  # fraction of their words


@dataclass(frozen=True, slots=True, eq=False)
class InitialModel:
    """A model before training.

    Attributes:
        captioner: The model, on the CPU.
        tokenizer: Its tokenizer.
        transform: Its image transform.
        spec: How `captioner` is built, for the model file.
        origin: A description of the model file it comes from, with its score; None for a new model.
    """

    captioner: Captioner
    tokenizer: Tokenizer
    transform: ImageTransform
    spec: dict[str, Any]
    origin: str | None = None


def new_model(settings: Mapping[str, Any], train_set: CaptionDataset) -> InitialModel:
    """A model with a random decoder, and a tokenizer of the training captions.

    Args:
        settings: The settings `tokenizer`, `encoder`, `model` and `image.fit` of `train`.
        train_set: Source of the tokenizer's vocabulary.
    """
    tokenizer = Tokenizer.train(
        (caption for i in range(len(train_set)) for caption in train_set[i].captions), **settings["tokenizer"]
    )
    spec = _spec(settings["encoder"], settings["model"], tokenizer)
    captioner = build_captioner(spec)
    encoder = captioner.encoder
    fit = settings["image"]["fit"]
    transform = ImageTransform(
        encoder.image_size,
        fit=fit,
        mean=encoder.mean,  # type: ignore[arg-type]
        std=encoder.std,  # type: ignore[arg-type]
        step=native_step(encoder) if fit == "native" else (1, 1),
    )
    spec["encoder"] |= {"mean": list(encoder.mean), "std": list(encoder.std)}
    return InitialModel(captioner, tokenizer, transform, spec)


def model_from_file(
    settings: Mapping[str, Any], train_set: CaptionDataset, *, overrides: Sequence[str], output_dir: Path
) -> InitialModel:
    """The model of `init_from` with its tokenizer and transform.

    Args:
        settings: The settings of `train`. Those of the model are ignored unless they are in `overrides`.
        train_set: Its captions must use the file's vocabulary.
        overrides: The overrides given on the command line. They may change dropout and `encoder.trainable`; other
            settings of the model must be equal to the file's.
        output_dir: Output folder of the run.

    Raises:
        ModelFileError: If the file cannot be read.
        UsageError: If an override asks for another model than the file's, or the run would overwrite the file.
        DataError: If most words of the training captions are not in the file's vocabulary.
    """
    path = Path(settings["init_from"]).expanduser()
    path = path / "model.safetensors" if path.is_dir() else path
    if settings["resume"] is None and path.resolve() == (output_dir / "model.safetensors").resolve():
        raise UsageError(f"init_from={path} would be overwritten by this run; set another output_dir")
    bundle = load(path)
    keys = [override.lstrip("+~").partition("=")[0] for override in overrides]
    _check_overrides(settings, keys, bundle.spec, bundle.transform, path)
    spec = _with_overrides(settings, keys, bundle.spec)
    captioner = build_captioner(spec)
    captioner.load_state_dict(bundle.captioner.state_dict())
    _check_vocabulary(train_set, bundle.tokenizer, path)
    monitor = settings["monitor"]
    score = bundle.card.get("scores", {}).get(monitor)
    scored = "" if score is None else f", saved with {monitor} {score:.3f}"
    return InitialModel(captioner, bundle.tokenizer, bundle.transform, spec, origin=f"{path}{scored}")


def _spec(encoder: Mapping[str, Any], model: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "_target_": "captioner.models.captioner.Captioner",
        "encoder": copy.deepcopy(dict(encoder)),
        "decoder": {**copy.deepcopy(dict(model["decoder"])), "vocab_size": tokenizer.vocab_size},
        "dropout": model["dropout"],
        "image_depth": model["image_depth"],
        "image_heads": model["image_heads"],
        "image_positions": model["image_positions"],
        "image_window": model["image_window"],
        "image_chunk": model["image_chunk"],
    }


def _with_overrides(
    settings: Mapping[str, Any], keys: Sequence[str], spec: Mapping[str, Any]
) -> dict[str, Any]:
    """The file's spec with the changeable settings of the command line."""
    changed = {**spec, "encoder": dict(spec["encoder"]), "decoder": dict(spec["decoder"])}
    if "model.dropout" in keys:
        changed["dropout"] = settings["model"]["dropout"]
    if "model.decoder.dropout" in keys:
        changed["decoder"]["dropout"] = settings["model"]["decoder"]["dropout"]
    if "encoder.trainable" in keys:
        changed["encoder"]["trainable"] = settings["encoder"]["trainable"]
    return changed


def _check_overrides(
    settings: Mapping[str, Any],
    keys: Sequence[str],
    spec: Mapping[str, Any],
    transform: ImageTransform,
    path: Path,
) -> None:
    """Check that overrides of the model equal the file's settings."""
    in_file = dict(_leaves({"encoder": spec["encoder"], "model": {**spec, "encoder": None}}))
    in_file["image.fit"] = transform.fit
    for key in keys:
        node = "model.decoder" if key == "decoder" else key
        if node.partition(".")[0] not in ("encoder", "model", "tokenizer") and node != "image.fit":
            continue
        for name, value in _leaves(_select(settings, node), node):
            is_group = name != key
            # A group asks for a class of model; the sizes that come with it were not asked for.
            if name in _CHANGEABLE or (is_group and name not in ("encoder.name", f"{node}._target_")):
                continue
            if name not in in_file or in_file[name] != value:
                has = f"has {in_file[name]}" if name in in_file else "has its own"
                raise UsageError(
                    f"{name}={value} differs from the model of init_from={path}, which {has}; "
                    f"leave {key} out, or train a new model without init_from"
                )


def _select(settings: Any, name: str) -> Any:
    """The value of a dotted name; None if there is none."""
    for part in name.split("."):
        settings = settings.get(part) if isinstance(settings, Mapping) else None
    return settings


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested mappings by its dotted name."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def _check_vocabulary(train_set: CaptionDataset, tokenizer: Tokenizer, path: Path) -> None:
    """Check that the file's vocabulary covers the training captions."""
    count = min(_VOCABULARY_SAMPLE, len(train_set))
    captions = [caption for i in range(count) for caption in train_set[i].captions]
    unknown = tokenizer.unknown_rate(captions)
    if unknown > _MAX_UNKNOWN:
        words = dict.fromkeys(word for caption in captions for word in tokenizer.normalize(caption).split())
        examples = islice((word for word in words if tokenizer.unk_id in tokenizer.encode(word)), 3)
        raise DataError(
            f"{unknown:.0%} of the words of these training captions are not in the vocabulary of init_from={path}, "
            f"such as {', '.join(examples)}; give a model trained on similar captions, or train a new one without "
            "init_from"
        )
