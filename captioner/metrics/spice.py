"""SPICE (Anderson et al. 2016) by the authors' Java program.

It is the F-score of scene-graph tuples of candidate and references. It needs an installed `pycocoevalcap`, Stanford
CoreNLP 3.6.0 in its folder, and Java 8 to 15.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from captioner.errors import UsageError

_NEWEST_JAVA = 15  # later versions forbid the reflection that its serialisation library uses


def check_spice() -> None:
    """Check that SPICE can run. Raises UsageError: Java, pycocoevalcap or CoreNLP is missing or unsuitable."""
    _java(), _jar()


def spice(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """SPICE of each image, float64 `[I]`, 0–1; nan where no tuple is found. The corpus value is the mean.

    Args:
        candidates: One tokenized caption for each image.
        references: At least one for each image, in the order of `candidates`.

    Raises:
        UsageError: As `check_spice`, or the program failed.
    """
    java, jar = _java(), _jar()
    tasks = [
        {"image_id": index, "test": candidate, "refs": list(of_image)}
        for index, (candidate, of_image) in enumerate(zip(candidates, references, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        task_file, result_file = Path(folder) / "tasks.json", Path(folder) / "results.json"
        task_file.write_text(json.dumps(tasks), encoding="utf-8")
        command = [java, "-Xmx8G", "-jar", str(jar), str(task_file), "-out", str(result_file), "-silent"]
        # The command is Java and the jar found above; captions are passed in a file.
        done = subprocess.run(command, cwd=jar.parent, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode or not result_file.is_file():
            last_line = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise UsageError(
                f"SPICE's Java program failed ({' '.join(last_line)}); leave SPICE out of metrics"
            )
        results = json.loads(result_file.read_text(encoding="utf-8"))
    scores = {result["image_id"]: result["scores"]["All"]["f"] for result in results}
    return np.array([_number(scores[index]) for index in range(len(tasks))], np.float64)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _java() -> str:
    java = shutil.which("java")
    if java is None:
        raise UsageError(
            f"SPICE needs Java, and no java is on the path; install Java 8 to {_NEWEST_JAVA}, or leave SPICE out of "
            "metrics"
        )
    output = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603
    version = re.search(r'version "(?:1\.)?(\d+)', output)
    if version and int(version[1]) > _NEWEST_JAVA:
        raise UsageError(
            f"SPICE needs Java 8 to {_NEWEST_JAVA}, and {java} is Java {version[1]}; put an older one first on the "
            "path, or leave SPICE out of metrics"
        )
    return java


def _jar() -> Path:
    spec = find_spec("pycocoevalcap")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        jar = Path(folder) / "spice" / "spice-1.0.jar"
        if jar.is_file():
            missing = [
                name
                for name in ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
                if not (jar.parent / "lib" / name).is_file()
            ]
            if missing:
                raise UsageError(
                    f"SPICE needs {' and '.join(missing)} in {jar.parent / 'lib'}; put Stanford CoreNLP 3.6.0 there, "
                    "or leave SPICE out of metrics"
                )
            return jar
    raise UsageError(
        "SPICE needs pycocoevalcap, which is not installed; install it, or leave SPICE out of metrics"
    )
