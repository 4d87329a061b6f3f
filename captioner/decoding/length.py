"""Length normalisation of captions' log-probabilities.

Sources: Wu et al. 2016 ("Google's neural machine translation system", eq. 14); Graves 2012 (the plain power).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from captioner.decoding.setting_checks import check_number
from captioner.errors import UsageError, did_you_mean

LENGTH_NORMS = ("power", "gnmt", "average", "none")

_Length = TypeVar("_Length", float, Tensor)


@dataclass(frozen=True, slots=True)
class LengthNorm:
    """score = log P(caption) / divisor(length); the length counts EOS.

    Attributes:
        penalty: Exponent of the length, 0 or more.
        kind: `power`: length ** penalty. `gnmt`: ((5 + length) / 6) ** penalty, which differs less between short
            captions. `average`: the length, whatever the penalty. `none`: 1.

    Raises:
        UsageError: If the kind is unknown or the penalty is not a finite number of at least 0.
    """

    penalty: float = 0.7
    kind: str = "power"

    def __post_init__(self) -> None:
        check_number("length_penalty", self.penalty)
        if self.kind not in LENGTH_NORMS:
            raise UsageError(
                f"length_norm={self.kind} is unknown; choose from {', '.join(LENGTH_NORMS)}"
                f"{did_you_mean(self.kind, LENGTH_NORMS)}"
            )

    def divisor(self, length: _Length) -> _Length:
        """The divisor of a caption's log-probability; it never decreases with the length."""
        scale, exponent = length, self.penalty
        if self.kind == "gnmt":
            scale = (5 + length) / 6
        elif self.kind != "power":
            exponent = 1.0 if self.kind == "average" else 0.0
        divisor: _Length = scale**exponent
        return divisor

    def spec(self) -> dict[str, Any]:
        """The settings that affect the score, for signatures and reports."""
        if self.kind == "power":
            return {"length_penalty": self.penalty}
        if self.kind == "gnmt":
            return {"length_norm": self.kind, "length_penalty": self.penalty}
        return {"length_norm": self.kind}
