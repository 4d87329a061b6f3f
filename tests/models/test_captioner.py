from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from captioner.errors import UsageError
from captioner.models.captioner import Captioner, ImageBridge
from captioner.models.decoders.transformer import TransformerDecoder
from captioner.models.encoders.encoder import ImageEncoder
from captioner.models.image_tokens import ImageTokens
from captioner.models.local_attention import WindowAttention
from captioner.models.positions import sinusoid_grid

V, L = 12, 5


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    torch.manual_seed(0)
    encoder = ImageEncoder("resnet10t", (32, 48), level=2)
    decoder = TransformerDecoder(V, 16, depth=2, num_heads=4, max_length=8)
    return Captioner(encoder, decoder, image_depth=1, image_heads=2).eval()


def inputs(images: int = 2, captions: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(images, 3, 32, 48, generator=generator),
        torch.randint(V, (images, captions, L), generator=generator),
    )


@torch.no_grad()
def test_an_image_with_several_captions_equals_each_alone(captioner: Captioner) -> None:
    images, tokens = inputs()
    together = captioner(images, tokens, need_weights=True)
    assert together.logits.shape == (2, 3, L, V)
    assert together.cross_attention.shape == (2, 3, L, 2, 4, 4 * 6)
    for b in range(2):
        for c in range(3):
            alone = captioner(images[b : b + 1], tokens[b : b + 1, c : c + 1], need_weights=True)
            torch.testing.assert_close(alone.logits[0, 0], together.logits[b, c], atol=1e-5, rtol=0)
            torch.testing.assert_close(
                alone.cross_attention[0, 0], together.cross_attention[b, c], atol=1e-5, rtol=0
            )


@torch.no_grad()
def test_an_image_is_encoded_once_for_all_its_captions(captioner: Captioner) -> None:
    seen: list[int] = []
    hook = captioner.encoder.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    captioner(*inputs(captions=5))
    hook.remove()
    assert seen == [2]


@torch.no_grad()
def test_a_memory_says_where_its_tokens_lie(captioner: Captioner) -> None:
    memory = captioner.encode(inputs()[0])
    assert memory.features.shape == (2, 24, 16)
    assert (memory.grid, memory.num_prefix) == ((4, 6), 0)


def test_gradients_reach_encoder_bridge_and_decoder(captioner: Captioner) -> None:
    model = copy.deepcopy(captioner).train()
    for name, parameter in model.encoder.named_parameters():
        if "bn" in name:  # ResNets start with their residual branches shut
            torch.nn.init.constant_(parameter, 0.5)
    images, tokens = inputs()
    model(images, tokens).logits.square().mean().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == ["bridge.prefix_position"]
    assert model.bridge.get_parameter("prefix_position").numel() == 0


@torch.no_grad()
@pytest.mark.parametrize("num_prefix", [0, 3])
def test_positions_are_added_in_the_order_of_the_grid(num_prefix: int) -> None:
    torch.manual_seed(0)
    bridge = ImageBridge(6, 4, grid=(2, 3), num_prefix=num_prefix, depth=0, num_heads=2, dropout=0.5).eval()
    position, prefix = (bridge.get_parameter(name) for name in ("position", "prefix_position"))
    position.copy_(torch.randn(4, 2, 3))
    features = torch.randn(2, num_prefix + 6, 6)
    memory = bridge(ImageTokens(features, (2, 3), num_prefix))
    projected = bridge.project(bridge.norm_in(features))
    for n in range(num_prefix + 6):
        if n < num_prefix:
            place = prefix[n]
        else:
            row, col = divmod(n - num_prefix, 3)
            place = position[:, row, col]
        torch.testing.assert_close(memory.features[:, n], bridge.norm_out(projected[:, n] + place))


@torch.no_grad()
def test_another_grid_gets_resized_positions() -> None:
    bridge = ImageBridge(6, 4, grid=(4, 4), num_prefix=1, depth=0, num_heads=2, dropout=0.0)
    rows = torch.linspace(-1, 1, 4)
    bridge.get_parameter("position").copy_(rows[None, :, None].expand(4, 4, 4))  # grows from top to bottom
    bridge.register_module("norm_out", torch.nn.Identity())
    tokens = ImageTokens(torch.zeros(1, 1 + 8 * 6, 6), (8, 6), 1)
    memory = bridge(tokens)
    assert (memory.grid, memory.num_prefix) == ((8, 6), 1)
    grid = memory.features[0, 1:].unflatten(0, (8, 6)) - bridge.project(bridge.norm_in(tokens.features))[0, 0]
    expected = F.interpolate(rows[None, None], 8, mode="linear")[0, 0]
    torch.testing.assert_close(grid, expected[:, None, None].expand(8, 6, 4))


@pytest.mark.parametrize(("dim", "grid"), [(16, (3, 5)), (30, (12, 7))])
def test_places_can_be_told_apart_from_the_start(dim: int, grid: tuple[int, int]) -> None:
    position = sinusoid_grid(dim, grid)
    assert position.shape == (dim, *grid)
    places = position.flatten(1).T
    assert float(torch.cdist(places, places).fill_diagonal_(1).min()) > 0.1
    # Near places are alike, far ones are not.
    norm = places.norm(dim=1)
    alike = (places @ places.T / norm[:, None] / norm).view(*grid, *grid)
    assert alike[0, 0, 0, 1] > alike[0, 0, 0, grid[1] - 1]
    assert alike[0, 0, 1, 0] > alike[0, 0, grid[0] - 1, 0]
    # Rows and columns are not exchanged: along a row the first half of the width stays.
    half = 2 * -(-dim // 4)
    assert torch.equal(position[:half, 1, 0], position[:half, 1, grid[1] - 1])
    assert torch.equal(position[half:, 0, 1], position[half:, grid[0] - 1, 1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_depth": -1}, "model.image_depth=-1 must not be negative"),
        (
            {"image_depth": 1, "image_heads": 5},
            "model.image_heads=5 does not divide model.decoder.dim=16; choose",
        ),
        ({"image_depth": 1, "image_heads": 0}, "model.image_heads=0 does not divide"),
    ],
)
def test_image_layers_must_fit(captioner: Captioner, settings: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Captioner(captioner.encoder, captioner.decoder, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_dropout_must_be_a_share(captioner: Captioner, dropout: float) -> None:
    with pytest.raises(UsageError, match=f"model.dropout={dropout} .*0.*1"):
        Captioner(captioner.encoder, captioner.decoder, dropout=dropout)


@torch.no_grad()
def test_sinusoidal_positions_fit_any_grid_and_none_are_none() -> None:
    def bridge(positions: str) -> ImageBridge:
        torch.manual_seed(0)
        return ImageBridge(
            6, 8, grid=(2, 3), num_prefix=1, depth=0, num_heads=2, dropout=0.0, positions=positions
        )

    x = torch.randn(2, 1 + 20, 6)
    tokens = ImageTokens(x, (4, 5), num_prefix=1)
    fixed, absent = bridge("sinusoidal"), bridge("none")
    projected = fixed.project(fixed.norm_in(x))
    places = torch.cat([fixed.get_parameter("prefix_position"), sinusoid_grid(8, (4, 5)).flatten(1).T])
    torch.testing.assert_close(fixed(tokens).features, fixed.norm_out(projected + places))
    torch.testing.assert_close(absent(tokens).features, absent.norm_out(absent.project(absent.norm_in(x))))
    assert not [name for name in absent.state_dict() if "position" in name]
    assert "position" not in fixed.state_dict()
    with pytest.raises(UsageError, match=r"image_positions='rotary' .*learned, sinusoidal, none"):
        bridge("rotary")


@torch.no_grad()
@pytest.mark.parametrize("settings", [{"window": 2}, {"chunk": 3}])
def test_a_bridge_of_windows_or_chunks_knows_the_images_grid(settings: dict[str, int]) -> None:
    torch.manual_seed(0)
    bridge = ImageBridge(6, 8, grid=(2, 3), num_prefix=1, depth=2, num_heads=2, dropout=0.0, **settings)  # type: ignore[arg-type]
    memory = bridge(ImageTokens(torch.randn(2, 1 + 20, 6), (4, 5), num_prefix=1))
    assert memory.features.shape == (2, 21, 8)
    if "window" in settings:
        assert [part.shift for part in bridge.modules() if isinstance(part, WindowAttention)] == [0, 1]
