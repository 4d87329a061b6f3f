"""Composition of the YAML files in `conf/` into plain mappings, without Hydra.

Hydra composes what a command runs. This module composes the same defaults from the same files in a few hundredths of a
second, for `--help` and for the checks of a command line before Hydra reads it. A test holds it to Hydra's result.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from captioner.errors import CaptionerError, UsageError, did_you_mean

MISSING = "???"
"""The value of a setting that the command line must give."""
Choices = Mapping[str, "str | None"]
"""The option of each group."""


@dataclass(frozen=True, slots=True)
class Composition:
    """The default settings of a command.

    Attributes:
        settings: Nested mappings, without Hydra's own part; interpolations as they are written.
        choices: The option of each group, after interpolations and the overrides of an experiment.
        optional_text: Dotted names of settings that are null or a text.
    """

    settings: dict[str, Any]
    choices: dict[str, str | None]
    optional_text: frozenset[str]

    def find(self, name: str) -> tuple[bool, Any]:
        """Whether there is a setting or a section of that dotted name, and its value."""
        node: Any = self.settings
        for part in name.split("."):
            if not isinstance(node, dict) or part not in node:
                return False, None
            node = node[part]
        return True, node

    def set(self, name: str, value: str) -> None:
        """Set or add the setting of that dotted name to what YAML reads in `value`."""
        section, _, key = name.rpartition(".")
        read = value if self.is_text(name) and value != "null" else _floats(yaml.safe_load(value))
        _section(self.settings, section)[key] = read

    def names(self) -> list[str]:
        """The dotted names of all settings and sections."""
        return [name for name, _ in nodes(self.settings)]

    def is_text(self, name: str) -> bool:
        """Whether a setting takes a text: its default is one, or null and marked as text, or refers to one."""
        found, value = self.find(name)
        if not found or name in self.optional_text:
            return found
        if isinstance(value, str) and (reference := re.fullmatch(r"\$\{([\w.]+)\}", value)):
            return self.is_text(reference[1])
        # Lightning's own settings also take numbers where their default is a word.
        return isinstance(value, str) and not name.startswith("trainer.")


def nodes(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting and section of nested mappings with its dotted name."""
    for key, value in settings.items():
        name = f"{prefix}{key}"
        yield name, value
        if isinstance(value, Mapping):
            yield from nodes(value, f"{name}.")


def conf_dir() -> Path:
    """The folder of YAML files: `captioner/conf` in a wheel, `conf` beside the package in a checkout.

    Raises:
        CaptionerError: If the installation lacks it.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise CaptionerError(f"no conf folder in {package} or {package.parent}; install captioner again")


def options(group: str) -> list[str]:
    """The options of a group; none if there is no such group."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def groups_of(config_name: str) -> list[str]:
    """The groups of a command, in the order in which they are composed."""
    return [entry.group for entry in _defaults(load_yaml(config_name)) if entry.group and not entry.override]


def usual(key: str, special: Mapping[str, str], default: str) -> str:
    """The resolver `usual` of `conf/train.yaml`: the value that `special` has for `key`, else `default`."""
    return special.get(key, default)


def recipe_of(choices: Mapping[str, Any]) -> str:
    """The resolver `recipe_of` of `conf/train.yaml`: the record in `conf/recipe` that fits the other choices.

    Args:
        choices: Options of `data`, `decoder` and `objective`; of `encoder` where it was chosen.

    Returns:
        DATA_OBJECTIVE for an objective other than teacher forcing, or self_critical where there is no such record; else
        DATA_DECODER for a decoder other than the Transformer, or DATA_other_encoder for an encoder other than the
        record's; else DATA; `none` where there is no record.
    """
    known = options("recipe")
    data, decoder, objective = choices["data"], choices["decoder"], choices["objective"]
    if objective != "teacher_forcing":
        wanted = [f"{data}_{objective}", "self_critical"]
    else:
        base = data if decoder == "transformer" else f"{data}_{decoder}"
        wanted = [f"{data}_other_encoder"] if choices.get("encoder", "mobilenetv2") != "mobilenetv2" else []
        wanted.append(base)
    return next((name for name in wanted if name in known), "none")


def compose_defaults(config_name: str, chosen: Choices = {}) -> Composition:  # noqa: B006, it is only read
    """The settings of a command with the options `chosen` of its groups.

    Raises:
        UsageError: If there is no such option.
    """
    main = load_yaml(config_name)
    entries = [entry for entry in _defaults(main) if not entry.override]
    choices = _choose(entries, chosen)
    settings: dict[str, Any] = {}
    optional_text: set[str] = set()
    for entry in entries:
        if entry.group is None:
            _merge(settings, _content(main), optional_text, main.optional_text)
        elif (option := choices[entry.group]) is not None:
            _merge_file(settings, f"{entry.group}/{option}", optional_text)
    settings.pop("hydra", None)
    return Composition(settings, choices, frozenset(optional_text))


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A YAML file of `conf/`.

    Attributes:
        content: What it holds, its defaults list included.
        package: Where its content goes, as a dotted name; empty for the top.
        optional_text: Dotted names, within the file, of settings that are null and marked `# text`.
    """

    content: dict[str, Any]
    package: str
    optional_text: frozenset[str]


@functools.cache
def load_yaml(name: str) -> ConfigFile:
    """The file `conf/NAME.yaml`. Do not change what it holds.

    Raises:
        UsageError: If there is no such file.
    """
    path = conf_dir() / f"{name}.yaml"
    if not path.is_file():
        group, _, option = name.rpartition("/")
        known = options(group)
        raise UsageError(
            f"unknown option {group}={option}; choose from {', '.join(known)}{did_you_mean(option, known)}"
        )
    text = path.read_text(encoding="utf-8")
    package = re.match(r"# @package (\S+)", text)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return ConfigFile(
        _floats(yaml.load(text, loader) or {}),  # noqa: S506  # CSafeLoader, or SafeLoader
        {"_global_": ""}.get(package[1], package[1])
        if package
        else name.rpartition("/")[0].replace("/", "."),
        frozenset(_marked_as_text(text)),
    )


def _floats(node: Any) -> Any:
    """YAML 1.1 reads 1e-3 as a text; OmegaConf, like YAML 1.2, reads a number."""
    if isinstance(node, dict):
        return {key: _floats(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_floats(value) for value in node]
    if isinstance(node, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?e[-+]?\d+", node):
        return float(node)
    return node


def _marked_as_text(text: str) -> Iterator[str]:
    """Dotted names of the settings `key: null  # text...`: null has no type of its own."""
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        if found := re.match(r"( *)([\w-]+):(?: *(null) +# text\b)?", line):
            path = [(indent, key) for indent, key in path if indent < len(found[1])]
            path.append((len(found[1]), found[2]))
            if found[3]:
                yield ".".join(key for _, key in path)


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of a defaults list: `_self_` (no group), or the option of a group."""

    group: str | None
    option: str | None
    override: bool = False


def _defaults(file: ConfigFile) -> list[_Entry]:
    entries = []
    listed = file.content.get("defaults", [])
    for item in listed if "_self_" in listed else [*listed, "_self_"]:
        if isinstance(item, str):
            entries.append(_Entry(None, None if item == "_self_" else item))
            continue
        ((key, option),) = item.items()
        is_override = key.startswith("override ")
        entries.append(_Entry(key.removeprefix("override ").lstrip("/"), option, is_override))
    return entries


def _choose(entries: list[_Entry], chosen: Choices) -> dict[str, str | None]:
    """The option of each group: as chosen, as an option overrides it, or by default."""
    fixed = {key: value for key, value in chosen.items() if any(entry.group == key for entry in entries)}
    for entry in entries:
        option = fixed.get(entry.group, entry.option) if entry.group else None
        if option is None or "${" in option:
            continue
        for inner in _defaults(load_yaml(f"{entry.group}/{option}")):
            if inner.override and inner.group:
                fixed.setdefault(inner.group, inner.option)
    plain = {
        entry.group: entry.option
        for entry in entries
        if entry.group and not (isinstance(entry.option, str) and "${" in entry.option)
    } | fixed
    choices = {}
    for entry in entries:
        if entry.group:
            choices[entry.group] = (
                plain[entry.group] if entry.group in plain else _resolve(entry.option, plain)
            )
    return choices


def _resolve(expression: str | None, choices: Choices) -> str:
    """The value of `${usual:...}` or `${recipe_of:}`."""
    text = re.sub(r"\$\{(\w+)\}", lambda group: str(choices[group[1]]), str(expression))
    found = re.fullmatch(r"\$\{(\w+):(.*)\}", text)
    if found is None:
        return text
    if found[1] == "recipe_of":
        return recipe_of(choices)
    return usual(*yaml.safe_load(f"[{found[2]}]"))


def _content(file: ConfigFile) -> dict[str, Any]:
    return {key: value for key, value in file.content.items() if key != "defaults"}


def _merge_file(
    settings: dict[str, Any], name: str, optional_text: set[str], package: str | None = None
) -> None:
    """Merge a file into `settings` at its package, after or before the files that its defaults list names."""
    file = load_yaml(name)
    package = file.package if package is None else package
    for entry in _defaults(file):
        if entry.override:
            continue
        if entry.option is None:
            _merge(_section(settings, package), _content(file), optional_text, file.optional_text, package)
        else:
            inner, _, place = entry.option.partition("@")
            below = f"{package}.{place}" if place else package
            _merge_file(settings, f"{name.rpartition('/')[0]}/{inner}", optional_text, below)


def _section(settings: dict[str, Any], package: str) -> dict[str, Any]:
    for part in package.split(".") if package else ():
        settings = settings.setdefault(part, {})
    return settings


def _merge(
    settings: dict[str, Any],
    content: Mapping[str, Any],
    optional_text: set[str],
    marked: frozenset[str],
    package: str = "",
) -> None:
    """Merge `content` into `settings`; mappings are merged, all else is replaced."""
    for key, value in content.items():
        if isinstance(value, Mapping) and isinstance(settings.get(key), dict):
            _merge(settings[key], value, set(), frozenset())
        else:
            settings[key] = deepcopy(value)
    optional_text |= {f"{package}.{name}" if package else name for name in marked}
