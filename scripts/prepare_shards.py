"""Conversion of any data set to WebDataset tar shards, for data=shards.

    python scripts/prepare_shards.py data=flickr8k data.root=DIR --out SHARDS [--splits train,val] [--per-shard 1000]
                                     [--processes 2] [--check] [--on-bad skip]

Writes SHARDS/train-000000.tar and so on, and SHARDS/index.json with the number of samples of each. The bytes depend on
the data set alone. Existing shards are kept, so a run after a kill writes the missing ones; SHARDS/made-from.json
verifies that they are of the same settings, captions and photo sizes. --check decodes every photo first. Each run
reports what was left out; SHARDS/train-000000.left-out.json and the like record unreadable photos.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from captioner.cli import compose
from captioner.data.integrity.reading_report import omission_lines
from captioner.data.open import open_split, split_names
from captioner.data.samples import CaptionDataset
from captioner.data.shards.shard_writer import WrittenShard, describe_captions, write_index, write_shard
from captioner.errors import UsageError, status_of
from captioner.files import json_text, output_folder, replace_file

_opened: dict[str, CaptionDataset] = {}  # of this process


def main() -> None:
    arguments = parse()
    status_of(lambda: prepare(arguments))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--splits", default="", help="separated by commas; all by default")
    parser.add_argument("--per-shard", type=int, default=1000, help="samples per shard")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="decode every photo")
    parser.add_argument("--on-bad", choices=("stop", "skip"), default="stop")
    parser.add_argument("overrides", nargs="*", help="data=NAME data.root=DIR and the like")
    return parser.parse_intermixed_args()


def prepare(arguments: argparse.Namespace) -> int:
    for name in ("per_shard", "processes"):
        if getattr(arguments, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(arguments, name)} must be at least 1")
    data = compose("train", arguments.overrides).data
    if missing := OmegaConf.missing_keys(data):
        raise UsageError(f"data.{min(missing)} has no value; give data.{min(missing)}=...")
    splits = [split for split in arguments.splits.split(",") if split] or split_names(data)
    folder = output_folder(arguments.out)
    settings: Any = OmegaConf.to_container(data, resolve=True)
    start, written = time.monotonic(), []
    # Spawned, not forked: a fork of a process whose libraries have threads may deadlock.
    with concurrent.futures.ProcessPoolExecutor(
        arguments.processes, multiprocessing.get_context("spawn")
    ) as pool:
        for split in splits:
            dataset = _open(settings, split)
            size = len(dataset)
            check_origin(folder, split, settings, dataset, arguments.per_shard)
            job = partial(
                _write,
                settings,
                folder,
                split,
                per_shard=arguments.per_shard,
                check=arguments.check,
                on_bad=arguments.on_bad,
            )
            numbers = range(-(-size // arguments.per_shard))
            for shard in pool.map(job, numbers) if arguments.processes > 1 else map(job, numbers):
                written.append(shard)
                for fault in shard.faults:
                    print(f"skipped: {fault}", file=sys.stderr)
                print(f"{shard.name}: {shard.samples:,} samples, {shard.size / 1e6:.1f} MB", file=sys.stderr)
    write_index(folder, written)
    samples, seconds = sum(shard.samples for shard in written), time.monotonic() - start
    unreadable = sum(len(shard.faults) for shard in written)
    for line in omission_lines({split: _open(settings, split) for split in splits}):
        print(line, file=sys.stderr)
    print(
        f"{samples:,} samples in {len(written):,} shards, {sum(s.size for s in written) / 1e9:.2f} GB, "
        f"{unreadable:,} unreadable photos left out; {samples / seconds:.0f} photos/s: {folder}"
    )
    return 0


def check_origin(
    folder: Path, split: str, settings: dict[str, Any], dataset: CaptionDataset, per_shard: int
) -> None:
    """Record the origin of a split's shards; raise `UsageError` if existing shards are of other data."""
    path = folder / "made-from.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    # These settings do not change the samples.
    loading = ("num_workers", "batch_size", "captions_per_image")
    data = {key: value for key, value in settings.items() if key not in loading}
    content = describe_captions(dataset)
    origin = json.loads(
        json_text({"data": data, "images": len(dataset), "content": content, "per_shard": per_shard})
    )
    if stored.get(split, origin) != origin:
        raise UsageError(
            f"{folder} contains {split} shards of other data, of captions before an edit, or of another --per-shard; "
            "choose another --out, or delete them"
        )
    text = json_text({**stored, split: origin}, indent=1) + "\n"
    replace_file(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))


def _open(settings: dict[str, Any], split: str) -> CaptionDataset:
    if split not in _opened:
        data = OmegaConf.create(settings)
        assert isinstance(data, DictConfig)
        _opened[split] = open_split(data, split)
    return _opened[split]


def _write(
    settings: dict[str, Any],
    folder: Path,
    split: str,
    number: int,
    *,
    per_shard: int,
    check: bool,
    on_bad: str,
) -> WrittenShard:
    dataset = _open(settings, split)
    return write_shard(dataset, folder, split, number, per_shard=per_shard, check=check, on_bad=on_bad)


if __name__ == "__main__":
    main()
