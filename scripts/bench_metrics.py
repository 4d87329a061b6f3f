"""Time and memory of the metrics, beside pycocoevalcap with Java.

    python scripts/bench_metrics.py [--references Flickr8k.token.txt] [--images 5000] [--skip-java]

Both score the same captions, each case in a separate process, including imports and the start of Java (not of Python):
tokenization with BLEU, ROUGE-L and CIDEr-D; METEOR; then ours alone on as many images as COCO val2014 has, and as a
training reward. Captions come from a file of references (five per image; the candidate is one of them with words
changed), or are generated. The comparison needs Java and `pip install pycocoevalcap`.
"""

# ruff: noqa: SIM905, lists of words are shorter to read as one text

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np

COCO_VAL2014 = 40_504
NOUNS = (
    "man woman dog cat bus street table kite wave horse child train pizza bear clock bench boat plane".split()
)
VERBS = "riding holding watching near under behind beside on with facing".split()
EXTRA = "red big small young wooden old two the some white park beach field city sunny crowded green".split()

Captions = dict[str, list[str]]


def generated(count: int) -> Captions:
    """Five captions for each of `count` images, about as long and as repetitive as real captions."""
    rng = random.Random(0)
    rare = [f"word{i}" for i in range(5000)]

    def caption(subject: str, verb: str, thing: str) -> str:
        extra = [rng.choice(EXTRA) for _ in range(rng.randint(1, 4))]
        if rng.random() < 0.4:
            extra.append(rng.choice(rare))
        return f"A {rng.choice(EXTRA)} {subject} {verb} a {thing} {' '.join(extra)}."

    scenes = ((rng.choice(NOUNS), rng.choice(VERBS), rng.choice(NOUNS)) for _ in range(count))
    return {str(i): [caption(*scene) for _ in range(5)] for i, scene in enumerate(scenes)}


def load(path: Path | None, count: int) -> tuple[dict[str, str], Captions]:
    """Candidates and references; a file with fewer images is repeated under other names."""
    if path is None:
        references = generated(count)
    else:
        from captioner.metrics.caption_files import read_references

        captions_of = list(read_references(path)[0].values())
        references = {str(i): captions_of[i % len(captions_of)] for i in range(count)}
    rng = random.Random(1)
    candidates = {}
    for image, captions in references.items():
        words = captions[0].split()
        candidates[image] = " ".join(w if rng.random() < 0.7 else rng.choice(EXTRA) for w in words)
    return candidates, references


def ours(candidates: dict[str, str], references: Captions, metrics: Sequence[str]) -> dict[str, float]:
    """Score with this package."""
    from captioner.metrics.report import score_captions

    return score_captions(candidates, references, metrics=metrics).corpus


def theirs(candidates: dict[str, str], references: Captions, metrics: Sequence[str]) -> dict[str, float]:
    """Score with pycocoevalcap."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    with redirect_stdout(sys.stderr):
        tokenizer = PTBTokenizer()
        gts = tokenizer.tokenize({k: [{"caption": c} for c in v] for k, v in references.items()})
        res = tokenizer.tokenize({k: [{"caption": c}] for k, c in candidates.items()})
        scorers = {"BLEU": Bleu(4), "ROUGE-L": Rouge(), "CIDEr-D": Cider()}
        if "METEOR" in metrics:
            scorers["METEOR"] = meteor = Meteor()
        scores: dict[str, float] = {}
        for name in metrics:
            value = scorers[name].compute_score(gts, res)[0]
            names = [f"BLEU-{n}" for n in range(1, 5)] if name == "BLEU" else [name]
            scores.update(zip(names, np.atleast_1d(value).tolist(), strict=True))
        if "METEOR" in metrics:
            meteor.meteor_p.stdin.close()
            meteor.meteor_p.wait()  # its processor time counts only when it has ended
    return scores


def reward() -> dict[str, float]:
    """Milliseconds of one call of CaptionReward for 64 images of 5 samples."""
    from captioner.metrics.caption_reward import CaptionReward
    from captioner.metrics.token_words import TableWords

    references = generated(5000)
    words = ["", "", "", ".", "A", *NOUNS, *VERBS, *EXTRA, "a", *(f"word{i}" for i in range(3000))]
    scorer = CaptionReward(references, TableWords(words, eos_id=2, count_end=True), weights={"CIDEr-D": 1.0})
    rng = np.random.default_rng(0)
    images = [str(i) for i in rng.choice(5000, 64, replace=False)]
    tokens = rng.integers(3, 60, (64, 5, 20))
    tokens[:, :, 14:] = 2
    times = []
    for _ in range(30):
        start = time.perf_counter()
        scorer(images, tokens)
        times.append(1000 * (time.perf_counter() - start))
    return {"median ms": sorted(times)[15], "least ms": min(times)}


def _child(
    queue: multiprocessing.Queue[str], job: Callable[..., dict[str, float]], arguments: tuple[object, ...]
) -> None:
    start = time.perf_counter()
    result = job(*arguments)
    elapsed = time.perf_counter() - start
    own, java = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = sum(usage.ru_utime + usage.ru_stime for usage in (own, java))
    queue.put(json.dumps([result, elapsed, seconds, max(own.ru_maxrss, java.ru_maxrss) / 1024]))


def timed(name: str, job: Callable[..., dict[str, float]], *arguments: object) -> tuple[float, float]:
    """Run a job in a new process and print its cost; returns wall seconds and processor seconds."""
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[str] = context.Queue()
    process = context.Process(target=_child, args=(queue, job, arguments))
    process.start()
    result, elapsed, busy, peak = json.loads(queue.get())
    process.join()
    values = "  ".join(f"{key} {value:.4f}" for key, value in result.items())
    print(f"{name:<46}{elapsed:>8.2f} s{busy:>8.2f} s CPU{peak:>6.0f} MB  {values}", flush=True)
    return elapsed, busy


def main() -> None:
    """Read the command line and run all cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--references", type=Path, help="file of references; default: generated captions")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--skip-java", action="store_true")
    arguments = parser.parse_args()
    candidates, references = load(arguments.references, arguments.images)
    size = f"{len(candidates)} of {sum(map(len, references.values()))}"
    for metrics in (["BLEU", "ROUGE-L", "CIDEr-D"], ["METEOR"]):
        what = f"{', '.join(metrics)}, {size}"
        mine = timed(f"{what}: ours", ours, candidates, references, metrics)
        if not arguments.skip_java:
            other = timed(f"{what}: Java", theirs, candidates, references, metrics)
            print(
                f"  {other[0] / mine[0]:.1f} times as fast, {other[1] / mine[1]:.1f} times less processor time"
            )
    candidates, references = load(arguments.references, COCO_VAL2014)
    timed(
        f"BLEU, ROUGE-L, CIDEr-D, {COCO_VAL2014} of {5 * COCO_VAL2014}",
        ours,
        candidates,
        references,
        ["BLEU", "ROUGE-L", "CIDEr-D"],
    )
    timed("reward, 64 images x 5 samples (with start-up)", reward)


if __name__ == "__main__":
    main()
