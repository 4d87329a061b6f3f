"""Order of self-attention and cross-attention in a stack of decoder layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from captioner.models.decoders.decoder_layer import DecoderLayer
from captioner.models.decoders.decoder_stack import DecoderStack

B, C, L, N, D, DEPTH = 2, 3, 6, 5, 8, 3


def stack(*, self_attention_first: bool, sentinel: bool = False) -> DecoderStack:
    torch.manual_seed(0)
    layers = (DecoderLayer(D, 2, dropout=0.0, sentinel=sentinel) for _ in range(DEPTH))
    return DecoderStack(layers, self_attention_first=self_attention_first).eval()


def inputs() -> tuple[Tensor, Tensor]:
    """Words `[B, C, L, D]` and a memory `[B, N, D]`."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(B, C, L, D, generator=generator), torch.randn(B, N, D, generator=generator)


def through(layers: DecoderStack) -> Tensor:
    words, memory = inputs()
    out: Tensor
    out, _ = layers(words, tuple(layers.project(memory)), angles=None)
    return out


@pytest.mark.parametrize("sentinel", [False, True])
@pytest.mark.parametrize("self_attention_first", [False, True])
@torch.no_grad()
def test_image_content_reaches_later_tokens_unless_self_attention_runs_first(
    self_attention_first: bool, sentinel: bool
) -> None:
    layers = stack(self_attention_first=self_attention_first, sentinel=sentinel)
    before, word = through(layers), 2

    def attend_elsewhere(_: object, __: object, output: tuple[Tensor, None]) -> tuple[Tensor, None]:
        seen = output[0].unflatten(1, (C, L)).clone()
        seen[:, :, word] += torch.arange(D)
        return seen.flatten(1, 2), None

    for layer in layers:
        layer.cross_attention.register_forward_hook(attend_elsewhere)
    changed = (through(layers) - before).abs().amax(dim=(0, 1, 3)) > 1e-4
    assert changed.tolist() == [at == word or (at > word and not self_attention_first) for at in range(L)]


@pytest.mark.parametrize("self_attention_first", [False, True])
def test_sub_layers_run_in_the_documented_order(self_attention_first: bool) -> None:
    layers = stack(self_attention_first=self_attention_first)
    order: list[str] = []
    for index, layer in enumerate(layers):
        for name, part in (("self", layer.self_attention), ("cross", layer.cross_attention)):
            part.register_forward_hook(lambda *_, done=f"{index} {name}": order.append(done))
    through(layers)
    if self_attention_first:
        assert order == ["0 self", "1 self", "2 self", "0 cross", "1 cross", "2 cross"]
    else:
        assert order == ["0 self", "0 cross", "1 self", "1 cross", "2 self", "2 cross"]


@torch.no_grad()
def test_the_default_order_is_that_of_pytorch() -> None:
    """Each layer against `torch.nn.TransformerDecoderLayer` of the same weights."""
    layers, (words, memory) = stack(self_attention_first=False), inputs()
    reference = torch.nn.ModuleList(
        torch.nn.TransformerDecoderLayer(
            D, 2, 4 * D, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        for _ in range(DEPTH)
    ).eval()
    for theirs, ours in zip(reference, layers, strict=True):
        assert isinstance(theirs, torch.nn.TransformerDecoderLayer)
        for attention, ours_attention in (
            (theirs.self_attn, ours.self_attention),
            (theirs.multihead_attn, ours.cross_attention),
        ):
            attention.in_proj_weight.copy_(
                torch.cat([ours_attention.query.weight, ours_attention.key_value.weight])
            )
            attention.in_proj_bias.copy_(
                torch.cat([ours_attention.query.bias, ours_attention.key_value.bias])
            )
            attention.out_proj.load_state_dict(ours_attention.out.state_dict())
        theirs.linear1.load_state_dict(ours.mlp[0].state_dict())
        theirs.linear2.load_state_dict(ours.mlp[2].state_dict())
        for norm, ours_norm in (
            (theirs.norm1, ours.self_norm),
            (theirs.norm2, ours.cross_norm),
            (theirs.norm3, ours.mlp_norm),
        ):
            norm.load_state_dict(ours_norm.state_dict())
    expected, mask = words.flatten(0, 1), torch.nn.Transformer.generate_square_subsequent_mask(L)
    for theirs in reference:
        expected = theirs(expected, memory.repeat_interleave(C, dim=0), tgt_mask=mask, tgt_is_causal=True)
    torch.testing.assert_close(through(layers), expected.unflatten(0, (B, C)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("self_attention_first", [False, True])
@torch.no_grad()
def test_a_slice_is_a_stack_in_the_same_order(self_attention_first: bool) -> None:
    layers = stack(self_attention_first=self_attention_first)
    words, memory = inputs()
    part = layers[1:]
    assert (len(layers), len(part), part[0] is layers[1], part[-1] is layers[2]) == (3, 2, True, True)
    out, _ = part(words, tuple(part.project(memory)), angles=None)
    other = DecoderStack(list(layers)[1:], self_attention_first=self_attention_first)
    expected, _ = other(words, tuple(other.project(memory)), angles=None)
    assert torch.equal(out, expected)
    default = DecoderStack(list(layers)[1:])
    assert (
        torch.equal(out, default(words, tuple(default.project(memory)), angles=None)[0])
        != self_attention_first
    )
