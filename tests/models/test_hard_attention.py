from __future__ import annotations

import torch

from captioner.models.hard_attention import HardChoice


def test_the_heaviest_key_gets_everything() -> None:
    weights = torch.tensor([[[[0.2, 0.5, 0.3], [0.6, 0.4, 0.0]]]])
    choose = HardChoice(draw=False)
    assert choose(weights).tolist() == [[[[0, 1, 0], [1, 0, 0]]]]
    (choice,) = choose.choices
    torch.testing.assert_close(choice.logprob, torch.tensor([[[0.5, 0.6]]]).log())
    entropy = -(0.6 * torch.tensor(0.6).log() + 0.4 * torch.tensor(0.4).log())
    torch.testing.assert_close(choice.entropy[0, 0, 1], entropy)


def test_places_are_drawn_as_often_as_they_weigh() -> None:
    weights = torch.tensor([0.1, 0.0, 0.6, 0.3]).expand(1, 1, 20000, 4)
    torch.manual_seed(0)
    drawn = HardChoice(draw=True)(weights).mean(dim=2)[0, 0]
    torch.testing.assert_close(drawn, weights[0, 0, 0], atol=0.015, rtol=0)
    assert float(drawn[1]) == 0


def test_what_was_drawn_pulls_on_the_scores() -> None:
    scores = torch.zeros(1, 1, 3, 5, requires_grad=True)
    choose = HardChoice(draw=True)
    drawn = choose(scores.softmax(-1))
    assert not drawn.requires_grad
    choose.choices[0].logprob.sum().backward()
    torch.testing.assert_close(scores.grad, drawn - 0.2)
