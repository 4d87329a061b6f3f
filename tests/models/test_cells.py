from __future__ import annotations

from typing import Any

import pytest

from captioner.models.encoder import ImageEncoder

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
