"""Does the built wheel hold all that captioning needs, and nothing else, and does it work by itself?"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from captioner.data.scenes import Scenes
from tests.conftest import TINY

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.iterdir()
    return built


def below(folder: str) -> set[str]:
    """The files of a folder of the checkout, without what Python compiled."""
    files = (
        path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
    return {path.relative_to(ROOT).as_posix() for path in files}


def test_it_holds_the_package_and_its_configuration_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = {name for name in names if ".dist-info/" in name}
        text = "".join(archive.read(name).decode() for name in metadata if name.endswith("METADATA"))
    assert names - metadata == below("captioner") | {f"captioner/{file}" for file in below("conf")}
    assert {"captioner/conf/train.yaml", "captioner/overlay/viewer/viewer.js", "captioner/py.typed"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in metadata)
    lines = text.splitlines()
    always = [
        line.split()[1] for line in lines if line.startswith("Requires-Dist") and "extra ==" not in line
    ]
    assert any(name.startswith("torch>") for name in always)
    assert not any(name.startswith(("pytest", "ruff", "tensorboard", "wandb", "build")) for name in always)


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it, which finds the dependencies where this process has them."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    if importlib.util.find_spec("pip"):
        installer = [sys.executable, "-m", "pip", "--python", str(python), "install"]
    else:
        installer = ["uv", "pip", "install", "--python", str(python)]
    command = [*installer, "--quiet", "--no-deps", "--no-index", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (site,) = folder.glob("lib/python*/site-packages")
    # A line in a .pth adds the folder itself, but not the .pth of an editable install within it.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python


def run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(python), *arguments],
        cwd=folder,
        env={**clean, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_it_trains_and_captions_from_an_empty_folder(python: Path, tmp_path: Path) -> None:
    code = (
        "import captioner, captioner.cli as c; print(captioner.__file__, c.conf_dir(), captioner.__version__)"
    )
    done = run(python, tmp_path, "-c", code)
    package = next((python.parents[1] / "lib").glob("python*/site-packages/captioner"))
    assert done.stdout.split()[:2] == [str(package / "__init__.py"), str(package / "conf")]
    assert done.stdout.split()[2] != "0+checkout"

    trained = run(python, tmp_path, "-m", "captioner.train", *TINY, "trainer.max_epochs=1")
    assert (trained.returncode, trained.stderr.count("\n")) == (0, 2), trained.stderr
    (model,) = tmp_path.glob("runs/scenes-*/model.safetensors")
    Image.fromarray(Scenes("val").photo(0).pixels).save(tmp_path / "photo.jpg")
    arguments = (f"model={model.relative_to(tmp_path)}", "images=photo.jpg", "overlay=html,png")
    script = python.with_name("captioner-predict")  # the console script, as users type it
    captioned = run(python, tmp_path, str(script), *arguments)
    assert captioned.returncode == 0, captioned.stderr
    assert captioned.stdout.startswith("photo.jpg\t")
    assert sorted(path.name for path in (tmp_path / "captions").iterdir()) == [
        "captions.jsonl",
        "index.html",
        "overlays",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captions", "photo.jpg", "runs"]
