"""Which model does training start from? A new one as the configuration says, or one from a model file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from captioner.bundle import build_captioner, load
from captioner.data.samples import CaptionDataset
from captioner.errors import DataError, UsageError
from captioner.image.transforms import ImageTransform
from captioner.models.captioner import Captioner
from captioner.models.encoders.native import native_step
from captioner.text.tokenizer import Tokenizer

_FREE = ("model.dropout", "model.decoder.dropout", "encoder.trainable")
"""What may be said of a model from a file: how it is trained, not what it is."""
_LOOKED_AT = 1000  # images whose captions are held against the file's vocabulary
_MOST_UNKNOWN = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A model before training.

    Attributes:
        captioner: On the CPU.
        tokenizer: Its tokenizer.
        transform: What a photo goes through.
        spec: How `captioner` is built, for the model file.
        origin: The file it comes from and what that says of its scores, for people; None for a new model.
    """

    captioner: Captioner
    tokenizer: Tokenizer
    transform: ImageTransform
    spec: dict[str, Any]
    origin: str | None = None


def new_model(cfg: DictConfig, train_set: CaptionDataset) -> Start:
    """A model of random weights behind an encoder, with the words of the training captions."""
    tokenizer = Tokenizer.train(
        (caption for i in range(len(train_set)) for caption in train_set[i].captions),
        **OmegaConf.to_container(cfg.tokenizer),  # type: ignore[arg-type]
    )
    spec = _spec(cfg, tokenizer)
    captioner = build_captioner(spec)
    encoder = captioner.encoder
    transform = ImageTransform(
        encoder.image_size,
        fit=cfg.image.fit,
        mean=encoder.mean,  # type: ignore[arg-type]
        std=encoder.std,  # type: ignore[arg-type]
        step=native_step(encoder) if cfg.image.fit == "native" else (1, 1),
    )
    spec["encoder"] |= {"mean": list(encoder.mean), "std": list(encoder.std)}
    return Start(captioner, tokenizer, transform, spec)


def model_from_file(
    cfg: DictConfig, train_set: CaptionDataset, *, given: Sequence[str], output_dir: Path
) -> Start:
    """The model of `init_from` with its tokenizer and transform, to be trained further.

    Args:
        cfg: Its settings of the model do not count, but for those that are `given`.
        train_set: Its captions must be in the file's words.
        given: The command line's overrides. They may change dropout and `encoder.trainable`; whatever else of the
            model they name must be what the file has.
        output_dir: Where the run writes.

    Raises:
        ModelFileError: If the file cannot be read.
        UsageError: If the command line asks for another model than the file's, or the run would overwrite the file.
        DataError: If the training captions are in other words than the file's.
    """
    path = Path(cfg.init_from).expanduser()
    path = path / "model.safetensors" if path.is_dir() else path
    if cfg.resume is None and path.resolve() == (output_dir / "model.safetensors").resolve():
        raise UsageError(
            f"init_from={path} is the file that this run would overwrite; take another output_dir"
        )
    bundle = load(path)
    keys = [override.lstrip("+~").partition("=")[0] for override in given]
    _refuse_other_model(cfg, keys, bundle.spec, bundle.transform, path)
    spec = _with_training(cfg, keys, bundle.spec)
    captioner = build_captioner(spec)
    captioner.load_state_dict(bundle.captioner.state_dict())
    _refuse_other_words(train_set, bundle.tokenizer, path)
    score = bundle.card.get("scores", {}).get(cfg.monitor)
    had = "" if score is None else f", kept with {cfg.monitor} {score:.3f}"
    return Start(captioner, bundle.tokenizer, bundle.transform, spec, origin=f"{path}{had}")


def _spec(cfg: DictConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    encoder: dict[str, Any] = OmegaConf.to_container(cfg.encoder, resolve=True)  # type: ignore[assignment]
    decoder: dict[str, Any] = OmegaConf.to_container(cfg.model.decoder, resolve=True)  # type: ignore[assignment]
    return {
        "_target_": "captioner.models.captioner.Captioner",
        "encoder": encoder,
        "decoder": {**decoder, "vocab_size": tokenizer.vocab_size},
        "dropout": cfg.model.dropout,
        "image_depth": cfg.model.image_depth,
        "image_heads": cfg.model.image_heads,
        "image_positions": cfg.model.image_positions,
        "image_window": cfg.model.image_window,
        "image_chunk": cfg.model.image_chunk,
    }


def _with_training(cfg: DictConfig, keys: Sequence[str], spec: Mapping[str, Any]) -> dict[str, Any]:
    """The file's spec with what the command line says of training."""
    found = {**spec, "encoder": dict(spec["encoder"]), "decoder": dict(spec["decoder"])}
    if "model.dropout" in keys:
        found["dropout"] = cfg.model.dropout
    if "model.decoder.dropout" in keys:
        found["decoder"]["dropout"] = cfg.model.decoder.dropout
    if "encoder.trainable" in keys:
        found["encoder"]["trainable"] = cfg.encoder.trainable
    return found


def _refuse_other_model(
    cfg: DictConfig,
    keys: Sequence[str],
    spec: Mapping[str, Any],
    transform: ImageTransform,
    path: Path,
) -> None:
    """Refuse what the command line says of the model, unless it is so in the file."""
    theirs = dict(_leaves({"encoder": spec["encoder"], "model": {**spec, "encoder": None}}))
    theirs["image.fit"] = transform.fit
    for key in keys:
        whole = "model.decoder" if key == "decoder" else key
        if whole.partition(".")[0] not in ("encoder", "model", "tokenizer") and whole != "image.fit":
            continue
        for name, mine in _leaves(OmegaConf.select(cfg, whole), whole):
            is_group = name != key
            if name in _FREE or (is_group and (mine is None or name not in theirs)):
                continue
            if name not in theirs or theirs[name] != mine:
                has = f"has {theirs[name]}" if name in theirs else "has its own"
                raise UsageError(
                    f"init_from={path} brings its own model: {name}={mine} is asked for, and the file {has}; "
                    f"leave {key} away, or train a new model without init_from"
                )


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested mappings by its dotted name."""
    if isinstance(node, DictConfig):
        node = OmegaConf.to_container(node, resolve=True)
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, OmegaConf.to_container(node) if OmegaConf.is_config(node) else node


def _refuse_other_words(train_set: CaptionDataset, tokenizer: Tokenizer, path: Path) -> None:
    """Refuse captions that the file's vocabulary cannot spell."""
    captions = [caption for i in range(min(_LOOKED_AT, len(train_set))) for caption in train_set[i].captions]
    unknown = tokenizer.unknown_rate(captions)
    if unknown > _MOST_UNKNOWN:
        words = dict.fromkeys(word for caption in captions for word in tokenizer.normalize(caption).split())
        examples = islice((word for word in words if tokenizer.unk_id in tokenizer.encode(word)), 3)
        raise DataError(
            f"init_from={path} does not know {unknown:.0%} of the words of these training captions, such as "
            f"{', '.join(examples)}; take a model trained on captions like them, or train a new one without init_from"
        )
