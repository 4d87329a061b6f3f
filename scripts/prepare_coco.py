"""Download of COCO's photos and captions, in the layout of data=coco and data=karpathy.

python scripts/prepare_coco.py data/coco
python scripts/prepare_coco.py data/coco --year 2014 --karpathy --only val
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from captioner.data.prepare.download import Remote, fetch
from captioner.data.prepare.unpack import unpack
from captioner.errors import status_of

COCO = "http://images.cocodataset.org"
KARPATHY = "https://cs.stanford.edu/people/karpathy/deepimagesent"
# Sizes and SHA-256 as TensorFlow Datasets publishes them (url_checksums/coco_captions.txt).
FILES = {
    "train2014": (13510573713, "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775"),
    "val2014": (6645013297, "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0"),
    "train2017": (19336861798, "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929"),
    "val2017": (815585330, "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05"),
    "annotations_trainval2014": (
        252872794,
        "031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
    ),
    "annotations_trainval2017": (
        252907541,
        "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
    ),
    "caption_datasets": (36745453, "4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817"),
}
LICENCE = """COCO (Lin et al. 2014; captions: Chen et al. 2015). The captions are under CC BY 4.0. The photos belong to
their owners on Flickr, each under its own licence (in the annotations' field "license"); use must follow
Flickr's terms. https://cocodataset.org/#termsofuse"""


def remote(name: str, base: str | None) -> Remote:
    """The download for a name in `FILES`; from `base`, if given, instead of the official server."""
    folder = "annotations" if name.startswith("annotations") else "zips"
    server = KARPATHY if name == "caption_datasets" else f"{COCO}/{folder}"
    size, checksum = FILES[name]
    return Remote(f"{base or server}/{name}.zip", f"{name}.zip", size, checksum)


def prepare(options: argparse.Namespace) -> int:
    print(LICENCE)
    wanted = [f"annotations_trainval{options.year}"]
    wanted += [f"{split}{options.year}" for split in ("train", "val") if options.only in (None, split)]
    wanted += ["caption_datasets"] if options.karpathy else []
    print(f"\n{sum(FILES[name][0] for name in wanted) / 1e9:.1f} GB to download: {', '.join(wanted)}")
    for name in wanted:
        archive = fetch(remote(name, options.mirror), options.root, tries=options.tries)
        written = unpack(archive, options.root, choose=keep)
        print(f"{archive}: complete, {written:,} new files")
    data = "karpathy" if options.karpathy else f"coco data.year={options.year}"
    print(f"next    python -m captioner.doctor data={data} data.root={options.root}")
    return 0


def keep(member: str) -> str | None:
    """The unchanged path of photos, captions, instances and Karpathy's splits; None for other members."""
    wanted = re.fullmatch(
        r"(train|val)\d+/[^/]+\.jpg|annotations/(captions|instances)_\w+\.json|dataset_coco\.json", member
    )
    return member if wanted else None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=LICENCE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="root folder; created if missing")
    parser.add_argument("--year", type=int, choices=(2014, 2017), default=2017)
    parser.add_argument("--only", choices=("train", "val"), help="photos of this split only")
    parser.add_argument(
        "--karpathy", action="store_true", help="also Karpathy's splits, which need --year 2014"
    )
    parser.add_argument("--mirror", metavar="URL", help="download the files from this server folder")
    parser.add_argument("--tries", type=int, default=5, help="failed attempts before giving up")
    options = parser.parse_args()
    if options.karpathy and options.year != 2014:
        parser.error("Karpathy's splits are of COCO 2014; add --year 2014")
    return status_of(lambda: prepare(options))


if __name__ == "__main__":
    raise SystemExit(main())
