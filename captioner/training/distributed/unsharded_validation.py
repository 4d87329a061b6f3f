"""Validation with unsharded weights while training shards them."""

from __future__ import annotations

import copy

import lightning
import torch
import torch.distributed as distributed
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.modules.batchnorm import _BatchNorm

from captioner.models.captioner import Captioner
from captioner.training.module import CaptionModule


class UnshardedValidation(Callback):
    """Replaces the sharded captioner by an unsharded copy during validation.

    Sharded weights need all processes at every step, but the number of decoding steps depends on the captions, and
    overlays are drawn by the first process alone. During validation every process holds a full copy of the weights: a
    quarter of what training with Adam holds per weight.

    It must come after every callback that validates or writes the model file: Lightning calls `on_validation_end` in
    order, and those must still find the copy. The checkpoint is written last, and Lightning gathers its weights itself.
    """

    def __init__(self) -> None:
        self._template: Captioner | None = None
        self._sharded: Captioner | None = None

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Keep a copy without weights, before they are sharded: a sharded module cannot be copied."""
        assert isinstance(pl_module, CaptionModule)
        if self._template is None:
            without_data = {id(parameter): _meta(parameter) for parameter in pl_module.captioner.parameters()}
            self._template = copy.deepcopy(pl_module.captioner, without_data)

    # Inference tensors have no gradients, which some explanation methods need.
    @torch.inference_mode(False)
    @torch.no_grad()
    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Gather the weights into a copy and use it; a collective call of all processes."""
        assert self._template is not None
        assert isinstance(pl_module, CaptionModule)
        self._sharded = pl_module.captioner
        _average_statistics(self._sharded)
        unsharded = copy.deepcopy(self._template)
        state = {
            name: value.full_tensor() if isinstance(value, DTensor) else value
            for name, value in self._sharded.state_dict().items()
        }
        unsharded.load_state_dict(state, assign=True)
        pl_module.captioner = unsharded.to(pl_module.device).to(memory_format=torch.channels_last).eval()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the sharded captioner back."""
        assert self._sharded is not None
        pl_module.captioner = self._sharded
        self._sharded = None


def _meta(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad)


def _average_statistics(captioner: Captioner) -> None:
    """Average the running statistics of trained batch norms, which each process updates by itself, over all processes.

    Otherwise each process would validate a different model, and a resumed run would start with those of the first.
    """
    for module in captioner.modules():
        if not isinstance(module, _BatchNorm) or isinstance(module, nn.SyncBatchNorm):
            continue
        if any(parameter.requires_grad for parameter in module.parameters()):
            for statistic in (module.running_mean, module.running_var):
                if statistic is not None:
                    distributed.all_reduce(statistic)
                    statistic /= distributed.get_world_size()
