"""Checks of a command line's `setting=value` arguments, and their translation for Hydra."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from captioner.composition import MISSING, Composition, compose_defaults, groups_of, nodes, options
from captioner.errors import UsageError, did_you_mean

_SWEEP = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag|int|float|str|bool)\(.*\)", re.DOTALL)
_OPTIONS_WITH_VALUE = (
    "-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir",
    "-i", "--info", "--experimental-rerun",
)  # fmt: skip
_TRAINERS = {"ddp": "trainer=ddp", "fsdp": "trainer=fsdp", "lean": "trainer=ddp_lean"}
_RENAMED = {
    "encoder_sizes": "recipe",
    "rates": "recipe",
    "sizes": "recipe",
    "tuning": "recipe",
    "model.decoder.read_first": "model.decoder.self_attention_first",
    "objective.looking": "objective.image_attention_penalty",
    "objective.teacher_forcing.looking": "objective.teacher_forcing.image_attention_penalty",
}
_RENAMED_OPTIONS = {
    "experiment=price_on_looking": "experiment=image_attention_penalty",
    "experiment=read_first": "experiment=self_attention_first",
}


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a command line.

    Attributes:
        text: As it was given.
        name: The setting or group, without `+` and `~`.
        value: What follows `=`; None where there is no `=`.
        changes: Whether it changes a setting, rather than adds (`+`, `++`) or removes (`~`) one.
    """

    text: str
    name: str
    value: str | None
    changes: bool

    @staticmethod
    def parse(text: str) -> Argument:
        """The parts of an argument."""
        name, equals, value = text.partition("=")
        return Argument(text, name.lstrip("+~"), value if equals else None, name[:1] not in ("+", "~"))


def prepare(config_name: str, arguments: Sequence[str], *, sweep: bool = False) -> list[str]:
    """Check a command line and quote its texts for Hydra.

    Args:
        config_name: The command's YAML file, without suffix.
        arguments: As given. Options of Hydra, such as `--cfg job`, stay as they are.
        sweep: Whether values with commas and the like are several values, as with `-m`.

    Returns:
        The arguments, with quotes around the value of each setting that takes a text, so that Hydra takes blanks,
        commas, `=` and brackets as they are. `a,b` for a setting that takes a list becomes `[a,b]`.

    Raises:
        UsageError: If a setting, a group or an option is unknown, or no longer has that name.
    """
    numbers = _numbers_of_settings(arguments)
    parsed = [Argument.parse(arguments[number]) for number in numbers]
    groups = groups_of(config_name)
    for argument in parsed:
        _check_renamed(argument)
        if argument.name in groups and argument.changes:
            _check_option(argument, sweep=sweep)
    possible = _possible(config_name, [a for a in parsed if a.name in groups and a.changes], sweep=sweep)
    for argument in parsed:
        _check_known(argument, groups, possible)
    prepared = list(arguments)
    for number, argument in zip(numbers, parsed, strict=True):
        prepared[number] = _quoted(argument, groups, possible, sweep=sweep)
    return prepared


def settings_of(arguments: Sequence[str]) -> list[str]:
    """The arguments without Hydra's options and their values."""
    return [arguments[number] for number in _numbers_of_settings(arguments)]


def choices_of(arguments: Sequence[Argument], groups: Sequence[str]) -> dict[str, str | None]:
    """The options that a command line chooses of groups."""
    return {
        argument.name: None if argument.value == "null" else argument.value
        for argument in arguments
        if argument.name in groups and argument.changes and argument.value
    }


def check_kinds(settings: Mapping[str, Any], usual: Composition) -> None:
    """Refuse a value of another kind than the default's, where that is a number or a switch.

    Settings of `trainer` are left to Lightning.

    Raises:
        UsageError: For the first such value.
    """
    for name, value in nodes(settings):
        if name.startswith("trainer.") or value is None or (isinstance(value, str) and "${" in value):
            continue
        default = usual.find(name)[1]
        match default:
            case bool():
                fits, kind = isinstance(value, bool), "true or false"
            case int():
                fits, kind = type(value) is int, "a whole number"
            case float():
                fits, kind = type(value) in (int, float), "a number"
            case _:
                continue
        if not fits:
            raise UsageError(f"{name}={value} must be {kind}, as in {name}={default}")


def check_complete(settings: Mapping[str, Any]) -> None:
    """Refuse settings without a value.

    Raises:
        UsageError: If there are some; it names all.
    """
    missing = [name for name, value in nodes(settings) if value == MISSING]
    if missing:
        hint = " ".join(f"{name}=..." for name in missing)
        raise UsageError(f"these settings need a value: {', '.join(missing)}; add {hint} to the command")


def _numbers_of_settings(arguments: Sequence[str]) -> list[int]:
    return [
        number
        for number, text in enumerate(arguments)
        if not text.startswith("-") and not (number and arguments[number - 1] in _OPTIONS_WITH_VALUE)
    ]


def _check_renamed(argument: Argument) -> None:
    if argument.name == "strategy":
        wanted = _TRAINERS.get(argument.value or "", f"one of {', '.join(_TRAINERS.values())}")
        raise UsageError(
            f"{argument.text}: the strategy is part of the trainer; give {wanted}, or trainer=ddp_cpu "
            "trainer.strategy=fsdp to try it on the CPU"
        )
    if argument.name in _RENAMED:
        raise UsageError(f"unknown setting {argument.name}; its new name is {_RENAMED[argument.name]}")
    if argument.text in _RENAMED_OPTIONS:
        raise UsageError(f"unknown option {argument.text}; its new name is {_RENAMED_OPTIONS[argument.text]}")
    if argument.text == "encoder=default":
        raise UsageError("unknown option encoder=default; leave encoder out to get the one of the data")


def _check_option(argument: Argument, *, sweep: bool) -> None:
    group, value, known = argument.name, argument.value, options(argument.name)
    if value is None or (_is_sweep(value, sweep=sweep) and _SWEEP.fullmatch(value)):
        return
    if value == "null" and group != "experiment":
        raise UsageError(
            f"{argument.text} names no option of the group {group}; choose from {', '.join(known)}"
        )
    for option in value.split(",") if sweep else [value]:
        if option.strip() not in (*known, "null"):
            raise UsageError(
                f"unknown option {group}={option}; choose from {', '.join(known)}{did_you_mean(option, known)}"
            )


def _possible(config_name: str, chosen: Sequence[Argument], *, sweep: bool) -> list[Composition]:
    """The default settings of all runs: one of them, but for a sweep over a group's options."""
    swept = {
        argument.name: options(argument.name)
        if _SWEEP.fullmatch(argument.value)
        else argument.value.split(",")
        for argument in chosen
        if argument.value is not None and _is_sweep(argument.value, sweep=sweep)
    }
    choices = choices_of(
        [argument for argument in chosen if argument.name not in swept], groups_of(config_name)
    )
    compositions = [compose_defaults(config_name, choices)]
    for group, several in swept.items():
        compositions += [
            compose_defaults(config_name, {**choices, group: option.strip()}) for option in several
        ]
    return compositions


def _check_known(argument: Argument, groups: Sequence[str], possible: Sequence[Composition]) -> None:
    name = argument.name.partition("@")[0]
    if not argument.changes or name in groups or name.startswith("hydra"):
        return
    known = list(dict.fromkeys(chain(groups, *(composition.names() for composition in possible))))
    if argument.value is None:
        raise UsageError(f"{argument.text} is not of the form setting=value{did_you_mean(name, known)}")
    if name in known:
        return
    parent = name.rpartition(".")[0]
    is_open = parent in ("trainer", "encoder.model_args", "image.augment")
    add = f"; to add an argument of {parent}, write +{argument.text}" if is_open else ""
    raise UsageError(
        f"unknown setting {name}{add}{did_you_mean(name, known) or _same_last_part(name, known)}"
    )


def _same_last_part(name: str, known: Sequence[str]) -> str:
    """The hint for `lr` where there is `optim.lr`."""
    last = {full.rpartition(".")[2]: full for full in reversed(known)}
    near = did_you_mean(name.rpartition(".")[2], last).removeprefix("; did you mean ").removesuffix("?")
    return f"; did you mean {last[near]}?" if near else ""


def _is_sweep(value: str, *, sweep: bool) -> bool:
    return sweep and (("," in value and not _is_bracketed(value)) or _SWEEP.fullmatch(value) is not None)


def _is_bracketed(value: str) -> bool:
    """Whether a value is a list or has quotes."""
    return len(value) > 1 and value[0] + value[-1] in ("[]", "''", '""')


def _quoted(
    argument: Argument, groups: Sequence[str], possible: Sequence[Composition], *, sweep: bool
) -> str:
    name, value = argument.name, argument.value
    if not value or not argument.changes or name in groups or _is_sweep(value, sweep=sweep):
        return argument.text
    if _is_bracketed(value) and not os.path.exists(value):
        return argument.text
    if any(composition.is_text(name) for composition in possible):
        mandatory = any(composition.find(name)[1] == MISSING for composition in possible)
        if value == "null" and not mandatory:
            return argument.text
        # Hydra reads a backslash as an escape only where a quote follows it.
        escaped = re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value)
        return f"{name}='{escaped}'"
    if "," in value and any(isinstance(composition.find(name)[1], list) for composition in possible):
        return f"{name}=[{value}]"
    return argument.text
