"""Time from a JPEG file to an augmented training tensor, beside torchvision's usual chain, and the time of each part.

    python scripts/bench_images.py [--folder PHOTOS] [--count 32] [--size 224] [--quality 90]

Without a folder, 640 x 480 JPEGs are generated. All chains read files and return normalised, augmented tensors of the
same size, with random crops of 60-100 % of the area. They are measured alternately, in processor time of one thread,
and the best round counts, so that other load on the machine has little effect. PSNR and the largest difference, in grey
levels, compare the model's input with that from decoding with Pillow at full size: they show which shortcuts cost
quality.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torchvision import transforms

from captioner.data.samples import CaptionSample
from captioner.data.torch_dataset import PhotoInputs, SampleRequest, sample_generator
from captioner.image.augment import TrainingAugment
from captioner.image.decode import Photo, read_photo
from captioner.image.jpeg import AVAILABLE
from captioner.image.transforms import ImageTransform
from captioner.malloc import keep_freed_memory

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALE, RATIO = (0.6, 1.0), (0.8, 1.25)
ROUNDS = 7
Make = Callable[[int], Any]


class Files:
    """Photos of a folder as a data set."""

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
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--quality", type=int, default=90, help="JPEG quality of the generated photos")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as in training
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or make_photos(Path(scratch), 16, chosen.quality)
        paths = [path for path in sorted(folder.glob("*.jpg")) if Image.open(path).mode == "RGB"]
        paths = (paths * (chosen.count // len(paths) + 1))[: chosen.count]
        size = sum(path.stat().st_size for path in paths) / len(paths)
        print(f"{len(paths)} photos of {size / 1e3:.0f} kB on average, to {chosen.size} x {chosen.size}")
        whole = chains(paths, chosen.size)
        parts, decoders = single_parts(paths, chosen.size)
        times = alternate({**whole, **parts, **decoders}, len(paths))
        quality = {
            name: difference(decoders["Pillow"], decode, paths, chosen.size)
            for name, decode in decoders.items()
        }
    usual = times["torchvision"]
    print("\nfrom file to tensor                     ms per photo   photos/s")
    for name in whole:
        print(f"{name:40} {times[name]:10.3f} {1e3 / times[name]:10.0f}  {usual / times[name]:5.2f} x")
    print("\nparts")
    for name in parts:
        print(f"{name:40} {times[name]:10.3f}")
    print("\ndecoding                                ms per photo       PSNR  largest difference")
    for name in decoders:
        psnr, largest = quality[name]
        print(f"{name:40} {times[name]:10.3f} {psnr:7.1f} dB {largest:9.0f}")
    if not AVAILABLE:
        print("\ncaptioner[fast] is not installed: captioner decodes with Pillow")


def chains(paths: list[Path], size: int) -> dict[str, Make]:
    """Chains from file to tensor."""
    usual = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=SCALE, ratio=RATIO),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    plain = ImageTransform((size, size), fit="crop", mean=MEAN, std=STD)

    def ours(augment: TrainingAugment | None) -> Make:
        pictures = PhotoInputs(Files(paths), plain, augment)
        return lambda index: pictures(
            SampleRequest(0, index), sample_generator(SampleRequest(0, index), seed=0)
        )

    return {
        "torchvision": lambda index: usual(Image.open(paths[index]).convert("RGB")),
        "captioner, the same augmentation": ours(TrainingAugment(plain, scale=SCALE, ratio=RATIO, jitter=0)),
        "captioner, with colour jitter": ours(TrainingAugment(plain, scale=SCALE, ratio=RATIO)),
        "captioner, without augmentation": ours(None),
    }


def single_parts(paths: list[Path], size: int) -> tuple[dict[str, Make], dict[str, Make]]:
    """Steps after decoding, and decoders (of files already in memory)."""
    files = [path.read_bytes() for path in paths]
    photo = read_photo(paths[0])
    plain = ImageTransform((size, size), fit="crop", mean=MEAN, std=STD)
    rows, cols = photo.pixels.shape[:2]
    side = round(0.9 * min(rows, cols))
    crop = photo.pixels[:side, :side]
    resized = plain.resize(crop, (size, size))
    image = Image.fromarray(photo.pixels)
    parts: dict[str, Make] = {
        "resize, torchvision on uint8": lambda _: plain.resize(crop, (size, size)),
        "resize, Pillow": lambda _: image.resize(
            (size, size), Image.Resampling.BILINEAR, box=(0, 0, side, side)
        ),
        "to normalised float": lambda _: plain.finish(resized.float(), (size, size)),
    }

    def pillow(index: int, *, half: bool = False) -> NDArray[np.uint8]:
        opened = Image.open(io.BytesIO(files[index]))
        if half:
            opened.draft("RGB", (opened.width // 2, opened.height // 2))
        return np.asarray(opened)

    def torchvision_io(index: int) -> NDArray[np.uint8]:
        from torchvision.io import ImageReadMode, decode_jpeg

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decoded = decode_jpeg(torch.frombuffer(files[index], dtype=torch.uint8), ImageReadMode.RGB)
        pixels: NDArray[np.uint8] = decoded.permute(1, 2, 0).numpy()
        return pixels

    warnings.filterwarnings("ignore", message="The given buffer is not writable")
    decoders: dict[str, Make] = {
        "Pillow": pillow,
        "Pillow, half the scale": lambda index: pillow(index, half=True),
        "torchvision.io (deprecated)": torchvision_io,
    }
    if AVAILABLE:
        import simplejpeg

        def scaled(index: int, eighths: int) -> NDArray[np.uint8]:
            height, width, *_ = simplejpeg.decode_jpeg_header(files[index])
            size = {"min_height": -(-height * eighths // 8), "min_width": -(-width * eighths // 8)}
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(files[index], **size)
            return pixels

        decoders |= {
            "simplejpeg": lambda index: simplejpeg.decode_jpeg(files[index]),
            "simplejpeg, coarse chroma": lambda index: simplejpeg.decode_jpeg(
                files[index], fastupsample=True
            ),
            "simplejpeg, coarse chroma and DCT": lambda index: simplejpeg.decode_jpeg(
                files[index], fastupsample=True, fastdct=True
            ),
            "simplejpeg, 5/8 of the scale": lambda index: scaled(index, 5),
            "simplejpeg, half the scale": lambda index: scaled(index, 4),
            "simplejpeg, 1/8: entropy decoding only": lambda index: scaled(index, 1),
        }
    return parts, decoders


def alternate(makers: Mapping[str, Make], count: int) -> dict[str, float]:
    """Processor milliseconds per photo, the best of several rounds over all `makers`."""
    best = dict.fromkeys(makers, float("inf"))
    for make in makers.values():
        make(0)
    for _ in range(ROUNDS):
        for name, make in makers.items():
            start = time.process_time()
            for index in range(count):
                make(index)
            best[name] = min(best[name], time.process_time() - start)
    return {name: seconds / count * 1e3 for name, seconds in best.items()}


def difference(reference: Make, decode: Make, paths: list[Path], size: int) -> tuple[float, float]:
    """PSNR in dB over all photos and the largest difference, on a centre crop at the model's size."""
    plain = ImageTransform((size, size), fit="crop", mean=MEAN, std=STD)

    def model_input(pixels: NDArray[np.uint8]) -> torch.Tensor:
        height, width = pixels.shape[:2]
        side = 0.9 * min(height, width)
        top, left = round((height - side) / 2), round((width - side) / 2)
        part = np.array(pixels[top : height - top, left : width - left])
        return plain.resize(part, (size, size)).double()

    squares, largest = 0.0, 0.0
    for index in range(len(paths)):
        error = model_input(reference(index)) - model_input(decode(index))
        squares += float(error.square().mean()) / len(paths)
        largest = max(largest, float(error.abs().max()))
    return (10 * float(np.log10(255**2 / squares)) if squares else float("inf")), largest


def make_photos(folder: Path, count: int, quality: int = 90) -> Path:
    """Write 640 x 480 JPEGs of smooth shapes and noise, about 100 KB each as photos are."""
    for number in range(count):
        generator = np.random.default_rng(number)
        coarse = Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        soft = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC), dtype=np.float32)
        grain = generator.normal(0, 12, (480, 640, 1))
        Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8)).filter(
            ImageFilter.GaussianBlur(0.7)
        ).save(folder / f"{number}.jpg", quality=quality)
    return folder


if __name__ == "__main__":
    main()
