"""Do the methods find the one patch that a word depends on? A captioner is trained to name a patch's colour."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from captioner.explain.gradient_attention import GradientAttention
from captioner.explain.grid_gradients import IntegratedGradients
from captioner.explain.methods import Method
from captioner.explain.occlusion import Occlusion
from captioner.explain.teacher_forcing import CaptionedBatch, teacher_force
from captioner.models.captioner import Captioner
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.models.encoders.encoder import ImageEncoder
from tests.explain.conftest import SPECIAL

# The words 5 and 6; 7 where there is none, or one word would need no evidence. Then comes 4, "patch".
COLOURS = torch.tensor([[2.5, -1.0, -1.0], [-1.0, -1.0, 2.5], [0.0, 0.0, 0.0]])


def planted(count: int, kinds: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noise with one patch on a grid of 3 x 4, its colour out of so many: images, captions `[B, 3]`, its places."""
    random = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.randn(count, 3, 24, 32, generator=random)
    cells = torch.randint(12, (count,), generator=random)
    colours = torch.randint(kinds, (count,), generator=random)
    for image, cell, colour in zip(images, cells.tolist(), colours, strict=True):
        row, col = cell // 4 * 8, cell % 4 * 8
        image[:, row : row + 8, col : col + 8] += COLOURS[colour][:, None, None]
    captions = torch.stack([5 + colours, torch.full_like(colours, 4), torch.full_like(colours, 2)], dim=1)
    return images, captions, cells


@pytest.fixture(scope="module")
def seer() -> Captioner:
    """Knows the colour of the patch, wherever it is. Each token sees its own patch of 8 pixels alone."""
    torch.manual_seed(0)
    encoder = ImageEncoder("test_vit", (24, 32), model_args={"depth": 1, "patch_size": 8})
    block = encoder.model.blocks[0]
    with torch.no_grad():
        block.attn.proj.weight.zero_()  # no token learns of another
        block.attn.proj.bias.zero_()
    block.attn.requires_grad_(False)
    captioner = Captioner(
        encoder, TransformerDecoder(8, 32, depth=2, num_heads=2, max_length=4, dropout=0.0), dropout=0.0
    )
    optimizer = torch.optim.AdamW([p for p in captioner.parameters() if p.requires_grad], lr=3e-3)
    for step in range(80):
        images, captions, _ = planted(48, 3, seed=step)
        inputs = torch.cat([torch.ones_like(captions[:, :1]), captions[:, :-1]], dim=1)
        logits = captioner(images, inputs[:, None]).logits[:, 0]
        loss = F.cross_entropy(logits.flatten(0, 1), captions.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    return captioner.eval()


@pytest.mark.parametrize(
    "method", [Occlusion(), IntegratedGradients(), GradientAttention()], ids=lambda method: str(method.name)
)
def test_the_evidence_is_found_where_it_was_planted(seer: Captioner, method: Method) -> None:
    images, captions, cells = planted(40, 2, seed=1000)
    with torch.no_grad():
        memory = seer.encode(images)
    forced = teacher_force(seer, memory, captions[:, None], SPECIAL)
    assert float(forced.token_logprobs[:, 0, 0].exp().min()) > 0.8  # it sees
    assert memory.grid == (3, 4)
    maps = method(CaptionedBatch(seer, images, memory, captions, SPECIAL, forced))
    found = maps[:, 0].flatten(1).argmax(dim=1)
    assert float((found == cells).float().mean()) >= 0.95
    # The word "patch" stands in every caption: no place speaks for it as one speaks for the colour.
    if method.unit == "nats":
        of_colour, of_patch = np.abs(maps[:, 0].numpy()).max((1, 2)), np.abs(maps[:, 1].numpy()).max((1, 2))
        assert np.mean(of_colour > 3 * of_patch) >= 0.95
