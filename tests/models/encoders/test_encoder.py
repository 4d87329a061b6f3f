from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from captioner.errors import UsageError
from captioner.image.decode import read_photo
from captioner.image.transforms import ImageTransform
from captioner.models.encoders import encoder as encoders
from captioner.models.encoders.encoder import ImageEncoder

# The real architectures, made shallow and narrow.
SWIN = ("swin_tiny_patch4_window7_224", {"embed_dim": 24, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 4]})
DINOV2 = ("vit_small_patch14_reg4_dinov2", {"embed_dim": 48, "depth": 2, "num_heads": 2})
SIGLIP = ("vit_base_patch16_siglip_224", {"embed_dim": 48, "depth": 2, "num_heads": 2})

# Name, further arguments, pixels, and what must come out: grid, prefix tokens, width.
MODELS = [
    pytest.param("resnet10t", {}, (64, 96), (2, 3), 0, 512, id="ResNet"),
    pytest.param("test_convnext", {}, (64, 96), (2, 3), 0, 64, id="ConvNeXt"),
    pytest.param("test_vit", {}, (32, 48), (2, 3), 1, 64, id="ViT with a class token"),
    pytest.param(*SWIN, (64, 96), (2, 3), 0, 192, id="Swin, channels last"),
    pytest.param(*DINOV2, (28, 42), (2, 3), 5, 48, id="DINOv2 with registers"),
    pytest.param(*SIGLIP, (32, 48), (2, 3), 0, 48, id="SigLIP without prefix"),
    pytest.param(
        "mobilenetv2_100", {}, (64, 96), (2, 3), 0, 1280, id="MobileNetV2, the last convolution too"
    ),
]


@pytest.mark.parametrize(("name", "model_args", "pixels", "grid", "num_prefix", "dim"), MODELS)
def test_any_timm_model_gives_tokens_on_its_grid(
    name: str,
    model_args: dict[str, Any],
    pixels: tuple[int, int],
    grid: tuple[int, int],
    num_prefix: int,
    dim: int,
) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(name, pixels, model_args=model_args).eval()
    assert (encoder.grid, encoder.num_prefix, encoder.dim) == (grid, num_prefix, dim)
    images = torch.randn(2, 3, *pixels)
    with torch.no_grad():
        tokens = encoder(images)
        # The final features, as timm itself gives them.
        expected = encoder.model.forward_features(images)
    assert (tokens.grid, tokens.num_prefix) == (grid, num_prefix)
    if expected.ndim == 4:
        channels_last = expected.shape[-1] == dim
        expected = (expected if channels_last else expected.permute(0, 2, 3, 1)).flatten(1, 2)
    torch.testing.assert_close(tokens.features, expected)


@pytest.mark.parametrize(
    ("name", "pixels", "settings", "grid"),
    [
        ("resnet10t", (96, 128), {"level": 2}, (12, 16)),
        ("resnet10t", (96, 128), {"level": 1, "merge": 2}, (12, 16)),
        ("test_convnext", (96, 128), {"level": 1}, (12, 16)),
        ("mobilenetv2_100", (96, 128), {"level": 2}, (12, 16)),
        (SWIN[0], (96, 128), {"level": 1, "model_args": SWIN[1]}, (12, 16)),
        ("test_vit", (96, 128), {"level": 0}, (6, 8)),
        # Final features: prefix tokens come first and must not shift the grid.
        ("test_vit", (96, 128), {}, (6, 8)),
        (DINOV2[0], (84, 112), {"model_args": DINOV2[1]}, (6, 8)),
        (SIGLIP[0], (96, 128), {"model_args": SIGLIP[1]}, (6, 8)),
    ],
)
@torch.no_grad()
def test_a_bright_patch_shows_at_its_own_cell(
    name: str, pixels: tuple[int, int], settings: dict[str, Any], grid: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(name, pixels, **settings).eval()
    assert encoder.grid == grid
    height, width = pixels[0] // grid[0], pixels[1] // grid[1]
    background = torch.randn(1, 3, *pixels) * 0.1
    before = encoder(background)
    for row, col in ((1, 2), (grid[0] - 2, 1), (2, grid[1] - 2)):
        planted = background.clone()
        planted[:, :, row * height : (row + 1) * height, col * width : (col + 1) * width] += 3.0
        after = encoder(planted)
        change = (after.features - before.features).norm(dim=-1)[0, after.num_prefix :].view(grid)
        peak = divmod(int(change.argmax()), grid[1])
        # Strided convolutions lie between two cells; random ones in depth may prefer the next.
        slack = 1 if name == "mobilenetv2_100" else 0
        assert max(abs(peak[0] - row), abs(peak[1] - col)) <= slack


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("resnet10t", (64, 64)),
        ("test_convnext", (64, 64)),
        ("test_vit", (32, 32)),
        ("mobilenetv2_100", (64, 64)),
    ],
)
@pytest.mark.parametrize("level", [0, 2, -1, -2])
@torch.no_grad()
def test_a_level_is_the_one_timm_counts_and_later_layers_are_cut_off(
    name: str, pixels: tuple[int, int], level: int
) -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"img_size": pixels} if "vit" in name else {}
    whole: Any = timm.create_model(name, num_classes=0, **settings).eval()
    whole.to(memory_format=torch.channels_last)  # as the encoder: other kernels differ in the last digits
    images = torch.randn(1, 3, *pixels).contiguous(memory_format=torch.channels_last)
    (expected,) = whole.forward_intermediates(
        images, indices=[level], output_fmt="NCHW", intermediates_only=True, norm=True
    )
    encoder = ImageEncoder(name, pixels, level=level).eval()
    own = encoder.model.state_dict()
    assert own.keys() <= whole.state_dict().keys()
    if level in (0, 2, -2):
        assert len(own) < len(whole.state_dict())
    encoder.model.load_state_dict({key: whole.state_dict()[key] for key in own})
    tokens = encoder(images)
    assert encoder.grid == tuple(expected.shape[-2:])
    torch.testing.assert_close(tokens.features, expected.flatten(2).transpose(1, 2))


@torch.no_grad()
@pytest.mark.parametrize("level", [None, 3])
def test_finer_levels_stand_beside_the_features_averaged_and_normalised(level: int | None) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder("resnet10t", (64, 96), level=level, finer=[1, 2]).eval()
    torch.manual_seed(0)
    plain = ImageEncoder("resnet10t", (64, 96), level=level).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        tokens, last = encoder(images), plain(images)
        maps = plain.model.forward_intermediates(images, indices=[1, 2], intermediates_only=True)
    rows, cols = tokens.grid
    parts = []
    for grid in maps:
        step = grid.shape[-1] // cols  # each cell is the mean of step x step finer ones
        cells = grid.unflatten(3, (cols, step)).unflatten(2, (rows, step)).mean(dim=(3, 5))
        parts.append(cells.flatten(2).transpose(1, 2))
    parts = [(x - x.mean(-1, keepdim=True)) for x in (*parts, last.features)]
    parts = [x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() for x in parts]
    assert (tokens.grid, encoder.dim) == (last.grid, 64 + 128 + plain.dim)
    assert encoder.cells == plain.cells
    torch.testing.assert_close(tokens.features, torch.cat(parts, dim=-1), rtol=1e-4, atol=1e-4)


def test_merging_puts_neighbouring_cells_side_by_side() -> None:
    torch.manual_seed(0)
    fine = ImageEncoder("resnet10t", (64, 96), level=1).eval()
    merged = ImageEncoder("resnet10t", (64, 96), level=1, merge=2).eval()
    merged.load_state_dict(fine.state_dict())
    assert (merged.grid, merged.dim) == ((8, 12), 4 * fine.dim)
    images = torch.randn(2, 3, 64, 96)
    cells = fine(images).features.unflatten(1, fine.grid)
    tokens = merged(images).features.unflatten(1, merged.grid)
    for row, col in ((0, 0), (3, 5), (7, 11)):
        block = cells[:, 2 * row : 2 * row + 2, 2 * col : 2 * col + 2]  # [B, 2, 2, D]
        expected = block.flatten(1, 2).transpose(1, 2).flatten(1)
        torch.testing.assert_close(tokens[:, row, col], expected)


def trained(module: nn.Module) -> list[str]:
    return [name for name, parameter in module.named_parameters() if parameter.requires_grad]


@pytest.mark.parametrize(
    ("trainable", "first"),
    [("all", "conv1.0.weight"), ("layer3", "layer3.0.conv1.weight"), ("layer3.0.bn2", "layer3.0.bn2.weight")],
)
def test_a_layer_and_all_after_it_are_trained(trainable: str, first: str) -> None:
    encoder = ImageEncoder("resnet10t", (32, 32), trainable=trainable)
    names = [name for name, _ in encoder.model.named_parameters()]
    assert trained(encoder.model) == names[names.index(first) :]
    assert not encoder.frozen


def test_layers_of_a_vit_are_trained_from_a_block_up() -> None:
    encoder = ImageEncoder("test_vit", (32, 32), trainable="blocks.3")
    frozen = [name for name, p in encoder.model.named_parameters() if not p.requires_grad]
    assert {name.split(".")[0] for name in frozen} == {"cls_token", "pos_embed", "patch_embed", "blocks"}
    assert {".".join(name.split(".")[:2]) for name in trained(encoder.model)} >= {"blocks.3", "norm.weight"}
    # "blocks.1" is not the beginning of "blocks.10".
    assert not any(name.startswith(("blocks.0", "blocks.1", "blocks.2")) for name in trained(encoder.model))


@pytest.mark.parametrize("trainable", ["none", "layer3"])
def test_what_is_frozen_stays_through_a_training_step(trainable: str) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder("resnet10t", (64, 64), trainable=trainable)
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    encoder.eval()
    encoder.train()
    head = nn.Linear(encoder.dim, 1)
    optimizer = torch.optim.SGD(
        [p for p in [*encoder.parameters(), *head.parameters()] if p.requires_grad], lr=1
    )
    head(encoder(torch.randn(4, 3, 64, 64)).features).square().mean().backward()
    optimizer.step()
    changed = {
        name for name, value in encoder.model.state_dict().items() if not torch.equal(value, before[name])
    }
    if trainable == "none":
        assert changed == set()
    else:
        assert {name.split(".")[0] for name in changed} == {"layer3", "layer4"}
        # The running statistics of what is trained do change.
        assert "layer3.0.bn1.running_mean" in changed


def test_a_frozen_encoder_builds_no_graph_and_drops_nothing() -> None:
    encoder = ImageEncoder(
        "test_vit", (32, 32), trainable="none", model_args={"proj_drop_rate": 0.5, "drop_path_rate": 0.5}
    ).train()
    images = torch.randn(2, 3, 32, 32)
    first = encoder(images).features
    assert not first.requires_grad
    assert torch.equal(first, encoder(images).features)


@pytest.mark.parametrize(
    ("name", "model_args", "trainable", "last_frozen", "first_trained"),
    [
        (
            SWIN[0],
            {**SWIN[1], "drop_path_rate": 0.9, "proj_drop_rate": 0.5},
            "layers.3",
            "layers.2",
            "layers.3",
        ),
        (
            "test_vit",
            {"drop_path_rate": 0.9, "pos_drop_rate": 0.5, "proj_drop_rate": 0.5},
            "blocks.5",
            "blocks.4",
            "blocks.5",
        ),
    ],
)
def test_the_frozen_layers_of_a_partially_trained_encoder_drop_nothing(
    name: str, model_args: dict[str, Any], trainable: str, last_frozen: str, first_trained: str
) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(name, (64, 64), trainable=trainable, model_args=model_args).eval().train()
    outputs: dict[str, list[Tensor]] = {last_frozen: [], first_trained: []}
    for layer, of_layer in outputs.items():
        encoder.model.get_submodule(layer).register_forward_hook(
            lambda _, __, output, of_layer=of_layer: of_layer.append(output)
        )
    images = torch.randn(4, 3, 64, 64)
    for _ in range(4):
        encoder(images)
    first, *others = outputs[last_frozen]
    assert all(torch.equal(first, other) for other in others)
    first, *others = outputs[first_trained]
    assert not all(torch.equal(first, other) for other in others)


@torch.no_grad()
def test_features_do_not_depend_on_the_layout_of_weights_or_images() -> None:
    torch.manual_seed(0)
    built = ImageEncoder("resnet10t", (64, 96), level=2).eval()
    moved = copy.deepcopy(built).to(memory_format=torch.channels_last)
    convolutions = [part.weight for part in built.modules() if isinstance(part, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in convolutions)
    images = torch.randn(2, 3, 64, 96)
    expected = built(images).features
    for encoder in (built, moved):
        for layout in (torch.contiguous_format, torch.channels_last):
            assert torch.equal(encoder(images.contiguous(memory_format=layout)).features, expected)


def test_an_error_leaves_the_mode_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ImageEncoder("test_resnet", (32, 32)).train()
    compute = encoder.model.forward_intermediates

    def fail(images: Tensor, **settings: Any) -> Any:
        if images.requires_grad:  # where the cells are found
            raise KeyError("layer")
        return compute(images, **settings)

    monkeypatch.setattr(encoder.model, "forward_intermediates", fail)
    with pytest.raises(KeyError):
        encoder(torch.randn(2, 3, 64, 32))
    assert encoder.training
    assert encoder.model.training


@torch.no_grad()
def test_the_cells_of_recent_image_sizes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ImageEncoder("test_resnet", (32, 32)).eval()
    monkeypatch.setattr(encoders, "MAX_CELLS", 2)
    found: list[tuple[int, int]] = []

    def find(encode: object, size: tuple[int, int], **_: object) -> None:
        found.append(size)

    monkeypatch.setattr(encoders, "find_cells", find)
    for rows in (64, 64, 96, 64, 128, 64, 96):
        encoder(torch.randn(1, 3, rows, 32))
    assert [rows for rows, _ in found] == [64, 96, 128, 96]


@pytest.mark.parametrize(
    ("name", "pixels", "settings"),
    [
        ("test_resnet", (32, 32), {}),
        ("test_convnext", (32, 32), {}),  # has a norm behind the pooling
        ("test_vit4", (32, 32), {"trainable": "blocks.2"}),  # likewise
        (SIGLIP[0], (32, 32), {"model_args": SIGLIP[1]}),  # pools by attention
        ("mobilenetv3_small_050", (32, 32), {"trainable": "blocks.3"}),  # has a convolution there
    ],
)
def test_whatever_is_trained_gets_a_gradient(
    name: str, pixels: tuple[int, int], settings: dict[str, Any]
) -> None:
    encoder = ImageEncoder(name, pixels, **settings).train()
    encoder(torch.randn(2, 3, *pixels)).features.square().sum().backward()
    parameters = dict(encoder.named_parameters())
    assert {name for name, p in parameters.items() if p.grad is not None} == set(trained(encoder))
    assert trained(encoder)


def test_mean_and_std_are_timms_or_those_given() -> None:
    encoder = ImageEncoder("test_vit", (32, 32))
    config = timm.get_pretrained_cfg("test_vit")
    assert config is not None
    assert (encoder.mean, encoder.std) == (tuple(config.mean), tuple(config.std))
    other = ImageEncoder("test_vit", (32, 32), mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])
    assert (other.mean, other.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_an_unknown_name_is_refused_with_near_ones() -> None:
    with pytest.raises(UsageError, match=r"encoder.name='resnet81' .*did you mean resnet"):
        ImageEncoder("resnet81", (32, 32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": 99}, r"level=99.*99 is out of range"),
        (
            {"finer": [2, 1]},
            r"encoder.finer=\[2, 1\] must be levels of resnet10t in rising order, .* below 4",
        ),
        ({"finer": [2], "level": 2}, r"encoder.finer=\[2\] must be levels .* from 0 and below 2"),
        ({"level": -9}, r"level=-9.*is out of range \(0 to 4\)"),
        (
            {"trainable": "layer9"},
            r"trainable='layer9'.* layers are conv1, bn1, layer1, .*did you mean layer",
        ),
        (
            {"trainable": "layer4", "level": 2},
            r"'layer4' is neither 'all' nor 'none' nor a layer of resnet10t",
        ),
        ({"model_args": {"depth": 3}}, r"model_args=.*unexpected keyword argument 'depth'"),
        ({"weights": "/nowhere/x.safetensors"}, r"encoder.weights=/nowhere/x.safetensors is not a file"),
    ],
)
def test_settings_that_do_not_exist_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ImageEncoder("resnet10t", (32, 32), **settings)


def test_finer_levels_need_maps() -> None:
    with pytest.raises(UsageError, match=r"encoder\.finer=\[0\] .*test_vit"):
        ImageEncoder("test_vit", (32, 48), finer=[0])


@pytest.mark.parametrize(
    "image_size", [224, [224], [32, 32, 3], ["32", "32"], "22", [0, 32], [32, -32], [32.5, 32], None]
)
def test_an_image_size_is_two_numbers_of_pixels(image_size: Any) -> None:
    with pytest.raises(UsageError, match=r"encoder\.image_size=.*rows.*columns"):
        ImageEncoder("resnet10t", image_size)


@pytest.mark.parametrize(
    ("name", "image_size", "near"),
    [
        # timm leaves out the last rows: 30 pixels would be shown as one row of 16.
        ("vit_tiny_patch16_224", [30, 48], r"\[32, 48\]"),
        ("test_vit", [32, 7], r"\[32, 16\]"),
        ("vit_small_patch14_reg4_dinov2", [224, 225], r"\[224, 224\]"),
        ("swin_tiny_patch4_window7_224", [63, 96], r"\[64, 96\]"),
    ],
)
def test_a_size_that_patches_do_not_cover_is_refused(name: str, image_size: list[int], near: str) -> None:
    with pytest.raises(UsageError, match=rf"multiple.*{name}.*{near}"):
        ImageEncoder(
            name, image_size, model_args={"depths": [1, 1, 1, 1]} if "swin" in name else {"depth": 1}
        )


@torch.no_grad()
def test_where_the_end_has_no_place_the_last_map_is_given() -> None:
    # PiT ends in a class token alone, EfficientViM in two branches.
    for name, grid in (("pit_xs_224", (7, 7)), ("efficientvim_m1", (4, 4))):
        encoder = ImageEncoder(name, (224, 224)).eval()
        assert (encoder.grid, encoder.num_prefix) == (grid, 0)
        images = torch.randn(1, 3, 224, 224)
        (expected,) = encoder.model.forward_intermediates(
            images, indices=[-1], output_fmt="NCHW", intermediates_only=True
        )
        torch.testing.assert_close(encoder(images).features, expected.flatten(2).transpose(1, 2))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet10t", {"merge": 0}, "encoder.merge=0 must be a whole number from 1"),
        ("resnet10t", {"merge": 1.5}, "encoder.merge=1.5 must be a whole number from 1"),
        ("resnet10t", {"merge": 3, "level": 2}, "encoder.merge=3 does not divide the grid of 8 x 8"),
        ("test_vit", {"merge": 2}, "encoder.merge=2 would join class tokens of test_vit; give encoder.level"),
    ],
)
def test_a_merge_that_does_not_fit_is_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ImageEncoder(name, (64, 64), **settings)


@pytest.mark.parametrize("argument", ["checkpoint_path", "pretrained", "pretrained_cfg", "num_classes"])
def test_model_args_cannot_smuggle_in_weights(argument: str) -> None:
    with pytest.raises(UsageError, match=f"encoder.model_args={argument} .*encoder.weights"):
        ImageEncoder("test_resnet", (32, 32), model_args={argument: "x"})


@pytest.mark.real
@torch.no_grad()
def test_the_real_mobilenet_sees_what_timm_sees(real_data: Path) -> None:
    file = real_data / "encoders" / "mobilenetv2_100_imagenet.safetensors"
    half = (0.5, 0.5, 0.5)
    encoder = ImageEncoder(
        "mobilenetv2_100",
        (224, 224),
        weights=str(file),
        trainable="none",
        model_args={"pad_type": "same"},
        mean=half,
        std=half,
    ).train()
    reference: Any = timm.create_model(
        "mobilenetv2_100",
        pretrained=True,
        pad_type="same",
        pretrained_cfg_overlay={"file": str(file), "mean": half, "std": half},
    ).eval()
    reference.to(memory_format=torch.channels_last)
    transform = ImageTransform(encoder.image_size, fit="crop", mean=half, std=half)
    photos = sorted((real_data / "coco").rglob("*.jpg"))[:4]
    images = torch.stack([transform(read_photo(photo))[0] for photo in photos])
    tokens = encoder(images)
    assert (tokens.grid, tokens.num_prefix, encoder.dim) == ((7, 7), 0, 1280)
    expected = reference.forward_features(images)
    torch.testing.assert_close(tokens.features, expected.flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-5)
    # The weights are real: pooled, these tokens make confident and different predictions.
    logits = reference.classifier(tokens.features.mean(1))
    torch.testing.assert_close(logits, reference(images), atol=1e-4, rtol=1e-4)
    assert len(set(logits.argmax(-1).tolist())) > 1
    assert float(logits.softmax(-1).amax(-1).mean()) > 0.2
