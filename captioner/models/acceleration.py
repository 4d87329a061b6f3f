"""How does a trained model compute faster? In bfloat16 where the hardware multiplies it, and compiled.

Both are for captioning alone: weights stay float32, and so does every pass that explains a caption.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from captioner.errors import CaptionerError, UsageError

PRECISIONS = ("fp32", "bf16")

Given = ParamSpec("Given")
Found = TypeVar("Found")


def check_precision(name: str, device: torch.device) -> None:
    """Refuse a number format that is not known, or slower here than float32.

    Raises:
        UsageError: Naming what to take instead.
    """
    if name not in PRECISIONS:
        raise UsageError(f"precision={name} is unknown; choose from {', '.join(PRECISIONS)}")
    if name == "bf16" and not has_bf16(device.type):
        raise UsageError(
            f"precision=bf16 needs a {'processor' if device.type == 'cpu' else 'GPU'} that multiplies bfloat16 itself "
            "(AVX512-BF16 or AMX; an NVIDIA GPU from the A100 on); this one would be slower by it: take precision=fp32"
        )


def has_bf16(device: str) -> bool:
    """Whether a device of this type multiplies bfloat16 itself; emulation is slower than float32."""
    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu" or not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def compiled(function: Callable[Given, Found], device: torch.device) -> Callable[Given, Found]:
    """A function of tensors that is compiled when it is first called, and again for other shapes.

    On a GPU its kernels are recorded too and played back as one (CUDA graphs), which a step of a few small products
    gains most by; what is given at a `fixed` address is read there, all else copied. That part has not been measured.

    The function raises CaptionerError when it is called and PyTorch cannot compile it.

    Raises:
        UsageError: If there is no C++ compiler, which a CPU needs.
    """
    names = (os.environ.get("CXX"), "g++", "clang++", "cl")
    if device.type == "cpu" and not any(name and shutil.which(name) for name in names):
        raise UsageError(
            "compile=true needs a C++ compiler, and none is on the path; install g++, name one in CXX, "
            "or leave compile out"
        )
    from torch._dynamo.exc import TorchDynamoException  # which takes a second to import

    recorded = device.type == "cuda"
    run = torch.compile(function, mode="reduce-overhead") if recorded else torch.compile(function)

    def call(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        try:
            if not recorded:
                return run(*args, **kwargs)
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            # The next recorded call writes where this one did, so what it gives is kept apart.
            kept: Found = tree_map(torch.clone, run(*args, **kwargs))
            return kept
        except TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise CaptionerError(
                f"compile=true: PyTorch cannot compile this model here ({reason}); leave compile out"
            ) from error

    return call


def fixed(parts: Iterable[Tensor]) -> None:
    """Promise that tensors stay where they are while a compiled function is given them; on a GPU alone it matters."""
    for part in parts:
        if part.device.type == "cuda":
            torch._dynamo.mark_static_address(part)
