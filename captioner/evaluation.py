"""How good is a model on a split? Captions it, scores it, and shows its best and worst."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from captioner.caption import Caption
from captioner.data.open import open_split
from captioner.data.samples import CaptionDataset
from captioner.data.scenes import Scenes, check
from captioner.decoding import make_search
from captioner.errors import DataError, ImageError, UsageError
from captioner.explain.pointing import NamedBoxes, pointing_game
from captioner.image.decode import Photo
from captioner.metrics.report import score_captions
from captioner.overlay.entries import PageEntry
from captioner.overlay.page import write_page
from captioner.pipeline import CaptionPipeline, load


def evaluate_split(cfg: DictConfig) -> dict[str, Any]:
    """Evaluate as `cfg` says; prints a table and returns what scores.json holds."""
    dataset = open_split(cfg.data, cfg.split)
    size = _size(cfg.limit, len(dataset))
    if cfg.page < 0:
        raise UsageError(f"page={cfg.page} must be at least 0; 0 makes no page")
    search = make_search(cfg.beam_size, max_length=cfg.max_length, length_penalty=cfg.length_penalty)
    pipeline = load(cfg.model, device=cfg.device)
    folder = Path(cfg.output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"output_dir={folder} cannot be written: {error.strerror}; choose another"
        ) from error

    start = time.monotonic()
    captions = _caption_all(pipeline, dataset, size, search=search, batch_size=cfg.batch_size)
    seconds = time.monotonic() - start
    if not captions:
        raise DataError(f"none of the {size} images of split={cfg.split} can be read")

    samples = {index: dataset[index] for index in captions}
    scores = score_captions(
        {samples[i].id: caption.text for i, caption in captions.items()},
        {samples[i].id: samples[i].captions for i in captions},
        metrics=("BLEU", "ROUGE-L", "CIDEr-D"),
        decoding=", ".join(f"{key}={value}" for key, value in search.spec().items()),
    )
    result: dict[str, Any] = {
        "images": len(captions),
        "left_out": size - len(captions),
        "corpus": _json_numbers(scores.corpus),
        "diversity": _diversity(captions),
        "images_per_second": len(captions) / seconds,
        "signature": scores.signature,
        "model": str(cfg.model),
        "data": OmegaConf.to_container(cfg.data, resolve=True),
        "split": cfg.split,
    }
    named: dict[int, list[NamedBoxes]] = {}
    if isinstance(dataset, Scenes):
        result["scenes"], named = _hold_against_scenes(dataset, captions)
    _write(folder, result, captions, {i: samples[i].id for i in captions}, scores.images)
    if cfg.page:
        ranked = sorted(captions, key=lambda i: scores.images[samples[i].id]["CIDEr-D"])
        worst, best = math.ceil(cfg.page / 2), cfg.page // 2
        chosen = [*ranked[:worst], *ranked[max(worst, len(ranked) - best) :]]
        write_page(
            folder / "index.html",
            (
                PageEntry(
                    dataset.photo(i).pixels,
                    captions[i],
                    f"{samples[i].id} · CIDEr-D {scores.images[samples[i].id]['CIDEr-D']:.2f}",
                    references=samples[i].captions,
                    boxes={noun.word_index: noun.boxes for noun in named.get(i, [])},
                )
                for i in chosen
            ),
            title=f"Worst and best captions of {cfg.split}",
        )
    _print(result, folder)
    return result


def _size(limit: Any, available: int) -> int:
    if limit is None:
        return available
    if not isinstance(limit, int) or limit < 1:
        raise UsageError(f"limit={limit} must be a whole number of at least 1, or null for the whole split")
    return min(limit, available)


def _caption_all(
    pipeline: CaptionPipeline, dataset: CaptionDataset, size: int, *, search: Any, batch_size: int
) -> dict[int, Caption]:
    """Captions by index in the dataset; photos that cannot be read are reported and left out."""
    captions: dict[int, Caption] = {}
    readable: list[int] = []

    def photos() -> Iterator[Photo]:
        for i in range(size):
            try:
                photo = dataset.photo(i)
            except ImageError as error:
                print(f"error: {error}", file=sys.stderr)
                continue
            readable.append(i)
            yield photo

    for result in pipeline.stream(photos(), search=search, batch_size=batch_size):
        assert result.caption is not None
        captions[readable[result.index]] = result.caption
        if sys.stderr.isatty():
            print(f"\r{readable[result.index] + 1}/{size} images", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return captions


def _diversity(captions: Mapping[int, Caption]) -> dict[str, float]:
    texts = [caption.text for caption in captions.values()]
    words = [word for text in texts for word in text.split()]
    return {
        "distinct_captions": len(set(texts)),
        "vocabulary_used": len(set(words)),
        "mean_length": len(words) / max(1, len(texts)),
    }


def _hold_against_scenes(
    scenes: Scenes, captions: Mapping[int, Caption]
) -> tuple[dict[str, Any], dict[int, list[NamedBoxes]]]:
    """How many captions are true of their scene, and whether nouns look at their objects."""
    verdicts = {i: check(caption.text, scenes.scene(i)) for i, caption in captions.items()}
    named = {
        i: [
            NamedBoxes(mention.word_index, tuple(scenes.scene(i).objects[k].box for k in mention.objects))
            for mention in verdict.mentions
        ]
        for i, verdict in verdicts.items()
    }
    pointing = pointing_game(list(captions.values()), [named[i] for i in captions])
    held_out = [i for i in captions if scenes.scene(i).has_held_out]
    figures = {
        "true_captions": _share([verdict.true for verdict in verdicts.values()]),
        "complete_captions": _share([verdict.true and verdict.complete for verdict in verdicts.values()]),
        "true_captions_held_out_pairs": _share([verdicts[i].true for i in held_out]),
        "images_with_held_out_pairs": len(held_out),
        "pointing_game": pointing.accuracy,
        "pointing_chance": pointing.chance,
        "pointing": asdict(pointing),
    }
    return figures, named


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0


def _write(
    folder: Path,
    result: dict[str, Any],
    captions: Mapping[int, Caption],
    ids: Mapping[int, str],
    per_image: Mapping[str, Mapping[str, float]],
) -> None:
    with open(folder / "captions.jsonl", "w", encoding="utf-8") as file:
        for i, caption in captions.items():
            scores = _json_numbers(per_image[ids[i]])
            record = {"image": ids[i], "caption": caption.text, "score": caption.score, **scores}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    (folder / "scores.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _json_numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no nan, which CIDEr of a single image is."""
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _print(result: Mapping[str, Any], folder: Path) -> None:
    rows = [*result["corpus"].items(), *result["diversity"].items()]
    rows += [(name, value) for name, value in result.get("scenes", {}).items() if not isinstance(value, dict)]
    for name, value in rows:
        figure = "undefined" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
        print(f"{name:<30} {figure:>9}")
    if result["left_out"]:
        print(f"{result['left_out']} images could not be read and are left out", file=sys.stderr)
    print(f"{result['images']} images at {result['images_per_second']:.1f} a second; {result['signature']}")
    print(f"scores {folder / 'scores.json'}")
