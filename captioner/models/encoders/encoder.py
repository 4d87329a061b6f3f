"""How does an image become tokens on a grid? Any timm model, CNN or ViT, through `forward_intermediates`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import timm
import torch
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from captioner.errors import UsageError
from captioner.image.geometry import Box
from captioner.models.encoders.grids import beside, to_tokens
from captioner.models.encoders.pretrained import (
    brief,
    check_license,
    check_reachable,
    from_captioner,
    from_file,
)
from captioner.models.encoders.receptive_field import find_cells
from captioner.models.image_tokens import ImageTokens
from captioner.models.linear import compute_by_linear

_TAKEN = frozenset(
    (
        "checkpoint_path",
        "features_only",
        "num_classes",
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
    )
)


class ImageEncoder(nn.Module):
    """A timm model as a producer of `ImageTokens`.

    Args:
        name: Any name that `timm.list_models()` knows.
        image_size: `(rows, cols)` of the pixels it will be given.
        weights: None for random weights, "timm" for timm's pretrained ones, a local safetensors or .pth file, or a
            captioner's own model file, for its encoder.
        level: Which intermediate feature map to give, counted as timm counts them (negative from the end); later
            layers are cut off. None gives the final features, with class and register tokens where there are any.
        finer: Earlier levels, averaged onto the grid and put beside its features: what late layers forget, such as
            colour and texture (skip connections, as in Lin et al. 2017, "Feature pyramid networks").
        merge: Join `merge` x `merge` neighbouring cells into one token, features side by side (the patch merging of
            Swin, Liu et al. 2021): a fine early grid becomes fewer tokens that still see little beyond themselves.
        trainable: "all", "none", or the name of a layer such as `layer4` or `blocks.5`: that layer and all after it
            in order of definition are trained, what lies before is frozen.
        model_args: Further arguments of the timm model, such as `{"pad_type": "same"}`.
        mean: Per-channel mean the weights expect; None takes timm's own.
        std: Per-channel standard deviation the weights expect; None takes timm's own.
        accept_license: Load pretrained weights although their licence is not a permissive one.

    Attributes:
        dim: Width of the features.
        grid: `(rows, cols)` of the patch grid.
        num_prefix: Tokens before the grid.
        cells: Where on an input of `image_size` the grid lies, as in `ImageTokens`.

    Raises:
        UsageError: For a name, level, layer or file that does not exist, weights that cannot be reached or do not
            fit, an image size the model refuses, or a licence that was not accepted.
    """

    def __init__(
        self,
        name: str,
        image_size: Sequence[int],
        *,
        weights: str | None = None,
        level: int | None = None,
        finer: Sequence[int] = (),
        merge: int = 1,
        trainable: str = "all",
        model_args: Mapping[str, Any] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        accept_license: bool = False,
    ) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise UsageError(f"encoder.name={name!r} is not a timm model; {_suggest(name)}")
        self.name = name
        self.image_size = _two_sides(image_size)
        if not isinstance(merge, int) or merge < 1:
            raise UsageError(f"encoder.merge={merge!r} must be a whole number from 1")
        self.merge = merge
        self.finer = list(finer or ())
        args = dict(model_args or {})
        if taken := sorted(_TAKEN & args.keys()):
            raise UsageError(
                f"encoder.model_args={taken[0]} is not for a configuration to say; name weights in encoder.weights"
            )
        overlay: dict[str, Any] = {}
        own = None if weights in (None, "timm") else from_captioner(str(weights))
        if own is None and weights not in (None, "timm"):
            overlay = from_file(str(weights), name)
        elif weights == "timm":
            check_license(name, accept=accept_license)
            check_reachable(name)
        try:
            pretrained = weights is not None and own is None
            self.model: Any = _create(name, self.image_size, pretrained, overlay, args)
            compute_by_linear(self.model)
            if not hasattr(self.model, "forward_intermediates"):
                raise ValueError("timm has no forward_intermediates for it, so it gives no feature grid")
            # Counted from the end, a level would name another layer once the later ones are cut off.
            self.level = None if level is None else self.model.prune_intermediate_layers([level])[0]
            if own is not None:
                self.model.load_state_dict(own)
            self._check_finer()
        except (RuntimeError, AssertionError, TypeError, ValueError, OSError) as error:
            raise UsageError(
                f"the encoder {name} cannot be made with image_size={list(self.image_size)}, level={level}, "
                f"weights={weights}, model_args={args}: {brief(error)}"
            ) from error
        self._check_patches()
        config = self.model.pretrained_cfg
        config.pop("state_dict", None)  # or a copy of the weights would stay in memory
        self.mean: tuple[float, ...] = tuple(mean if mean is not None else config["mean"])
        self.std: tuple[float, ...] = tuple(std if std is not None else config["std"])
        # The one memory format of a model, whether it is built, loaded or trained: kernels of the two formats differ in
        # the last digits. In this one convolutions are the faster, on CPUs and GPUs alike.
        self.model.to(memory_format=torch.channels_last)
        self.trainable = trainable
        self._freeze(trainable)
        self.dim, self.grid, self.num_prefix = self._probe()
        self._cells: dict[tuple[int, int], Box | None] = {}
        self.cells = self._cells_of(*self.image_size)

    @property
    def frozen(self) -> bool:
        """Whether no weight is trained."""
        return self.trainable == "none"

    def _check_finer(self) -> None:
        """Refuse finer levels that are not there, or are not finer."""
        count = len(self.model.feature_info)
        last = count - 1 if self.level is None else self.level
        if self.finer != sorted(set(self.finer)) or any(not 0 <= level < last for level in self.finer):
            raise UsageError(
                f"encoder.finer={self.finer} must be levels of {self.name} in rising order, from 0 and below {last}"
            )

    def _check_patches(self) -> None:
        """Refuse a size whose last rows or columns no patch would cover: maps would lie beside what was seen."""
        patch_embed = getattr(self.model, "patch_embed", None)
        if isinstance(patch_embed, PatchEmbed):
            patch = patch_embed.patch_size
            if any(side % p for side, p in zip(self.image_size, patch, strict=True)):
                near = [max(1, round(side / p)) * p for side, p in zip(self.image_size, patch, strict=True)]
                raise UsageError(
                    f"encoder.image_size={list(self.image_size)} is no multiple of the {patch[0]} x {patch[1]} "
                    f"patches of {self.name}; take {near}"
                )

    def _freeze(self, trainable: str) -> None:
        names = [name for name, _ in self.model.named_parameters()]
        if trainable == "all":
            first = 0
        elif trainable == "none":
            first = len(names)
        else:
            found = [
                i for i, name in enumerate(names) if name == trainable or name.startswith(trainable + ".")
            ]
            if not found:
                tops = dict.fromkeys(name.split(".")[0] for name in names)
                raise UsageError(
                    f"encoder.trainable={trainable!r} is neither 'all' nor 'none' nor a layer of {self.name}; "
                    f"its layers are {', '.join(tops)}"
                )
            first = found[0]
        for i, parameter in enumerate(self.model.parameters()):
            parameter.requires_grad_(i >= first)

    def train(self, mode: bool = True) -> ImageEncoder:
        """As `nn.Module.train`, but frozen layers keep their running statistics and drop nothing."""
        super().train(mode)
        if self.frozen:
            self.model.eval()
        for module in self.model.modules():
            if isinstance(module, _BatchNorm) and not any(p.requires_grad for p in module.parameters()):
                module.eval()
        return self

    def _probe(self) -> tuple[int, tuple[int, int], int]:
        """Width, grid and prefix of the tokens; parameters that no token passes are not trained."""
        was_training = self.training
        self.eval()
        try:
            with torch.set_grad_enabled(not self.frozen):
                tokens = self._encode(torch.zeros(1, 3, *self.image_size))
        except (RuntimeError, AssertionError, ValueError, IndexError) as error:
            raise UsageError(
                f"the encoder {self.name} does not take images of {self.image_size[0]} x {self.image_size[1]} "
                f"pixels: {brief(error)}"
            ) from error
        # Such as a pooling head: training in several processes stops at a parameter that gets no gradient.
        passed = _passed(tokens.features)
        for parameter in self.model.parameters():
            parameter.requires_grad_(parameter.requires_grad and id(parameter) in passed)
        self.train(was_training)
        return tokens.features.shape[-1], tokens.grid, tokens.num_prefix

    def forward(self, images: Tensor) -> ImageTokens:
        """Encode normalised images float `[B, 3, rows, cols]` into `ImageTokens`.

        A frozen encoder keeps no gradients, unless the images ask for their own.
        """
        wanted = not self.frozen or images.requires_grad
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and wanted):
            tokens = self._encode(images)
        return replace(tokens, cells=self._cells_of(images.shape[-2], images.shape[-1]))

    def _cells_of(self, rows: int, cols: int) -> Box | None:
        """Where on an input of `rows` x `cols` pixels the grid lies; each size is looked at once."""
        if (rows, cols) not in self._cells:
            was_training = self.training
            device = next(self.model.parameters()).device
            self._cells[rows, cols] = find_cells(self.eval()._encode, (rows, cols), device=device)
            self.train(was_training)
        return self._cells[rows, cols]

    def _encode(self, images: Tensor) -> ImageTokens:
        """The tokens, without their place."""
        indices = [*self.finer, -1 if self.level is None else self.level]
        if self.level is not None:
            *finer, grid = self.model.forward_intermediates(
                images,
                indices=indices,
                norm=True,
                stop_early=True,
                output_fmt="NCHW",
                intermediates_only=True,
            )
            return to_tokens(beside(grid, finer), self.merge)
        final, (*finer, grid) = self.model.forward_intermediates(images, indices=indices, output_fmt="NCHW")
        if isinstance(final, Tensor) and final.ndim == 4:
            channels_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"
            return to_tokens(beside(final.permute(0, 3, 1, 2) if channels_last else final, finer), self.merge)
        rows, cols = grid.shape[-2:]
        if isinstance(final, Tensor) and final.shape[1] >= rows * cols:
            if finer:
                raise UsageError(
                    f"encoder.finer={self.finer} needs maps, and {self.name} ends in tokens; give encoder.level too"
                )
            if self.merge > 1:
                raise UsageError(
                    f"encoder.merge={self.merge} would join class tokens of {self.name}; give encoder.level too"
                )
            return ImageTokens(final, (rows, cols), final.shape[1] - rows * cols)
        # Several branches, or only a class token, at the end: the last map is what has a place.
        return to_tokens(beside(grid, finer), self.merge)


def _passed(output: Tensor) -> set[int]:
    """Ids of the parameters that a gradient of `output` comes to."""
    found, seen, waiting = set(), set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found.add(id(getattr(node, "variable", None)))
            waiting += [before for before, _ in node.next_functions]
    return found


def _two_sides(image_size: Sequence[int]) -> tuple[int, int]:
    sides = list(image_size) if isinstance(image_size, Sequence) else []
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 1 for side in sides):
        raise UsageError(
            f"encoder.image_size={image_size!r} must be two whole numbers, rows and columns of pixels, "
            "such as [224, 224]"
        )
    return sides[0], sides[1]


def _create(
    name: str, size: tuple[int, int], pretrained: bool, overlay: dict[str, Any], args: dict[str, Any]
) -> Any:
    """The timm model without its classifier; image size is told to those that ask for it (ViTs, not CNNs)."""
    options: dict[str, Any] = dict(pretrained=pretrained, pretrained_cfg_overlay=overlay, **args)
    try:
        return timm.create_model(name, num_classes=0, img_size=size, **options)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        return timm.create_model(name, num_classes=0, **options)


def _suggest(name: str) -> str:
    near = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
    return f"near names: {', '.join(near)}" if near else "timm.list_models() lists them all"
