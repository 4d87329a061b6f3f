"""Captions photos and shows the attention of each word: python -m captioner.predict model=FILE images=PHOTOS.

With bulk=true it captions very many photos, on one process or many, in parts that a restart continues.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from captioner.build import as_list
from captioner.cli import run
from captioner.errors import UsageError
from captioner.files import output_folder
from captioner.overlay.kinds import check_kinds

if TYPE_CHECKING:
    from omegaconf import DictConfig


def predict(cfg: DictConfig) -> int:
    """Caption as `cfg` says. Returns 1 if a photo could not be read, else 0."""
    overlays = as_list(cfg.overlay)
    images = [cfg.images] if isinstance(cfg.images, str) else [str(entry) for entry in cfg.images or ()]
    _check(cfg, overlays)
    if cfg.bulk:
        return _predict_bulk(cfg, images)
    from captioner.captioning.caption_files import CaptionFiles
    from captioner.image.find import find_photos
    from captioner.pipeline import load_with_search

    paths = find_photos(images, stdin=sys.stdin)
    pipeline, search = load_with_search(cfg)
    results = pipeline.stream(
        paths,
        search=search,
        batch_size=cfg.batch_size,
        explain=as_list(cfg.explain),
        readers=cfg.readers,
        warn=lambda message: print(f"warning: {message}", file=sys.stderr),
    )
    folder = output_folder(cfg.output_dir)
    bad, animated = 0, False
    with CaptionFiles(folder, kinds=overlays, scale=cfg.scale) as files:
        for result in results:
            path = paths[result.index]
            files.add(path, result)
            if result.error is not None:
                print(f"error: {result.error}", file=sys.stderr)
                bad += 1
                continue
            assert result.photo is not None
            assert result.caption is not None
            if result.photo.animated and not animated:
                print(
                    f"note: {path} is an animation; only the first frame of each is captioned",
                    file=sys.stderr,
                )
                animated = True
            print(f"{path}\t{result.caption.text}", flush=True)
    _summarise(len(paths), bad, folder, overlays)
    return 1 if bad else 0


def _check(cfg: DictConfig, overlays: list[str]) -> None:
    check_kinds(overlays)
    if cfg.scale not in ("caption", "word"):
        raise UsageError(f"scale={cfg.scale} is unknown; choose caption or word")
    if not isinstance(cfg.readers, int) or cfg.readers < 0:
        raise UsageError(f"readers={cfg.readers} must be a whole number from 0")
    if cfg.bulk and overlays not in ([], ["html"]):
        raise UsageError(f"bulk=true writes captions without overlays; leave overlay={cfg.overlay} out")
    if cfg.shard is not None and not cfg.bulk:
        raise UsageError(f"shard={cfg.shard} needs bulk=true, which captions in parts")
    if "pdf" in overlays:
        from captioner.overlay.pdf import check_pdf

        check_pdf()


def _predict_bulk(cfg: DictConfig, images: list[str]) -> int:
    """Caption this process's parts. Returns 1 if a photo of them could not be read, else 0."""
    from captioner.bulk.command import caption_in_bulk
    from captioner.pipeline import load_with_search

    # torchrun numbers the processes of a machine.
    process = int(os.environ["LOCAL_RANK"]) if "LOCAL_RANK" in os.environ else None
    pipeline, search = load_with_search(cfg, process=process)
    return caption_in_bulk(cfg, images, pipeline, search)


def _summarise(total: int, bad: int, folder: Path, overlays: list[str]) -> None:
    print(f"{total - bad} of {total} photos captioned: {folder / 'captions.jsonl'}", file=sys.stderr)
    if "html" in overlays:
        print(f"page: {folder / 'index.html'}", file=sys.stderr)
    if kinds := ", ".join(kind for kind in overlays if kind != "html"):
        print(f"{kinds}: {folder / 'overlays'}", file=sys.stderr)
    if bad:
        print(f"{bad} could not be read: {folder / 'errors.jsonl'}", file=sys.stderr)


def main() -> None:
    """Run the command."""
    run(predict, "predict")


if __name__ == "__main__":
    main()
