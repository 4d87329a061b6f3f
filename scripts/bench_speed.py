"""Speed and peak memory of training and captioning on this machine.

    python scripts/bench_speed.py [--encoder mobilenetv2_100] [--image-size 224] [--dim 256] [--depth 3] [--seconds 5]

Prints training tokens per second and captioning images per second (beam 1 and 3, batch 1 and 32) with the peak memory
of each case. Weights are random and all captions have the same length, so the amount of work does not depend on the
model: the speed is that of trained weights. Each case runs in a separate process, so that the peaks are independent.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from captioner.decoding import SpecialTokens, make_search
from captioner.models.captioner import Captioner
from captioner.models.decoders.decoder import Decoder
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.models.encoders.encoder import ImageEncoder
from captioner.objectives.cross_entropy import CrossEntropy
from captioner.training.precision import choose_precision

LENGTH = 20  # tokens per caption, EOS included
VOCAB = 10_000
CAPTIONS = 5  # captions per image in training


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    batch: int
    beam: int  # 0 for training


CASES = (
    Case("train, 32 images x 5 captions", 32, 0),
    Case("caption, greedy, batch 1", 1, 1),
    Case("caption, greedy, batch 32", 32, 1),
    Case("caption, beam 3, batch 1", 1, 3),
    Case("caption, beam 3, batch 32", 32, 3),
)


class WithoutEnd(torch.nn.Module):
    """A decoder that cannot emit the end token, so that every search takes the same number of steps."""

    def __init__(self, decoder: Decoder, end: int) -> None:
        super().__init__()
        self.decoder, self.end, self.max_length = decoder, end, decoder.max_length

    def init_cache(self, memory: Any, *, num_beams: int = 1, max_length: int | None = None) -> Any:
        return self.decoder.init_cache(memory, num_beams=num_beams, max_length=max_length)

    def step(self, tokens: Any, cache: Any) -> Any:
        logits, cache = self.decoder.step(tokens, cache)
        logits[..., self.end] -= 1e4
        return logits, cache


def build(options: argparse.Namespace) -> Captioner:
    torch.manual_seed(0)
    size = (options.image_size, options.image_size)
    encoder = ImageEncoder(options.encoder, size, trainable="none")
    decoder = TransformerDecoder(VOCAB, options.dim, depth=options.depth, num_heads=8, max_length=LENGTH + 1)
    model = Captioner(encoder, decoder).to(options.device)
    return model.to(memory_format=torch.channels_last)


def training_step(model: Captioner, options: argparse.Namespace, case: Case) -> Callable[[], object]:
    images = torch.randn(case.batch, 3, options.image_size, options.image_size, device=options.device)
    images = images.contiguous(memory_format=torch.channels_last)
    tokens = torch.randint(4, VOCAB, (case.batch, CAPTIONS, LENGTH + 1), device=options.device)
    optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
    objective = CrossEntropy(label_smoothing=0.1)
    model.train()

    def step() -> None:
        with torch.autocast(options.device, torch.bfloat16, enabled=options.bf16):
            logits = model(images, tokens[:, :, :-1]).logits
            loss = objective(logits, tokens[:, :, 1:], pad_id=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def captioning_step(model: Captioner, options: argparse.Namespace, case: Case) -> Callable[[], object]:
    images = torch.randn(case.batch, 3, options.image_size, options.image_size, device=options.device)
    images = images.contiguous(memory_format=torch.channels_last)
    search = make_search(case.beam, max_length=LENGTH)
    special = SpecialTokens(pad=0, begin=1, end=2, banned=(3,))
    decoder = WithoutEnd(model.eval().decoder, special.end)

    @torch.inference_mode()
    def step() -> object:
        with torch.autocast(options.device, torch.bfloat16, enabled=options.bf16):
            return search(decoder, model.encode(images).features, special)

    return step


def measure(options: argparse.Namespace, case: Case, results: Any) -> None:
    torch.set_num_threads(options.threads)
    model = build(options)
    step = captioning_step(model, options, case) if case.beam else training_step(model, options, case)
    cuda = options.device == "cuda"

    def wait() -> None:
        if cuda:
            torch.cuda.synchronize()

    for _ in range(2):
        step()
    wait()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    times: list[float] = []
    start = time.perf_counter()
    while time.perf_counter() - start < options.seconds or len(times) < 3:
        begin = time.perf_counter()
        step()
        wait()
        times.append(time.perf_counter() - begin)
    median = sorted(times)[len(times) // 2]
    work = case.batch * (1 if case.beam else CAPTIONS * LENGTH)
    peak = (
        torch.cuda.max_memory_allocated()
        if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    results.put(
        {"case": case.name, "per_second": work / median, "runs": len(times), "peak_mib": peak / 2**20}
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="mobilenetv2_100")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="time measured for each case")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--json", action="store_true", help="print JSON lines instead of a table")
    options = parser.parse_args()
    options.bf16 = options.precision == "bf16" or (
        options.precision == "auto" and choose_precision("auto", "auto") == "bf16-mixed"
    )
    spawn = multiprocessing.get_context("spawn")
    if not options.json:
        where = (
            torch.cuda.get_device_name() if options.device == "cuda" else f"CPU, {options.threads} threads"
        )
        print(
            f"{options.encoder} at {options.image_size} px, decoder {options.depth} x {options.dim}, {LENGTH} tokens"
        )
        print(f"{where}, {'bf16' if options.bf16 else 'fp32'}, torch {torch.__version__}\n")
        print(f"{'case':<32}{'':>22}{'peak memory':>14}")
    for case in CASES:
        results = spawn.Queue()
        process = spawn.Process(target=measure, args=(options, case, results))
        process.start()
        row = results.get()
        process.join()
        unit = "images/s" if case.beam else "tokens/s"
        if options.json:
            print(json.dumps({**row, "unit": unit}), flush=True)
        else:
            print(
                f"{row['case']:<32}{row['per_second']:>12,.1f} {unit}{row['peak_mib']:>10,.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
