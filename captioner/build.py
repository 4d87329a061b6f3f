"""Construction of parts from plain mappings with `_target_`, with an allow-list of classes for each slot.

    build({"_target_": "captioner.models.decoders.lstm.LstmDecoder", "vocab_size": 100, "dim": 64}, kind="decoder")

A slot takes the classes that are meant for it and no others, at any depth: a configuration or a model file can name no
other code, and no part where it does not belong.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from captioner.errors import ModelFileError, UsageError, did_you_mean

Kind = Literal["model", "encoder", "decoder", "objective", "dataset", "cache", "logger"]

ALLOWED: dict[Kind, tuple[str, ...]] = {
    "model": ("captioner.models.captioner.Captioner",),
    "encoder": ("captioner.models.encoders.encoder.ImageEncoder",),
    "decoder": (
        "captioner.models.decoders.lstm.LstmDecoder",
        "captioner.models.decoders.transformer.TransformerDecoder",
    ),
    "objective": (
        "captioner.objectives.mixed.Mixed",
        "captioner.objectives.self_critical.SelfCritical",
        "captioner.objectives.teacher_forcing.TeacherForcing",
    ),
    "dataset": ("captioner.data.",),
    "cache": ("captioner.data.features.feature_cache.FeatureCache",),
    "logger": ("lightning.pytorch.loggers.",),
}
"""The classes of each slot; a name that ends with a dot stands for all classes defined below it."""

_SLOTS: dict[tuple[Kind, str], Kind] = {
    ("model", "encoder"): "encoder",
    ("model", "decoder"): "decoder",
    ("objective", "teacher_forcing"): "objective",
    ("objective", "self_critical"): "objective",
}
"""Arguments that are parts themselves; any other argument is a plain value."""


def as_list(value: Any) -> list[str]:
    """A setting that may be null, one text with commas, or a list, as a list of texts."""
    if value is None:
        return []
    parts = value.split(",") if isinstance(value, str) else value
    return [str(part).strip() for part in parts if str(part).strip()]


def build(spec: Mapping[str, Any], *parts: Any, kind: Kind, **extra: Any) -> Any:
    """Make the object that a mapping describes, once all of the mapping has been checked.

    Args:
        spec: `_target_`, the dotted name of a class, and the arguments; arguments that are parts are built first.
        *parts: Ready-made positional arguments.
        kind: The slot, which decides the classes that are allowed.
        **extra: Ready-made keyword arguments, which the spec's own may not repeat.

    Raises:
        ModelFileError: If the class is not one of the slot's, or a plain value names a class.
        UsageError: If the class does not exist or does not take these arguments.
    """
    return _check(spec, kind, parts, extra).make()


@dataclass(frozen=True, slots=True)
class _Call:
    """A class and its arguments, of which some are calls themselves."""

    target: type[Any]
    parts: tuple[Any, ...]
    arguments: dict[str, Any]

    def make(self) -> Any:
        made = {
            name: value.make() if isinstance(value, _Call) else value
            for name, value in self.arguments.items()
        }
        return self.target(*self.parts, **made)


def _check(spec: Any, kind: Kind, parts: tuple[Any, ...], extra: Mapping[str, Any]) -> _Call:
    if not isinstance(spec, Mapping) or "_target_" not in spec:
        raise ModelFileError(f"the {kind} must be a mapping with _target_, not {_brief(spec)}")
    target = find_class(spec["_target_"], kind)
    arguments: dict[str, Any] = {}
    for name, value in spec.items():
        if name == "_target_":
            continue
        slot = _SLOTS.get((kind, name))
        arguments[name] = _check(value, slot, (), {}) if slot else plain(value, where=f"{kind}.{name}")
    try:
        bound = inspect.signature(target).bind(*parts, **arguments, **extra)
    except TypeError as error:
        raise UsageError(f"{spec['_target_']} does not take these settings: {error}") from error
    _check_types(target, kind, {name: bound.arguments[name] for name in arguments if name in bound.arguments})
    return _Call(target, parts, {**arguments, **extra})


def _check_types(target: type[Any], kind: Kind, arguments: Mapping[str, Any]) -> None:
    """Refuse a value that is not of the annotated type, where that is a number, a text, a switch or None."""
    for name, annotation in getattr(target.__init__, "__annotations__", {}).items():
        types = {part.strip() for part in str(annotation).split("|")}
        if name not in arguments or not types <= {"bool", "float", "int", "str", "None"}:
            continue
        given = type(arguments[name]).__name__.replace("NoneType", "None")
        if given not in types and not (given == "int" and "float" in types):
            raise UsageError(
                f"{kind}.{name}={arguments[name]!r} is of type {given}; expected {' or '.join(sorted(types))}"
            )


def plain(value: Any, *, where: str) -> Any:
    """A value as nested dicts and lists of Python's own.

    Raises:
        ModelFileError: If a mapping in it has `_target_`.
    """
    if isinstance(value, Mapping):
        if "_target_" in value:
            raise ModelFileError(
                f"{where} is a plain value and names a class, _target_: {_brief(value['_target_'])}; leave it out"
            )
        return {key: plain(item, where=f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item, where=where) for item in value]
    return value


def find_class(name: Any, kind: Kind) -> type[Any]:
    """The class of that dotted name.

    Raises:
        ModelFileError: If it is not one of the slot's classes.
        UsageError: If it does not exist.
    """
    allowed = ALLOWED[kind]
    below = tuple(prefix for prefix in allowed if prefix.endswith("."))
    if not isinstance(name, str) or not (name in allowed or (below and name.startswith(below))):
        hint = "" if below else did_you_mean(str(name), allowed)
        raise ModelFileError(
            f"_target_: {_brief(name)} is not allowed as {kind}{hint}; "
            f"allowed are {', '.join(f'{entry}*' if entry.endswith('.') else entry for entry in allowed)}"
        )
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"_target_: {name} does not exist ({error})") from error
    # A module also holds what it imports, such as pathlib.Path, which is not a class of the slot.
    if not isinstance(found, type) or (below and not found.__module__.startswith(below)):
        raise ModelFileError(f"_target_: {name} is not a class defined in {', '.join(allowed)}")
    return found


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else type(value).__name__
    return text[:100] or "''"
