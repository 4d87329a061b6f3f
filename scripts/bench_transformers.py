"""How fast and how lean is this beside Hugging Face transformers, and how far from what the machine can do?

    python scripts/bench_transformers.py [--rows whole,decoder] [--repeats 5] [--threads 2] [--device cpu] [--quick]

Both sides have weights of the same shapes, drawn at random: ViT-S/16 at 224 pixels, and a pre-norm decoder of 6 layers,
512 wide with 8 heads and 10,000 words, its output tied to its embedding: ours `Captioner`, theirs
`VisionEncoderDecoderModel` of `ViTModel` and `GPT2LMHeadModel` with cross-attention (`--their-decoder bert`: their
post-norm BERT decoder instead). Captions have exactly 20 tokens on both sides: theirs by `eos_token_id=None` and
`max_new_tokens`, ours by a least length, so neither ends early. Both decode with a cache and fused attention.

Runs are interleaved, ours, theirs, ours, ...; a time is the best of them, since whatever else the machine does only
adds to it. CPU time is printed beside it, and the load of the machine before and after. Both sides keep freed memory
(`captioner.malloc`), both run in inference mode. Peak memory is that of a process of its own for each side, which
builds its model and captions one batch: VmHWM of Linux, everything included, and less what it held before the call; on
a GPU torch's max_memory_allocated. Training is a step with forward, backward and AdamW; theirs repeats the image for
each of its 5 captions.

The floor is what cannot be less: for each part the larger of its operations over the machine's fastest matrix product
and its bytes over the machine's copying, both measured here; the last two columns say how many of each, for a call or a
training step (of memory, what is held). A step of decoding reads every weight of the decoder, the keys and values of
each image, and those of the words so far; elsewhere operations decide, and bytes are not counted.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captioner.decoding import BeamSearch, GreedySearch, MinLength, SpecialTokens
from captioner.malloc import keep_freed_memory
from captioner.models.captioner import Captioner
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.models.encoders.encoder import ImageEncoder
from captioner.models.linear import linear
from captioner.objectives.cross_entropy import CrossEntropy

PAD, BEGIN, END, UNKNOWN = 0, 1, 2, 3
CAPTIONS = 5  # of an image, in training
MEMORY_ROW = "memory"


@dataclass(frozen=True)
class Sizes:
    """Of both models."""

    image: int = 224
    patch: int = 16
    encoder_dim: int = 384
    encoder_depth: int = 12
    dim: int = 512
    depth: int = 6
    heads: int = 8
    vocabulary: int = 10_000
    length: int = 20

    @property
    def tokens(self) -> int:
        """Image tokens, the class token included."""
        return (self.image // self.patch) ** 2 + 1


FULL, QUICK = Sizes(), Sizes(image=32, encoder_depth=1, dim=64, depth=1, heads=2, vocabulary=40, length=4)


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    kind: str  # whole, decoder, train or memory
    batch: int
    beam: int
    goal: float  # of ours over theirs, in speed; in memory at most
    gpu_goal: float
    bf16: bool = False
    their_bf16: bool = False
    frozen: bool = False
    compiled: bool = False  # ours


ROWS = {
    "whole": Row("beam 3, batch 16, whole call", "whole", 16, 3, 1.6, 5.0),
    "whole-bf16": Row("  ours in bf16, theirs in fp32", "whole", 16, 3, 3.0, 5.0, bf16=True),
    "whole-both-bf16": Row("  both in bf16", "whole", 16, 3, 1.6, 5.0, bf16=True, their_bf16=True),
    "decoder": Row("beam 3, batch 16, decoder part", "decoder", 16, 3, 2.5, 6.0),
    "decoder-bf16": Row("  ours in bf16, theirs in fp32", "decoder", 16, 3, 2.5, 6.0, bf16=True),
    "greedy": Row("greedy, batch 1, decoder part", "decoder", 1, 1, 1.5, 4.0),
    "greedy-bf16": Row("  ours in bf16, theirs in fp32", "decoder", 1, 1, 1.5, 4.0, bf16=True),
    "greedy-compiled": Row("  ours compiled, theirs eager", "decoder", 1, 1, 1.5, 4.0, compiled=True),
    MEMORY_ROW: Row("beam 5, batch 64, peak memory", "memory", 64, 5, 0.5, 0.3),
    "train": Row("training, 5 captions an image", "train", 4, 0, 3.0, 3.0),
    "train-frozen": Row("  with a frozen encoder", "train", 4, 0, 3.0, 3.0, frozen=True),
}


def our_model(sizes: Sizes) -> Captioner:
    """Ours, in evaluation mode."""
    torch.manual_seed(0)
    encoder = ImageEncoder(
        "vit_small_patch16_224",
        (sizes.image, sizes.image),
        trainable="all",
        model_args={"embed_dim": sizes.encoder_dim, "depth": sizes.encoder_depth},
    )
    decoder = TransformerDecoder(
        sizes.vocabulary, sizes.dim, depth=sizes.depth, num_heads=sizes.heads, max_length=sizes.length + 1
    )
    return Captioner(encoder, decoder).eval()


def their_model(sizes: Sizes, decoder: str) -> Any:
    """Theirs, in evaluation mode."""
    import transformers as hf

    hf.logging.set_verbosity_error()
    torch.manual_seed(0)
    encoder = hf.ViTConfig(
        image_size=sizes.image,
        hidden_size=sizes.encoder_dim,
        num_hidden_layers=sizes.encoder_depth,
        num_attention_heads=sizes.encoder_dim // 64,
        intermediate_size=4 * sizes.encoder_dim,
    )
    ids = {"pad_token_id": PAD, "bos_token_id": BEGIN, "eos_token_id": END, "vocab_size": sizes.vocabulary}
    if decoder == "bert":
        config: Any = hf.BertConfig(
            hidden_size=sizes.dim,
            num_hidden_layers=sizes.depth,
            num_attention_heads=sizes.heads,
            intermediate_size=4 * sizes.dim,
            max_position_embeddings=sizes.length + 1,
            **ids,
        )
    else:
        config = hf.GPT2Config(
            n_positions=sizes.length + 1, n_embd=sizes.dim, n_layer=sizes.depth, n_head=sizes.heads, **ids
        )
    both = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, config)
    both.decoder_start_token_id, both.pad_token_id = BEGIN, PAD
    model = hf.VisionEncoderDecoderModel(config=both).eval()
    generation = model.generation_config
    generation.decoder_start_token_id, generation.bos_token_id = BEGIN, BEGIN
    generation.pad_token_id, generation.eos_token_id = PAD, None
    return model


def our_caption(model: Captioner, images: Tensor, row: Row, sizes: Sizes) -> Callable[[], object]:
    """What captions `images` once."""
    rules = [MinLength(sizes.length)]
    search = (
        BeamSearch(row.beam, max_length=sizes.length, constraints=rules)
        if row.beam > 1
        else GreedySearch(max_length=sizes.length, constraints=rules)
    )
    special = SpecialTokens(pad=PAD, begin=BEGIN, end=END, banned=(UNKNOWN,))
    images = images.contiguous(memory_format=torch.channels_last)
    kind = images.device.type
    decoder = model.decoder
    if row.compiled:  # a copy, so that other rows stay as they are
        decoder = copy.deepcopy(model.decoder)
        decoder.compile_step()

    @torch.inference_mode()
    def run() -> object:
        with torch.autocast(kind, torch.bfloat16, enabled=row.bf16):
            features = memory if row.kind == "decoder" else model.encode(images).features
            found = search(decoder, features, special)
        assert found.tokens.shape[-1] == sizes.length
        return found

    with torch.inference_mode():
        memory = model.encode(images).features
    return run


def their_caption(model: Any, images: Tensor, row: Row, sizes: Sizes) -> Callable[[], object]:
    """What captions `images` once."""
    kind = images.device.type

    @torch.inference_mode()
    def run() -> object:
        given = {"encoder_outputs": copy.copy(memory)} if row.kind == "decoder" else {}
        with torch.autocast(kind, torch.bfloat16, enabled=row.their_bf16):
            found = model.generate(
                pixel_values=images,
                num_beams=row.beam,
                do_sample=False,
                max_new_tokens=sizes.length,
                min_new_tokens=sizes.length,
                **given,
            )
        assert found.shape[-1] == sizes.length + 1
        return found

    with torch.inference_mode():
        memory = model.encoder(images)
    return run


def our_training(model: Captioner, images: Tensor, tokens: Tensor, row: Row) -> Callable[[], object]:
    """One step on `images` `[B, 3, rows, cols]` and `tokens` `[B, C, L + 1]`."""
    model.encoder.requires_grad_(not row.frozen)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    images, loss_of = images.contiguous(memory_format=torch.channels_last), CrossEntropy()

    def run() -> object:
        model.train()
        with torch.set_grad_enabled(not row.frozen):
            encoded = model.encoder(images)
        targets = tokens[:, :, 1:]
        memory = model.encode(encoded).features
        logits = model.decoder(tokens[:, :, :-1], memory, real=targets != PAD).logits
        loss = loss_of(logits, targets[targets != PAD], pad_id=PAD)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.eval()
        return loss

    return run


def their_training(model: Any, images: Tensor, tokens: Tensor, row: Row) -> Callable[[], object]:
    """The same with each image repeated for its captions."""
    model.encoder.requires_grad_(not row.frozen)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    repeated, flat = images.repeat_interleave(CAPTIONS, dim=0), tokens.flatten(0, 1)

    def run() -> object:
        model.train()
        loss = model(
            pixel_values=repeated, decoder_input_ids=flat[:, :-1], labels=flat[:, 1:].contiguous()
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.eval()
        return loss

    return run


def best_times(runs: list[Callable[[], object]], repeats: int, device: str) -> list[tuple[float, float]]:
    """The best wall and CPU seconds of each, interleaved, after one run to warm up."""
    times: list[list[tuple[float, float]]] = [[] for _ in runs]
    for turn in range(repeats + 1):
        for run, found in zip(runs, times, strict=True):
            start = time.perf_counter(), time.process_time()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:
                found.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return [(min(wall for wall, _ in found), min(cpu for _, cpu in found)) for found in times]


@dataclass(frozen=True)
class Machine:
    """What it can do at best: operations and bytes a second."""

    flops: float
    bf16_flops: float
    bandwidth: float


@torch.inference_mode()
def measure_machine(device: str, *, quick: bool) -> Machine:
    """Its fastest matrix products and its copying."""
    n = 256 if quick else 2048
    a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
    low_a, low_b = a.bfloat16(), b.bfloat16()
    block = torch.zeros((1 if quick else 64) * 2**20, device=device)
    target = torch.empty_like(block)

    def rate(work: float, run: Callable[[], object]) -> float:
        return work / best_times([run], 5, device)[0][0]

    return Machine(
        max(rate(2.0 * n**3, lambda: a @ b), rate(2.0 * n**3, lambda: linear(a, b))),
        rate(2.0 * n**3, lambda: low_a @ low_b),
        rate(2.0 * 4 * block.numel(), lambda: target.copy_(block)),
    )


@dataclass(frozen=True)
class Part:
    """A part of a call that waits for the one before: it computes while it reads."""

    flops: float
    bytes: float

    def seconds(self, flops: float, bandwidth: float) -> float:
        """The longer of the two."""
        return max(self.flops / flops, self.bytes / bandwidth)


def floor_parts(row: Row, sizes: Sizes, batch: int) -> list[Part]:
    """What a call or a training step on so many images must compute and read."""
    width = 2 if row.bf16 else 4
    N, E, D = sizes.tokens, sizes.encoder_dim, sizes.dim
    encode = batch * (
        sizes.encoder_depth * (24 * N * E * E + 4 * N * N * E) + 2 * N * (3 * sizes.patch**2 + D) * E
    )
    project = batch * sizes.depth * 4 * N * D * D
    weights = sizes.depth * 14 * D * D + sizes.vocabulary * D

    def words(rows: int, before: float) -> float:
        """Operations of one word in each row, with so many before it."""
        return rows * (2 * weights + sizes.depth * 4 * D * (N + before))

    if row.kind == "train":
        forward = project + sizes.length * words(batch * CAPTIONS, sizes.length / 2)
        return [Part(encode * (1 if row.frozen else 3) + 3 * forward, 0.0)]
    rows = batch * row.beam
    return [
        Part(project + (0 if row.kind == "decoder" else encode), 0.0),
        *(
            Part(words(rows, t), width * (weights + 2 * sizes.depth * D * (batch * N + rows * t)))
            for t in range(sizes.length)
        ),
    ]


def floor_seconds(row: Row, sizes: Sizes, machine: Machine, batch: int | None = None) -> float:
    """What a call or a training step takes at least."""
    flops = machine.bf16_flops if row.bf16 else machine.flops
    return sum(part.seconds(flops, machine.bandwidth) for part in floor_parts(row, sizes, batch or row.batch))


def floor_bytes(row: Row, sizes: Sizes, batch: int | None = None) -> float:
    """What captioning holds at least: the weights, each image's keys and values, and those of the words."""
    N, E, D = sizes.tokens, sizes.encoder_dim, sizes.dim
    weights = sizes.encoder_depth * 12 * E * E + sizes.depth * 16 * D * D + sizes.vocabulary * D
    kept = 2 * sizes.depth * D * (batch or row.batch) * (N + row.beam * sizes.length)
    return 4.0 * (weights + kept)


def child(side: str, options: argparse.Namespace) -> None:
    """Caption one batch in this process and print its peak."""
    row, sizes = ROWS[MEMORY_ROW], options.sizes
    model = our_model(sizes) if side == "ours" else their_model(sizes, options.their_decoder)
    model.to(options.device)
    caption = our_caption if side == "ours" else their_caption
    images = torch.randn(options.batch or row.batch, 3, sizes.image, sizes.image, device=options.device)
    caption(model, images[:1], row, sizes)()  # what is loaded at the first call belongs to neither
    held = resident("VmRSS")
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    caption(model, images, row, sizes)()
    peak = resident("VmHWM")
    if options.device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    print(json.dumps({"peak": peak, "held": held}))


def resident(what: str) -> int:
    """Bytes in memory of this process. Not ru_maxrss: a child's begins at what its parent holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{what}:")).split()[1]) * 1024


def peak_of(side: str, options: argparse.Namespace) -> dict[str, float]:
    """What `child` prints, of a process of its own."""
    given = [sys.executable, __file__, "--child", side, "--threads", str(options.threads)]
    given += ["--device", options.device, "--their-decoder", options.their_decoder]
    given += ["--batch", str(options.batch)] + (["--quick"] if options.quick else [])
    done = subprocess.run(given, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(row: Row, options: argparse.Namespace, machine: Machine, models: dict[str, Any]) -> None:
    """Measure one row and print it."""
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
            f"{'  above what was held before':<34}{above[0]:>9,.0f} MiB{above[1]:>9,.0f} MiB"
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
    parser.add_argument("--rows", default=",".join(ROWS), help="which rows, by commas")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved runs of each side")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default=None, help="by default both, where there are both"
    )
    parser.add_argument("--their-decoder", choices=("gpt2", "bert"), default="gpt2")
    parser.add_argument("--batch", type=int, default=0, help="instead of each row's own")
    parser.add_argument("--quick", action="store_true", help="tiny models, to see that everything runs")
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
            print("\nGPU: no GPU here")
            continue
        options.device = device
        bench(options)


def bench(options: argparse.Namespace) -> None:
    """The table of one device."""
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
