"""Which encoders take photos in their own shape, and is what they give laid out on the right grid?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from captioner.errors import UsageError
from captioner.image.decode import read_photo
from captioner.image.transforms import ImageTransform
from captioner.models.encoders.encoder import ImageEncoder
from captioner.models.encoders.native import native_step

DYNAMIC: dict[str, Any] = {"model_args": {"dynamic_img_size": True}}
GREY = (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "size", "settings", "step"),
    [
        ("test_vit", (160, 160), DYNAMIC, (16, 16)),
        ("vit_tiny_patch16_224", (64, 96), {"level": 0, **DYNAMIC}, (16, 16)),
        ("test_convnext", (96, 64), {}, (32, 32)),
        ("test_resnet", (64, 64), {"merge": 2, "level": 1}, (8, 8)),
    ],
    ids=str,
)
def test_a_grid_follows_the_photo(
    name: str, size: tuple[int, int], settings: dict[str, Any], step: tuple[int, int]
) -> None:
    encoder = ImageEncoder(name, size, trainable="none", **settings).eval()
    assert native_step(encoder) == step
    transform = ImageTransform(size, fit="native", mean=GREY, std=GREY, step=step)
    for rows, cols in ((60, 100), (100, 60), (50, 200)):
        image, geometry = transform(read_photo(np.zeros((rows, cols, 3), np.uint8)))
        tokens = encoder(image[None])
        assert tokens.grid == (geometry.input_size[0] // step[0], geometry.input_size[1] // step[1])
        assert tokens.features.isfinite().all()


def test_the_mode_of_the_encoder_is_left_alone() -> None:
    encoder = ImageEncoder("test_resnet", (64, 64)).train()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    native_step(encoder)
    assert encoder.training
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        (
            "vit_tiny_patch16_224",
            (64, 64),
            r"vit_tiny_patch16_224 does not \(.*\); add \+encoder.model_args.dynamic",
        ),
        (
            "swin_tiny_patch4_window7_224",
            (64, 64),
            r"swin_\w+ does not \(.*\); take image.fit=crop, pad or squash",
        ),
        ("test_resnet", (72, 72), r"test_resnet does not .*4 x 2 .*3 x 2"),
        (
            "test_resnet",
            (80, 96),
            r"3 x 3 on encoder.image_size=\[80, 96\]",
        ),
    ],
)
def test_who_cannot_is_told_so(name: str, size: tuple[int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        native_step(ImageEncoder(name, size, trainable="none"))
