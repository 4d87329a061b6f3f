"""Models, captioning and training of both sides of `bench_transformers.py`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captioner.decoding import BeamSearch, GreedySearch, MinLength, SpecialTokens
from captioner.models.captioner import Captioner
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.models.encoders.encoder import ImageEncoder
from captioner.objectives.cross_entropy import CrossEntropy

PAD, BEGIN, END, UNKNOWN = 0, 1, 2, 3
CAPTIONS = 5  # per image, in training
MEMORY_ROW = "memory"


@dataclass(frozen=True)
class Sizes:
    """Sizes of both models."""

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
        """Number of image tokens, the class token included."""
        return (self.image // self.patch) ** 2 + 1


FULL, QUICK = Sizes(), Sizes(image=32, encoder_depth=1, dim=64, depth=1, heads=2, vocabulary=40, length=4)


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    kind: str  # whole, decoder, train or memory
    batch: int
    beam: int
    goal: float  # least ratio of speeds, ours over theirs; for memory the largest ratio
    gpu_goal: float
    bf16: bool = False
    their_bf16: bool = False
    frozen: bool = False
    compiled: bool = False  # ours only


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
    """Our model in evaluation mode."""
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
    """Their model in evaluation mode."""
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
    ids: dict[str, Any] = {
        "pad_token_id": PAD,
        "bos_token_id": BEGIN,
        "eos_token_id": END,
        "vocab_size": sizes.vocabulary,
    }
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
    """A function that captions `images` `[B, 3, rows, cols]` once."""
    constraints = [MinLength(sizes.length)]
    search = (
        BeamSearch(row.beam, max_length=sizes.length, constraints=constraints)
        if row.beam > 1
        else GreedySearch(max_length=sizes.length, constraints=constraints)
    )
    special = SpecialTokens(pad=PAD, begin=BEGIN, end=END, banned=(UNKNOWN,))
    images = images.contiguous(memory_format=torch.channels_last)
    kind = images.device.type
    decoder = model.decoder
    if row.compiled:  # a copy: other rows use the model uncompiled
        decoder = copy.deepcopy(model.decoder)
        decoder.compile_step()

    @torch.inference_mode()
    def run() -> object:
        with torch.autocast(kind, torch.bfloat16, enabled=row.bf16):
            features = memory if row.kind == "decoder" else model.encode(images).features
            hypotheses = search(decoder, features, special)
        assert hypotheses.tokens.shape[-1] == sizes.length
        return hypotheses

    with torch.inference_mode():
        memory = model.encode(images).features
    return run


def their_caption(model: Any, images: Tensor, row: Row, sizes: Sizes) -> Callable[[], object]:
    """A function that captions `images` `[B, 3, rows, cols]` once."""
    kind = images.device.type

    @torch.inference_mode()
    def run() -> object:
        given = {"encoder_outputs": copy.copy(memory)} if row.kind == "decoder" else {}
        with torch.autocast(kind, torch.bfloat16, enabled=row.their_bf16):
            tokens = model.generate(
                pixel_values=images,
                num_beams=row.beam,
                do_sample=False,
                max_new_tokens=sizes.length,
                min_new_tokens=sizes.length,
                **given,
            )
        assert tokens.shape[-1] == sizes.length + 1
        return tokens

    with torch.inference_mode():
        memory = model.encoder(images)
    return run


def our_training(model: Captioner, images: Tensor, tokens: Tensor, row: Row) -> Callable[[], object]:
    """A function that takes one training step on `images` `[B, 3, rows, cols]` and `tokens` `[B, C, L + 1]`."""
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
    """The same with each image repeated for each of its captions."""
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
