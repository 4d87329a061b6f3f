"""What do the tests of explanation methods share?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from captioner.decoding import SpecialTokens
from captioner.explain.teacher_forcing import CaptionedBatch, teacher_force
from captioner.models.captioner import Captioner
from captioner.models.decoders.decoder_stack import DecoderStack
from captioner.models.decoders.lstm import LstmDecoder
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.models.encoders.encoder import ImageEncoder

SPECIAL = SpecialTokens(pad=0, begin=1, end=2, banned=(3,))
TOKENS = torch.tensor([[5, 9, 4, 11, 2], [7, 2, 0, 0, 0], [6, 6, 8, 2, 0]])


def images(count: int) -> Tensor:
    return 2 * torch.randn(count, 3, 32, 48, generator=torch.Generator().manual_seed(7))


def captioned(captioner: Captioner, tokens: Tensor = TOKENS) -> CaptionedBatch:
    """Images with captions that nobody searched: methods explain any."""
    pixels = images(len(tokens))
    with torch.no_grad():
        memory = captioner.encode(pixels)
    return CaptionedBatch(
        captioner, pixels, memory, tokens, SPECIAL, teacher_force(captioner, memory, tokens[:, None], SPECIAL)
    )


def decoder_layers(captioner: Captioner) -> DecoderStack:
    assert isinstance(captioner.decoder, TransformerDecoder)
    return captioner.decoder.layers


def make_captioner(encoder: ImageEncoder, *, image_depth: int = 0, **settings: Any) -> Captioner:
    decoder = TransformerDecoder(12, 16, depth=2, num_heads=2, max_length=8, **settings)
    captioner = Captioner(encoder, decoder, image_depth=image_depth, image_heads=2)
    with torch.no_grad():
        for name, parameter in captioner.named_parameters():
            if "norm" not in name and not name.startswith("encoder"):
                parameter.normal_(std=0.4)
    return captioner.eval()


@pytest.fixture(scope="package")
def vit() -> Captioner:
    """A frozen ViT with a class token on a 2 x 3 grid, a layer between image tokens, and a sentinel."""
    torch.manual_seed(0)
    return make_captioner(ImageEncoder("test_vit", (32, 48), trainable="none"), image_depth=1, sentinel=True)


@pytest.fixture(scope="package")
def cnn() -> Captioner:
    """A CNN on a 4 x 6 grid whose cells look up and left of their even share."""
    torch.manual_seed(1)
    encoder = ImageEncoder("resnet10t", (32, 48), level=2)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "bn" in name and name.endswith("bias"):
                parameter.normal_(std=0.5)  # as after training: a blank image has features of its own
    return make_captioner(encoder)


@pytest.fixture(scope="package")
def lstm() -> Captioner:
    """An LSTM that looks at a ViT's patches."""
    torch.manual_seed(2)
    encoder = ImageEncoder("test_vit", (32, 48))
    return Captioner(encoder, LstmDecoder(12, 16, max_length=8, sentinel=True)).eval()


@pytest.fixture(scope="package", params=["vit", "cnn"])
def captioner(request: pytest.FixtureRequest) -> Captioner:
    """One after the other."""
    model: Captioner = request.getfixturevalue(request.param)
    return model
