from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captioner.errors import ModelFileError, UsageError
from captioner.image.decode import Photo, read_photo
from captioner.image.transforms import Fit, ImageTransform, Interpolation, same_size

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
GREY = (0.5, 0.5, 0.5)


def photo_of(rows: int, cols: int, seed: int = 0) -> Photo:
    # Smooth, as photos are: noise would measure the resampling kernels and nothing else.
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return read_photo(Image.fromarray(small).resize((cols, rows), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(224, 224), (96, 160), (300, 64)])
def test_squash_equals_pillow(size: tuple[int, int], interpolation: Interpolation) -> None:
    photo = photo_of(180, 240)
    transform = ImageTransform(size, fit="squash", mean=MEAN, std=STD, interpolation=interpolation)
    image, geometry = transform(photo)
    kind = Image.Resampling.BILINEAR if interpolation == "bilinear" else Image.Resampling.BICUBIC
    resized = np.asarray(Image.fromarray(photo.pixels).resize(size[::-1], kind), np.float32)
    values = image * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    # Pillow rounds between its two passes; bicubic, which overshoots, differs a level more.
    limit = 1.01 if interpolation == "bilinear" else 2.01
    assert np.abs(values.permute(1, 2, 0).numpy() * 255 - resized).max() <= limit
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert geometry.view == (0.0, 0.0, 180.0, 240.0)
    assert geometry.input_size == size


def test_crop_shows_the_centre_undistorted() -> None:
    photo = photo_of(100, 300)
    image, geometry = ImageTransform((100, 100), fit="crop", mean=GREY, std=GREY)(photo)
    np.testing.assert_allclose(
        image.permute(1, 2, 0).numpy(), photo.pixels[:, 100:200] / 127.5 - 1, rtol=0, atol=1e-6
    )
    assert geometry.view == (0, 100, 100, 200)


def test_pad_shows_everything_and_fills_with_the_mean() -> None:
    photo = photo_of(50, 100)
    image, geometry = ImageTransform((100, 100), fit="pad", mean=MEAN, std=STD)(photo)
    assert torch.count_nonzero(image[:, :25]) == 0
    assert torch.count_nonzero(image[:, 75:]) == 0
    assert torch.count_nonzero(image[:, 25:75]) > 10_000
    assert geometry.view == (-25, 0, 75, 100)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 8000), (8000, 1), (224, 223)])
def test_extreme_shapes(fit: Fit, shape: tuple[int, int]) -> None:
    photo = read_photo(np.full((*shape, 3), 200, np.uint8))
    image, geometry = ImageTransform((224, 160), fit=fit, mean=GREY, std=GREY)(photo)
    assert image.shape == (3, 224, 160)
    assert image.isfinite().all()
    assert geometry.to_original(np.ones((7, 5), np.float32)).max() == 1


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_a_reduced_decode_sees_the_same_part(fit: Fit) -> None:
    full = photo_of(800, 1200)
    pixels = np.asarray(Image.fromarray(full.pixels).reduce(2))
    draft = Photo(pixels=np.array(pixels), size=full.size, orientation=1, path=None)
    transform = ImageTransform((64, 64), fit=fit, mean=GREY, std=GREY)
    image, geometry = transform(full)
    image_draft, geometry_draft = transform(draft)
    np.testing.assert_allclose(geometry.view, geometry_draft.view, atol=1e-9)
    assert (image - image_draft).abs().max() < 0.05


@pytest.mark.parametrize("fit", ["crop", "pad", "squash", "native"])
def test_the_spec_makes_the_same_transform(fit: Fit) -> None:
    transform = ImageTransform((96, 128), fit=fit, mean=MEAN, std=STD, interpolation="bicubic")
    if fit == "native":
        transform = replace(transform, step=(16, 8))
    again = ImageTransform.from_spec(json.loads(json.dumps(transform.spec())))
    assert again == transform
    photo = photo_of(70, 90)
    assert torch.equal(again(photo)[0], transform(photo)[0])


NATIVE = ImageTransform((224, 224), fit="native", mean=GREY, std=GREY, step=(16, 16))


@pytest.mark.parametrize(
    ("photo", "cells"),
    [
        ((224, 224), (14, 14)),
        ((30, 40), (12, 16)),
        ((4000, 3000), (16, 12)),
        ((1080, 1920), (10, 18)),
        ((1, 1), (14, 14)),
        ((1, 8000), (7, 28)),
        ((8000, 1), (28, 7)),
    ],
)
def test_a_native_input_has_the_shape_of_its_photo(photo: tuple[int, int], cells: tuple[int, int]) -> None:
    image, geometry = NATIVE(read_photo(np.full((*photo, 3), 200, np.uint8)))
    assert image.shape == (3, 16 * cells[0], 16 * cells[1])
    assert geometry.input_size == (16 * cells[0], 16 * cells[1])
    assert geometry.view == (0, 0, *photo)


@given(
    aspect=st.floats(0.25, 4.0),
    size=st.tuples(st.integers(4, 16), st.integers(4, 16)),
    step=st.tuples(st.integers(4, 16), st.integers(4, 16)),
)
def test_native_inputs_stay_within_their_pixels(
    aspect: float, size: tuple[int, int], step: tuple[int, int]
) -> None:
    transform = ImageTransform(
        (size[0] * step[0], size[1] * step[1]), fit="native", mean=GREY, std=GREY, step=step
    )
    photo = (round(10_000 * aspect), 10_000)
    rows, cols = transform.input_size(*photo)
    assert rows * cols <= transform.size[0] * transform.size[1]
    assert rows % step[0] == cols % step[1] == 0
    # Stretched by no more than comes from rounding one side to whole steps.
    stretch = rows / cols / (photo[0] / photo[1])
    assert 1 - 0.51 * step[1] / cols <= stretch <= 1 + 0.51 * step[1] / max(1, cols - step[1] / 2) or (
        cols == step[1]
    )
    assert rows <= transform.largest_size[0] + step[0]
    assert cols <= transform.largest_size[1] + step[1]


def test_photos_of_one_size_share_a_batch() -> None:
    inputs = [torch.zeros(3, *size) for size in ((4, 6), (6, 4), (4, 6), (5, 5))]
    assert same_size(inputs) == [[0, 2], [1], [3]]
    several = [(inputs[0], inputs[3]), (inputs[0], inputs[1]), (inputs[2], inputs[3])]
    assert same_size(several) == [[0, 2], [1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": [224]}, r"size is \[224\]; it must be 2 whole numbers from 1 to 4096"),
        ({"size": [0, 224]}, "size is"),
        ({"size": [224.5, 224]}, "size is"),
        ({"size": "22"}, "size is"),
        ({"size": [99999, 99999]}, "from 1 to 4096"),
        ({"std": [0, 1, 1]}, "std is"),
        ({"mean": [float("nan")] * 3}, "mean is"),
        ({"mean": None}, "mean is None"),
        ({"fit": "stretch"}, "fit is 'stretch'; choose one of crop, pad, squash, native"),
        ({"fit": "sqaush"}, "did you mean squash"),
        ({"fit": ["crop"]}, "fit is"),
        ({"interpolation": "lanczos"}, "choose one of bilinear, bicubic"),
        ({"extra": 1}, "needs the fields size, fit, mean, std, interpolation; found: .*extra"),
    ],
)
def test_a_wrong_spec_is_refused(change: dict[str, object], message: str) -> None:
    spec = ImageTransform((96, 128), fit="pad", mean=MEAN, std=STD).spec() | change
    with pytest.raises(ModelFileError, match=message):
        ImageTransform.from_spec(spec)
    with pytest.raises(ModelFileError, match="found: list"):
        ImageTransform.from_spec([])  # type: ignore[arg-type]


def test_a_wrong_argument_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="std is"):
        ImageTransform((8, 8), fit="crop", mean=GREY, std=(1, 1))  # type: ignore[arg-type]
