from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from captioner.caption import Caption
from captioner.errors import UsageError
from captioner.overlay.map_selection import show, title_of, unit_of

MakeCaption = Callable[..., Caption]


def explained(caption: Caption, *names: str) -> Caption:
    rng = np.random.default_rng(0)
    return replace(caption, explanations={n: rng.normal(size=(3, 2, 2)).astype(np.float32) for n in names})


def test_without_explanations_each_word_shows_its_own_map(make_caption: MakeCaption) -> None:
    caption = make_caption()
    shown = show(caption)
    np.testing.assert_array_equal(shown.maps, [word.map for word in caption.words])
    assert (shown.title, shown.unit, shown.signed) == ("attention", "attention", False)


def test_the_first_explanation_is_shown_and_attention_stays_there(make_caption: MakeCaption) -> None:
    caption = explained(make_caption(), "occlusion:2x2", "attention:max")
    assert show(caption).title == "occlusion, 2x2"
    assert show(caption).signed
    np.testing.assert_array_equal(show(caption).maps, caption.explanations["occlusion:2x2"])
    np.testing.assert_allclose(show(caption, "attention").maps, caption.maps.mean(axis=(1, 2)), rtol=1e-6)


def test_layers_and_heads_are_those_of_the_decoder(make_caption: MakeCaption) -> None:
    caption = explained(make_caption(layers=2, heads=3), "occlusion")
    for layer, head, maps in (
        (2, 3, caption.maps[:, 1, 2]),
        (1, None, caption.maps[:, 0].mean(axis=1)),
        (None, 2, caption.maps[:, :, 1].mean(axis=1)),
    ):
        np.testing.assert_allclose(show(caption, layer=layer, head=head).maps, maps, rtol=1e-6)
    assert show(caption, layer=2, head=3).title == "attention, layer 2, head 3"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": 3}, "there is no layer 3: the decoder has 2 layers of 3 heads, counted from 1"),
        ({"layer": 0}, "there is no layer 0"),
        ({"head": 4}, "there is no head 4"),
        (
            {"method": "rollout"},
            "there is no map by rollout: this caption has attention, occlusion; ask for others",
        ),
        ({"method": "occlusion", "layer": 1}, "the maps of occlusion have no layers and heads"),
    ],
)
def test_what_is_not_there_is_refused(
    make_caption: MakeCaption, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        show(explained(make_caption(), "occlusion"), **arguments)  # type: ignore[arg-type]


def test_names_and_units() -> None:
    assert title_of("attention:layer2.head5") == "attention, layer 2, head 5"
    assert title_of("integrated_gradients:32") == "integrated gradients, 32"
    assert [unit_of(name) for name in ("rollout", "occlusion:7x7", "grad_cam")] == [
        "attention",
        "nats",
        "relevance",
    ]


def test_units_are_those_that_the_methods_say() -> None:
    from captioner.explain.methods import METHODS

    assert {name: make().unit for name, (make, _) in METHODS.items()} == {
        name: unit_of(name) for name in METHODS
    }
