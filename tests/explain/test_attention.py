from __future__ import annotations

import pytest
import torch

from captioner.errors import UsageError
from captioner.explain.attention import Attention, on_grid
from captioner.models.captioner import Captioner
from tests.explain.conftest import captioned


def test_maps_are_the_weights_that_were_chosen(vit: Captioner) -> None:
    batch = captioned(vit)
    weights = batch.forced.attention[:, 0, :, :, :, -6:].unflatten(
        -1, (2, 3)
    )  # [B, L, layers, H, rows, cols]
    for method, expected in [
        (Attention(), weights.mean(dim=(2, 3))),
        (Attention(maximum=True), weights.amax(dim=(2, 3))),
        (Attention(2), weights[:, :, 1].mean(dim=2)),
        (Attention(1, maximum=True), weights[:, :, 0].amax(dim=2)),
        (Attention(head=2), weights[:, :, :, 1].mean(dim=2)),
        (Attention(1, 2), weights[:, :, 0, 1]),
    ]:
        torch.testing.assert_close(method(batch), expected)


def test_what_has_no_place_is_not_on_the_map() -> None:
    values = torch.arange(16.0).view(2, 8)
    assert on_grid(values, (2, 3)).tolist() == [[[2, 3, 4], [5, 6, 7]], [[10, 11, 12], [13, 14, 15]]]


@pytest.mark.parametrize(
    ("layer", "head", "wrong"),
    [(3, None, "layer 3"), (0, None, "layer 0"), (1, 3, "head 3"), (None, 9, "head 9")],
)
def test_a_layer_that_is_not_there_is_refused(
    cnn: Captioner, layer: int | None, head: int | None, wrong: str
) -> None:
    message = f"{wrong} .*2 layers of 2 heads"
    with pytest.raises(UsageError, match=message):
        Attention(layer, head).check(cnn)
    Attention(2, 2).check(cnn)
