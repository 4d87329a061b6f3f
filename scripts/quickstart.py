"""Training on the generated data set, scoring, and captioning of test pictures, as scripts/quickstart.sh runs them.

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
    # Captions of scenes are judged by their truth, so longer ones are not preferred.
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
    chance = f"chance: {summary['pointing_chance']:.1%}"
    print(f"""
Trained and tested in {summary["seconds"]:.0f} seconds, on {summary["test_images"]} test pictures:
  {summary["true_captions"]:.1%} of the captions are true,
  {summary["pointing_game"]:.1%} of the nouns have maps that peak in the box of the object named ({chance}).

Open this page and point at a word to see its map:
  {(RUN / "captions" / "index.html").resolve()}
More:
  {RUN / "evaluation" / "index.html"}   worst and best captions
  {RUN / "captions" / "captions.jsonl"}   captions and log-probabilities
  {RUN / "captions" / "overlays"}   a contact sheet of maps per picture
  {model}   the model
  {RUN / "summary.json"}   the figures above""")


def command(module: str, *arguments: str) -> None:
    """Print and run a command of the package."""
    print(f"\n$ python -m {shlex.join([module, *arguments])}", flush=True)
    status = subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode
    if status:
        sys.exit(status)


def write_pictures(folder: Path) -> None:
    """Write some pictures of the test split as PNG files."""
    from PIL import Image

    from captioner.data.scenes import Scenes

    folder.mkdir(parents=True, exist_ok=True)
    scenes = Scenes("test", size=UNSEEN)
    for index in range(UNSEEN):
        Image.fromarray(scenes.photo(index).pixels).save(folder / f"picture-{index + 1:02d}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
