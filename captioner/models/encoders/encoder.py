"""Image encoder: any timm CNN or ViT as a producer of tokens on a grid, by `forward_intermediates`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import timm
import torch
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn

from captioner.errors import UsageError, did_you_mean
from captioner.image.geometry import Box
from captioner.models.encoders.freezing import evaluate_frozen, freeze, freeze_unreached
from captioner.models.encoders.grids import concatenate_levels, to_tokens
from captioner.models.encoders.pretrained import (
    brief,
    check_license,
    check_reachable,
    from_captioner,
    from_file,
)
from captioner.models.encoders.receptive_field import find_cells
from captioner.models.image_tokens import ImageTokens
from captioner.models.linear import replace_linear_layers

MAX_CELLS = 1024
"""Image sizes whose cells an encoder remembers: photos in their own shapes come in many sizes."""
_RESERVED = frozenset(
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
    """A timm model that encodes images as `ImageTokens`.

    Its convolution weights are channels-last in memory from the start, and so are the images it computes on, whatever
    layout they arrive in: kernels of the two layouts differ in the last digits, and a model gives the same features
    whether it was built, loaded or trained.

    Args:
        name: Any name that `timm.list_models()` knows.
        image_size: `(rows, cols)` of the input in pixels.
        weights: None for random weights, "timm" for timm's pretrained ones, a local safetensors or .pth file, or a
            captioner model file, for its encoder.
        level: Which intermediate feature map to return, as timm numbers them (negative from the end); later layers are
            removed. None returns the final features, with class and register tokens where the model has any.
        finer: Earlier levels, average-pooled to the grid of `level` and concatenated with its features: what late
            layers lose, such as colour and texture (skip connections, as in Lin et al. 2017, "Feature pyramid
            networks").
        merge: Join `merge` x `merge` neighbouring cells into one token by concatenation (the patch merging of Swin,
            Liu et al. 2021): a fine early grid becomes fewer tokens with a receptive field little larger.
        trainable: "all", "none", or the name of a layer such as `layer4` or `blocks.5`: that layer and all after it
            in order of definition are trained, what lies before is frozen.
        model_args: Further arguments of the timm model, such as `{"pad_type": "same"}`.
        mean: Per-channel mean the weights expect; None for timm's own.
        std: Per-channel standard deviation the weights expect; None for timm's own.
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
            known = timm.list_models()
            raise UsageError(
                f"encoder.name={name!r} is not a timm model; timm.list_models() lists all {len(known)}"
                f"{did_you_mean(name, known)}"
            )
        self.name = name
        self.image_size = _checked_size(image_size)
        if not isinstance(merge, int) or merge < 1:
            raise UsageError(f"encoder.merge={merge!r} must be a whole number from 1")
        self.merge = merge
        self.finer = list(finer or ())
        args = dict(model_args or {})
        if reserved := sorted(_RESERVED & args.keys()):
            raise UsageError(
                f"encoder.model_args={reserved[0]} cannot be set through model_args; name weights in encoder.weights"
            )
        overlay: dict[str, Any] = {}
        state = None if weights in (None, "timm") else from_captioner(str(weights))
        if state is None and weights not in (None, "timm"):
            overlay = from_file(str(weights), name)
        elif weights == "timm":
            check_license(name, accept=accept_license)
            check_reachable(name)
        try:
            pretrained = weights is not None and state is None
            self.model: Any = _create(name, self.image_size, pretrained, overlay, args)
            replace_linear_layers(self.model)
            if not hasattr(self.model, "forward_intermediates"):
                raise ValueError("timm has no forward_intermediates for it, so it gives no feature grid")
            # The non-negative index: counted from the end it would name another layer once later ones are removed.
            self.level = None if level is None else self.model.prune_intermediate_layers([level])[0]
            if state is not None:
                self.model.load_state_dict(state)
            self._check_finer()
        except (RuntimeError, AssertionError, TypeError, ValueError, OSError) as error:
            raise UsageError(
                f"the encoder {name} cannot be built with image_size={list(self.image_size)}, level={level}, "
                f"weights={weights}, model_args={args}: {brief(error)}"
            ) from error
        self._check_patches()
        config = self.model.pretrained_cfg
        config.pop("state_dict", None)  # or a copy of the weights would stay in memory
        self.mean: tuple[float, ...] = tuple(mean if mean is not None else config["mean"])
        self.std: tuple[float, ...] = tuple(std if std is not None else config["std"])
        self.model.to(memory_format=torch.channels_last)
        self.trainable = trainable
        freeze(self.model, trainable, name=name)
        self.dim, self.grid, self.num_prefix = self._probe()
        self._cells: OrderedDict[tuple[int, int], Box | None] = OrderedDict()
        self.cells = self._cells_of(*self.image_size)

    @property
    def frozen(self) -> bool:
        """Whether no weight is trained."""
        return self.trainable == "none"

    def _check_finer(self) -> None:
        """Refuse levels that do not exist or are not finer than `level`."""
        count = len(self.model.feature_info)
        last = count - 1 if self.level is None else self.level
        if self.finer != sorted(set(self.finer)) or any(not 0 <= level < last for level in self.finer):
            raise UsageError(
                f"encoder.finer={self.finer} must be levels of {self.name} in rising order, from 0 and below {last}"
            )

    def _check_patches(self) -> None:
        """Refuse a size whose last rows or columns no patch covers: attention maps would be misplaced."""
        patch_embed = getattr(self.model, "patch_embed", None)
        if isinstance(patch_embed, PatchEmbed):
            patch = patch_embed.patch_size
            if any(side % p for side, p in zip(self.image_size, patch, strict=True)):
                near = [max(1, round(side / p)) * p for side, p in zip(self.image_size, patch, strict=True)]
                raise UsageError(
                    f"encoder.image_size={list(self.image_size)} is no multiple of the {patch[0]} x {patch[1]} "
                    f"patches of {self.name}; take {near}"
                )

    def train(self, mode: bool = True) -> ImageEncoder:
        """As `nn.Module.train`, but frozen layers keep their running statistics and drop nothing."""
        super().train(mode)
        if self.trainable != "all":
            evaluate_frozen(self.model)
        return self

    @contextmanager
    def _evaluation_mode(self) -> Iterator[None]:
        was_training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(was_training)

    def _probe(self) -> tuple[int, tuple[int, int], int]:
        """Width, grid and prefix of the tokens; parameters that do not influence them are frozen."""
        try:
            with self._evaluation_mode(), torch.set_grad_enabled(not self.frozen):
                tokens = self._encode(torch.zeros(1, 3, *self.image_size))
        except (RuntimeError, AssertionError, ValueError, IndexError) as error:
            raise UsageError(
                f"the encoder {self.name} does not take images of {self.image_size[0]} x {self.image_size[1]} "
                f"pixels: {brief(error)}"
            ) from error
        freeze_unreached(self.model, tokens.features)
        self.train(self.training)  # what was just frozen goes into evaluation mode
        return tokens.features.shape[-1], tokens.grid, tokens.num_prefix

    def forward(self, images: Tensor) -> ImageTokens:
        """Encode normalised images float `[B, 3, rows, cols]` as `ImageTokens`.

        A frozen encoder records no gradients, unless the images require their own.
        """
        wanted = not self.frozen or images.requires_grad
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and wanted):
            tokens = self._encode(images)
        return replace(tokens, cells=self._cells_of(images.shape[-2], images.shape[-1]))

    def _cells_of(self, rows: int, cols: int) -> Box | None:
        """Where on an input of `rows` x `cols` pixels the grid lies; computed once for each recent size."""
        size = rows, cols
        if size in self._cells:
            self._cells.move_to_end(size)
            return self._cells[size]
        device = next(self.model.parameters()).device
        with self._evaluation_mode():
            cells = find_cells(self._encode, size, device=device)
        self._cells[size] = cells
        if len(self._cells) > MAX_CELLS:
            self._cells.popitem(last=False)
        return cells

    def _encode(self, images: Tensor) -> ImageTokens:
        """The tokens, without `cells`."""
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
            return to_tokens(concatenate_levels(grid, finer), self.merge)
        final, (*finer, grid) = self.model.forward_intermediates(images, indices=indices, output_fmt="NCHW")
        if isinstance(final, Tensor) and final.ndim == 4:
            channels_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"
            return to_tokens(
                concatenate_levels(final.permute(0, 3, 1, 2) if channels_last else final, finer), self.merge
            )
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
        # The model ends in several branches or a class token alone: the last feature map is what has a grid.
        return to_tokens(concatenate_levels(grid, finer), self.merge)


def _checked_size(image_size: Sequence[int]) -> tuple[int, int]:
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
    """The timm model without its classifier; the image size goes to models that take it (ViTs, not CNNs)."""
    options: dict[str, Any] = dict(pretrained=pretrained, pretrained_cfg_overlay=overlay, **args)
    try:
        return timm.create_model(name, num_classes=0, img_size=size, **options)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        return timm.create_model(name, num_classes=0, **options)
