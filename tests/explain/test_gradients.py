from __future__ import annotations

import pytest
import torch

from captioner.explain.gradients import token_gradients
from captioner.models.decoders.transformer import TransformerDecoder


@pytest.mark.parametrize("normaliser", ["softmax", "sparsemax", "entmax15", "off_by_one"])
def test_all_tokens_at_once_are_each_token_alone(normaliser: str) -> None:
    torch.manual_seed(0)
    decoder = TransformerDecoder(9, 16, depth=2, num_heads=2, max_length=8, normaliser=normaliser).eval()
    memory = torch.randn(3, 5, 16, requires_grad=True)
    tokens = torch.randint(4, 9, (3, 1, 6))
    other = torch.randn(3, 7, requires_grad=True)

    def logprobs() -> torch.Tensor:
        logits = decoder(tokens, memory).logits.log_softmax(dim=-1)
        return logits.gather(-1, tokens[..., None])[:, 0, :, 0] + other[:, :1] ** 2

    found = token_gradients(logprobs(), [memory, other])
    assert [g.shape for g in found] == [(6, 3, 5, 16), (6, 3, 7)]
    for token in range(6):
        for row in range(3):
            alone = torch.autograd.grad(logprobs()[row, token], [memory, other])
            torch.testing.assert_close(found[0][token, row], alone[0][row], atol=1e-6, rtol=1e-4)
            torch.testing.assert_close(found[1][token, row], alone[1][row])
    assert memory.grad is None
    assert all(parameter.grad is None for parameter in decoder.parameters())
