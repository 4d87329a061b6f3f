"""Explanation methods by name, as a command line spells them.

explain=attention                    cross-attention, mean over layers and heads (the default)
explain=attention:max                its maximum over layers and heads
explain=attention:layer2             one layer, counted from 1; also head5, layer2.head5, layer2.max
explain=attention:best               the head with the best pointing score, from the model's card
explain=rollout                      attention rollout (ViTs)
explain=gradient_attention           attention weighted by its gradient
explain=grad_cam                     Grad-CAM on the encoder's grid
explain=integrated_gradients         on the encoder's grid; integrated_gradients:32 takes 32 steps
explain=occlusion                    patches covered in turn; occlusion:7x7 sets rows and columns of patches
explain=attention,occlusion          several
explain=all                          one of each that the model supports
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from torch import Tensor

from captioner.caption import Unit
from captioner.errors import UsageError, did_you_mean
from captioner.explain.attention import Attention
from captioner.explain.gradient_attention import GradientAttention
from captioner.explain.grid_gradients import GradCam, IntegratedGradients
from captioner.explain.occlusion import Occlusion
from captioner.explain.rollout import Rollout
from captioner.explain.teacher_forcing import CaptionedBatch
from captioner.explain.unsupported import UnsupportedMethodError
from captioner.models.captioner import Captioner


class Method(Protocol):
    """Explanation method: maps that say which part of a photo each token of its caption comes from.

    Attributes:
        name: Name as the user asks for it.
        unit: Unit of its maps' values.
        cost: What it computes for one image beyond captioning it, in words.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def unit(self) -> Unit: ...  # noqa: D102
    @property
    def cost(self) -> str: ...  # noqa: D102

    def check(self, captioner: Captioner) -> None:
        """Check that the method can explain a model, before anything is computed.

        Raises:
            UnsupportedMethodError: If the model lacks what the method needs; the message names methods that work.
            UsageError: If a choice is wrong, such as a layer out of range.
        """
        ...

    def __call__(self, batch: CaptionedBatch) -> Tensor:
        """Maps float32 `[B, L, rows, cols]` of each token; undefined at padding."""
        ...


def _attention(choice: str, name: str, card: Mapping[str, Any]) -> Method:
    layer = head = None
    maximum = False
    for part in choice.split("."):
        numbered = re.fullmatch("(layer|head)([0-9]{1,4})", part)
        if part == "best" and choice == "best":
            layer, head = _best_head(card)
        elif numbered and numbered[1] == "layer" and layer is None:
            layer = int(numbered[2])
        elif numbered and numbered[1] == "head" and head is None:
            head = int(numbered[2])
        elif part in ("mean", "max"):
            maximum = part == "max"
        else:
            raise UsageError(
                f"explain={name}: expected attention:layerN, headM, max or best; layerN, headM and max can be joined "
                "by points, as in attention:layer2.head5"
            )
    return Attention(layer, head, maximum=maximum, name=name)


def _best_head(card: Mapping[str, Any]) -> tuple[int, int]:
    best = card.get("best_head")
    if best is None:
        raise UnsupportedMethodError(
            "explain=attention:best: this model's card has no best_head; captioner.evaluate with grounding=true "
            "keep_best_head=true finds it and writes it there; or take explain=attention:layerN.headM"
        )
    layer, head = (best.get("layer"), best.get("head")) if isinstance(best, Mapping) else (None, None)
    if not isinstance(layer, int) or not isinstance(head, int):
        raise UsageError(
            f"explain=attention:best: best_head={best!r} in the model's card must hold a layer and a head"
        )
    return layer, head


def _occlusion(choice: str, name: str, _: Mapping[str, Any]) -> Method:
    sides = re.fullmatch("([0-9]{1,3})x([0-9]{1,3})", choice)
    if not sides:
        raise UsageError(
            f"explain={name}: expected rows and columns of patches after the colon, as in occlusion:7x7"
        )
    return Occlusion((int(sides[1]), int(sides[2])), name=name)


def _integrated_gradients(choice: str, name: str, _: Mapping[str, Any]) -> Method:
    if not re.fullmatch("[0-9]{1,4}", choice):
        raise UsageError(
            f"explain={name}: expected a number of steps after the colon, as in integrated_gradients:32"
        )
    return IntegratedGradients(int(choice), name=name)


def _no_choice(_: str, name: str, __: Mapping[str, Any]) -> Method:
    plain = name.partition(":")[0]
    raise UsageError(f"explain={name}: {plain} takes nothing after a colon; use explain={plain}")


METHODS: Mapping[str, tuple[Callable[[], Method], Callable[[str, str, Mapping[str, Any]], Method]]] = {
    "attention": (Attention, _attention),
    "rollout": (Rollout, _no_choice),
    "gradient_attention": (GradientAttention, _no_choice),
    "grad_cam": (GradCam, _no_choice),
    "integrated_gradients": (IntegratedGradients, _integrated_gradients),
    "occlusion": (Occlusion, _occlusion),
}
"""By name: the constructor, and the constructor from the choice after a colon, the full name and the card."""


def make_method(name: str, *, card: Mapping[str, Any] | None = None) -> Method:
    """The method called `name`.

    Args:
        name: A key of `METHODS`, with a choice after a colon or without; see the module's docstring.
        card: The model's training card, which `attention:best` needs.

    Raises:
        UnsupportedMethodError: If `attention:best` is asked for and the card has no best head.
        UsageError: If there is no such method or choice.
    """
    plain, colon, choice = name.partition(":")
    if plain not in METHODS:
        raise UsageError(
            f"explain={name} is unknown; choose from {', '.join(METHODS)}, or all"
            f"{did_you_mean(plain, [*METHODS, 'all'])}"
        )
    make, make_chosen = METHODS[plain]
    return make_chosen(choice, name, card or {}) if colon else make()


def make_methods(
    explain: str | Method | Iterable[str | Method],
    captioner: Captioner,
    *,
    card: Mapping[str, Any] | None = None,
    warn: Callable[[str], None] | None = None,
) -> tuple[Method, ...]:
    """The methods that a user asks for, each checked against the model.

    Args:
        explain: Names, separated by commas or in a list, or methods. "all" stands for one of each that the model
            supports. A name given twice is computed once.
        captioner: The model to explain.
        card: Its training card.
        warn: Called with a message for each method that the model does not support, if another one remains. None: such
            a method is an error.

    Raises:
        UnsupportedMethodError: If the model supports none of the methods, or not one of them and `warn` is None.
        UsageError: If there is no such method or choice, or none is named.
    """
    asked = [explain] if isinstance(explain, str) or not isinstance(explain, Iterable) else list(explain)
    methods: dict[str, Method] = {}
    unsupported: list[UnsupportedMethodError] = []
    for item in asked:
        for part in item.split(",") if isinstance(item, str) else (item,):
            if isinstance(part, str) and part.strip() == "all":
                for method in _supported(captioner):
                    methods.setdefault(method.name, method)
                continue
            try:
                method = make_method(part.strip(), card=card) if isinstance(part, str) else part
                method.check(captioner)
            except UnsupportedMethodError as error:
                unsupported.append(error)
                continue
            methods.setdefault(method.name, method)
    if unsupported and (warn is None or not methods):
        raise unsupported[0]
    for one in unsupported:
        assert warn is not None
        warn(f"{one}; skipped; using {', '.join(methods)}")
    if not methods:
        raise UsageError(f"explain names no method; choose from {', '.join(METHODS)}, or all")
    return tuple(methods.values())


def _supported(captioner: Captioner) -> Iterable[Method]:
    for make, _ in METHODS.values():
        method = make()
        try:
            method.check(captioner)
        except UnsupportedMethodError:
            continue
        yield method
