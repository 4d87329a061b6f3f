"""Which attention, in which decoder? Trains each under one budget on one frozen encoder and prints the README's table.

    python scripts/compare_attention.py scenes --encoder runs/quickstart/model.safetensors
    python scripts/compare_attention.py flickr8k --root DIR --weights FILE
    python scripts/compare_attention.py scenes --only transformer/sparsemax lstm/hard

The encoder's features are stored once and all runs read them, so that only the decoders differ. A run that has its
scores is not repeated; what is stopped goes on where it was. Leaves `table.md` and `table.json` beside the runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from captioner.config import conf_dir

ATTENTION = {
    "scaled dot product": "score=scaled_dot",
    "dot product": "score=dot",
    "general": "score=general",
    "additive": "score=additive",
    "dot product with bias": "score=biased_dot",
    "cosine": "score=cosine",
    "sparsemax": "normaliser=sparsemax",
    "1.5-entmax": "normaliser=entmax15",
    "softmax off by one": "normaliser=off_by_one",
    "visual sentinel": "sentinel=true",
}
DECODERS: dict[str, dict[str, str]] = {
    "transformer": {**ATTENTION, "one head of keys": "num_kv_heads=1"},
    "lstm": {**ATTENTION, "hard": "hard=true"},
}
"""What each row changes of a decoder's own settings, by decoder. The LSTM's own score is additive."""

BUDGETS: dict[str, list[str]] = {
    "scenes": [
        "data.train.size=5000",
        "trainer.max_epochs=3",
        "cache=features",
        "cache.views=1",
        "image.cover=0",
        "encoder.trainable=none",
        "data.num_workers=0",
    ],
    "flickr8k": [
        "encoder=mobilenetv2",
        "trainer.max_epochs=4",
        "data.captions_per_image=3",
        "cache=features",
        "cache.views=2",
    ],
}
SEARCH = {"scenes": ["length_penalty=0", "limit=500"], "flickr8k": ["split=val"]}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", choices=sorted(BUDGETS))
    parser.add_argument("--encoder", help="scenes: a model file that gives the trained encoder")
    parser.add_argument("--root", help="flickr8k: its folder")
    parser.add_argument("--weights", help="flickr8k: the weights of the encoder")
    parser.add_argument("--output", default="runs/compare", help="folder of the runs")
    parser.add_argument("--seeds", type=int, help="runs of each row; scenes: 3, flickr8k: 1")
    parser.add_argument("--only", nargs="+", help="rows such as transformer/sparsemax")
    parser.add_argument(
        "--set", nargs="+", default=[], help="further overrides of captioner.train, for all runs"
    )
    parser.add_argument(
        "--test", nargs="+", default=[], help="further overrides of captioner.evaluate, for all runs"
    )
    args = parser.parse_args(arguments)
    needed = ("encoder",) if args.data == "scenes" else ("root", "weights")
    for name in needed:
        if getattr(args, name) is None:
            parser.error(f"{args.data} needs --{name}")
    weights = args.encoder if args.data == "scenes" else args.weights
    root = [f"data.root={args.root}"] if args.data == "flickr8k" else []
    folder = Path(args.output) / args.data
    train = [f"data={args.data}", *root, f"encoder.weights={weights}", *BUDGETS[args.data], *args.set]
    test = [f"data={args.data}", *root, *SEARCH[args.data], *args.test]
    rows: list[dict[str, Any]] = []
    for decoder, names in DECODERS.items():
        for name, change in names.items():
            if args.only and f"{decoder}/{name}" not in args.only:
                continue
            changes = [f"decoder={decoder}", "model.decoder.sentinel=false", f"model.decoder.{change}"]
            runs = []
            for seed in range(args.seeds or (3 if args.data == "scenes" else 1)):
                place = folder / f"{decoder}-{name.replace(' ', '-')}-{seed}"
                runs.append(scores(place, [*train, *changes, f"seed={seed}"], test))
            rows.append({"decoder": decoder, "attention": name, "runs": runs})
            table = markdown(rows, pointing=args.data == "scenes")
            (folder / "table.json").write_text(json.dumps(rows, indent=2) + "\n")
            (folder / "table.md").write_text(table)
    print(table)


def scores(place: Path, train: Sequence[str], test: Sequence[str]) -> dict[str, float]:
    """The figures of one run; it is trained and scored unless they are there."""
    kept = place / "figures.json"
    if not kept.exists():
        place.mkdir(parents=True, exist_ok=True)
        print(f"{place} ...", end=" ", file=sys.stderr, flush=True)
        start = time.monotonic()
        with (place / "log.txt").open("w") as log, contextlib.redirect_stdout(log):
            figures = train_and_score(place, train, test)
        figures["images_per_core_second"] = speed(place / "model.safetensors")
        kept.write_text(json.dumps(figures, indent=2) + "\n")
        print(f"{time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    known: dict[str, float] = json.loads(kept.read_text())
    return known


def train_and_score(place: Path, train: Sequence[str], test: Sequence[str]) -> dict[str, float]:
    """Train one model and score it, as the commands would."""
    from captioner.evaluate import evaluate
    from captioner.training.fit import fit

    own = [f"output_dir={place}", f"cache.folder={place.parent / 'features'}", "samples=0"]
    # Only the last scores count.
    quick = ["validate_captions=2", "monitor=val/loss", "monitor_mode=min"]
    start = time.monotonic()
    fit(composed("train", *train, *own, *quick))
    seconds = time.monotonic() - start
    model = place / "model.safetensors"
    evaluate(
        composed(
            "evaluate", *test, f"model={model}", f"output_dir={place}", "page=0", "metrics=[BLEU,CIDEr-D]"
        )
    )
    found = json.loads((place / "scores.json").read_text())
    figures = {
        "BLEU-4": 100 * found["corpus"]["BLEU-4"],
        "CIDEr-D": 100 * found["corpus"]["CIDEr-D"],
        "seconds_of_training": seconds,
    }
    health = found.get("health") or {}
    for kind in ("nouns", "function_words"):
        figures[f"visual_mass_of_{kind}"] = 100 * health.get(f"map_seen_{kind}", float("nan"))
    if scenes := found.get("scenes"):
        figures["pointing_game"] = 100 * scenes["pointing_game"]
        figures["true_captions"] = 100 * scenes["true_captions"]
    return figures


def speed(model: Path, images: int = 64, times: int = 3) -> float:
    """Images captioned and mapped a second of one core: the best of a few times, by the CPU's clock."""
    from captioner.data.scenes import Scenes
    from captioner.pipeline import load

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pipeline, scenes = load(model), Scenes("test", size=images)
    photos = [scenes.photo(index) for index in range(images)]
    spent = []
    for _ in range(times):
        start = time.process_time()
        pipeline.caption(photos, batch_size=32)
        spent.append(time.process_time() - start)
    torch.set_num_threads(threads)
    return images / min(spent)


def composed(name: str, *overrides: str) -> Any:
    """The configuration that a command would get."""
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        return compose(name, list(overrides))


def markdown(rows: Sequence[Mapping[str, Any]], *, pointing: bool) -> str:
    """The table: mean, and the standard deviation where there are several seeds."""
    columns: list[tuple[str, Callable[[Mapping[str, float]], float], int]] = [
        ("BLEU-4", lambda one: one["BLEU-4"], 1),
        ("CIDEr-D", lambda one: one["CIDEr-D"], 1),
        ("visual mass of nouns, %", lambda one: one["visual_mass_of_nouns"], 0),
        ("of function words, %", lambda one: one["visual_mass_of_function_words"], 0),
        ("images/s of a core", lambda one: one["images_per_core_second"], 0),
    ]
    if pointing:
        columns[2:2] = [
            ("true, %", lambda one: one["true_captions"], 1),
            ("pointing game, %", lambda one: one["pointing_game"], 1),
        ]
    lines = [
        "| decoder | attention | " + " | ".join(title for title, _, _ in columns) + " |",
        "|---|---|" + "---:|" * len(columns),
    ]
    for row in rows:
        cells = []
        for _, value, digits in columns:
            values = [value(one) for one in row["runs"]]
            spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.{digits}f}{spread}")
        lines.append(f"| {row['decoder']} | {row['attention']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
