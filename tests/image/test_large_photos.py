"""Large photos: geometry at a reduced scale, bounded memory, and refusal beyond the limit."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captioner.data.samples import CaptionSample
from captioner.data.torch_dataset import EncodedDataset, PhotoInputs, SampleRequest
from captioner.errors import ImageError
from captioner.image.decode import Photo, photo_size, read_photo
from captioner.image.orientation import to_stored
from captioner.image.transforms import Fit, ImageTransform
from captioner.text.tokenizer import Tokenizer

BLACK_AND_WHITE = ((0.0,) * 3, (1.0,) * 3)
ROWS, COLS = 1728, 2304  # four megapixels
STEP = 32


def jpeg(upright: np.ndarray, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(to_stored(upright, orientation)).save(buffer, "JPEG", quality=90, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fit", ["crop", "pad", "squash", "native"])
def test_a_target_on_a_turned_photo_of_four_megapixels_comes_back(fit: Fit, orientation: int) -> None:
    """Planted upright, stored turned, decoded at a reduced scale, seen on a grid, and back within half a cell."""
    mean, std = BLACK_AND_WHITE
    transform = ImageTransform((384, 384), fit=fit, mean=mean, std=std, step=(STEP, STEP))
    rng = np.random.default_rng(orientation)
    seen = transform.visible_size(ROWS, COLS)
    side = 150  # about a cell
    top = (ROWS - seen[0]) // 2 + int(rng.integers(0, seen[0] - side))
    left = (COLS - seen[1]) // 2 + int(rng.integers(0, seen[1] - side))
    upright = np.full((ROWS, COLS, 3), 60, np.uint8)
    upright[top : top + side, left : left + side] = 255
    rows, cols = transform.largest_size
    photo = read_photo(jpeg(upright, orientation), min_size=(rows, cols))
    assert photo.size == (ROWS, COLS)
    assert photo.pixels.shape[0] < ROWS, "decoded at a reduced scale"
    image, geometry = transform(photo)
    height, width = geometry.input_size
    excess = (image[0] - 60 / 255).clamp(min=0)  # over the photo's own grey; padding has none
    cells = excess.view(height // STEP, STEP, width // STEP, STEP).mean(dim=(1, 3))
    back = geometry.to_original(cells.numpy(), resample="nearest")
    assert back.shape == (ROWS, COLS)
    found = np.argwhere(back == back.max()).mean(axis=0) + 0.5
    box = geometry.cell_box(0, 0, (cells.shape[0], cells.shape[1]))
    cell = np.array([box[2] - box[0], box[3] - box[1]])
    off = np.abs(found - [top + side / 2, left + side / 2])
    assert (off <= cell / 2 + 2).all(), (off, cell)


class Folder:
    """Two photos, of which the first claims too many pixels."""

    def __init__(self, folder: Path) -> None:
        self.paths = [folder / "huge.jpg", folder / "small.jpg"]
        buffer = io.BytesIO()
        Image.new("RGB", (16, 16)).save(buffer, "JPEG")
        data = bytearray(buffer.getvalue())
        at = data.index(b"\xff\xc0") + 5  # rows and columns of the frame header
        data[at : at + 4] = (60_000).to_bytes(2, "big") * 2
        self.paths[0].write_bytes(bytes(data))
        self.paths[1].write_bytes(buffer.getvalue())

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> CaptionSample:
        return CaptionSample(str(index), ("a dog",), self.paths[index])

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        return read_photo(self.paths[index], min_size=min_size)


@pytest.mark.parametrize("fit", ["squash", "native"])
def test_a_photo_with_too_many_pixels_is_named_and_skipped(tmp_path: Path, fit: Fit) -> None:
    dataset = Folder(tmp_path)
    sentence = r"huge\.jpg has 60000×60000 = 3,600,000,000 pixels, over the limit of 120,000,000; shrink it"
    for min_size in (None, (64, 64)):
        with pytest.raises(ImageError, match=sentence):
            read_photo(dataset.paths[0], min_size=min_size)
    with pytest.raises(ImageError, match=sentence):
        photo_size(dataset.paths[0])
    mean, std = BLACK_AND_WHITE
    transform = ImageTransform((32, 32), fit=fit, mean=mean, std=std, step=(8, 8))
    encoded = EncodedDataset(
        dataset,
        PhotoInputs(dataset, transform, None),
        Tokenizer.train(["a dog"]),
        captions_per_image=None,
        max_tokens=9,
        seed=0,
        on_bad="skip",
    )
    bad, good = encoded[SampleRequest(0, 0)], encoded[SampleRequest(0, 1)]
    assert bad.fault is not None
    assert "over the limit" in bad.fault
    assert good.fault is None
    assert bad.image.shape == good.image.shape == torch.Size([3, 32, 32])


MEASURE = """
import resource, sys
from captioner.image.decode import read_photo
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # MiB
read_photo(sys.argv[2], min_size=(9, 9))  # whatever is loaded late
before = peak()
photo = read_photo(sys.argv[1], min_size=(400, 400))
reduced = peak() - before
assert photo.size == (10_000, 10_000) and photo.pixels.shape[0] <= 1250, photo.pixels.shape
del photo
photo = read_photo(sys.argv[1])
assert photo.pixels.shape == (10_000, 10_000, 3)
print(reduced, peak() - before)
"""


def test_a_photo_of_a_hundred_megapixels_is_read_within_bounded_memory(tmp_path: Path) -> None:
    large, small = tmp_path / "large.jpg", tmp_path / "small.jpg"
    Image.new("L", (10_000, 10_000), 90).save(large, "JPEG")
    Image.new("L", (90, 90), 90).save(small, "JPEG")
    out = subprocess.run(
        [sys.executable, "-c", MEASURE, str(large), str(small)], capture_output=True, text=True, check=True
    ).stdout
    reduced, whole = map(int, out.split())
    assert reduced < 40, "training and bulk prediction decode what they need"
    assert whole < 286 + 95 + 60, "the pixels, those of the file, and a band"  # MiB
