"""Attention supervision with the boxes of COCO and Flickr30k Entities."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from captioner.data.batch import CaptionBatch
from captioner.data.readers.coco import CocoCaptions
from captioner.data.readers.flickr30k import Flickr30k
from captioner.data.samples import CaptionDataset
from captioner.errors import UsageError
from captioner.image.transforms import ImageTransform
from captioner.models.captioner import Captioner
from captioner.models.decoders.lstm import LstmDecoder
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.models.encoders.encoder import ImageEncoder
from captioner.models.image_tokens import ImageTokens
from captioner.objectives.objective import TrainingContext, TrainingStep
from captioner.objectives.teacher_forcing import TeacherForcing
from captioner.text.tokenizer import Tokenizer
from tests.data.annotations.photos_with_boxes import CAPTIONS, write_coco, write_flickr30k
from tests.objectives.conftest import BOS, EOS, PAD, SPECIAL


def read_dataset(name: str, root: Path, *, boxes: bool = True) -> CaptionDataset:
    if name == "coco":
        write_coco(root, instances="instances.json" if boxes else None)
        return CocoCaptions(root, "all")
    write_flickr30k(root, entities="flickr30k_entities" if boxes else None)
    return Flickr30k(root, "train")


def step_and_context(dataset: CaptionDataset, kind: str) -> tuple[TrainingStep, TrainingContext]:
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(CAPTIONS)
    encoder = ImageEncoder("test_vit", image_size=(32, 32), trainable="none", mean=(0.5,) * 3, std=(0.5,) * 3)
    size = {"vocab_size": tokenizer.vocab_size, "dim": 16, "dropout": 0.0}
    decoder = (
        TransformerDecoder(**size, depth=1, num_heads=2) if kind == "transformer" else LstmDecoder(**size)  # type: ignore[arg-type]
    )
    model = Captioner(encoder, decoder, dropout=0.0)
    num_tokens = encoder.num_prefix + encoder.grid[0] * encoder.grid[1]
    ids = [[BOS, *tokenizer.encode(caption), EOS] for caption in dataset[0].captions]
    tokens = torch.tensor([[*row, *[PAD] * (12 - len(row))] for row in ids])[None].expand(2, -1, -1)
    images = ImageTokens(torch.randn(2, num_tokens, encoder.dim), encoder.grid, encoder.num_prefix)
    transform = ImageTransform((32, 32), fit="squash", mean=(0.5,) * 3, std=(0.5,) * 3)
    context = TrainingContext(model, dataset, tokenizer, SPECIAL, transform)
    return TrainingStep(CaptionBatch(images, tokens, torch.arange(2))), context


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
@pytest.mark.parametrize("name", ["coco", "flickr30k"])
def test_supervision_lowers_its_loss(tmp_path: Path, name: str, kind: str) -> None:
    step, context = step_and_context(read_dataset(name, tmp_path), kind)
    objective = TeacherForcing(attention_supervision=1.0)
    objective.prepare(context)
    optimizer = torch.optim.Adam(context.captioner.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        terms = objective(context.captioner, step).terms
        loss = terms["attention_supervision"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert torch.isfinite(torch.stack(list(terms.values()))).all()
    assert 0 < losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(("name", "remedy"), [("coco", "data.instances"), ("flickr30k", "data.entities")])
def test_missing_boxes_are_refused_before_training(tmp_path: Path, name: str, remedy: str) -> None:
    _, context = step_and_context(read_dataset(name, tmp_path, boxes=False), "lstm")
    with pytest.raises(
        UsageError,
        match=rf"objective.attention_supervision needs the boxes of .*by {remedy}, or set objective",
    ):
        TeacherForcing(attention_supervision=1.0).prepare(context)
