"""Commands, Python examples, settings and links in README, CONTRIBUTING and docs."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, RangeSweep
from omegaconf import OmegaConf

from captioner.cli import conf_dir
from captioner.explain.methods import METHODS
from captioner.search import main as search
from tests.conftest import compose

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
PROGRAMS = (
    "python ",
    "pip ",
    "pytest ",
    "torchrun ",
    "srun ",
    "sbatch ",
    "source ",
    "./scripts/",
    "captioner-",
)


class Command(NamedTuple):
    """A command and the page it stands on."""

    page: str
    text: str


def commands_of(page: str, text: str) -> list[Command]:
    """Lines of code blocks without a language, and inline code that begins with a program."""
    lines = []
    for language, block in FENCE.findall(text):
        if not language:
            lines += block.replace("\\\n", " ").splitlines()  # a backslash continues a line
    inline = re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    lines += [code for code in inline if code.startswith(PROGRAMS)]
    lines = [re.sub(r"^([A-Z_]+=\S+ )+", "", line.split(" #")[0].strip()) for line in lines]  # environment
    return [Command(page, line) for line in lines if line and not line.startswith("#")]


def main_of(command: str) -> tuple[str, list[str]] | None:
    """The main of the package that a command runs, such as "train", and its arguments."""
    words = shlex.split(command.replace("--wrap", ""))  # sbatch takes a command as one word
    words = [part for word in words for part in (shlex.split(word) if "-m captioner" in word else [word])]
    for index, word in enumerate(words):
        if word == "-m" and words[index + 1].startswith("captioner."):
            return words[index + 1].removeprefix("captioner."), words[index + 2 :]
        if index == 0 and word.startswith("captioner-"):
            return word.removeprefix("captioner-"), words[1:]
    return None


COMMANDS = [command for page, text in TEXTS.items() for command in commands_of(page, text)]
MAINS = [(command, main) for command in COMMANDS if (main := main_of(command.text)) is not None]
OTHERS = [command for command in COMMANDS if main_of(command.text) is None]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def first_value(override: str) -> str:
    """An override that searches a range, with the first value of the range instead."""
    (parsed,) = OverridesParser.create().parse_overrides([override])
    value = parsed.value()
    return (
        f"{parsed.get_key_element()}={value.start}"
        if isinstance(value, IntervalSweep | RangeSweep)
        else override
    )


@pytest.mark.parametrize(("command", "main"), MAINS, ids=str)
def test_the_settings_of_a_command_exist(command: Command, main: tuple[str, list[str]]) -> None:
    name, arguments = main
    assert (ROOT / "captioner" / f"{name}.py").is_file()
    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("--")]
    if name == "search":
        compose("train", *(first_value(override) for override in overrides))
    else:
        compose(name, *(as_hydra_takes_it(override) for override in overrides))


def as_hydra_takes_it(override: str) -> str:
    """An override as the command line passes it on: names of shards in quotes, the first value of a sweep."""
    name, _, value = override.partition("=")
    if "..0" in value:
        return f"{name}='{value}'"
    return override if value.startswith("[") else override.split(",")[0]


@pytest.mark.parametrize("command", [c for c, (name, _) in MAINS if name == "search"], ids=str)
def test_a_search_parses_its_command(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown setting stops it before the first training."""
    arguments = shlex.split(command.text.partition("captioner.search")[2])
    with pytest.raises(SystemExit):
        search([*arguments, "no.such=1", "--output", str(tmp_path / "search")])
    assert "no.such" in capsys.readouterr().err


@pytest.mark.parametrize("command", OTHERS, ids=str)
def test_a_command_names_files_options_and_extras_that_exist(command: Command) -> None:
    assert command.text.startswith(PROGRAMS), "what runs this?"
    words = shlex.split(command.text)
    if words[0] == "pip":
        assert words[1] == "install"
        for package in words[2:]:
            check_package(package)
        return
    files = [word.split("::")[0] for word in words if re.match(r"(\./)?(scripts|tests|captioner)/", word)]
    assert files or command.text in ("source .venv/bin/activate", "python -m captioner")
    for file in files:
        assert (ROOT / file).exists(), file
    for script in (ROOT / file for file in files if re.fullmatch(r"scripts/\w+\.py", file)):
        for option in (word for word in words if word.startswith("--") and word != "--help"):
            assert f'"{option}"' in script.read_text(encoding="utf-8"), option
    if "scripts/quickstart.py" in words:
        compose("train", *(word for word in words if "=" in word))
    if "scripts/bench_cache.py" in words:
        compose("train", *(word for word in words if "=" in word and not word.startswith("--")))


def check_package(name: str) -> None:
    """The project itself, with extras that it has, or one of its optional dependencies."""
    requirement = re.fullmatch(r"([\w.-]+)(?:\[([\w,-]+)\])?", name)
    assert requirement is not None, name
    if requirement[1] in (".", PYPROJECT["name"]):
        for extra in filter(None, (requirement[2] or "").split(",")):
            assert extra in PYPROJECT["optional-dependencies"], extra
    else:
        extras = PYPROJECT["optional-dependencies"].values()
        assert any(line.startswith(requirement[1]) for lines in extras for line in lines), name


def test_extras_named_in_the_text_exist() -> None:
    for page, text in TEXTS.items():
        for extras in re.findall(r"captioner\[([\w,-]+)\]", text):
            for extra in extras.split(","):
                assert extra in PYPROJECT["optional-dependencies"], f"{page}: {extra}"


def settings_of_all_mains() -> set[str]:
    """Dotted names of all settings and groups in conf/."""
    names: set[str] = set()

    def add(node: object, prefix: str) -> None:
        if isinstance(node, dict):
            for key, child in node.items():
                names.add(f"{prefix}{key}")
                add(child, f"{prefix}{key}.")

    for file in conf_dir().rglob("*.yaml"):
        group = file.parent.relative_to(conf_dir()).as_posix()
        text = file.read_text(encoding="utf-8")
        package = re.search(r"^# @package (\S+)", text, re.M)
        prefix = "" if group == "." else f"{group.replace('/', '.')}."
        if package:
            prefix = "" if package[1] == "_global_" else f"{package[1]}."
        add(OmegaConf.to_container(OmegaConf.create(text)), prefix)
        names |= {group, file.stem} if group != "." else set()
    return names


def test_settings_named_in_the_text_exist() -> None:
    known = settings_of_all_mains()
    for page, text in TEXTS.items():
        for code in re.findall(r"`'?([^`\n]+)`", FENCE.sub("", text)):
            for word in code.split():
                setting = re.match(r"'?([a-z_]+(?:\.[a-z_0-9]+)*)=", word)
                if setting and not code.startswith(("python -m captioner.search", "sbatch")):
                    assert setting[1] in known, f"{page}: {code}"


def test_every_explanation_method_is_documented() -> None:
    for method in METHODS:
        assert f"`{method}`" in TEXTS["docs/explain.md"], method


EXAMPLES = [
    (page, block)
    for page, text in TEXTS.items()
    for language, block in FENCE.findall(text)
    if language == "python"
]


@pytest.mark.parametrize(("page", "example"), EXAMPLES, ids=[page for page, _ in EXAMPLES])
def test_a_python_example_runs(
    page: str, example: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    from captioner.data.scenes import Scenes

    if "import ray" in example:  # its class is tested in test_ray.py
        check_imports(example)
        return
    for name in re.findall(r'"([\w/.-]+\.(?:png|jpg|safetensors))"', example):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".safetensors"):
            (tmp_path / name).write_bytes(tiny_model.read_bytes())
        else:
            Image.fromarray(Scenes("test", size=1).photo(0).pixels).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(example, names)
    if "on_photo" in names:
        assert getattr(names["on_photo"], "shape", None) == (96, 96)


def check_imports(example: str) -> None:
    """Names that an example imports from this package exist."""
    for node in ast.walk(ast.parse(example)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("captioner"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), alias.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target, heading in re.findall(
        r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")
    ):
        file = page.parent / target if target else page
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.M)
            anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in anchors, heading


def test_every_document_and_picture_is_linked() -> None:
    linked = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    }
    for file in (ROOT / "docs").iterdir():
        assert file.resolve() in linked, file.name


def test_the_layout_names_every_package() -> None:
    for package in (ROOT / "captioner").iterdir():
        if (package / "__init__.py").is_file():
            assert f"`captioner/{package.name}/`" in TEXTS["CONTRIBUTING.md"], package.name


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 150
