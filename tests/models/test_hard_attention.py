from __future__ import annotations

import torch

from captioner.models.hard_attention import choose_key


def test_the_largest_weight_becomes_one() -> None:
    weights = torch.tensor([[[[0.2, 0.5, 0.3], [0.6, 0.4, 0.0]]]])
    chosen, choice = choose_key(weights, draw=False)
    assert chosen.tolist() == [[[[0, 1, 0], [1, 0, 0]]]]
    torch.testing.assert_close(choice.logprob, torch.tensor([[[0.5, 0.6]]]).log())
    entropy = -(0.6 * torch.tensor(0.6).log() + 0.4 * torch.tensor(0.4).log())
    torch.testing.assert_close(choice.entropy[0, 0, 1], entropy)


def test_keys_are_drawn_in_proportion_to_their_weights() -> None:
    weights = torch.tensor([0.1, 0.0, 0.6, 0.3]).expand(1, 1, 20000, 4)
    torch.manual_seed(0)
    drawn = choose_key(weights, draw=True)[0].mean(dim=2)[0, 0]
    torch.testing.assert_close(drawn, weights[0, 0, 0], atol=0.015, rtol=0)
    assert float(drawn[1]) == 0


def test_the_log_probability_of_the_choice_has_gradients() -> None:
    scores = torch.zeros(1, 1, 3, 5, requires_grad=True)
    drawn, choice = choose_key(scores.softmax(-1), draw=True)
    assert not drawn.requires_grad
    choice.logprob.sum().backward()
    torch.testing.assert_close(scores.grad, drawn - 0.2)
