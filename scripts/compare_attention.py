"""Which attention, in which decoder? Trains each under one budget on one frozen encoder and prints the README's table.

    python scripts/compare_attention.py scenes --encoder runs/quickstart/model.safetensors --page README.md
    python scripts/compare_attention.py flickr8k --root DIR --weights FILE --coco DIR --page README.md
    python scripts/compare_attention.py scenes --only transformer/sparsemax lstm/hard

The encoder's features are stored once and all runs read them, so that only the decoders differ. A run that has its
scores is not repeated; what is stopped goes on where it was. Each dataset leaves `rows.json` beside its runs; the table
is of all datasets that have one, and goes into a page between two marks.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from captioner.cli import conf_dir

ATTENTION = {
    "scaled dot product": "model.decoder.score=scaled_dot",
    "dot product": "model.decoder.score=dot",
    "general": "model.decoder.score=general",
    "additive": "model.decoder.score=additive",
    "dot product with bias": "model.decoder.score=biased_dot",
    "cosine": "model.decoder.score=cosine",
    "sparsemax": "model.decoder.normaliser=sparsemax",
    "1.5-entmax": "model.decoder.normaliser=entmax15",
    "softmax off by one": "model.decoder.normaliser=off_by_one",
    "sink": "model.decoder.normaliser=sink",
    "visual sentinel": "model.decoder.sentinel=true",
    "visual sentinel, image-attention penalty": "model.decoder.sentinel=true objective.image_attention_penalty=0.1",
    "doubly stochastic": "objective.doubly_stochastic=1",
}
FIRST = "model.decoder.self_attention_first=true"
DECODERS: dict[str, dict[str, str]] = {
    "transformer": {
        **ATTENTION,
        "self-attention first": FIRST,
        "self-attention first, visual sentinel": f"{FIRST} model.decoder.sentinel=true",
        "self-attention first, sentinel, image-attention penalty": (
            f"{FIRST} model.decoder.sentinel=true objective.image_attention_penalty=0.3"
        ),
        "one head of keys": "model.decoder.num_kv_heads=1",
    },
    "lstm": {**ATTENTION, "hard": "model.decoder.hard=true"},
}
"""What each row changes of a decoder's own settings, by decoder. The LSTM's own score is additive."""
LEARNING = {
    "attention supervised": "experiment=supervised_attention",
    "rotary, grouped heads": "experiment=rotary_grouped",
    "windowed image layers": "experiment=local_attention",
    "scheduled sampling": "experiment=scheduled_sampling",
}
"""Further rows of the Transformer on scenes."""
GRIDS = {
    "scaled dot product, 12 × 12 cells": "encoder.image_size=[384,384]",
    "scaled dot product, 12 × 12 cells and finer maps": "encoder.image_size=[384,384] encoder.finer=[1,2,3]",
}
"""Further rows of Flickr8k's Transformer: what there is to look at; in the others 7 × 7 cells."""

BUDGETS: dict[str, list[str]] = {
    "scenes": [
        "data.train.size=3000",
        "data.batch_size=16",
        "data.captions_per_image=1",
        "trainer.max_epochs=3",
        "+trainer.limit_val_batches=2",  # only the last scores count
        "cache=features",
        "cache.views=1",
        "image.cover=0",
        "encoder.trainable=none",
        "data.num_workers=0",
    ],
    "flickr8k": [
        "encoder=mobilenetv2",
        "trainer.max_epochs=3",
        "data.captions_per_image=1",
        "+trainer.limit_val_batches=2",
        "cache=features",
        "cache.views=2",
    ],
}
MARKS = ("<!-- attention by decoder -->", "<!-- end of attention by decoder -->")
FOLDER = str.maketrans({" ": "-", ",": None, "×": "x"})  # Hydra wants plain names
SEARCH = {"scenes": ["length_penalty=0", "limit=300"], "flickr8k": ["split=val", "limit=500"]}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", choices=sorted(BUDGETS))
    parser.add_argument("--encoder", help="scenes: a model file that gives the trained encoder")
    parser.add_argument("--root", help="flickr8k: its folder")
    parser.add_argument("--weights", help="flickr8k: the weights of the encoder")
    parser.add_argument("--coco", help="flickr8k: COCO photos with instances.json, to see where nouns look")
    parser.add_argument("--page", type=Path, help="a page with the table's marks, to put it into")
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
    pointing = None
    if args.coco is not None:
        pointing = [
            "data=coco",
            f"data.root={args.coco}",
            "data.test.split=all",
            "split=test",
            "grounding=true",
            *args.test,
        ]
    rows: list[dict[str, Any]] = [
        {"decoder": decoder, "attention": name, "change": change, "runs": []}
        for decoder, names in rows_of(args.data).items()
        for name, change in names.items()
        if not args.only or f"{decoder}/{name}" in args.only
    ]
    for seed in range(
        args.seeds or (3 if args.data == "scenes" else 1)
    ):  # stopped early, all rows have as many
        for row in rows:
            name = f"{row['decoder']}-{row['attention']}-{seed}"
            place = folder / name.translate(FOLDER)
            settings = [*train, *changes(row["decoder"], row["change"]), f"seed={seed}"]
            row["runs"].append(scores(place, settings, test, pointing))
            (folder / "rows.json").write_text(json.dumps(rows, indent=2) + "\n")
    found = {data: folder.parent / data / "rows.json" for data in BUDGETS}
    table = markdown({data: json.loads(path.read_text()) for data, path in found.items() if path.exists()})
    if args.page is not None:
        args.page.write_text(placed(table, args.page.read_text()))
    print(table)


def rows_of(data: str) -> dict[str, dict[str, str]]:
    """The rows of a dataset, by decoder."""
    more = GRIDS if data == "flickr8k" else LEARNING
    return {**DECODERS, "transformer": {**DECODERS["transformer"], **more}}


def changes(decoder: str, change: str) -> list[str]:
    """What a row sets of `captioner.train`: nothing of one attention is left in another's run."""
    return [f"decoder={decoder}", "model.decoder.sentinel=false", *change.split()]


def placed(table: str, page: str) -> str:
    """A page with what stands between its marks replaced by the table."""
    before, begin, rest = page.partition(f"{MARKS[0]}\n")
    _, end, after = rest.partition(MARKS[1])
    if not begin or not end:
        raise SystemExit(
            f"the page has no place for the table: {MARKS[0]} and {MARKS[1]}, each on a line of its own"
        )
    return f"{before}{begin}{table}{end}{after}"


def scores(
    place: Path, train: Sequence[str], test: Sequence[str], pointing: Sequence[str] | None
) -> dict[str, float]:
    """The figures of one run; it is trained and scored unless they are there."""
    kept = place / "figures.json"
    if not kept.exists():
        place.mkdir(parents=True, exist_ok=True)
        print(f"{place} ...", end=" ", file=sys.stderr, flush=True)
        start = time.monotonic()
        with (place / "log.txt").open("w") as log, contextlib.redirect_stdout(log):
            figures = train_and_score(place, train, test)
            if pointing is not None:
                figures |= small_things(place, pointing)
        figures["images_per_core_second"] = speed(place / "model.safetensors", test)
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


def small_things(place: Path, pointing: Sequence[str]) -> dict[str, float]:
    """Where nouns look that name something smaller than a quarter of its photo; beside it the centre of the photo."""
    from captioner.evaluate import evaluate

    folder = place / "pointing"
    evaluate(
        composed(
            "evaluate",
            *pointing,
            f"model={place / 'model.safetensors'}",
            f"output_dir={folder}",
            "page=0",
            "metrics=[BLEU]",
            "novelty=false",
        )
    )
    found = json.loads((folder / "scores.json").read_text())["grounding"]
    peaks = {
        row["method"]: 100 * row["peak_in_box"]["value"] for row in found["rows"] if row["words"] == "small"
    }
    return {
        "pointing_game": peaks["attention"],
        "pointing_of_centre": peaks["centre of the photo"],
        "pointing_nouns": found["counts"]["small"],
    }


def speed(model: Path, test: Sequence[str], images: int = 64, times: int = 3) -> float:
    """Images captioned and mapped a second of one core: the best of a few times, by the CPU's clock."""
    from captioner.data.open import open_split
    from captioner.pipeline import load

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    settings = composed("evaluate", *test, f"model={model}")
    pipeline, dataset = load(model), open_split(settings.data, settings.split)
    photos = [dataset.photo(index) for index in range(images)]
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


COLUMNS = (
    ("BLEU-4", "BLEU-4", 1),
    ("CIDEr-D", "CIDEr-D", 1),
    ("true_captions", "true", 1),
    ("pointing_game", "pointing", 1),
    ("visual_mass_of_nouns", "mass of nouns", 0),
    ("visual_mass_of_function_words", "of function words", 0),
    ("images_per_core_second", "images/s", 0),
)
"""Figure of a run, its title, and digits behind the point."""


def markdown(of_data: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """One table of all datasets: the mean over seeds, with the standard deviation where there are several."""
    columns = [
        (data, key, f"{data}: {title}", digits)
        for data, rows in of_data.items()
        for key, title, digits in COLUMNS
        if any(key in run for row in rows for run in row["runs"])
    ]
    found = {
        (row["decoder"], row["attention"], data): row["runs"]
        for data, rows in of_data.items()
        for row in rows
    }
    lines = [
        "| decoder | attention | " + " | ".join(title for _, _, title, _ in columns) + " |",
        "|---|---|" + "---:|" * len(columns),
    ]
    for decoder, attention in dict.fromkeys((decoder, attention) for decoder, attention, _ in found):
        cells = []
        for data, key, _, digits in columns:
            values = [run[key] for run in found.get((decoder, attention, data), ())]
            spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.{digits}f}{spread}" if values else "")
        lines.append(f"| {decoder} | {attention} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
