"""Rows, floors and output of scripts/bench_transformers.py, with tiny models."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("transformers")

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module("bench_transformers")
    sys.path.remove(str(SCRIPTS))


def test_both_sides_have_weights_of_the_same_shapes(bench: ModuleType) -> None:
    sizes = [
        # their encoder's pooler is never used
        sum(p.numel() for name, p in model.named_parameters() if "pooler" not in name)
        for model in (bench.our_model(bench.QUICK), bench.their_model(bench.QUICK, "gpt2"))
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)


def test_a_quick_run_prints_each_row_with_its_goal(
    bench: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["decoder", "greedy-bf16", "train-frozen"]
    options = ["--quick", "--repeats", "1", "--threads", "1", "--batch", "2", "--device", "cpu"]
    bench.main([*options, "--rows", ",".join(rows)])
    printed = capsys.readouterr().out
    assert "GFLOP/s fp32" in printed
    for name in rows:
        row = bench.ROWS[name]
        (line,) = [line for line in printed.splitlines() if line.startswith(row.name)]
        assert f">= {row.goal:.1f} x" in line


def test_a_floor_grows_with_the_work(bench: ModuleType) -> None:
    machine = bench.Machine(1e11, 4e11, 1e10)
    whole, decoder, greedy = (bench.ROWS[name] for name in ("whole", "decoder", "greedy"))
    floors = [bench.floor_seconds(row, bench.FULL, machine) for row in (whole, decoder, greedy)]
    assert floors[0] > floors[1] > floors[2]
    # At batch 1 every step reads the decoder's 27 million weights: 20 times 108 MB at 10 GB/s.
    assert floors[2] == pytest.approx(20 * 27.1e6 * 4 / 1e10, rel=0.15)


def test_a_floor_is_printed_in_operations_and_bytes(
    bench: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    row, sizes = bench.ROWS["greedy"], bench.FULL
    parts = bench.floor_parts(row, sizes, 1)
    weights = sizes.depth * 14 * sizes.dim**2 + sizes.vocabulary * sizes.dim
    # A step multiplies by each weight once and reads it once, attention aside.
    assert sum(part.flops for part in parts[1:]) == pytest.approx(20 * 2 * weights, rel=0.2)
    assert sum(part.bytes for part in parts) == pytest.approx(20 * 4 * weights, rel=0.2)
    assert sum(
        part.bytes for part in bench.floor_parts(bench.ROWS["greedy-bf16"], sizes, 1)
    ) == pytest.approx(sum(part.bytes for part in parts) / 2)
    bench.main(["--quick", "--repeats", "1", "--threads", "1", "--device", "cpu", "--rows", "greedy"])
    line = capsys.readouterr().out.splitlines()[-2]
    assert line.endswith(" GB")
    assert " GFLOP" in line


def test_an_unknown_row_is_named(bench: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--rows", "fastest"])
    message = capsys.readouterr().err
    assert "fastest" in message
    assert all(name in message for name in bench.ROWS)
