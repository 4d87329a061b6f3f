"""Record of what the commands compute, to compare two versions of the code on one machine.

    python scripts/record_behaviour.py A.json --data DATA --inputs INPUTS [--checkout FOLDER] [--jobs 2]
    python scripts/compare_records.py A.json B.json

The commands of `recorded_commands.py` run as processes of FOLDER, another checkout or this one. Recorded are the loss
of each step and a checksum of the weights of short trainings, on `scenes` and on 200 photos of Flickr8k; captions with
their probabilities by each search; the maps of each explanation method; evaluations without their times; and the
settings that each choice of groups gives. Arrays are stored in A.npz, models and logs in the folder A.

DATA holds `flickr8k` and `encoders`. INPUTS, which both records must share, is made by the first: the photos as files.
One thread and fixed seeds make two records of one version equal to the bit on one kind of processor.
`--rename old=new`, once for each, renames settings of the commands for a checkout that has other names.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]
from compare_records import leaves_of, renamed
from recorded_commands import CONFIGS, DRAWN, EVALUATE, EXPLAIN, FLICKR, PREDICT, TRAIN, TRAIN_FURTHER

MAY_CHANGE = {"images_per_second", "seconds_per_image", "model", "data"}
"""Entries of an evaluation that hold its time and its paths."""


class Recorder:
    """Runs commands of a checkout, and keeps what they computed."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.checkout = options.checkout.resolve()
        self.rename = options.rename
        self.output: Path = options.record.resolve()
        self.work: Path = self.output.with_suffix("")
        self.places = {"inputs": options.inputs.resolve(), "data": options.data.resolve(), "work": self.work}
        self.entries: dict[str, Any] = {}
        self.arrays: dict[str, np.ndarray] = {}
        self.seconds: dict[str, float] = {}

    def python(self, name: str, *arguments: str, also: tuple[int, ...] = ()) -> str:
        """Run Python in the checkout; gives what it printed. `also` are statuses that are right beside 0."""
        environment = {
            **{key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
            **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "HF_HUB_OFFLINE"), "1"),
            "PYTHONPATH": str(self.checkout),
            # Where the environment forbids bytecode beside the sources.
            "PYTHONPYCACHEPREFIX": f"{tempfile.gettempdir()}/captioner-pycache",
        }
        command = [sys.executable, *arguments]
        (self.work / "logs").mkdir(parents=True, exist_ok=True)
        log = self.work / "logs" / re.sub("[^a-z0-9_=-]+", "-", name)
        with open(f"{log}.out", "w") as out, open(f"{log}.err", "w") as err:
            process = subprocess.Popen(command, cwd=self.checkout, env=environment, stdout=out, stderr=err)
            _, wait_status, usage = os.wait4(process.pid, 0)
        status = process.returncode = os.waitstatus_to_exitcode(wait_status)
        self.seconds[name] = round(usage.ru_utime + usage.ru_stime, 1)
        print(f"{self.seconds[name]:6.1f} s  {name}", flush=True)
        if status not in (0, *also):
            sys.exit(f"{name}: status {status}\n{' '.join(command)}\n{Path(f'{log}.err').read_text()}")
        return Path(f"{log}.out").read_text()

    def command(self, kind: str, name: str, overrides: str, *more: str, also: tuple[int, ...] = ()) -> Path:
        """Run a command of the package with its own output folder; gives the folder."""
        folder = self.work / f"{kind} {name}".replace("train ", "").replace(" ", "-")
        places = {f"{{{key}}}": str(path) for key, path in self.places.items()}
        texts = [renamed(text, self.rename) for text in (*overrides.split(), *more)]
        for key, path in places.items():
            texts = [text.replace(key, path) for text in texts]
        module = "captioner.predict" if kind == "explain" else f"captioner.{kind}"
        self.python(f"{kind} {name}", "-m", module, *texts, f"output_dir={folder}", also=also)
        return folder

    def model(self, name: str) -> str:
        return f"model={self.work / name.split()[0] / 'model.safetensors'}"

    def train(self, name: str, overrides: str) -> None:
        folder = self.command("train", name, overrides)
        with open(folder / "metrics.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        for column in rows[0]:
            values = [float(row[column]) for row in rows if row[column] != ""]
            if column not in ("epoch", "step") and values:
                self.entries[f"train {name} {column}"] = values
        self.entries[f"train {name} weights"] = weights_of(folder / "model.safetensors")

    def evaluate(self, name: str, overrides: str) -> None:
        folder = self.command("evaluate", name, overrides, self.model(name), "threads=1")
        result = without(json.loads((folder / "scores.json").read_text()))
        for key, value in result.items():
            self.entries[f"evaluate {name} {key}"] = value
        self.entries[f"evaluate {name} captions"] = lines_of(folder / "captions.jsonl")

    def predict(self, name: str, overrides: str) -> None:
        folder = self.command("predict", name, overrides, self.model(name), "overlay=null")
        parts = sorted(folder.glob("parts/*.jsonl")) or [folder / "captions.jsonl"]
        self.entries[f"predict {name}"] = [line for part in parts for line in lines_of(part)]

    def explain(self, name: str, overrides: str) -> None:
        folder = self.command("explain", name, overrides, self.model(name), "overlay=npz")
        for path in sorted(folder.glob("overlays/*.npz")):
            with np.load(path) as arrays:
                for key in arrays.files:
                    if key != "photo":
                        self.array(f"explain {name} {path.stem} {key}", arrays[key])

    def array(self, name: str, array: np.ndarray) -> None:
        if array.dtype.kind not in "fi":
            self.entries[name] = array.tolist()
            return
        self.arrays[name] = array
        self.entries[name] = {
            "sha256": hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest(),
            "kind": f"{array.dtype} {array.shape}",
            "sum": float(array.sum(dtype=np.float64)),
            "max": float(array.max()),
        }

    def others(self) -> None:
        """Commands of which only the result's files or text are kept."""
        folder = self.command("predict", "scenes-transformer drawn", DRAWN, self.model("scenes-transformer"))
        for path in sorted(folder.rglob("*.*")):
            if path.suffix in (".html", ".png", ".gif", ".webp", ".svg"):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                self.entries[f"predict drawn {path.relative_to(folder)}"] = digest
        candidates = [
            self.work / f"predict-flickr-features-{name}/captions.jsonl" for name in ("beam", "greedy")
        ]
        folder = self.command(
            "score",
            "flickr",
            "strict=false references={inputs}/flickr8k/Flickr8k.token.txt resamples=200",
            f"candidates=[{','.join(map(str, candidates))}]",
        )
        self.entries["score flickr"] = without(json.loads((folder / "scores.json").read_text()))
        folder = self.command("doctor", "flickr", f"{FLICKR} processes=1", also=(1,))
        self.entries["doctor flickr"] = lines_of(folder / "findings.jsonl")

    def config(self, overrides: str) -> None:
        text = self.python(f"config {overrides}", "-m", "captioner.train", "--cfg", "job", *overrides.split())
        leaves = dict(leaves_of(yaml.safe_load(text)))
        # Classes move; their names say which they are.
        short = {key: value.rpartition(".")[2] for key, value in leaves.items() if key.endswith("_target_")}
        self.entries[f"config {overrides}"] = {**leaves, **short}

    def record(self, jobs: int) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        where = self.python("start", "-c", "import captioner; print(captioner.__file__)").strip()
        if not Path(where).is_relative_to(self.checkout):
            sys.exit(f"captioner is imported from {where}, which is not in {self.checkout}")
        self.make_inputs()
        start = time.monotonic()
        stages: list[tuple[Callable[..., None], Any]] = [
            (self.train, TRAIN),
            (self.train, TRAIN_FURTHER),
            (self.evaluate, EVALUATE),
            (self.predict, PREDICT),
            (self.explain, EXPLAIN),
            (self.others, {(): ()}),
            (self.config, {(text,): () for text in CONFIGS}),
        ]
        with ThreadPoolExecutor(jobs) as pool:
            for task, table in stages:
                rows = [(key, row) if isinstance(key, str) else key for key, row in table.items()]
                for future in [pool.submit(task, *row) for row in rows]:
                    future.result()
        wall, self.seconds["all"] = time.monotonic() - start, round(sum(self.seconds.values()), 1)
        np.savez_compressed(self.output.with_suffix(".npz"), allow_pickle=False, **self.arrays)
        record = {"entries": dict(sorted(self.entries.items())), "seconds": self.seconds}
        self.output.write_text(json.dumps(record, indent=0) + "\n")
        print(
            f"{len(self.entries)} entries in {wall:.0f} s, {self.seconds['all']:.0f} s of a core: {self.output}"
        )

    def make_inputs(self) -> None:
        """Files of 200 photos with their captions, of a few of them, and of pictures of scenes."""
        inputs, source = self.places["inputs"], self.places["data"] / "flickr8k"
        if inputs.exists():
            return
        for name in ("flickr8k/images", "photos", "few", "scenes"):
            (inputs / name).mkdir(parents=True)
        chosen: set[str] = set()
        for split, count in (("train", 160), ("dev", 40)):
            names = (source / f"Flickr_8k.{split}Images.txt").read_text().split()[:count]
            (inputs / f"flickr8k/Flickr_8k.{split}Images.txt").write_text("\n".join(names) + "\n")
            chosen.update(names)
            for index, name in enumerate(names):
                shutil.copy(source / "images" / name, inputs / "flickr8k/images")
                if split == "dev" and index < 6:
                    shutil.copy(source / "images" / name, inputs / "photos")
                if split == "dev" and index < 2:
                    shutil.copy(source / "images" / name, inputs / "few")
        lines = (source / "Flickr8k.token.txt").read_text().splitlines()
        kept = [line for line in lines if line.partition("#")[0] in chosen]
        (inputs / "flickr8k/Flickr8k.token.txt").write_text("\n".join(kept) + "\n")
        code = (
            "from PIL import Image; from captioner.data.scenes import Scenes; scenes = Scenes('test', size=4)\n"
            f"for i in range(4): Image.fromarray(scenes.photo(i).pixels).save({str(inputs)!r} + f'/scenes/{{i}}.png')"
        )
        self.python("inputs", "-c", code)


def weights_of(path: Path) -> dict[str, Any]:
    """Checksums of a safetensors file's tensors, with their names and without, and a mean of each."""
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    named, digests, means = hashlib.sha256(), [], {}
    for name, tensor in sorted(header.items()):
        if name == "__metadata__":
            continue
        raw = content[begin + tensor["data_offsets"][0] : begin + tensor["data_offsets"][1]]
        named.update(f"{name} {tensor['dtype']} {tensor['shape']}".encode() + raw)
        digests.append(hashlib.sha256(str(tensor["shape"]).encode() + raw).hexdigest())
        if tensor["dtype"] == "F32" and raw:
            means[name] = float(np.abs(np.frombuffer(raw, np.float32)).mean(dtype=np.float64))
    unnamed = hashlib.sha256(" ".join(sorted(digests)).encode()).hexdigest()
    return {"sha256": named.hexdigest(), "sha256 without names": unnamed, "mean magnitudes": means}


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file, with the photos' names in place of their paths."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        {**row, "image": Path(row["image"]).name} if isinstance(row.get("image"), str) else row
        for row in rows
    ]


def without(value: Any) -> Any:
    """Without seconds, places and the version."""
    if isinstance(value, dict):
        return {key: without(item) for key, item in value.items() if key not in MAY_CHANGE}
    if isinstance(value, list):
        return [without(item) for item in value]
    return re.sub(r"captioner:[^|]*\|", "", value) if isinstance(value, str) else value


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("record", type=Path, help="the JSON file to write")
    parser.add_argument("--data", type=Path, required=True, help="the folder of flickr8k and encoders")
    parser.add_argument("--inputs", type=Path, help="default: the folder inputs beside the record")
    parser.add_argument("--checkout", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--rename", action="append", default=[], type=lambda text: tuple(text.split("=")))
    options = parser.parse_args()
    options.inputs = options.inputs or options.record.parent / "inputs"
    Recorder(options).record(options.jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
