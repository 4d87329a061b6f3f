"""Speed, memory and training beside Hugging Face transformers, and the distance of both from the machine's limits.

    python scripts/bench_transformers.py [--rows whole,decoder] [--repeats 5] [--threads 2] [--device cpu] [--quick]

Both sides have random weights of the same shapes: ViT-S/16 at 224 pixels, and a pre-norm decoder of 6 layers, width
512, 8 heads and 10,000 tokens, with the output tied to the embedding: ours `Captioner`, theirs
`VisionEncoderDecoderModel` of `ViTModel` and `GPT2LMHeadModel` with cross-attention (`--their-decoder bert`: their
post-norm BERT decoder instead). Captions have exactly 20 tokens on both sides: theirs by `eos_token_id=None` and
`max_new_tokens`, ours by a minimum length. Both decode with a cache and fused attention, in inference mode, and keep
freed memory (`captioner.malloc`).

Runs are interleaved, ours, theirs, ours, ...; a time is the best of them, since other load on the machine only adds to
it. CPU time is printed beside it, and the load of the machine before and after. Peak memory is that of a separate
process for each side, which builds its model and captions one batch: VmHWM of Linux, everything included, and the part
above what it held before the call; on a GPU torch's max_memory_allocated. Training is a step with forward, backward and
AdamW; theirs repeats the image for each of its 5 captions. `hardware_floor.py` computes the floor; the last two columns
are its operations and bytes for a call or a training step (for memory, the bytes held).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from hardware_floor import Machine, best_times, floor_bytes, floor_parts, floor_seconds, measure_machine
from transformers_sides import (
    CAPTIONS,
    FULL,
    MEMORY_ROW,
    QUICK,
    ROWS,
    Row,
    our_caption,
    our_model,
    our_training,
    their_caption,
    their_model,
    their_training,
)

from captioner.malloc import keep_freed_memory


def child(side: str, options: argparse.Namespace) -> None:
    """Caption one batch in this process and print its peak memory."""
    row, sizes = ROWS[MEMORY_ROW], options.sizes
    model = our_model(sizes) if side == "ours" else their_model(sizes, options.their_decoder)
    model.to(options.device)
    caption = our_caption if side == "ours" else their_caption
    images = torch.randn(options.batch or row.batch, 3, sizes.image, sizes.image, device=options.device)
    caption(model, images[:1], row, sizes)()  # libraries loaded at the first call count for neither side
    held = resident("VmRSS")
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    caption(model, images, row, sizes)()
    peak = resident("VmHWM")
    if options.device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    print(json.dumps({"peak": peak, "held": held}))


def resident(field: str) -> int:
    """Bytes of this process by a field of /proc/self/status. ru_maxrss of a child would begin at its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) * 1024


def peak_of(side: str, options: argparse.Namespace) -> dict[str, float]:
    """The output of `child` in a separate process."""
    command = [sys.executable, __file__, "--child", side, "--threads", str(options.threads)]
    command += ["--device", options.device, "--their-decoder", options.their_decoder]
    command += ["--batch", str(options.batch)] + (["--quick"] if options.quick else [])
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return peak


def report(row: Row, options: argparse.Namespace, machine: Machine, models: dict[str, Any]) -> None:
    """Measure and print one row."""
    sizes, gpu = options.sizes, options.device == "cuda"
    goal = row.gpu_goal if gpu else row.goal
    if row.kind == "memory":
        ours, theirs = peak_of("ours", options), peak_of("theirs", options)
        least = floor_bytes(row, sizes, options.batch)
        print(
            f"{row.name:<34}{ours['peak'] / 2**20:>9,.0f} MiB{theirs['peak'] / 2**20:>9,.0f} MiB"
            f"{ours['peak'] / theirs['peak']:>8.2f} x{'':>9}{'<=':>6}{goal:>4.1f} x"
            f"{least / 2**20:>9,.0f} MiB{ours['peak'] / least:>7.1f} x{'':>15}{least / 1e9:>7,.2f} GB"
        )
        above = [(part["peak"] - part["held"]) / 2**20 for part in (ours, theirs)]
        print(
            f"{'  above the memory held before':<34}{above[0]:>9,.0f} MiB{above[1]:>9,.0f} MiB"
            f"{above[0] / max(above[1], 1e-9):>8.2f} x",
            flush=True,
        )
        return
    B = options.batch or row.batch
    images = torch.randn(B, 3, sizes.image, sizes.image, device=options.device)
    if row.kind == "train":
        tokens = torch.randint(4, sizes.vocabulary, (B, CAPTIONS, sizes.length + 1), device=options.device)
        runs = [
            our_training(models["ours"], images, tokens, row),
            their_training(models["theirs"], images, tokens, row),
        ]
        work, unit = B * CAPTIONS * sizes.length, "tok/s"
    else:
        runs = [
            our_caption(models["ours"], images, row, sizes),
            their_caption(models["theirs"], images, row, sizes),
        ]
        work, unit = B, "img/s"
    (wall, cpu), (their_wall, their_cpu) = best_times(runs, options.repeats, options.device)
    least, parts = floor_seconds(row, sizes, machine, B), floor_parts(row, sizes, B)
    print(
        f"{row.name:<34}{work / wall:>7,.1f} {unit}{work / their_wall:>7,.1f} {unit}"
        f"{their_wall / wall:>8.2f} x{their_cpu / cpu:>7.2f} x{'>=':>6}{goal:>4.1f} x"
        f"{work / least:>7,.1f} {unit}{wall / least:>7.1f} x"
        f"{sum(part.flops for part in parts) / 1e9:>9,.1f} GFLOP{sum(part.bytes for part in parts) / 1e9:>7,.2f} GB",
        flush=True,
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default=",".join(ROWS), help="rows, separated by commas")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved runs of each side")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default=None, help="default: both, if present")
    parser.add_argument("--their-decoder", choices=("gpt2", "bert"), default="gpt2")
    parser.add_argument("--batch", type=int, default=0, help="batch size instead of each row's")
    parser.add_argument("--quick", action="store_true", help="tiny models, for a test")
    parser.add_argument("--child", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.sizes = QUICK if options.quick else FULL
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    if options.child:
        child(options.child, options)
        return
    if unknown := [name for name in options.rows.split(",") if name not in ROWS]:
        parser.error(f"--rows {unknown[0]} is unknown; choose from {', '.join(ROWS)}")
    devices = [options.device] if options.device else ["cpu", "cuda"]
    import transformers

    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}, their decoder {options.their_decoder}"
    )
    for device in devices:
        if device == "cuda" and not torch.cuda.is_available():
            print("\nGPU: none on this machine")
            continue
        options.device = device
        bench(options)


def bench(options: argparse.Namespace) -> None:
    """Print the table of one device."""
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"CPU, {options.threads} threads"
    print(f"\n{where}; load {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    machine = measure_machine(options.device, quick=options.quick)
    print(
        f"peaks: {machine.flops / 1e9:,.0f} GFLOP/s fp32, {machine.bf16_flops / 1e9:,.0f} bf16, "
        f"{machine.bandwidth / 1e9:,.1f} GB/s copying\n"
    )
    print(
        f"{'case':<34}{'ours':>13}{'theirs':>13}{'ratio':>10}{'of CPU':>9}{'goal':>12}{'floor':>13}{'above':>9}"
        f"{'computes':>15}{'reads':>10}"
    )
    models: dict[str, Any] = {
        "ours": our_model(options.sizes).to(options.device),
        "theirs": their_model(options.sizes, options.their_decoder).to(options.device),
    }
    for name in options.rows.split(","):
        report(ROWS[name], options, machine, models)
    print(f"load afterwards {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
