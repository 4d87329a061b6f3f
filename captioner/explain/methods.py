"""Which ways are there to say where a word comes from, and how are they called on a command line?

explain=attention                    cross-attention, mean over layers and heads (the default)
explain=attention:max                its maximum over layers and heads
explain=attention:layer2             one layer, counted from 1; also head5, layer2.head5, layer2.max
explain=attention:best               the head that points best, as the model's card says
explain=rollout                      attention rollout (ViTs)
explain=gradient_attention           attention weighted by its gradient
explain=grad_cam                     Grad-CAM on the encoder's grid
explain=integrated_gradients         on the encoder's grid; integrated_gradients:32 takes 32 steps
explain=occlusion                    patches covered in turn; occlusion:7x7 names rows and columns of patches
explain=attention,occlusion          several
explain=all                          one of each that the model supports
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from torch import Tensor

from captioner.caption import Unit
from captioner.errors import UsageError
from captioner.explain.attention import Attention
from captioner.explain.gradient_attention import GradientAttention
from captioner.explain.grid_gradients import GradCam, IntegratedGradients
from captioner.explain.occlusion import Occlusion
from captioner.explain.rollout import Rollout
from captioner.explain.teacher_forcing import CaptionedBatch
from captioner.models.captioner import Captioner


class NotForThisModelError(UsageError):
    """A method that there is, and that this model cannot have."""


class Method(Protocol):
    """A way to say which part of the photo a word comes from.

    Attributes:
        name: As the user asks for it.
        unit: What the values of its maps are.
        cost: What it computes for one image beside captioning it, in words.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def unit(self) -> Unit: ...  # noqa: D102
    @property
    def cost(self) -> str: ...  # noqa: D102

    def check(self, captioner: Captioner) -> None:
        """Refuse a model that the method cannot explain.

        Raises:
            UsageError: If so, naming what can.
        """
        ...

    def __call__(self, batch: CaptionedBatch) -> Tensor:
        """Maps float32 `[B, L, rows, cols]` of each token; what stands at padding is to be ignored."""
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
                f"explain={name} is not understood; after attention: may stand layerN, headM and max, joined by "
                "points as in attention:layer2.head5, or best"
            )
    return Attention(layer, head, maximum=maximum, name=name)


def _best_head(card: Mapping[str, Any]) -> tuple[int, int]:
    found = card.get("best_head")
    if found is None:
        raise NotForThisModelError(
            "explain=attention:best needs to know which head points best, and this model's card does not say; "
            "captioner.evaluate with grounding=true finds it, and keep_best_head=true writes it there; or take "
            "explain=attention:layerN.headM"
        )
    layer, head = (found.get("layer"), found.get("head")) if isinstance(found, Mapping) else (None, None)
    if not isinstance(layer, int) or not isinstance(head, int):
        raise UsageError(
            f"explain=attention:best: best_head={found!r} in the model's card must be a layer and a head"
        )
    return layer, head


def _occlusion(choice: str, name: str, _: Mapping[str, Any]) -> Method:
    sides = re.fullmatch("([0-9]{1,3})x([0-9]{1,3})", choice)
    if not sides:
        raise UsageError(
            f"explain={name} is not understood; after occlusion: may stand rows and columns, as in occlusion:7x7"
        )
    return Occlusion((int(sides[1]), int(sides[2])), name=name)


def _integrated_gradients(choice: str, name: str, _: Mapping[str, Any]) -> Method:
    if not re.fullmatch("[0-9]{1,4}", choice):
        raise UsageError(
            f"explain={name} is not understood; after integrated_gradients: may stand a number of steps"
        )
    return IntegratedGradients(int(choice), name=name)


def _no_choice(_: str, name: str, __: Mapping[str, Any]) -> Method:
    plain = name.partition(":")[0]
    raise UsageError(f"explain={name} is not understood; {plain} has no choices: say explain={plain}")


METHODS: Mapping[str, tuple[Callable[[], Method], Callable[[str, str, Mapping[str, Any]], Method]]] = {
    "attention": (Attention, _attention),
    "rollout": (Rollout, _no_choice),
    "gradient_attention": (GradientAttention, _no_choice),
    "grad_cam": (GradCam, _no_choice),
    "integrated_gradients": (IntegratedGradients, _integrated_gradients),
    "occlusion": (Occlusion, _occlusion),
}
"""By the name of a method: how it is made, and how it is made from what stands after a colon."""


def make_method(name: str, *, card: Mapping[str, Any] | None = None) -> Method:
    """The method that a user calls `name`.

    Args:
        name: One of `METHODS`, perhaps with a choice after a colon; see the head of this file.
        card: The model's training card, which `attention:best` reads.

    Raises:
        UsageError: If there is no such method or choice.
    """
    plain, colon, choice = name.partition(":")
    if plain not in METHODS:
        raise UsageError(f"explain={name} is no method; choose from {', '.join(METHODS)}, or all")
    make, make_chosen = METHODS[plain]
    return make_chosen(choice, name, card or {}) if colon else make()


def make_methods(
    explain: str | Method | Iterable[str | Method],
    captioner: Captioner,
    *,
    card: Mapping[str, Any] | None = None,
    warn: Callable[[str], None] | None = None,
) -> tuple[Method, ...]:
    """The methods that a user asks for, each held against the model.

    Args:
        explain: Names, in one text with commas or apart, or methods. "all" stands for one of each that the model
            supports. What is named twice is computed once.
        captioner: The model to explain.
        card: Its training card.
        warn: Told of each method that the model does not support, where another remains to go on with. None: such a
            method is refused.

    Raises:
        UsageError: If there is no such method, the model does not support it, or none is named.
    """
    asked = [explain] if isinstance(explain, str) or not isinstance(explain, Iterable) else list(explain)
    methods: dict[str, Method] = {}
    refused: list[NotForThisModelError] = []
    for item in asked:
        for part in item.split(",") if isinstance(item, str) else (item,):
            if part == "all":
                methods.update((method.name, method) for method in _supported(captioner))
                continue
            try:
                method = make_method(part.strip(), card=card) if isinstance(part, str) else part
                _check(method, captioner)
            except NotForThisModelError as error:
                refused.append(error)
                continue
            methods.setdefault(method.name, method)
    if refused and (warn is None or not methods):
        raise refused[0]
    for one in refused:
        assert warn is not None
        warn(f"{one}; without it, explaining goes on by {', '.join(methods)}")
    if not methods:
        raise UsageError(f"explain names no method; choose from {', '.join(METHODS)}, or all")
    return tuple(methods.values())


def _check(method: Method, captioner: Captioner) -> None:
    try:
        method.check(captioner)
    except UsageError as error:
        raise NotForThisModelError(str(error)) from error


def _supported(captioner: Captioner) -> Iterable[Method]:
    for make, _ in METHODS.values():
        method = make()
        try:
            _check(method, captioner)
        except NotForThisModelError:
            continue
        yield method
