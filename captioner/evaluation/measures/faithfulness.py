"""Faithfulness of maps: deletion and insertion curves (Petsiuk et al. 2018, "RISE").

Deletion covers the patches of the photo, highest map values first, and measures the word's probability with the caption
teacher-forced: the earlier it falls, the more faithful the map. Insertion uncovers them on a blurred photo: the earlier
it rises, the more faithful. Random orders are the baseline.

Axis letters: `P` patches, `L` tokens, `S` steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from captioner.decoding import SpecialTokens
from captioner.explain.occlusion import patches
from captioner.explain.teacher_forcing import full_precision, token_logprobs
from captioner.image.geometry import Box
from captioner.models.captioner import Captioner

STEPS = 10
"""Points of a curve after the first; each covers another tenth of the patches."""
RANDOM_ORDERS = 5
RANDOM = "random order"
_AT_ONCE = 64
_BLUR = 8  # the blur's standard deviation is the longer side over this, which leaves broad patches of colour


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """A word's probability while patches of the photo are covered and uncovered.

    Attributes:
        deletion: float `[STEPS + 1]`, from the whole photo to none of it.
        insertion: float `[STEPS + 1]`, from the blurred photo to the whole.
    """

    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]

    @property
    def deletion_area(self) -> float:
        """Area under the deletion curve over the share covered, 0–1; lower is better."""
        return area(self.deletion)

    @property
    def insertion_area(self) -> float:
        """Area under the insertion curve over the share uncovered, 0–1; higher is better."""
        return area(self.insertion)


def area(curve: NDArray[np.float64]) -> float:
    """Area under a curve of evenly spaced points over 0–1, by the trapezoidal rule."""
    return float((curve[:-1] + curve[1:]).mean() / 2)


@dataclass(frozen=True, slots=True, eq=False)
class Orders:
    """Maps that set the order in which patches are covered for one word.

    Attributes:
        span: The word's tokens (start, end).
        maps: By method: float `[rows, cols]`; the highest value is covered first, ties in random order.
    """

    span: tuple[int, int]
    maps: Mapping[str, NDArray[np.float32]]


def follow(
    captioner: Captioner,
    image: Tensor,
    tokens: Tensor,
    words: Sequence[Orders],
    *,
    special: SpecialTokens,
    cells: Box | None,
    grid: tuple[int, int],
    seed: int = 0,
) -> list[dict[str, Curves]]:
    """The curves of some words of one caption, for each method and for the mean over random orders.

    Args:
        captioner: In evaluation mode.
        image: float `[3, H, W]`, normalised: 0 is the colour of covered patches.
        tokens: int64 `[L]`, EOS at the end.
        words: The words to measure.
        special: Ids of the special tokens.
        cells: Rectangle of the image that the cells of a map divide, as in `ImageGeometry`.
        grid: (rows, cols) of the patches of random orders.
        seed: Seed of the random orders.

    Returns:
        For each word, curves by method, and under `RANDOM` the mean curves of `RANDOM_ORDERS` orders.
    """
    random = np.random.default_rng(seed)
    size = (image.shape[-2], image.shape[-1])
    ranks: list[tuple[tuple[int, int], NDArray[np.intp]]] = []  # grid, and the rank of each patch

    def rank(values: NDArray[np.float32]) -> int:
        chance = random.random(values.size)
        order = np.lexsort((chance, -values.reshape(-1)))
        ranks.append(((values.shape[0], values.shape[1]), np.argsort(order)))
        return len(ranks) - 1

    drawn = [rank(np.zeros(grid, np.float32)) for _ in range(RANDOM_ORDERS)]
    places = [{method: rank(own) for method, own in word.maps.items()} for word in words]
    with full_precision(image.device):
        blurred = _blur(image)
        covers = {shape: patches(shape, size, cells).to(image.device) for shape, _ in ranks}
        ends = _logprobs(captioner, torch.stack([image, torch.zeros_like(image), blurred]), tokens, special)
        hidden = torch.cat(
            [_hidden(covers[shape], order) for shape, order in ranks]
        )  # [orders * (STEPS - 1), H, W]
        # Insertion uncovers the patches that deletion has covered by the same step.
        deleted, inserted = (
            torch.cat(
                [
                    _logprobs(captioner, torch.where(some[:, None], on, off), tokens, special)
                    for some in torch.split(hidden, _AT_ONCE)
                ]
            ).reshape(len(ranks), STEPS - 1, -1)
            for on, off in ((torch.zeros_like(image), image), (image, blurred))
        )  # [orders, STEPS - 1, L]

    def curves(order: int, span: tuple[int, int]) -> Curves:
        whole, none, blur = _of_word(ends, span)
        return Curves(
            np.concatenate([[whole], _of_word(deleted[order], span), [none]]),
            np.concatenate([[blur], _of_word(inserted[order], span), [whole]]),
        )

    found = []
    for word, orders in zip(words, places, strict=True):
        by_chance = [curves(order, word.span) for order in drawn]
        mean = Curves(
            np.mean([one.deletion for one in by_chance], axis=0),
            np.mean([one.insertion for one in by_chance], axis=0),
        )
        found.append({method: curves(order, word.span) for method, order in orders.items()} | {RANDOM: mean})
    return found


def _hidden(covers: Tensor, ranks: NDArray[np.intp]) -> Tensor:
    """Masks of the pixels covered after each inner step: bool `[STEPS - 1, H, W]`."""
    count = len(ranks)
    steps = np.arange(1, STEPS)[:, None] * (count / STEPS)
    chosen = torch.from_numpy(ranks < np.rint(steps)).to(covers.device)  # [STEPS - 1, P]
    # Each pixel lies in one patch: [H, W] of patch numbers, used as an index.
    number = covers.to(torch.uint8).argmax(dim=0)
    return chosen[:, number]


def _logprobs(captioner: Captioner, images: Tensor, tokens: Tensor, special: SpecialTokens) -> Tensor:
    """Log-probabilities `[images, L]` (nats) of one caption's tokens given each image."""
    memory = captioner.encode(images.contiguous(memory_format=torch.channels_last))
    rows = tokens.expand(len(images), 1, -1)
    return token_logprobs(captioner, memory.features, rows, special)[:, 0]


def _of_word(logprobs: Tensor, span: tuple[int, int]) -> NDArray[np.float64]:
    """Probability of a word, the product of its tokens': `[..., L]` to `[...]`."""
    probabilities: NDArray[np.float64] = (
        logprobs[..., span[0] : span[1]].double().sum(dim=-1).exp().cpu().numpy()
    )
    return probabilities


def _blur(image: Tensor) -> Tensor:
    sigma = max(image.shape[-2:]) / _BLUR
    # Odd, and short enough for reflection padding.
    kernel = [min(int(3 * sigma) // 2 * 2 + 1, 2 * side - 1) for side in image.shape[-2:]]
    blurred: Tensor = transforms.gaussian_blur(image, [kernel[1], kernel[0]], [sigma, sigma])
    return blurred
