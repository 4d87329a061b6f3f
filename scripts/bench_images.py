"""How many photos a second become training pixels on one core? Ours beside torchvision's usual chain.

    python scripts/bench_images.py [--folder PHOTOS] [--count 60] [--size 224]

Without a folder, 640 x 480 JPEGs are made. Both start from files and end with normalised, augmented tensors of the same
size, with random crops of 60-100 % of the area and mirroring; torchvision's chain has no colour jitter, ours has. The
times are processor times, so that a busy machine does not disturb them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torchvision import transforms

from captioner.data.draws import Draw, Photos, generator_of
from captioner.data.samples import CaptionSample
from captioner.image.augment import TrainingAugment
from captioner.image.decode import Photo, read_photo
from captioner.image.transforms import ImageTransform

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALE, RATIO = (0.6, 1.0), (0.8, 1.25)


class Files:
    """Photos of a folder as a dataset."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> CaptionSample:
        return CaptionSample(self.paths[index].name, ("a photo",), self.paths[index])

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        return read_photo(self.paths[index], min_size=min_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--size", type=int, default=224)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or make_photos(Path(scratch), 16)
        paths = sorted(folder.glob("*.jpg"))
        paths = (paths * (chosen.count // len(paths) + 1))[: chosen.count]
        usual = transforms.Compose(
            [
                transforms.RandomResizedCrop(chosen.size, scale=SCALE, ratio=RATIO),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )
        plain = ImageTransform((chosen.size, chosen.size), fit="crop", mean=MEAN, std=STD)
        ours = Photos(Files(paths), plain, TrainingAugment(plain, scale=SCALE, ratio=RATIO))
        steady = Photos(Files(paths), plain, TrainingAugment(plain, scale=SCALE, ratio=RATIO, jitter=0.0))
        validation = Photos(Files(paths), plain, None)

        def run(pictures: Photos) -> Callable[[int], torch.Tensor]:
            return lambda index: pictures(Draw(0, index), generator_of(Draw(0, index), seed=0))

        rates = {
            "torchvision": rate(lambda index: usual(Image.open(paths[index]).convert("RGB")), len(paths)),
            "captioner": rate(run(ours), len(paths)),
            "captioner without colour jitter": rate(run(steady), len(paths)),
            "captioner without augmentation": rate(run(validation), len(paths)),
            "decoding alone (Pillow)": rate(
                lambda index: torch.from_numpy(np.array(Image.open(paths[index]).convert("RGB"))), len(paths)
            ),
        }
    for name, photos in rates.items():
        print(f"{name:34} {photos:7.0f} photos/s  {photos / rates['torchvision']:5.2f} x")


def rate(make: Callable[[int], torch.Tensor], count: int) -> float:
    """Photos a second of processor time, the best of three rounds."""
    make(0)
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        for index in range(count):
            make(index)
        best = min(best, time.process_time() - start)
    return count / best


def make_photos(folder: Path, count: int) -> Path:
    """640 x 480 JPEGs with soft shapes and grain, of about the usual 100 KB."""
    for number in range(count):
        generator = np.random.default_rng(number)
        coarse = Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        soft = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC), dtype=np.float32)
        grain = generator.normal(0, 12, (480, 640, 1))
        Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8)).filter(
            ImageFilter.GaussianBlur(0.7)
        ).save(folder / f"{number}.jpg", quality=90)
    return folder


if __name__ == "__main__":
    main()
