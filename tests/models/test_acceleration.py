"""Captions of a compiled step, and of bfloat16."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch

from captioner.decoding import BeamSearch, GreedySearch, SampleSearch, Search, SpecialTokens
from captioner.errors import CaptionerError, UsageError
from captioner.models.acceleration import check_precision, compiled, has_bf16
from captioner.models.decoders.lstm import LstmDecoder
from captioner.models.decoders.transformer import TransformerDecoder

CPU = torch.device("cpu")
SPECIAL = SpecialTokens(pad=0, begin=1, end=2, banned=(3,))
needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="there is no C++ compiler"
)


@pytest.fixture(autouse=True)
def own_kernels(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile into an empty cache: kernels that other processes compiled may be for other processor features."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("kernels")))


def decoder(positions: str = "learned", **settings: Any) -> TransformerDecoder:
    torch.manual_seed(0)
    return TransformerDecoder(
        30, 16, depth=2, num_heads=2, max_length=8, positions=positions, **settings
    ).eval()


@needs_compiler
@pytest.mark.parametrize(
    ("settings", "search"),
    [
        ({"positions": "rotary"}, BeamSearch(3, max_length=7)),
        ({"sentinel": True, "num_kv_heads": 1}, GreedySearch(max_length=7)),
        ({"self_attention_first": True, "sentinel": True}, BeamSearch(3, max_length=7)),
        ({"normaliser": "sink", "score": "cosine"}, SampleSearch(3, seed=2, max_length=7)),
    ],
    ids=[
        "rotary, beam",
        "sentinel and grouped heads, greedy",
        "read first, beam",
        "sink and cosine, sampled",
    ],
)
def test_a_compiled_step_gives_the_same_captions(settings: dict[str, Any], search: Search) -> None:
    plain, faster = decoder(**settings), decoder(**settings)
    faster.compile_step()
    memory = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))
    expected, found = search(plain, memory, SPECIAL), search(faster, memory, SPECIAL)
    assert torch.equal(found.tokens, expected.tokens)
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=0)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
def test_the_step_that_is_compiled_equals_the_plain_step(
    positions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Called as it is, without a compiler."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr("shutil.which", lambda name: name)
    plain, whole = decoder(positions), decoder(positions)
    whole.compile_step()
    memory, search = torch.randn(3, 5, 16), BeamSearch(4, max_length=7)
    expected, found = search(plain, memory, SPECIAL), search(whole, memory, SPECIAL)
    assert torch.equal(found.tokens, expected.tokens)
    torch.testing.assert_close(found.token_logprobs, expected.token_logprobs, atol=1e-5, rtol=0)


def test_on_a_gpu_a_step_is_recorded_and_what_it_gives_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU is needed to see what is asked of PyTorch."""
    asked: list[str | None] = []
    reused = torch.zeros(2)  # as a recorded call writes where the one before did

    def record(function: object, *, mode: str | None = None) -> object:
        asked.append(mode)
        return lambda x: (reused.copy_(x), reused)

    monkeypatch.setattr(torch, "compile", record)
    monkeypatch.setattr("shutil.which", lambda name: name)
    step: Any = compiled(torch.sin, torch.device("cuda"))
    first = step(torch.ones(2))
    step(torch.full((2,), 5.0))
    assert torch.equal(first[0], torch.ones(2))
    compiled(torch.sin, CPU)
    assert asked == ["reduce-overhead", None]


def test_what_cannot_be_compiled_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"compile=true.*Transformer"):
        LstmDecoder(30, 16).compile_step()
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UsageError, match=r"compile=true.*C\+\+ compiler"):
        decoder().compile_step()


def test_a_failing_compiler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def broken(function: object, **_: object) -> object:
        def call(*_: object) -> None:
            raise TorchDynamoException("no header\nlong story")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr("shutil.which", lambda name: name)
    with pytest.raises(CaptionerError, match=r"compile.*\(no header\).*compile"):
        compiled(torch.sin, CPU)(torch.zeros(1))


def test_a_format_that_is_not_known_or_slower_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_precision("fp32", CPU)
    with pytest.raises(UsageError, match=r"precision=fp8 .* fp32, bf16"):
        check_precision("fp8", CPU)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert not has_bf16("cpu")
    with pytest.raises(UsageError, match=r"precision=bf16 .*precision=fp32"):
        check_precision("bf16", CPU)


def test_half_precision_stays_near() -> None:
    memory, search = torch.randn(2, 5, 16), BeamSearch(3, max_length=7)
    expected = search(decoder(), memory, SPECIAL)
    with torch.autocast("cpu", torch.bfloat16):
        found = search(decoder(), memory, SPECIAL)
    assert found.scores.dtype == torch.float32
    torch.testing.assert_close(found.scores[:, 0], expected.scores[:, 0], atol=0.1, rtol=0)
