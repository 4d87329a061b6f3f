"""Is every command in the README one that works as written?"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, RangeSweep

from captioner.search import main as search
from tests.conftest import compose

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
COMMANDS = [
    line.split(" #")[0].strip()
    for language, block in BLOCKS
    if not language
    for line in block.replace("\\\n", " ").splitlines()  # a backslash continues a line
    if line.strip() and not line.startswith("#")
]


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 10


def first_value(override: str) -> str:
    """A setting that is searched, as the first value it may take."""
    (parsed,) = OverridesParser.create().parse_overrides([override])
    value = parsed.value()
    return (
        f"{parsed.get_key_element()}={value.start}"
        if isinstance(value, IntervalSweep | RangeSweep)
        else override
    )


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python -m captioner.")])
def test_the_settings_of_each_command_exist(command: str) -> None:
    _, _, module, *overrides = shlex.split(command)
    assert (ROOT / f"{module.replace('.', '/')}.py").is_file()
    overrides = [o for o in overrides if "=" in o]
    if module == "captioner.search":
        compose("train", *(first_value(o) for o in overrides))
        return
    # A sweep's values are split by the command itself; brackets hold a list.
    overrides = [o if "=[" in o else o.split(",")[0] for o in overrides]
    compose(module.removeprefix("captioner."), *overrides)


@pytest.mark.parametrize("command", [c for c in COMMANDS if "captioner.search" in c])
def test_a_search_reads_its_command(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a setting there is not, it stops before it trains."""
    arguments = shlex.split(command.partition("captioner.search")[2])
    with pytest.raises(SystemExit):
        search([*arguments, "no.such=1", "--output", str(tmp_path / "search")])
    assert "error: Could not override 'no.such'" in capsys.readouterr().err


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith("python -m captioner.")])
def test_each_script_exists(command: str) -> None:
    scripts = [word for word in shlex.split(command) if "scripts/" in word]
    assert scripts or command.startswith("pip "), f"what is {command!r}?"
    for script in scripts:
        assert (ROOT / script).is_file()


def test_the_python_example_runs(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    from captioner.data.scenes import Scenes

    (example,) = [block for language, block in BLOCKS if language == "python"]
    pictures = tmp_path / "runs" / "quickstart" / "pictures"
    pictures.mkdir(parents=True)
    Image.fromarray(Scenes("test", size=1).photo(0).pixels).save(pictures / "picture-01.png")
    (tmp_path / "runs" / "quickstart" / "model.safetensors").write_bytes(tiny_model.read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(example, names)
    assert getattr(names["on_photo"], "shape", None) == (96, 96)


def test_every_link_leads_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (ROOT / target).exists(), target
