"""Comparison of attention variants, each trained with one budget on one frozen encoder; the table of docs/attention.md.

    python scripts/compare_attention.py scenes --encoder runs/quickstart/model.safetensors --page docs/attention.md
    python scripts/compare_attention.py flickr8k --root DIR --weights FILE --coco DIR --page docs/attention.md
    python scripts/compare_attention.py scenes --encoder FILE --only transformer/sparsemax lstm/hard

All runs read the stored features of one encoder, so only the decoders differ. A run that already has its figures is
skipped, and an interrupted comparison continues where it stopped. Each data set leaves `rows.json` beside its runs; the
table covers all data sets that have one and replaces the text between two marks of the page.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from attention_rows import BUDGETS, SEARCH, overrides_of, rows_of
from attention_table import insert, markdown

from captioner.cli import compose

FOLDER = str.maketrans({" ": "-", ",": None, "×": "x"})  # Hydra restricts the characters of a value


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", choices=sorted(BUDGETS))
    parser.add_argument("--encoder", help="scenes: model file with the trained encoder")
    parser.add_argument("--root", help="flickr8k: its folder")
    parser.add_argument("--weights", help="flickr8k: weights of the encoder")
    parser.add_argument("--coco", help="flickr8k: COCO photos with instances.json, for the pointing game")
    parser.add_argument("--page", type=Path, help="page with the table's marks to write the table into")
    parser.add_argument("--output", default="runs/compare", help="folder of the runs")
    parser.add_argument("--seeds", type=int, help="runs of each row; scenes: 3, flickr8k: 1")
    parser.add_argument("--only", nargs="+", help="rows such as transformer/sparsemax")
    parser.add_argument("--set", nargs="+", default=[], help="overrides of captioner.train for all runs")
    parser.add_argument("--test", nargs="+", default=[], help="overrides of captioner.evaluate for all runs")
    args = parser.parse_args(arguments)
    needed = ("encoder",) if args.data == "scenes" else ("root", "weights")
    for name in needed:
        if getattr(args, name) is None:
            parser.error(f"{args.data} needs --{name}")
    folder = Path(args.output) / args.data
    run_all(args, folder)
    files = {data: folder.parent / data / "rows.json" for data in BUDGETS}
    table = markdown({data: json.loads(file.read_text()) for data, file in files.items() if file.exists()})
    if args.page is not None:
        args.page.write_text(insert(table, args.page.read_text()))
    print(table)


def run_all(args: argparse.Namespace, folder: Path) -> None:
    """Train and score all rows of a data set, seed by seed; writes rows.json after each run."""
    weights = args.encoder if args.data == "scenes" else args.weights
    root = [f"data.root={args.root}"] if args.data == "flickr8k" else []
    train = [f"data={args.data}", *root, f"encoder.weights={weights}", *BUDGETS[args.data], *args.set]
    test = [f"data={args.data}", *root, *SEARCH[args.data], *args.test]
    coco = ["data=coco", f"data.root={args.coco}", "data.test.split=all", "split=test", "grounding=true"]
    pointing = None if args.coco is None else [*coco, *args.test]
    rows: list[dict[str, Any]] = [
        {"decoder": decoder, "attention": name, "change": overrides, "runs": []}
        for decoder, names in rows_of(args.data).items()
        for name, overrides in names.items()
        if not args.only or f"{decoder}/{name}" in args.only
    ]
    seeds = args.seeds or (3 if args.data == "scenes" else 1)
    for seed in range(seeds):  # an interrupted comparison has the same number of seeds for all rows
        for row in rows:
            name = f"{row['decoder']}-{row['attention']}-{seed}"
            settings = [*train, *overrides_of(row["decoder"], row["change"]), f"seed={seed}"]
            row["runs"].append(figures_of(folder / name.translate(FOLDER), settings, test, pointing))
            (folder / "rows.json").write_text(json.dumps(rows, indent=2) + "\n")


def figures_of(
    run: Path, train: Sequence[str], test: Sequence[str], pointing: Sequence[str] | None
) -> dict[str, float]:
    """Figures of one run, which is trained and scored unless its folder already has them."""
    file = run / "figures.json"
    if not file.exists():
        run.mkdir(parents=True, exist_ok=True)
        print(f"{run} ...", end=" ", file=sys.stderr, flush=True)
        start = time.monotonic()
        with (run / "log.txt").open("w") as log, contextlib.redirect_stdout(log):
            figures = train_and_score(run, train, test)
            if pointing is not None:
                figures |= pointing_on_small_objects(run, pointing)
        figures["images_per_core_second"] = speed(run / "model.safetensors", test)
        file.write_text(json.dumps(figures, indent=2) + "\n")
        print(f"{time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    known: dict[str, float] = json.loads(file.read_text())
    return known


def train_and_score(run: Path, train: Sequence[str], test: Sequence[str]) -> dict[str, float]:
    """Train and score one model as the commands would."""
    from captioner.evaluate import evaluate
    from captioner.training.fit import fit

    own = [f"output_dir={run}", f"cache.folder={run.parent / 'features'}", "samples=0"]
    quick = ["validate_captions=2", "monitor=val/loss", "monitor_mode=min"]  # only the final scores count
    start = time.monotonic()
    fit(composed("train", *train, *own, *quick))
    seconds = time.monotonic() - start
    model = [f"model={run / 'model.safetensors'}", f"output_dir={run}"]
    evaluate(composed("evaluate", *test, *model, "page=0", "metrics=[BLEU,CIDEr-D]"))
    scores = json.loads((run / "scores.json").read_text())
    figures = {
        "BLEU-4": 100 * scores["corpus"]["BLEU-4"],
        "CIDEr-D": 100 * scores["corpus"]["CIDEr-D"],
        "seconds_of_training": seconds,
    }
    for kind in ("nouns", "function_words"):
        mass = scores["health"][f"map_seen_{kind}"]  # None if no caption has such a word
        figures[f"visual_mass_of_{kind}"] = float("nan") if mass is None else 100 * mass
    if scenes := scores.get("scenes"):
        figures["pointing_game"] = 100 * scenes["pointing_game"]
        figures["true_captions"] = 100 * scenes["true_captions"]
    return figures


def pointing_on_small_objects(run: Path, pointing: Sequence[str]) -> dict[str, float]:
    """Pointing game of nouns whose object is smaller than a quarter of its photo, and that of the photo's centre."""
    from captioner.evaluate import evaluate

    folder = run / "pointing"
    own = [f"model={run / 'model.safetensors'}", f"output_dir={folder}"]
    evaluate(composed("evaluate", *pointing, *own, "page=0", "metrics=[BLEU]", "novelty=false"))
    grounding = json.loads((folder / "scores.json").read_text())["grounding"]
    peaks = {
        row["method"]: 100 * row["peak_in_box"]["value"]
        for row in grounding["rows"]
        if row["words"] == "small"
    }
    return {
        "pointing_game": peaks["attention"],
        "pointing_of_centre": peaks["centre of the photo"],
        "pointing_nouns": grounding["counts"]["small"],
    }


def speed(model: Path, test: Sequence[str], images: int = 64, times: int = 3) -> float:
    """Images captioned and explained per second of one core's processor time, the best of several runs."""
    from captioner.data.open import open_split
    from captioner.pipeline import load

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    settings = composed("evaluate", *test, f"model={model}")
    pipeline, dataset = load(model), open_split(settings.data, settings.split)
    photos = [dataset.photo(index) for index in range(images)]
    seconds = []
    for _ in range(times):
        start = time.process_time()
        pipeline.caption(photos, batch_size=32)
        seconds.append(time.process_time() - start)
    torch.set_num_threads(threads)
    return images / min(seconds)


def composed(name: str, *overrides: str) -> Any:
    """The configuration that a command would have with these overrides."""
    return compose(name, overrides)


if __name__ == "__main__":
    main(sys.argv[1:])
