from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from captioner.errors import UsageError
from captioner.models.attention import MultiHeadAttention
from captioner.models.encoders.image_layers import ImageLayer
from captioner.models.local_attention import ChunkedAttention, WindowAttention

D, H, B = 8, 2, 2


def attention() -> MultiHeadAttention:
    torch.manual_seed(0)
    made = MultiHeadAttention(D, H)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def tokens(prefix: int, grid: tuple[int, int]) -> Tensor:
    count = prefix + grid[0] * grid[1]
    return torch.randn(B, count, D, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("grid", [(4, 6), (5, 7), (1, 1), (3, 2), (2, 9)])
@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("window", [2, 3, 4, 50])
@torch.no_grad()
def test_windows_are_full_attention_with_other_windows_hidden(
    grid: tuple[int, int], prefix: int, shifted: bool, window: int
) -> None:
    inner = attention()
    x = tokens(prefix, grid)
    shift = window // 2 if shifted else 0
    row, col = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    of = (((row + shift) // window) * 1000 + (col + shift) // window).flatten()
    allowed = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool)
    allowed[prefix:, prefix:] = of[:, None] == of[None]
    expected, _ = inner(x, inner.project(x), allowed=allowed)
    out, weights = WindowAttention(inner, window=window, shifted=shifted)(x, grid)
    assert weights is None
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunk", [1, 4, 7, 100])
@pytest.mark.parametrize("grad", [False, True])
def test_chunks_are_full_attention(chunk: int, grad: bool) -> None:
    inner = attention()
    x = tokens(1, (3, 5)).requires_grad_(grad)
    expected, expected_weights = inner(x, inner.project(x), need_weights=True)
    with torch.set_grad_enabled(grad):
        chunked = ChunkedAttention(inner, chunk=chunk)
        out, none = chunked(x, (3, 5))
        shown, weights = chunked(x, (3, 5), need_weights=True)
    assert none is None
    for found in (out, shown):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(weights, expected_weights, atol=1e-6, rtol=0)
    if grad:
        wanted = torch.autograd.grad(expected.square().sum(), [x, *inner.parameters()])
        found = torch.autograd.grad(out.square().sum(), [x, *inner.parameters()])
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-4)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that is computed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.size = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for part in out if isinstance(out, tuple | list) else (out,):
            if isinstance(part, Tensor):
                self.size = max(self.size, part.numel())
        return out


def largest(settings: dict[str, int], side: int) -> int:
    layer = ImageLayer(D, H, mlp_ratio=2.0, dropout=0.0, **settings)  # type: ignore[arg-type]
    x = torch.randn(1, side * side, D, requires_grad=True)
    seen = Largest()
    with seen:
        layer(x, (side, side)).sum().backward()
    return seen.size


def test_memory_grows_in_proportion_to_the_grid() -> None:
    for settings in ({"window": 4}, {"chunk": 16}):
        assert largest(settings, 32) <= 4.1 * largest(settings, 16)
    assert largest({}, 32) > 15 * largest({}, 16)  # as full attention's does not
    assert largest({"chunk": 16}, 32) < largest({}, 32) / 30


def kept(settings: dict[str, int], side: int) -> int:
    """Numbers that a layer keeps for its gradient, each place in memory once."""
    layer = ImageLayer(D, H, mlp_ratio=2.0, dropout=0.0, **settings)  # type: ignore[arg-type]
    sizes: dict[int, int] = {}

    def note(part: Tensor) -> Tensor:
        sizes[part.untyped_storage().data_ptr()] = part.untyped_storage().nbytes() // part.element_size()
        return part

    with torch.autograd.graph.saved_tensors_hooks(note, lambda part: part):
        out = layer(torch.randn(1, side * side, D, requires_grad=True), (side, side))
    held = sum(sizes.values())
    out.sum().backward()
    return held


def test_what_is_kept_for_the_gradient_grows_in_proportion_to_the_grid() -> None:
    for settings in ({"window": 4}, {"chunk": 16}):
        small, middle, large = (kept(settings, side) for side in (8, 16, 32))
        # Four times the tokens, and weights that do not grow: 4 x what is kept of each token.
        assert 3.9 * (middle - small) <= large - middle <= 4.1 * (middle - small)
    assert kept({}, 32) - kept({}, 16) > 10 * (kept({}, 16) - kept({}, 8))  # a weight for each pair


def test_a_grid_of_64_x_64_takes_four_times_what_32_x_32_takes() -> None:
    for settings in ({"window": 8}, {"chunk": 64}):
        assert largest(settings, 64) <= 4.1 * largest(settings, 32)
        assert largest(settings, 64) < H * (64 * 64) ** 2 / 60  # a weight for each pair and head


def test_windows_and_chunks_are_exact_on_a_grid_of_64_x_64() -> None:
    inner, x = attention(), tokens(1, (64, 64))
    with torch.no_grad():
        whole, _ = inner(x, inner.project(x))
        chunked, _ = ChunkedAttention(inner, chunk=512)(x, (64, 64))
        torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=0)
        # One window of the whole grid is full attention, too.
        windowed, _ = WindowAttention(inner, window=64, shifted=False)(x, (64, 64))
        torch.testing.assert_close(windowed, whole, atol=1e-5, rtol=0)


def test_windows_have_no_weights_among_all_tokens() -> None:
    with pytest.raises(UsageError, match=r"model\.image_window=4"):
        WindowAttention(attention(), window=4, shifted=False)(tokens(0, (4, 4)), (4, 4), need_weights=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"window": 1},
            "model.image_window=1 must be a whole number of at least 2 cells, or null for the whole grid",
        ),
        (
            {"chunk": 0},
            "model.image_chunk=0 must be a whole number of at least 1 token, or null for all at once",
        ),
        ({"window": 2.5}, r"model.image_window=2.5 must be a whole number"),
        ({"window": 4, "chunk": 4}, "set one of the two to null"),
    ],
)
def test_windows_and_chunks_that_cannot_be_are_refused(settings: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ImageLayer(D, H, mlp_ratio=2.0, dropout=0.0, **settings)  # type: ignore[arg-type]
