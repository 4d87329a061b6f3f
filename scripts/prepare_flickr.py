"""Download of the public parts of Flickr8k or Flickr30k, in the layout of data=flickr8k and data=karpathy.

python scripts/prepare_flickr.py flickr8k data/flickr8k
python scripts/prepare_flickr.py flickr30k data/flickr30k --photos flickr30k-images.tar.gz

The photos of Flickr30k are available from its authors on request (https://shannon.cs.illinois.edu/DenotationGraph);
pass their archive by --photos. The captions are part of Karpathy's splits.
"""

from __future__ import annotations

import argparse
from pathlib import Path, PurePosixPath

from captioner.data.prepare.download import Remote, fetch
from captioner.data.prepare.unpack import unpack
from captioner.errors import UsageError, status_of

FLICKR8K = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k"
KARPATHY = "https://cs.stanford.edu/people/karpathy/deepimagesent"
# MD5 of Flickr8k as published by torchvision for R (the size is verified against the server's); size and SHA-256 of
# Karpathy's splits as published by TensorFlow Datasets.
FILES = {
    "Flickr8k_Dataset.zip": Remote(
        f"{FLICKR8K}/Flickr8k_Dataset.zip", "Flickr8k_Dataset.zip", md5="f18a1e2920de5bd84dae7cf08ec78978"
    ),
    "Flickr8k_text.zip": Remote(
        f"{FLICKR8K}/Flickr8k_text.zip", "Flickr8k_text.zip", md5="bf6c1abcb8e4a833b7f922104de18627"
    ),
    "caption_datasets.zip": Remote(
        f"{KARPATHY}/caption_datasets.zip",
        "caption_datasets.zip",
        size=36745453,
        sha256="4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817",
    ),
}
LICENCES = {
    "flickr8k": """Flickr8k (Hodosh, Young & Hockenmaier 2013). The photos belong to their owners on Flickr; the data
is for non-commercial research and education, and must be cited. It may not be given on.""",
    "flickr30k": """Flickr30k (Young, Lai, Hodosh & Hockenmaier 2014). The photos belong to their owners on Flickr and
follow its terms of use; the authors give them for non-commercial research and education, on request. Cite them,
and Karpathy & Fei-Fei 2015 for the splits.""",
}


def prepare(options: argparse.Namespace) -> int:
    print(LICENCES[options.dataset])
    names = ["caption_datasets.zip"] if options.karpathy or options.dataset == "flickr30k" else []
    if options.dataset == "flickr8k":
        names = ["Flickr8k_Dataset.zip", "Flickr8k_text.zip", *names]
    elif options.photos is not None and not options.photos.is_file():
        raise UsageError(f"--photos {options.photos} is not a file; name the archive from the authors")
    for name in names:
        remote = FILES[name]
        if options.mirror:
            remote = Remote(f"{options.mirror}/{name}", name, remote.size, remote.sha256, remote.md5)
        archive = fetch(remote, options.root, tries=options.tries)
        written = unpack(archive, options.root, choose=lambda member: keep(member, options.dataset))
        print(f"{archive}: complete, {written:,} new files")
    if options.photos is not None:
        written = unpack(options.photos, options.root, choose=lambda member: keep(member, options.dataset))
        print(f"{options.photos}: {written:,} new files")
    elif options.dataset == "flickr30k":
        print("the photos are missing: request them at https://shannon.cs.illinois.edu/DenotationGraph, then")
        print(
            f"        python scripts/prepare_flickr.py flickr30k {options.root} --photos flickr30k-images.tar.gz"
        )
        return 0
    data = "karpathy" if "caption_datasets.zip" in names else "flickr8k"
    print(f"next    python -m captioner.doctor data={data} data.root={options.root}")
    return 0


def keep(member: str, dataset: str) -> str | None:
    """The path of a member: photos in one folder, texts in another, splits at the top; None leaves it out."""
    path = PurePosixPath(member)
    if "__MACOSX" in path.parts or path.name.startswith("."):
        return None
    if path.name == f"dataset_{dataset}.json":
        return path.name
    if path.suffix == ".jpg":
        return f"{'Flicker8k_Dataset' if dataset == 'flickr8k' else 'flickr30k-images'}/{path.name}"
    if dataset == "flickr8k" and path.suffix == ".txt":
        return f"Flickr8k_text/{path.name}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="\n\n".join(LICENCES.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", choices=("flickr8k", "flickr30k"))
    parser.add_argument("root", type=Path, help="root folder; created if missing")
    parser.add_argument("--photos", type=Path, help="the archive of Flickr30k's photos, .tar.gz or .zip")
    parser.add_argument("--karpathy", action="store_true", help="also Karpathy's splits of Flickr8k")
    parser.add_argument("--mirror", metavar="URL", help="download the files from this server folder")
    parser.add_argument("--tries", type=int, default=5, help="failed attempts before giving up")
    return status_of(lambda: prepare(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
