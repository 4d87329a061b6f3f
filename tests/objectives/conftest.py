"""A captioner small enough to enumerate all captions, with a training context and batch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from captioner.data.batch import CaptionBatch
from captioner.data.samples import CaptionSample
from captioner.decoding import SpecialTokens
from captioner.image.decode import Photo
from captioner.image.transforms import ImageTransform
from captioner.models.captioner import Captioner
from captioner.models.decoders.lstm import LstmDecoder
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.models.encoders.encoder import ImageEncoder
from captioner.models.image_tokens import ImageTokens
from captioner.objectives.objective import TrainingContext
from captioner.text.tokenizer import Tokenizer

CAPTIONS = (("a dog", "a dog a"), ("dog dog", "dog"), ("a", "a a dog"))
PAD, BOS, EOS, UNK = range(4)
SPECIAL = SpecialTokens(pad=PAD, begin=BOS, end=EOS, banned=(UNK,))


class Captions:
    """A dataset of captions without photos."""

    def __init__(self, captions: Sequence[Sequence[str]] = CAPTIONS) -> None:
        self.captions = captions

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> CaptionSample:
        return CaptionSample(f"{index}.jpg", tuple(self.captions[index]), None)

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        raise NotImplementedError


def captioner(
    kind: str = "transformer", *, max_length: int = 12, dropout: float = 0.0, hard: bool = False
) -> Captioner:
    """A captioner of two words, `a` and `dog`, with a frozen encoder and large random weights."""
    torch.manual_seed(0)
    encoder = ImageEncoder("test_vit", image_size=(32, 32), trainable="none", mean=(0.5,) * 3, std=(0.5,) * 3)
    decoder = (
        TransformerDecoder(
            6, 8, depth=1, num_heads=2, max_length=max_length, tie_weights=False, dropout=dropout
        )
        if kind == "transformer"
        else LstmDecoder(6, 8, max_length=max_length, dropout=dropout, hard=hard)
    )
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.normal_(std=0.5)
    return Captioner(encoder, decoder, dropout=dropout)


def context(
    model: Captioner, captions: Sequence[Sequence[str]] = CAPTIONS, *, pretrained: bool = True
) -> TrainingContext:
    tokenizer = Tokenizer.train(caption for of_image in CAPTIONS for caption in of_image)
    assert tokenizer.vocab_size == 6
    transform = ImageTransform((32, 32), fit="crop", mean=(0.5,) * 3, std=(0.5,) * 3)
    return TrainingContext(model, Captions(captions), tokenizer, SPECIAL, transform, pretrained=pretrained)


def batch(model: Captioner, captions: Sequence[Sequence[str]] = CAPTIONS) -> CaptionBatch:
    """All images with their captions; an image without captions stands for an unreadable photo."""
    tokenizer = context(model).tokenizer
    generator = torch.Generator().manual_seed(1)
    grid = model.encoder.grid
    num_tokens = model.encoder.num_prefix + grid[0] * grid[1]
    features = torch.randn(len(captions), num_tokens, model.encoder.dim, generator=generator)
    tokens = torch.full((len(captions), 2, 5), PAD)
    for b, of_image in enumerate(captions):
        for c, caption in enumerate(of_image):
            ids = [BOS, *tokenizer.encode(caption), EOS]
            tokens[b, c, : len(ids)] = torch.tensor(ids)
    images = ImageTokens(features, grid, model.encoder.num_prefix)
    return CaptionBatch(images, tokens, torch.arange(len(captions)))


def every_caption(max_length: int) -> Tensor:
    """All captions of the two words, padded, `[captions, max_length]`."""
    rows = [
        [*body, EOS, *[PAD] * (max_length - count - 1)]
        for count in range(max_length)
        for body in itertools.product((4, 5), repeat=count)
    ]
    return torch.tensor(rows)
