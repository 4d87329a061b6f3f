"""Train on the embedded dataset, score the result, caption unseen pictures: what scripts/quickstart.sh runs.

python scripts/quickstart.py [OVERRIDES OF captioner.train ...]
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

RUN = Path("runs/quickstart")
UNSEEN = 12


def main(overrides: list[str]) -> None:
    start = time.monotonic()
    command("captioner.train", f"output_dir={RUN}", "name=quickstart", *overrides)
    model = RUN / "model.safetensors"
    # A caption of scenes is good when it is true, not when it is long.
    search = ("beam_size=3", "length_penalty=0")
    command(
        "captioner.evaluate", f"model={model}", f"output_dir={RUN / 'evaluation'}", "novelty=false", *search
    )
    write_pictures(RUN / "pictures")
    command(
        "captioner.predict",
        f"model={model}",
        f"images={RUN / 'pictures'}",
        f"output_dir={RUN / 'captions'}",
        "overlay=html,png",
        *search,
    )
    scores = json.loads((RUN / "evaluation" / "scores.json").read_text())
    summary = {
        "true_captions": scores["scenes"]["true_captions"],
        "complete_captions": scores["scenes"]["complete_captions"],
        "pointing_game": scores["scenes"]["pointing_game"],
        "pointing_chance": scores["scenes"]["pointing_chance"],
        "test_images": scores["images"],
        "seconds": round(time.monotonic() - start, 1),
    }
    (RUN / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    chance = f"by chance: {summary['pointing_chance']:.1%}"
    print(f"""
In {summary["seconds"]:.0f} seconds this machine learned to describe pictures it has never seen:
  {summary["true_captions"]:.1%} of its captions on {summary["test_images"]} test pictures are true,
  {summary["pointing_game"]:.1%} of its nouns look at the object they name ({chance}).

Open this page and point at a word:
  {(RUN / "captions" / "index.html").resolve()}
More:
  {RUN / "evaluation" / "index.html"}   its worst and best captions
  {RUN / "captions" / "captions.jsonl"}   the captions as data
  {RUN / "captions" / "overlays"}   one picture of overlays for each caption
  {model}   the model
  {RUN / "summary.json"}   the figures above""")


def command(module: str, *arguments: str) -> None:
    """Run a command of the package as a user would, and show it."""
    print(f"\n$ python -m {shlex.join([module, *arguments])}", flush=True)
    status = subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode
    if status:
        sys.exit(status)


def write_pictures(folder: Path) -> None:
    """Write a few pictures of the test split as files, as if they were a user's own."""
    from PIL import Image

    from captioner.data.scenes import Scenes

    folder.mkdir(parents=True, exist_ok=True)
    scenes = Scenes("test", size=UNSEEN)
    for index in range(UNSEEN):
        Image.fromarray(scenes.photo(index).pixels).save(folder / f"picture-{index + 1:02d}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
