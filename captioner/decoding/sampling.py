"""Which captions would the model write by chance? Sampling from its distribution, sharpened or cut as asked.

Every image has its own stream of random numbers, made from the seed and the image's number, and every draw takes one
number of it: captions depend neither on the batch nor on how many captions are drawn.

Sources: Fan et al. 2018 (top-k); Holtzman et al. 2020 (nucleus, top-p); Nguyen et al. 2024 (min-p).

Axis letters: `B` images, `K` samples of each image, `V` vocabulary, `L` tokens.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captioner.decoding.constraints import NEG_INF, Constraint, check_constraints, spec_of
from captioner.decoding.hypotheses import Hypotheses, SpecialTokens, StepDecoder, check_count, check_length
from captioner.decoding.length import LengthNorm
from captioner.decoding.partial_captions import Written
from captioner.decoding.steps import Steps
from captioner.errors import UsageError


class SampleSearch:
    """Draw each token from softmax(logits / temperature), cut by top-k, then nucleus, then min-p.

    What constraints forbid is left out and the rest renormalised for the draw. The log-probabilities that are reported
    are the model's own, before temperature and cuts.

    Args:
        samples: `K`, captions drawn for each image, best score first; the same caption may be drawn twice.
        temperature: Above 1 flattens the distribution, below sharpens it.
        top_k: Keep so many of the most probable tokens.
        top_p: Keep the most probable tokens that together reach this share.
        min_p: Keep tokens at least this share as probable as the most probable one.
        seed: Start of the streams, 0 or more.
        max_length: Longest caption in tokens, EOS included.
        length_penalty: Exponent of the length in the score.
        length_norm: A kind of `LengthNorm`, for the score.
        constraints: Rules that every caption obeys.

    Raises:
        UsageError: If a value is out of range, or no caption of `max_length` can obey.
    """

    def __init__(
        self,
        samples: int = 1,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        seed: int = 0,
        max_length: int = 30,
        length_penalty: float = 0.7,
        length_norm: str = "power",
        constraints: Sequence[Constraint] = (),
    ) -> None:
        check_count("samples", samples)
        check_count("seed", seed, least=0)
        check_length(max_length)
        check_constraints(constraints, max_length)
        _check_share("temperature", temperature, most=math.inf, remedy="take method=greedy for no chance")
        if top_k is not None:
            check_count("top_k", top_k)
        if top_p is not None:
            _check_share("top_p", top_p, most=1.0, remedy="null keeps everything")
        if min_p is not None:
            _check_share("min_p", min_p, most=1.0, remedy="null keeps everything")
        self.samples = samples
        self.temperature = temperature
        self.top_k, self.top_p, self.min_p = top_k, top_p, min_p
        self.seed = seed
        self.max_length = max_length
        self.norm = LengthNorm(length_penalty, length_norm)
        self.constraints = tuple(constraints)
        self.images: tuple[int, ...] | None = None

    def for_images(self, images: Sequence[int]) -> SampleSearch:
        """The same search for a batch of these images; until it is called the numbers are 0, 1, ..."""
        other = copy.copy(self)
        other.images = tuple(images if self.images is None else [self.images[i] for i in images])
        return other

    def spec(self) -> dict[str, Any]:
        """The settings, for signatures and reports."""
        settings: dict[str, Any] = {
            "search": "sample",
            "samples": self.samples,
            "temperature": self.temperature,
        }
        cuts = {"top_k": self.top_k, "top_p": self.top_p, "min_p": self.min_p}
        settings |= {name: value for name, value in cuts.items() if value is not None}
        settings |= {"seed": self.seed, "max_length": self.max_length} | self.norm.spec()
        return settings | spec_of(self.constraints)

    @torch.no_grad()
    def __call__(self, decoder: StepDecoder, memory: Tensor, special: SpecialTokens) -> Hypotheses:
        """Draw captions of all images of the memory `[B, N, D]`.

        Raises:
            CaptionerError: If the decoder gives NaN, naming the step.
            UsageError: If constraints leave a caption nothing to go on with.
        """
        B, K = memory.shape[0], self.samples
        steps = Steps(
            decoder, memory, special, num_beams=K, max_length=self.max_length, constraints=self.constraints
        )
        numbers = range(B) if self.images is None else self.images
        draws = streams(self.seed, numbers, captions=K, length=self.max_length).to(memory.device)
        written = Written(B, K, length=steps.length, special=special, device=memory.device)
        tokens = torch.full((B, K), special.begin, device=memory.device)
        for t in range(steps.length):
            logprobs = steps(tokens, written.tokens[:, :, :t])
            steps.refuse_dead_ends(((logprobs.amax(dim=-1) > NEG_INF) | written.done).all(dim=1))
            tokens = draw(self.sharpen(logprobs), draws[:, :, t])
            if written.add(t, tokens, logprobs.gather(-1, tokens[..., None])[..., 0]):
                break
        found = written.hypotheses(self.norm)
        order = found.scores.argsort(dim=1, descending=True, stable=True)
        rows = order[:, :, None].expand_as(found.tokens)
        return Hypotheses(
            found.tokens.gather(1, rows), found.scores.gather(1, order), found.token_logprobs.gather(1, rows)
        )

    def sharpen(self, logprobs: Tensor) -> Tensor:
        """What is drawn from, unnormalised: log-probabilities `[..., V]` under temperature, -inf where cut."""
        logprobs = logprobs / self.temperature
        if self.top_k is not None:
            logprobs = keep_top_k(logprobs, self.top_k)
        if self.top_p is not None:
            logprobs = keep_nucleus(logprobs, self.top_p)
        if self.min_p is not None:
            logprobs = keep_min_p(logprobs, self.min_p)
        return logprobs


def keep_top_k(logprobs: Tensor, top_k: int) -> Tensor:
    """The `top_k` most probable of `[..., V]`, and any as probable as the last of them; -inf for the others."""
    least = logprobs.topk(min(top_k, logprobs.shape[-1]), dim=-1).values[..., -1:]
    return logprobs.masked_fill(logprobs < least, NEG_INF)


def keep_nucleus(logprobs: Tensor, top_p: float) -> Tensor:
    """The fewest most probable of `[..., V]` whose share reaches `top_p`, and any as probable as the last of them."""
    ordered = logprobs.sort(dim=-1, descending=True).values
    share = ordered.softmax(dim=-1)
    before = share.cumsum(dim=-1) - share
    least = ordered.masked_fill(before >= top_p, math.inf).amin(dim=-1, keepdim=True)
    return logprobs.masked_fill(logprobs < least, NEG_INF)


def keep_min_p(logprobs: Tensor, min_p: float) -> Tensor:
    """Those of `[..., V]` at least `min_p` times as probable as the most probable one."""
    least = logprobs.amax(dim=-1, keepdim=True) + math.log(min_p)
    return logprobs.masked_fill(logprobs < least, NEG_INF)


def draw(logprobs: Tensor, uniform: Tensor) -> Tensor:
    """One token of each distribution: where its cumulated probability passes a number.

    Args:
        logprobs: `[B, K, V]`, unnormalised.
        uniform: float64 `[B, K]`, 0 up to but without 1.

    Returns:
        int64 `[B, K]`; never a token of probability 0.
    """
    reached = logprobs.double().softmax(dim=-1).cumsum(dim=-1)
    found = torch.searchsorted(reached, (uniform * reached[..., -1])[..., None], right=True)[..., 0]
    # Rounding may carry the product to the very end; the last token of the distribution is where the sum is complete.
    last = (reached < reached[..., -1:]).sum(dim=-1)
    return torch.minimum(found, last)


def streams(seed: int, images: Sequence[int], *, captions: int, length: int) -> Tensor:
    """Uniform numbers float64 `[B, K, L]` in [0, 1): each image's and caption's own, on the CPU.

    Raises:
        UsageError: If an image has no number from 0.
    """
    if not images or min(images) < 0:
        raise UsageError(f"image numbers {list(images)} must be 0 or more")
    drawn = [
        np.random.default_rng(np.random.SeedSequence((seed, image))).random((captions, length))
        for image in images
    ]
    return torch.from_numpy(np.stack(drawn))


def _check_share(name: str, value: float, *, most: float, remedy: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= most or value == math.inf:
        limit = f" and at most {most:g}" if most < math.inf else ""
        raise UsageError(f"{name}={value!r} must be a number above 0{limit}; {remedy}")
