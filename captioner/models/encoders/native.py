"""Which image shapes an encoder takes, for photos in their own shape (`image.fit=native`).

Convolutions take any; ViTs where timm resizes their positions with the image (`dynamic_img_size`), as in Beyer et al.
2023, "FlexiViT"; windowed layers and positions of one size take one. It is tested on small images, not looked up.
"""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer

from captioner.errors import UsageError
from captioner.models.encoders.encoder import ImageEncoder
from captioner.models.encoders.pretrained import brief


def native_step(encoder: ImageEncoder) -> tuple[int, int]:
    """The (rows, cols) in pixels of one cell of its grid; sides of native images are multiples of them.

    Raises:
        UsageError: If the encoder cannot take images of other shapes than its own.
    """
    sides, grid = encoder.image_size, encoder.grid
    step = (sides[0] // grid[0], sides[1] // grid[1])
    if (grid[0] * step[0], grid[1] * step[1]) != sides:
        raise UsageError(
            f"image.fit=native needs whole cells, and {encoder.name} has {grid[0]} x {grid[1]} on encoder.image_size="
            f"{list(sides)}; take multiples of its stride, such as [224, 224]"
        )
    was_training = encoder.training
    encoder.eval()
    try:
        for rows, cols in ((1, 2), (grid[0] + 1, max(1, grid[1] - 1))):
            pixels = next(encoder.parameters()).new_zeros(1, 3, rows * step[0], cols * step[1])
            with torch.no_grad():
                found = encoder(pixels).grid
            if found != (rows, cols):
                raise _refused(
                    encoder, f"an image of {rows} x {cols} cells gives a grid of {found[0]} x {found[1]}"
                )
    except (RuntimeError, AssertionError, TypeError, ValueError, IndexError) as error:
        raise _refused(encoder, brief(error)) from error
    finally:
        encoder.train(was_training)
    return step


def _refused(encoder: ImageEncoder, reason: str) -> UsageError:
    is_fixed_vit = isinstance(encoder.model, VisionTransformer) and not encoder.model.dynamic_img_size
    remedy = "add +encoder.model_args.dynamic_img_size=true, or " if is_fixed_vit else ""
    return UsageError(
        f"image.fit=native needs an encoder that takes images of any shape, and {encoder.name} does not ({reason}); "
        f"{remedy}take image.fit=crop, pad or squash"
    )
