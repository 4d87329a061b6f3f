from __future__ import annotations

from typing import Any

import pytest
import torch

from captioner.errors import UsageError
from captioner.models.devices import choose_device


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x", "", "meta", None])
def test_an_unavailable_device_is_refused(device: Any) -> None:
    with pytest.raises(UsageError, match=f"device={device} "):
        choose_device(device)


def test_auto_is_a_gpu_where_there_is_one() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_auto_gives_each_process_a_gpu_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("auto", process=3).type == choose_device("auto").type
    assert choose_device("cpu", process=3) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(choose_device("auto", process=k)) for k in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert str(choose_device("auto")) == "cuda"
