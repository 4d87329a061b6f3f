from __future__ import annotations

import torch
from torch import nn

from captioner.models.attention import MultiHeadAttention
from captioner.models.encoders.image_layers import ImageLayer

B, N, D, H = 2, 5, 12, 3


def test_parity_with_torchs_encoder_layer() -> None:
    torch.manual_seed(0)
    ours = ImageLayer(D, H, mlp_ratio=2.0, dropout=0.3).eval()
    reference = nn.TransformerEncoderLayer(
        D, H, 2 * D, dropout=0.3, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(std=0.5)
    attention = ours.attention
    assert isinstance(attention, MultiHeadAttention)
    reference.load_state_dict(
        {
            "self_attn.in_proj_weight": torch.cat([attention.query.weight, attention.key_value.weight]),
            "self_attn.in_proj_bias": torch.cat([attention.query.bias, attention.key_value.bias]),
            "self_attn.out_proj.weight": attention.out.weight,
            "self_attn.out_proj.bias": attention.out.bias,
            "linear1.weight": ours.get_parameter("mlp.0.weight"),
            "linear1.bias": ours.get_parameter("mlp.0.bias"),
            "linear2.weight": ours.get_parameter("mlp.2.weight"),
            "linear2.bias": ours.get_parameter("mlp.2.bias"),
            "norm1.weight": ours.attention_norm.weight,
            "norm1.bias": ours.attention_norm.bias,
            "norm2.weight": ours.mlp_norm.weight,
            "norm2.bias": ours.mlp_norm.bias,
        }
    )
    x = torch.randn(B, N, D)
    torch.testing.assert_close(ours(x), reference(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_tokens_are_a_set_and_images_do_not_mix() -> None:
    torch.manual_seed(0)
    layer = ImageLayer(D, H, mlp_ratio=2.0, dropout=0.3).eval()
    x = torch.randn(B, N, D)
    order = torch.randperm(N)
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], atol=1e-5, rtol=0)
    torch.testing.assert_close(layer(x[1:]), layer(x)[1:], atol=1e-5, rtol=0)
