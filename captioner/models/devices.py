"""Choice of the device that computes."""

from __future__ import annotations

import torch

from captioner.errors import UsageError


def choose_device(name: str, *, process: int | None = None) -> torch.device:
    """The device of a name; "auto" is a GPU where there is one.

    Args:
        name: "auto", "cpu", "cuda", "cuda:1", "mps".
        process: The number of this process among those of the machine, from 0: "auto" gives each its own GPU where
            there are several. None: one process alone.

    Raises:
        UsageError: If it is not available.
    """
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda" if process is None else f"cuda:{process % torch.cuda.device_count()}")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # it must also compute: "meta" does not
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UsageError(f"device={name} is not available here; take auto or cpu") from error
    return device
