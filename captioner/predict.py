"""Captions photos and shows where each word looked: python -m captioner.predict model=FILE images=PHOTOS.

With bulk=true it captions very many, on one process or many, in parts that a restart goes on from.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from captioner.build import as_list
from captioner.cli import run
from captioner.errors import UsageError
from captioner.files import output_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from captioner.decoding import Search
    from captioner.overlay.entries import PageEntry
    from captioner.pipeline import Captioned, CaptionPipeline

OVERLAYS = ("html", "png", "words", "gif", "webp", "svg", "pdf", "npz")


def predict(cfg: DictConfig) -> int:
    """Caption as `cfg` says. Returns 1 if a photo could not be read, else 0."""
    overlays = as_list(cfg.overlay)
    if unknown := [name for name in overlays if name not in OVERLAYS]:
        raise UsageError(f"overlay={unknown[0]} is unknown; choose from {', '.join(OVERLAYS)}, or null")
    if cfg.scale not in ("caption", "word"):
        raise UsageError(f"scale={cfg.scale} is unknown; choose caption or word")
    if not isinstance(cfg.readers, int) or cfg.readers < 0:
        raise UsageError(f"readers={cfg.readers} must be a whole number from 0")
    images = [cfg.images] if isinstance(cfg.images, str) else [str(entry) for entry in cfg.images or ()]
    if cfg.bulk:
        return _predict_bulk(cfg, images)
    if cfg.shard is not None:
        raise UsageError(f"shard={cfg.shard} needs bulk=true, which captions in parts")
    if "pdf" in overlays:
        from captioner.overlay.pdf import check_pdf

        check_pdf()
    from captioner.image.find import NOT_PHOTOS, find_photos

    paths = find_photos(images, stdin=sys.stdin)
    pipeline, search = _load(cfg, cfg.device)
    from captioner.explain.methods import make_methods

    methods = make_methods(as_list(cfg.explain), pipeline.model.captioner, card=pipeline.card, warn=_warn)
    results = pipeline.stream(
        paths,
        search=search,
        batch_size=cfg.batch_size,
        explain=methods,
        readers=cfg.readers,
    )
    folder = output_folder(cfg.output_dir)
    kinds = [kind for kind in overlays if kind != "html"]
    if kinds:
        # A second run does not caption our own pictures.
        (output_folder(folder / "overlays") / NOT_PHOTOS).touch()
    bad: list[dict[str, str]] = []
    with ExitStack() as files:
        # Names of files may hold bytes that are no text; JSON has an escape for each.
        lines = files.enter_context(
            open(folder / "captions.jsonl", "w", encoding="utf-8", errors="backslashreplace")
        )
        entries = _report(results, paths, lines, bad, folder / "overlays", kinds, cfg.scale)
        if "html" in overlays:
            from captioner.overlay.page import write_page

            write_page(folder / "index.html", entries, title="Captions", scale=cfg.scale)
        else:
            for _ in entries:
                pass
    errors = folder / "errors.jsonl"
    errors.unlink(missing_ok=True)
    if bad:
        errors.write_text(
            "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in bad),
            encoding="utf-8",
            errors="backslashreplace",
        )
    _summarise(len(paths), len(bad), folder, overlays)
    return 1 if bad else 0


def _load(cfg: DictConfig, device: str) -> tuple[CaptionPipeline, Search]:
    from captioner.decoding import make_search
    from captioner.pipeline import load

    pipeline = load(
        cfg.model,
        device=device,
        ensemble=as_list(cfg.ensemble),
        average=cfg.average,
        precision=cfg.precision,
        compile=cfg.compile,
    )
    search = make_search(
        cfg.beam_size,
        max_length=cfg.max_length,
        length_penalty=cfg.length_penalty,
        tokenizer=pipeline.model.tokenizer,
        **cfg.decoding,
        **cfg.constraints,
    )
    return pipeline, search


def _predict_bulk(cfg: DictConfig, images: list[str]) -> int:
    """Caption this process's parts. Returns 1 if a photo of them could not be read, else 0."""
    from captioner.bulk.command import caption_in_bulk, device_of

    if as_list(cfg.overlay) not in ([], ["html"]):
        raise UsageError(f"bulk=true writes captions alone; leave overlay={cfg.overlay} out")
    pipeline, search = _load(cfg, device_of(cfg.device, os.environ))
    return caption_in_bulk(cfg, images, pipeline, search)


def _report(
    results: Iterator[Captioned],
    paths: list[Path],
    lines: TextIO,
    bad: list[dict[str, str]],
    folder: Path,
    kinds: list[str],
    scale: Any,
) -> Iterator[PageEntry]:
    """Print and write each result as it comes; give the captioned ones on for the page."""
    from captioner.overlay.entries import PageEntry
    from captioner.overlay.files import write_files

    animated = False
    for result in results:
        path = paths[result.index]
        if result.error is not None:
            print(f"error: {result.error}", file=sys.stderr)
            bad.append({"image": str(path), "error": str(result.error)})
            continue
        assert result.caption is not None
        assert result.photo is not None
        if result.photo.animated and not animated:
            print(f"note: {path} is an animation; of each, the first picture is captioned", file=sys.stderr)
            animated = True
        caption = result.caption
        print(f"{path}\t{caption.text}", flush=True)
        record = {
            "image": str(path),
            "caption": caption.text,
            "score": caption.score,
            "logprob": caption.logprob,
            "others": [{"caption": other.text, "score": other.logprob} for other in caption.others],
            "words": [
                {"word": word.text, "logprob": word.logprob, "visual_mass": word.visual_mass}
                for word in caption.words
            ],
        }
        lines.write(json.dumps(record, ensure_ascii=False) + "\n")
        if kinds:
            # Photos of several folders may share a name: the number keeps them apart and in order.
            stem = f"{result.index + 1:05d}-{path.stem}"
            write_files(folder, stem, result.photo.pixels, caption, kinds=kinds, scale=scale, name=str(path))
        yield PageEntry(result.photo.pixels, caption, str(path))


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _summarise(total: int, bad: int, folder: Path, overlays: list[str]) -> None:
    print(f"{total - bad} of {total} photos captioned: {folder / 'captions.jsonl'}", file=sys.stderr)
    if "html" in overlays:
        print(f"page: {folder / 'index.html'}", file=sys.stderr)
    if kinds := ", ".join(kind for kind in overlays if kind != "html"):
        print(f"{kinds}: {folder / 'overlays'}", file=sys.stderr)
    if bad:
        print(f"{bad} could not be read: {folder / 'errors.jsonl'}", file=sys.stderr)


if __name__ == "__main__":
    run(predict, "predict")
