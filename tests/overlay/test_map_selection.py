from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from captioner.caption import Caption, Explanation, Unit
from captioner.errors import UsageError
from captioner.overlay.map_selection import select_maps, title_of

MakeCaption = Callable[..., Caption]


def explained(caption: Caption, **units: Unit) -> Caption:
    rng = np.random.default_rng(0)
    maps = {name: rng.normal(size=(3, 2, 2)).astype(np.float32) for name in units}
    return replace(caption, explanations={name: Explanation(maps[name], units[name]) for name in units})


def test_without_explanations_attention_is_selected(make_caption: MakeCaption) -> None:
    caption = make_caption()
    selection = select_maps(caption)
    np.testing.assert_array_equal(selection.maps, [word.map for word in caption.words])
    assert (selection.title, selection.unit, selection.signed) == ("attention", "attention", False)


@pytest.mark.parametrize("unit", ["attention", "nats", "relevance"])
def test_the_unit_is_the_explanation_s_whatever_the_method_is_called(
    make_caption: MakeCaption, unit: Unit
) -> None:
    for name in ("occlusion", "attention_of_my_own", "shap"):
        units: dict[str, Unit] = {name: unit}
        assert select_maps(explained(make_caption(), **units)).unit == unit


def test_the_first_explanation_is_selected_and_attention_can_be(make_caption: MakeCaption) -> None:
    units: dict[str, Unit] = {"occlusion:2x2": "nats", "attention:max": "attention"}
    caption = explained(make_caption(), **units)
    selection = select_maps(caption)
    assert (selection.title, selection.unit, selection.signed) == ("occlusion, 2x2", "nats", True)
    np.testing.assert_array_equal(selection.maps, caption.explanations["occlusion:2x2"].values)
    attention = select_maps(caption, "attention")
    assert (attention.title, attention.unit) == ("attention", "attention")
    np.testing.assert_allclose(attention.maps, caption.maps.mean(axis=(1, 2)), rtol=1e-6)


def test_layers_and_heads_are_those_of_the_decoder(make_caption: MakeCaption) -> None:
    caption = explained(make_caption(layers=2, heads=3), occlusion="nats")
    for layer, head, maps, title in (
        (2, 3, caption.maps[:, 1, 2], "attention, layer 2, head 3"),
        (1, None, caption.maps[:, 0].mean(axis=1), "attention, layer 1"),
        (None, 2, caption.maps[:, :, 1].mean(axis=1), "attention, head 2"),
    ):
        selection = select_maps(caption, layer=layer, head=head)
        np.testing.assert_allclose(selection.maps, maps, rtol=1e-6)
        assert (selection.title, selection.unit) == (title, "attention")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": 3}, "layer=3.* 1 to 2"),
        ({"head": 4}, "head=4.* 1 to 3"),
        ({"method": "rollout"}, "method=rollout .*attention, occlusion"),
        ({"method": "occlusion", "layer": 1}, "method=occlusion .*layer or head"),
    ],
)
def test_a_selection_the_caption_lacks_is_refused(
    make_caption: MakeCaption, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        select_maps(explained(make_caption(), occlusion="nats"), **arguments)  # type: ignore[arg-type]


def test_titles() -> None:
    assert title_of("attention:layer2.head5") == "attention, layer 2, head 5"
    assert title_of("integrated_gradients:32") == "integrated gradients, 32"
