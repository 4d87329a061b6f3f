"""Do curves fall and rise where the model truly looks? On a model whose word depends on one patch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from captioner.bundle import Bundle
from captioner.decoding import SpecialTokens
from captioner.decoding.hypotheses import special_tokens
from captioner.evaluation.measures.faithfulness import RANDOM, STEPS, Curves, Orders, area, follow
from captioner.models.captioner import Captioner, Memory
from captioner.models.decoders.decoder_output import DecoderOutput

SPECIAL = SpecialTokens(pad=0, begin=1, end=2, banned=())
GRID = (4, 5)
BRIGHT = (2, 3)  # the patch that token 3 speaks of
SIZE = (32, 40)


class _Bright(nn.Module):
    """Says token 3 where the patch BRIGHT is bright, else token 4."""

    def encode(self, images: Tensor) -> Memory:
        cells = nn.functional.adaptive_avg_pool2d(images, GRID).mean(dim=1)
        return Memory(cells.flatten(1)[..., None], GRID, 0)

    def decoder(self, tokens: Tensor, memory: Tensor) -> DecoderOutput:
        bright = memory[:, BRIGHT[0] * GRID[1] + BRIGHT[1], 0]  # [B]
        logits = torch.zeros(*tokens.shape, 5)
        logits[..., 3] = 6 * bright[:, None, None] - 3
        return DecoderOutput(logits, None)


def map_of(*ranked: tuple[int, int]) -> np.ndarray:
    own = np.zeros(GRID, np.float32)
    for rank, place in enumerate(ranked):
        own[place] = len(ranked) - rank
    return own


def curves(**maps: np.ndarray) -> dict[str, Curves]:
    model = _Bright()
    (found,) = follow(
        model,  # type: ignore[arg-type]
        torch.ones(3, *SIZE),
        torch.tensor([3, 2]),
        [Orders((0, 1), maps)],
        special=SPECIAL,
        cells=None,
        grid=GRID,
    )
    return found


def test_the_map_that_knows_the_patch_beats_all_others() -> None:
    last = 10 - np.arange(20, dtype=np.float32).reshape(GRID)
    last[BRIGHT] = -99
    found = curves(true=map_of(BRIGHT), false=last)
    whole = torch.tensor([0.0, 0, 0, 3, 0]).softmax(0)[3].item()
    none = torch.tensor([0.0, 0, 0, -3, 0]).softmax(0)[3].item()
    # Of twenty patches each step covers two: the true map is through after the first.
    assert found["true"].deletion == pytest.approx([whole] + [none] * STEPS)
    assert found["false"].deletion == pytest.approx([whole] * STEPS + [none])
    assert found["true"].deletion_area == pytest.approx(none + (whole - none) / 2 / STEPS)
    assert found["true"].deletion_area < found[RANDOM].deletion_area < found["false"].deletion_area
    # An even photo looks the same blurred, so that nothing changes when patches come back.
    assert found["true"].insertion == pytest.approx(whole)


def test_insertion_starts_from_the_blurred_photo() -> None:
    model = _Bright()
    image = torch.zeros(3, *SIZE)
    image[:, 16:24, 24:32] = 1
    first, last = map_of(BRIGHT), -map_of(BRIGHT)
    (found,) = follow(
        model,  # type: ignore[arg-type]
        image,
        torch.tensor([3, 2]),
        [Orders((0, 1), {"true": first, "false": last})],
        special=SPECIAL,
        cells=None,
        grid=GRID,
    )
    whole = torch.tensor([0.0, 0, 0, 3, 0]).softmax(0)[3].item()
    assert found["true"].insertion[1:] == pytest.approx(whole)
    assert found["true"].insertion[0] < 0.5
    assert found["false"].insertion[:-1] == pytest.approx(found["true"].insertion[0])
    assert found["true"].insertion_area > found[RANDOM].insertion_area > found["false"].insertion_area


def test_a_flat_map_is_one_more_random_order() -> None:
    found = curves(**{f"flat {k}": np.zeros(GRID, np.float32) for k in range(300)})
    areas = [found[f"flat {k}"].deletion_area for k in range(300)]
    assert len(set(areas)) > 5
    one = found["flat 0"].deletion
    assert np.mean(areas) == pytest.approx((one[0] + one[-1]) / 2, abs=0.05)


def test_the_area_is_that_of_the_trapezia() -> None:
    assert area(np.array([1.0, 0.0])) == 0.5
    assert area(np.array([1.0, 1.0, 0.0])) == pytest.approx(0.75)
    assert area(np.ones(11)) == pytest.approx(1)


def test_many_words_and_methods_are_followed_as_one_by_one(random_model: Bundle) -> None:
    """A whole captioner, two words of several tokens, grids of different sizes."""
    rng = np.random.default_rng(0)
    captioner: Captioner = random_model.captioner
    image = torch.randn(3, 32, 48, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([*random_model.tokenizer.encode("a red dog"), random_model.tokenizer.eos_id])
    special = special_tokens(random_model.tokenizer)
    words = [
        Orders(
            (1, 3), {"one": rng.random((2, 3), dtype=np.float32), "two": rng.random((4, 4), dtype=np.float32)}
        ),
        Orders(
            (0, 1), {"one": rng.random((2, 3), dtype=np.float32), "two": rng.random((4, 4), dtype=np.float32)}
        ),
    ]
    given = {"special": special, "cells": None, "grid": (2, 3)}
    together = follow(captioner, image, tokens, words, **given)  # type: ignore[arg-type]
    for word, of_both in zip(words, together, strict=True):
        (alone,) = follow(captioner, image, tokens, [word], **given)  # type: ignore[arg-type]
        for method in ("one", "two", RANDOM):
            assert of_both[method].deletion == pytest.approx(alone[method].deletion, rel=1e-3, abs=1e-6)
            assert of_both[method].insertion == pytest.approx(alone[method].insertion, rel=1e-3, abs=1e-6)
        # The first point is the word's own probability.
        memory = captioner.encode(image[None])
        inputs = torch.cat([torch.tensor([special.begin]), tokens[:-1]])[None, None]
        own = captioner.decoder(inputs, memory.features).logits[0, 0].log_softmax(-1)
        expected = sum(own[k, tokens[k]].item() for k in range(*word.span))
        assert of_both["one"].deletion[0] == pytest.approx(np.exp(expected), rel=1e-3)
        assert of_both["one"].insertion[-1] == of_both["one"].deletion[0]
