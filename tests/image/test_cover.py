from __future__ import annotations

import torch

from captioner.image.cover import PATCHES, cover


def test_patches_are_hidden_whole_and_the_rest_is_untouched() -> None:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(3, 48, 60, generator=generator) + 1  # no pixel is 0 by itself
    shares = []
    for _ in range(200):
        covered = cover(image, 1.0, generator)
        hidden = covered == 0
        assert torch.equal(covered[~hidden], image[~hidden])
        patches = hidden.reshape(3, PATCHES, 4, PATCHES, 5)
        whole = patches.all(dim=4).all(dim=2)
        assert torch.equal(whole, patches.any(dim=4).any(dim=2))
        assert torch.equal(whole[0], whole[1])
        assert torch.equal(whole[0], whole[2])
        shares.append(whole[0].float().mean().item())
    assert min(shares) < 0.1
    assert max(shares) > 0.9
    assert 0.45 < sum(shares) / 200 < 0.55


def test_the_chance_is_kept() -> None:
    generator = torch.Generator().manual_seed(2)
    image = torch.ones(3, 24, 24)
    assert all(cover(image, 0.0, generator) is image for _ in range(50))
    assert 60 < sum(cover(image, 0.2, generator) is not image for _ in range(400)) < 100


def test_every_call_draws_the_same_number_of_values() -> None:
    image = torch.ones(3, 24, 24)
    states = []
    for chance in (0.0, 1.0):
        generator = torch.Generator().manual_seed(3)
        cover(image, chance, generator)
        states.append(generator.get_state())
    assert torch.equal(*states)
