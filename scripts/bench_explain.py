"""Cost of captioning, of all attention maps, and of each explanation method.

    python scripts/bench_explain.py FILE [FILE ...] [--images FOLDER] [--batch 16] [--threads 2]

For each model file: the time of captioning a batch with beam 3, the time that the maps of all layers and heads add, and
the time of each method for one photo, as the mean over the first photos of a folder (random pixels without --images).
Every figure is the shortest of several runs, in wall time and in processor time. Other load on the machine affects the
processor time little.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from captioner import bundle as bundles
from captioner.captioning.engine import CaptioningEngine
from captioner.decoding import make_search
from captioner.decoding.hypotheses import special_tokens
from captioner.explain.methods import METHODS, make_methods
from captioner.explain.teacher_forcing import CaptionedBatch, teacher_force
from captioner.image.decode import read_photo
from captioner.image.find import find_photos


def shortest(tasks: Sequence[Callable[[], object]], runs: int) -> list[tuple[float, float]]:
    """Wall and processor seconds of each task: the shortest of `runs` alternating runs, after one warm-up run."""
    best = [(float("inf"), float("inf"))] * len(tasks)
    for run in range(runs + 1):
        for index, task in enumerate(tasks):
            begin, begin_processor = time.perf_counter(), time.process_time()
            task()
            wall, processor = time.perf_counter() - begin, time.process_time() - begin_processor
            if run:
                best[index] = min(best[index][0], wall), min(best[index][1], processor)
    return best


def measure(path: str, options: argparse.Namespace) -> None:
    model = bundles.load(path)
    captioner, tokenizer = model.captioner, model.tokenizer
    if options.images:
        paths = itertools.islice(find_photos(options.images), options.batch)
        inputs = [model.transform(read_photo(photo)) for photo in paths]
    else:
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (options.batch, 240, 320, 3), dtype=np.uint8)
        inputs = [model.transform(read_photo(photo)) for photo in pixels]
    images = torch.stack([image for image, _ in inputs]).contiguous(memory_format=torch.channels_last)
    geometries = [geometry for _, geometry in inputs]
    search, special = make_search(3, max_length=30), special_tokens(tokenizer)
    engine = CaptioningEngine(captioner, tokenizer)

    @torch.no_grad()
    def caption() -> torch.Tensor:
        memory = captioner.encode(images)
        tokens = search(captioner.decoder, memory.features, special).tokens
        return tokens

    @torch.no_grad()
    def teacher_forced() -> object:
        return teacher_force(captioner, memory, tokens[:, :1], special)

    def caption_and_maps() -> object:
        return engine.caption([images], geometries, search=search)

    tokens = caption()
    tokens = tokens[:, :, : int((tokens[:, 0] != special.pad).sum(dim=-1).max())]
    with torch.no_grad():
        memory = captioner.encode(images)
    words = float((tokens[:, 0] != special.pad).sum(dim=-1).float().mean()) - 1
    print(
        f"\n{path}: {captioner.encoder.name}, grid {memory.grid[0]} x {memory.grid[1]}, {len(images)} photos,"
    )
    print(f"{words:.1f} tokens per caption, {options.threads} threads, torch {torch.__version__}\n")
    print(f"{'per batch':<44}{'wall':>10}{'processor':>12}")
    alone, forced, with_maps = shortest((caption, teacher_forced, caption_and_maps), options.runs)
    for name, (wall, processor) in (
        ("captions, beam 3", alone),
        ("the teacher-forced pass alone", forced),
        ("captions, all maps, alternatives, others", with_maps),
    ):
        print(f"{name:<44}{wall * 1e3:>7.0f} ms{processor * 1e3:>9.0f} ms")
    added = [100 * (b / a - 1) for a, b in zip(alone, with_maps, strict=True)]
    print(f"{'added by the maps':<44}{added[0]:>8.0f} %{added[1]:>10.0f} %")

    print(f"\n{'per photo':<44}{'wall':>10}{'processor':>12}")
    for name in (*METHODS, "occlusion:7x7"):
        if name not in (method.name for method in make_methods("all,occlusion:7x7", captioner)):
            continue
        (method,) = make_methods(name, captioner)
        totals = np.zeros(2)
        count = min(options.photos, len(images))
        for b in range(count):
            own = tokens[b : b + 1, :1, : int((tokens[b, 0] != special.pad).sum())]
            with torch.no_grad():
                one = captioner.encode(images[b : b + 1])
            forced_one = teacher_force(captioner, one, own, special)
            batch = CaptionedBatch(captioner, images[b : b + 1], one, own[:, 0], special, forced_one)
            totals += shortest((lambda method=method, batch=batch: method(batch),), 2)[0]  # type: ignore[misc]
        wall, processor = totals / count
        print(f"{name:<44}{wall * 1e3:>7.0f} ms{processor * 1e3:>9.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="model files")
    parser.add_argument("--images", help="a folder of photos")
    parser.add_argument("--batch", type=int, default=16, help="photos per batch")
    parser.add_argument("--photos", type=int, default=4, help="photos explained by each method")
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for path in options.models:
        measure(path, options)


if __name__ == "__main__":
    main()
