"""Choice of the training precision: bfloat16 where the hardware supports it, else float32."""

from __future__ import annotations

import torch

from captioner.models.acceleration import has_bf16


def choose_precision(precision: str, accelerator: str) -> str:
    """Lightning's name for a precision; "auto" is bf16-mixed on hardware with bfloat16 arithmetic, else 32-true.

    Args:
        precision: "auto" or a precision Lightning knows.
        accelerator: "auto", "cpu", "gpu", "cuda" or "mps".
    """
    if precision != "auto":
        return precision
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if has_bf16("cuda") else "32-true"
    if accelerator in ("auto", "cpu") and has_bf16("cpu"):
        return "bf16-mixed"
    return "32-true"
