from __future__ import annotations

import io
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from captioner.image.decode import Photo, read_photo
from captioner.image.orientation import to_stored
from captioner.image.transforms import Fit, ImageTransform
from captioner.models.encoders.encoder import ImageEncoder
from captioner.models.encoders.receptive_field import find_cells
from captioner.models.image_tokens import ImageTokens

SAME = {"pad_type": "same"}
SHALLOW_SWIN = {"embed_dim": 24, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 4]}
SHALLOW_VIT = {"embed_dim": 48, "depth": 2, "num_heads": 2}

# Name, settings, pixels, and for each axis the pixels from the cells' even part of the input to what they look at.
# Padding alike on both sides: (stride - 1) / 2 above and left. "same": below and right, if every layer's size is even.
MODELS = [
    pytest.param("resnet10t", {"level": 1}, (96, 96), 4, (-1.5, -1.5), id="stem"),
    pytest.param("resnet10t", {"level": 1, "merge": 2}, (96, 128), 8, (-1.5, -1.5), id="merged"),
    pytest.param("resnet18", {}, (224, 160), 32, (-15.5, -15.5), id="ResNet-18"),
    pytest.param("resnet18", {"level": 3}, (128, 128), 16, (-7.5, -7.5), id="ResNet-18, stride 16"),
    pytest.param("resnet18", {}, (230, 225), 32, (-15.5, -15.5), id="no multiple of the stride"),
    pytest.param(
        "resnet18", {"model_args": {"output_stride": 16}}, (128, 128), 16, (-7.5, -7.5), id="dilated"
    ),
    pytest.param("resnet50", {}, (224, 224), 32, (-15.5, -15.5), id="ResNet-50"),
    pytest.param("mobilenetv2_100", {}, (224, 224), 32, (-15.5, -15.5), id="MobileNetV2"),
    pytest.param("mobilenetv2_100", {"model_args": SAME}, (224, 224), 32, (15.5, 15.5), id="same"),
    pytest.param("mobilenetv2_100", {"model_args": SAME}, (225, 225), 32, (-15.5, -15.5), id="same, odd"),
    # 230 -> 115 -> 58 -> 29 -> 15 -> 8: odd are padded alike, even below. 310 -> 155 -> 78 -> 39 -> 20 -> 10.
    pytest.param("mobilenetv2_100", {"model_args": SAME}, (230, 310), 32, (-10.5, 5.5), id="same, mixed"),
    pytest.param(
        "mobilenetv2_100", {"level": 2, "model_args": SAME}, (224, 224), 8, (3.5, 3.5), id="same, 8"
    ),
    pytest.param(
        "efficientnet_b0", {}, (128, 128), 32, (-15.5, -15.5), id="EfficientNet, squeeze and excite"
    ),
    pytest.param("tf_efficientnet_b0", {}, (128, 128), 32, (15.5, 15.5), id="EfficientNet of TensorFlow"),
    pytest.param("regnetx_002", {}, (128, 128), 32, (-15.5, -15.5), id="RegNetX"),
    pytest.param("regnety_002", {}, (128, 128), 32, (-15.5, -15.5), id="RegNetY"),
    pytest.param("convnext_atto", {}, (224, 160), 32, (0, 0), id="ConvNeXt"),
    pytest.param("convnextv2_atto", {"level": 2}, (128, 128), 16, (0, 0), id="ConvNeXt V2, level"),
    pytest.param("vit_tiny_patch16_224", {"model_args": SHALLOW_VIT}, (224, 160), 16, (0, 0), id="ViT"),
    pytest.param(
        "vit_small_patch14_reg4_dinov2", {"model_args": SHALLOW_VIT}, (224, 224), 14, (0, 0), id="DINOv2"
    ),
    pytest.param(
        "vit_base_patch16_siglip_224", {"model_args": SHALLOW_VIT}, (96, 96), 16, (0, 0), id="SigLIP"
    ),
    pytest.param(
        "swin_tiny_patch4_window7_224", {"model_args": SHALLOW_SWIN}, (224, 160), 32, (0, 0), id="Swin"
    ),
    # Patches of 49 x 40 and then of 25 x 20 are merged: the odd ones after a row of padding.
    pytest.param(
        "swin_tiny_patch4_window7_224", {"model_args": SHALLOW_SWIN}, (196, 160), 32, (0, 0), id="Swin, odd"
    ),
]


@pytest.mark.parametrize(("name", "settings", "pixels", "stride", "offset"), MODELS)
def test_cells_lie_where_the_layers_say(
    name: str, settings: dict[str, Any], pixels: tuple[int, int], stride: int, offset: tuple[float, float]
) -> None:
    encoder = ImageEncoder(name, pixels, **settings)
    rows, cols = encoder.grid
    assert (rows, cols) == (-(-pixels[0] // stride), -(-pixels[1] // stride))
    top, left = offset
    assert encoder.cells == pytest.approx((top, left, top + rows * stride, left + cols * stride), abs=1e-3)


# Name, settings, pixels, and how far from the brightest cell the middle of an object may lie, in cells. Kernels that
# overlap tell which of two cells has more of it; behind patches and norms it is any cell that has a part of it.
PLANTED = [
    pytest.param("resnet10t", {"level": 1, "merge": 2}, (96, 96), 0.1, id="tiny"),
    pytest.param("resnet18", {}, (128, 160), 0.1, id="ResNet"),
    pytest.param("resnet18", {"level": 2}, (90, 118), 0.1, id="ResNet, level, no multiple of the stride"),
    pytest.param("mobilenetv2_100", {}, (128, 160), 0.1, id="MobileNetV2"),
    pytest.param("mobilenetv2_100", {"model_args": SAME}, (128, 160), 0.1, id="MobileNetV2, same"),
    pytest.param("efficientnet_b0", {}, (160, 128), 0.1, id="EfficientNet"),
    pytest.param("regnetx_002", {}, (128, 160), 0.1, id="RegNet"),
    pytest.param("test_convnext", {}, (128, 160), 0.26, id="ConvNeXt"),
    pytest.param("vit_tiny_patch16_224", {"model_args": SHALLOW_VIT}, (96, 128), 0.26, id="ViT"),
    pytest.param("vit_small_patch14_reg4_dinov2", {"model_args": SHALLOW_VIT}, (84, 112), 0.26, id="DINOv2"),
    pytest.param("swin_tiny_patch4_window7_224", {"model_args": SHALLOW_SWIN}, (128, 160), 0.26, id="Swin"),
]


def look_straight(encoder: ImageEncoder) -> None:
    """Give convolutions positive weights, heaviest in the middle: random ones scatter what an object does to cells."""
    for module in encoder.modules():
        # Kernels of even size, such as patches, do not overlap.
        if isinstance(module, nn.Conv2d) and all(size % 2 for size in module.kernel_size):
            weight = module.weight.data.abs_()
            rows, cols = module.kernel_size
            weight[:, :, rows // 2, cols // 2] *= 2 * rows * cols
            weight /= weight.sum(dim=(1, 2, 3), keepdim=True)


@pytest.mark.parametrize(("name", "settings", "pixels", "tolerance"), PLANTED)
def test_an_object_comes_back_to_its_own_place_in_the_photo(
    name: str, settings: dict[str, Any], pixels: tuple[int, int], tolerance: float
) -> None:
    """From stored pixels through turn, transform, encoder and map to the upright photo, within half a cell."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    encoder = ImageEncoder(name, pixels, **settings).eval()
    look_straight(encoder)
    images, places, geometries = [], [], []
    fits: tuple[Fit, ...] = get_args(Fit)
    for orientation in range(1, 9):
        transform = ImageTransform(pixels, fit=fits[orientation % 3], mean=(0, 0, 0), std=(1, 1, 1))
        rows, cols = (int(side) for side in rng.integers(60, 420, 2))
        seen = transform.visible_size(rows, cols)
        # Half as high and wide as a cell, and anywhere in what the model sees.
        inner = transform.inner_size(*seen, pixels)
        cell = [
            max(1, round(s * p / i / g / 2))
            for s, p, i, g in zip(seen, pixels, inner, encoder.grid, strict=True)
        ]
        cell = [min(c, s) for c, s in zip(cell, seen, strict=True)]
        top, left = (
            (full - s) // 2 + int(rng.integers(0, s - c + 1))
            for full, s, c in zip((rows, cols), seen, cell, strict=True)
        )
        upright = np.full((rows, cols, 3), 60, np.uint8)
        for shade in (60, 255):
            upright[top : top + cell[0], left : left + cell[1]] = shade
            photo = stored(upright, orientation)
            assert photo.size == (rows, cols)
            image, geometry = transform(photo)
            images.append(image)
        places.append((top + cell[0] / 2, left + cell[1] / 2))
        geometries.append(geometry)
    with torch.no_grad():
        tokens = encoder(torch.stack(images) / 1000)  # residuals add up; a ReLU6 must not come to its end
    before, after = (
        tokens.features[:, tokens.num_prefix :].unflatten(1, tokens.grid).unflatten(0, (-1, 2)).unbind(1)
    )
    for change, place, geometry in zip(
        (after - before).norm(dim=-1).numpy(), places, geometries, strict=True
    ):
        geometry = replace(geometry, cells=tokens.cells)
        back = geometry.to_original(change, resample="nearest")
        brightest = np.argwhere(back == back.max()) + 0.5
        # From the middle of the object to the nearest pixel of the brightest cell, in cells.
        high, wide = np.diff(np.reshape(geometry.cells_view, (2, 2)), axis=0)[0] / tokens.grid
        off = np.abs(brightest - place).min(axis=0) / (high, wide)
        assert (off <= tolerance).all(), (off, place, geometry)


def stored(upright: NDArray[np.uint8], orientation: int) -> Photo:
    """The photo as read from a file that keeps these pixels turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(to_stored(upright, orientation))).save(buffer, "PNG", exif=exif)
    return read_photo(buffer.getvalue())


def test_cells_are_found_once_for_each_size_and_kept_for_what_comes() -> None:
    encoder = ImageEncoder("mobilenetv2_100", (64, 64), model_args=SAME, trainable="none").train()
    assert (
        encoder(torch.zeros(1, 3, 64, 64)).cells == encoder.cells == pytest.approx((15.5, 15.5, 79.5, 79.5))
    )
    larger = encoder(torch.zeros(2, 3, 65, 96))
    assert larger.grid == (3, 3)
    assert larger.cells == pytest.approx((-15.5, 15.5, 80.5, 111.5))
    assert encoder.training
    assert not any(parameter.grad is not None for parameter in encoder.parameters())


def test_weights_and_random_numbers_change_no_cells() -> None:
    first = ImageEncoder("regnety_002", (96, 96))
    state = torch.get_rng_state()
    for parameter in first.parameters():
        parameter.data.normal_()
    torch.set_rng_state(state)
    assert find_cells(first.eval()._encode, (96, 96), device=torch.device("cpu")) == first.cells
    assert torch.equal(torch.get_rng_state(), state)


def test_where_every_cell_sees_everything_the_even_parts_are_left() -> None:
    encoder = ImageEncoder("mixer_s32_224", (224, 224))
    assert encoder.cells is None
    assert encoder(torch.zeros(1, 3, 224, 224)).cells is None


def test_a_network_that_cannot_be_looked_through_still_works() -> None:
    def broken(images: torch.Tensor) -> ImageTokens:
        raise RuntimeError("sizes do not match")

    def deaf(images: torch.Tensor) -> ImageTokens:
        return ImageTokens(torch.ones(1, 4, 8), (2, 2))

    assert find_cells(broken, (8, 8), device=torch.device("cpu")) is None
    assert find_cells(deaf, (8, 8), device=torch.device("cpu")) is None
