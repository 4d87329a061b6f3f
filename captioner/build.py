"""Construction of objects from plain mappings with `_target_`, restricted to an allow-list of classes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from captioner.errors import ModelFileError, UsageError

ALLOWED_TARGETS = ("captioner.", "lightning.pytorch.loggers.")


def as_list(value: Any) -> list[str]:
    """A setting that may be null, one text with commas, or a list, as a list of texts."""
    if value is None:
        return []
    parts = value.split(",") if isinstance(value, str) else value
    return [str(part).strip() for part in parts if str(part).strip()]


def build(spec: Any, *parts: Any, allowed: tuple[str, ...] = ALLOWED_TARGETS, **extra: Any) -> Any:
    """Make the object that a configuration node names in `_target_`.

    Only classes below `allowed` are made, at any depth, so that a configuration or a model file can never name
    code of another package.

    Args:
        spec: A mapping with `_target_` and the arguments; nested mappings with `_target_` are built first.
        *parts: Ready-made positional arguments.
        allowed: Prefixes of dotted names that may be made.
        **extra: Ready-made keyword arguments, which the spec's own may not repeat.

    Raises:
        UsageError: If a target is outside `allowed` or does not exist, or its arguments do not fit.
    """
    if isinstance(spec, DictConfig):
        spec = OmegaConf.to_container(spec, resolve=True)
    if isinstance(spec, list):
        return [build(item, allowed=allowed) for item in spec]
    if not isinstance(spec, Mapping):
        return spec
    arguments = {key: build(value, allowed=allowed) for key, value in spec.items() if key != "_target_"}
    if "_target_" not in spec:
        return arguments
    target = _find(str(spec["_target_"]), allowed)
    try:
        return target(*parts, **arguments, **extra)
    except TypeError as error:
        raise UsageError(f"{spec['_target_']} does not take these settings: {error}") from error


def _find(name: str, allowed: tuple[str, ...]) -> Any:
    if not name.startswith(allowed):
        raise ModelFileError(
            f"_target_: {name} names code outside {', '.join(allowed)}; only classes of this package are made"
        )
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"_target_: {name} does not exist ({error})") from error
    # A module also holds what it imports: captioner.models.encoders.pretrained.Path is no class of this package.
    if not isinstance(found, type) or not found.__module__.startswith(allowed):
        raise ModelFileError(f"_target_: {name} is not a class defined in {', '.join(allowed)}")
    return found
