"""Which number format trains fastest here without harm? bfloat16 where the hardware multiplies it, else float32."""

from __future__ import annotations

from pathlib import Path

import torch


def choose_precision(precision: str, accelerator: str) -> str:
    """Lightning's name for a precision; "auto" is bf16-mixed where the hardware has it.

    Args:
        precision: "auto" or a precision Lightning knows.
        accelerator: "auto", "cpu", "gpu", "cuda" or "mps".
    """
    if precision != "auto":
        return precision
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if accelerator in ("auto", "cpu") and _cpu_has_bf16():
        return "bf16-mixed"
    return "32-true"


def _cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 itself (AVX512-BF16 or AMX); emulation is slower than float32."""
    features = torch.backends.cpu.get_cpu_capability()
    if not features.startswith("AVX512"):
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
