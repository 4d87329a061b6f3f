"""Differences of our tokens and scores from those of coco-caption's Java tools.

    python scripts/parity_metrics.py [--captions FILE ...] [--lines 20000] [--seed 7]
    python scripts/parity_metrics.py --candidates results.json --references captions_val2017.json

Tokenizes the captions of the files and generated difficult lines with both tokenizers, and lists every difference by
its cause. With candidates and references it also compares BLEU, ROUGE-L, CIDEr-D and METEOR of the corpus and of each
image. Needs Java and `pip install pycocoevalcap`.
"""

# ruff: noqa: SIM905, lists of words are shorter to read as one text

from __future__ import annotations

import argparse
import difflib
import random
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from captioner.metrics.caption_files import match_names, read_candidates, read_references
from captioner.metrics.measure import measure
from captioner.metrics.ptb.ptb_tokenizer import PUNCTUATION, tokenize

COMMON = (
    "a the man woman dog cat bus street standing in on with of and riding red two people near sitting field table "
    "holding grass water large small white black young boy girl playing train plane kitchen pizza next to is are his "
    "her their front up down some sign beach snow wave Smith Boston Coca-Cola McDonald Anna London iPad NASA USA TV"
).split()
# Pieces inserted into captions, by cause.
PIECES = {
    "abbreviation": (
        "Mr. Mrs. Dr. St. Ave. Rd. Blvd. Jr. Sr. Inc. Co. Corp. Ltd. vs. etc. e.g. i.e. U.S. U.S.A. U.K. D.C. N.Y. "
        "a.m. p.m. A.M. Ph.D. M.D. No. Nos. Fig. pp. Jan. Feb. Mar. Aug. Sept. Oct. Nov. Dec. Mon. Tues. Thurs. Sat. "
        "Gen. Col. Lt. Sgt. Capt. Gov. Sen. Rev. Mt. Ft. Calif. Fla. Ga. Tex. Wash. Mass. approx. dept. est. al. ca. "
        "op. ft. in. oz. lb. kg. cm. hr. min. tel. ext. apt. J.K. A. x. mr. st. ave. etc inc. prof. wash. no."
    ).split(),
    "contraction": (
        "can't won't don't doesn't isn't ain't shouldn't I'm I'd he'd she'll we've you're it's dog's dogs' James' "
        "cannot gonna gotta wanna lemme gimme d'ye 'tis 'twas rock'n'roll 'n' 'em 'til 'cause o'clock ma'am y'all "
        "should've who'd '90s '95 1990's 's 're 'll e'er ne'er cap'n don’t it’s can’t dog’s ’tis l'eau d'Artagnan "
        "C'mon s'mores ol' doin' O'Brien boss's DON'T IT'S Cannot GONNA"
    ).split(),
    "number": [
        *"5 42 1984 1,000 12,345.67 3.14 .5 -5 +5 10:30 9/11 12/25/2010 2010-12-25 1/2 3/4 50% 4th 21st 5x5".split(),
        *"1990s 5'10\" 555-1234 1.2.3 100,00 3-4 $5 5pm 10am 5ft 6lb 3D".split(),
        *("1 1/2", "(555) 123-4567", "+1 555 123 4567", "55 555 5555", "No. 5", "5' 10\""),
    ],
    "currency": [
        mark + amount
        for mark in "$ € £ ¢ ¥ US$ A$ HK$ ₹ ₩ Rs. EUR".split()
        for amount in ("5", " 9.50", "1,000")
    ],
    "quotes": [
        left + inside + right
        for left, right in [
            *(pair for pair in "\"\" '' `` “” ‘’ «» „“ ‹› ´´ ′′".split()),
            ("``", "''"),
            ("", '"'),
        ]
        for inside in ("stop", "no entry", "Stop.", "hi,")
    ]
    + ["&quot;hi&quot;", "'stop"],
    "dash": "- -- --- ---- ----- – — ― a-b up--down left—right 1–2 ‐ x‑y − ‒".split(),
    "punctuation": [
        *". , ; : ! ? ... .... .. !! ??? ?! !? … • · / \\ | * ** # ~ ^ _ __ + = == @ & % ° § © ® ™ << >> ->".split(),
        ". . .",
    ],
    "url": (
        "http://www.example.com https://example.org/a/b?c=d&e=f www.test.com test.com example.org/path foo@bar.com "
        "foo.bar@baz.co.uk Amazon.com @user #hashtag #1 index.html C:\\dir /usr/bin a.b.c http://a.b www.example.com/ "
        "example.com:8080 192.168.0.1 file_name.txt cnn.com/news <a@b.com> my-site.com"
    ).split(),
    "brackets": [
        *(
            "(a dog)",
            "[sic]",
            "{red}",
            "((x))",
            "( open )",
            "(",
            ")",
            "[",
            "}",
            "-LRB-",
            "-rrb-",
            "⟨x⟩",
            "（x）",
        ),
        "<young>",
    ],
    "accent": (
        "café naïve résumé Zürich façade jalapeño crème Ångström smörgåsbord Æon straße Łódź İstanbul Nẵng ﬁsh "
        "cafe\u0301 日本語 中文 한국어 русский العربية עברית ελληνικά हिन्दी ไทย ａｂｃ １２３ ー 。 ！"
    ).split(),
    "emoji": "😀 🏂 ❤️ ☃ ♥ ★ ✓ 👍🏽 👨‍👩‍👧 🇺🇸 1️⃣ → ● ⚽ 🙂text a😀b".split(),
    "face": ":) :-) ;) :D :( <3 :P =) xD ^_^ :/ 8) :o >:( (: -_- o_O :]".split(),
    "hyphen": (
        "10-year-old two-story t-shirt X-ray e-mail mother-in-law semi- -ish pre-1990 5-foot-tall non-U.S. U.S.-based "
        "A-1 F-16 3-D and/or he/she 24/7 km/h w/ w/o a/b/c"
    ).split(),
    "markup": [
        *"&amp; &lt; &gt; &apos; &nbsp; &#39; &eacute; <b> </b> <br/> <unk> <eos> <s> AT&amp;T && AT&T".split(),
        *('<p class="x">', "<!-- c -->"),
    ],
    "symbol": "\u00a0 \u200b \u00ad \ufeff \u3000 ½ ¾ ⅓ ² № ℃ Ω π ∞ ≈ × ± ¿ ¡ ¬ ª º µ".split(" "),
}
FOLLOWERS = (",", ";", ":", "!", "?", ".", "...", ")", "'", '"')
ATTACHED = frozenset(["punctuation", "symbol", "emoji", "face"])  # sometimes without a space before


def difficult_line(rng: random.Random) -> tuple[str, list[tuple[str, str]]]:
    """A caption with difficult pieces, and these pieces with their causes."""
    words: list[str] = []
    pieces = []
    for _ in range(rng.randint(4, 12)):
        if rng.random() < 0.62:
            word = rng.choice(COMMON)
            words.append(rng.choice([word] * 8 + [word.capitalize(), word.upper()]))
            continue
        cause = rng.choice(list(PIECES))
        piece = rng.choice(PIECES[cause])
        if cause != "punctuation" and rng.random() < 0.15:
            piece += rng.choice(FOLLOWERS)
        pieces.append((cause, piece))
        if words and cause in ATTACHED and rng.random() < 0.5:
            words[-1] += piece
        else:
            words.append(piece)
    return " ".join(words) + rng.choice([" .", ".", ".", "", "", "!", '."', ".)"]), pieces


def java_tokens(captions: Sequence[str]) -> list[str]:
    """Tokens of each caption by coco-caption's tokenizer, joined by spaces."""
    jar = _package() / "tokenizer" / "stanford-corenlp-3.4.1.jar"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "captions.txt"
        path.write_text("\n".join(" ".join(caption.split()) for caption in captions) + "\n", encoding="utf-8")
        command = ["java", "-Dfile.encoding=UTF-8", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
        done = subprocess.run(
            [*command, "-preserveLines", "-lowerCase", str(path)], capture_output=True, check=True
        )
    lines = done.stdout.decode().split("\n")[: len(captions)]
    return [" ".join(t for t in line.rstrip().split(" ") if t not in PUNCTUATION) for line in lines]


def _package() -> Path:
    spec = find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("pycocoevalcap is not installed: pip install pycocoevalcap")
    return Path(next(iter(spec.submodule_search_locations)))


def compare_tokens(name: str, captions: Sequence[str]) -> list[tuple[int, str, str]]:
    """Print how many captions have equal tokens; returns the differences as (caption index, ours, theirs)."""
    differences = []
    for index, (caption, theirs) in enumerate(zip(captions, java_tokens(captions), strict=True)):
        ours = tokenize(caption)
        if ours != theirs:
            one, other = ours.split(" "), theirs.split(" ")
            for tag, a, b, c, d in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
                if tag != "equal":
                    differences.append((index, " ".join(one[a:b]), " ".join(other[c:d])))
    equal = len(captions) - len({index for index, _, _ in differences})
    print(
        f"{name}: equal tokens for {equal} of {len(captions)} captions ({equal / max(len(captions), 1):.4%})"
    )
    return differences


def difficult_lines(count: int, seed: int) -> None:
    """Compare tokens of generated difficult lines and list the differences by cause."""
    rng = random.Random(seed)
    lines = [difficult_line(rng) for _ in range(count)]
    causes: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for index, ours, theirs in compare_tokens("difficult lines", [line for line, _ in lines]):
        involved = {
            cause
            for cause, piece in lines[index][1]
            if any(part in piece.lower() or piece.lower() in part for part in f"{ours} {theirs}".split())
        }
        causes["+".join(sorted(involved)) or "other"][ours, theirs] += 1
    for cause, differences in sorted(causes.items(), key=lambda item: -item[1].total()):
        print(f"  {cause}: {differences.total()}")
        for (ours, theirs), count in differences.most_common():
            print(f"    {count} x {ours!r}, not {theirs!r}")


def compare_scores(candidates_file: Path, references_file: Path) -> None:
    """Print the differences of our scores from coco-caption's, for the corpus and for images."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge

    [candidates], references = match_names(
        [read_candidates(candidates_file)], read_references(references_file)
    )
    ids = sorted(candidates.keys() & references.keys())
    compare_tokens("references", [caption for image in ids for caption in references[image]])
    compare_tokens("candidates", [candidates[image] for image in ids])
    measured = measure(
        [candidates[i] for i in ids], [references[i] for i in ids], ["BLEU", "METEOR", "ROUGE-L", "CIDEr-D"]
    )
    ours = measured.corpus(np.ones((1, len(ids)), np.int64))
    theirs_references = {image: [tokenize(caption) for caption in references[image]] for image in ids}
    theirs_candidates = {image: [tokenize(candidates[image])] for image in ids}
    for names, scorer in (
        ([f"BLEU-{n}" for n in range(1, 5)], Bleu(4)),
        (["METEOR"], Meteor()),
        (["ROUGE-L"], Rouge()),
        (["CIDEr-D"], Cider()),
    ):
        options = {"verbose": 0} if len(names) > 1 else {}
        corpus, images = scorer.compute_score(theirs_references, theirs_candidates, **options)
        for name, value, of_images in zip(
            names, np.atleast_1d(corpus), np.atleast_2d(np.asarray(images)), strict=True
        ):
            if name not in ours:
                print(f"{name}: not computed; ours is {', '.join(ours)}")
                continue
            distance = np.abs(measured.images[name] - of_images)
            print(
                f"{name:<8} ours {ours[name][0]:.6f}, theirs {value:.6f}, difference {abs(ours[name][0] - value):.1e}; "
                f"largest difference of an image {distance.max():.1e}, {(distance < 0.005).mean():.2%} within 0.005"
            )


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--captions", nargs="*", type=Path, default=[], help="files of references, to compare their tokens"
    )
    parser.add_argument("--lines", type=int, default=20_000, help="number of difficult lines")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--candidates", type=Path)
    parser.add_argument("--references", type=Path)
    arguments = parser.parse_args()
    for path in arguments.captions:
        captions = [caption for of_image in read_references(path)[0].values() for caption in of_image]
        for _, ours, theirs in compare_tokens(str(path), captions)[:20]:
            print(f"  {ours!r}, not {theirs!r}")
    if arguments.lines:
        difficult_lines(arguments.lines, arguments.seed)
    if arguments.candidates and arguments.references:
        compare_scores(arguments.candidates, arguments.references)


if __name__ == "__main__":
    main()
