"""Faster inference: bfloat16 where the hardware multiplies it, and compiled functions.

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

from captioner.errors import CaptionerError, UsageError, did_you_mean
from captioner.models import onednn

PRECISIONS = ("fp32", "bf16")

Args = ParamSpec("Args")
Result = TypeVar("Result")


def check_precision(name: str, device: torch.device) -> None:
    """Refuse a number format that is not known, or slower on this device than float32.

    Raises:
        UsageError: Naming what to use instead.
    """
    if name not in PRECISIONS:
        raise UsageError(
            f"precision={name} is unknown; choose from {', '.join(PRECISIONS)}{did_you_mean(name, PRECISIONS)}"
        )
    if name == "bf16" and not has_bf16(device.type):
        raise UsageError(
            f"precision=bf16 needs a {'processor' if device.type == 'cpu' else 'GPU'} with bfloat16 instructions "
            "(AVX512-BF16 or AMX; an NVIDIA GPU from the A100 on); on this one it is slower: take precision=fp32"
        )


def has_bf16(device: str) -> bool:
    """Whether a device of this type has bfloat16 instructions; emulation is slower than float32."""
    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu" or not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def compiled(function: Callable[Args, Result], device: torch.device) -> Callable[Args, Result]:
    """A function of tensors that is compiled at its first call, and again for other shapes.

    On a GPU its kernels are also recorded and replayed as one (CUDA graphs), from which a step of a few small products
    gains most; inputs of `fix_addresses` are read where they are, others are copied. That part has not been measured.

    A call raises CaptionerError if PyTorch cannot compile the function.

    Raises:
        UsageError: If there is no C++ compiler, which a CPU needs.
    """
    names = (os.environ.get("CXX"), "g++", "clang++", "cl")
    if device.type == "cpu" and not any(name and shutil.which(name) for name in names):
        raise UsageError(
            "compile=true needs a C++ compiler, and none is on the path; install g++, set CXX to one, "
            "or leave compile out"
        )
    from torch._dynamo.exc import TorchDynamoException  # which takes a second to import

    onednn.takes(torch.float32)  # tried before compilation, which would trace the trial
    recorded = device.type == "cuda"
    run = torch.compile(function, mode="reduce-overhead") if recorded else torch.compile(function)

    def call(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        try:
            if not recorded:
                return run(*args, **kwargs)
            torch.compiler.cudagraph_mark_step_begin()
            # The next recorded call writes its result to the same memory, so this one is copied.
            result: Result = tree_map(torch.clone, run(*args, **kwargs))
            return result
        except TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise CaptionerError(
                f"compile=true: PyTorch cannot compile this model here ({reason}); leave compile out"
            ) from error

    return call


def fix_addresses(tensors: Iterable[Tensor]) -> None:
    """Promise that tensors are not moved while a compiled function takes them; it matters on GPUs alone."""
    for tensor in tensors:
        if tensor.device.type == "cuda":
            torch._dynamo.mark_static_address(tensor)
