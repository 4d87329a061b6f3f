"""Peak rates of this machine, and the least time and memory that captioning or a training step takes with them.

For each part of the work, the floor is the larger of its operations over the fastest matrix product and its bytes over
the rate of copying, both measured here. A decoding step reads every weight of the decoder, the keys and values of each
image, and those of the previous tokens; in other parts operations decide, and bytes are not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers_sides import CAPTIONS, Row, Sizes

from captioner.models.linear import linear


def best_times(runs: list[Callable[[], object]], repeats: int, device: str) -> list[tuple[float, float]]:
    """The best wall and CPU seconds of each of `runs`, interleaved, after one warm-up run."""
    times: list[list[tuple[float, float]]] = [[] for _ in runs]
    for turn in range(repeats + 1):
        for run, seconds in zip(runs, times, strict=True):
            start = time.perf_counter(), time.process_time()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:
                seconds.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return [(min(wall for wall, _ in seconds), min(cpu for _, cpu in seconds)) for seconds in times]


@dataclass(frozen=True)
class Machine:
    """Peak rates: operations and bytes per second."""

    flops: float
    bf16_flops: float
    bandwidth: float


@torch.inference_mode()
def measure_machine(device: str, *, quick: bool) -> Machine:
    """Measure the fastest matrix products and the rate of copying."""
    n = 256 if quick else 2048
    a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
    low_a, low_b = a.bfloat16(), b.bfloat16()
    block = torch.zeros((1 if quick else 64) * 2**20, device=device)
    target = torch.empty_like(block)

    def rate(work: float, run: Callable[[], object]) -> float:
        return work / best_times([run], 5, device)[0][0]

    return Machine(
        max(rate(2.0 * n**3, lambda: a @ b), rate(2.0 * n**3, lambda: linear(a, b))),
        rate(2.0 * n**3, lambda: low_a @ low_b),
        rate(2.0 * 4 * block.numel(), lambda: target.copy_(block)),
    )


@dataclass(frozen=True)
class Part:
    """Work that starts after the part before it has ended; its computing and reading overlap."""

    flops: float
    bytes: float

    def seconds(self, flops: float, bandwidth: float) -> float:
        """The longer of computing and reading."""
        return max(self.flops / flops, self.bytes / bandwidth)


def floor_parts(row: Row, sizes: Sizes, batch: int) -> list[Part]:
    """Parts of a call or a training step on `batch` images."""
    width = 2 if row.bf16 else 4
    N, E, D = sizes.tokens, sizes.encoder_dim, sizes.dim
    encode = batch * (
        sizes.encoder_depth * (24 * N * E * E + 4 * N * N * E) + 2 * N * (3 * sizes.patch**2 + D) * E
    )
    project = batch * sizes.depth * 4 * N * D * D
    weights = sizes.depth * 14 * D * D + sizes.vocabulary * D

    def tokens(rows: int, before: float) -> float:
        """Operations of one token in each row after `before` tokens."""
        return rows * (2 * weights + sizes.depth * 4 * D * (N + before))

    if row.kind == "train":
        forward = project + sizes.length * tokens(batch * CAPTIONS, sizes.length / 2)
        return [Part(encode * (1 if row.frozen else 3) + 3 * forward, 0.0)]
    rows = batch * row.beam
    return [
        Part(project + (0 if row.kind == "decoder" else encode), 0.0),
        *(
            Part(tokens(rows, t), width * (weights + 2 * sizes.depth * D * (batch * N + rows * t)))
            for t in range(sizes.length)
        ),
    ]


def floor_seconds(row: Row, sizes: Sizes, machine: Machine, batch: int | None = None) -> float:
    """Least seconds of a call or a training step."""
    flops = machine.bf16_flops if row.bf16 else machine.flops
    return sum(part.seconds(flops, machine.bandwidth) for part in floor_parts(row, sizes, batch or row.batch))


def floor_bytes(row: Row, sizes: Sizes, batch: int | None = None) -> float:
    """Least bytes that captioning holds: the weights, and the keys and values of images and tokens."""
    N, E, D = sizes.tokens, sizes.encoder_dim, sizes.dim
    weights = sizes.encoder_depth * 12 * E * E + sizes.depth * 16 * D * D + sizes.vocabulary * D
    cached = 2 * sizes.depth * D * (batch or row.batch) * (N + row.beam * sizes.length)
    return 4.0 * (weights + cached)
