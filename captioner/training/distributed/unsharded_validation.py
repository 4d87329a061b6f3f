"""How does validation caption with whole weights while training splits them? By a whole model that stands in."""

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


class WholeWeights(Callback):
    """Puts a whole captioner in the split one's place while there is validation.

    A search makes as many steps as its captions are long, and overlays are drawn by the first process alone; split
    weights need all processes at every step. Every process has a whole copy meanwhile, of weights alone: a quarter of
    what training with Adam holds of them.

    It must stand behind every callback that validates or writes the model file, so that they find whole weights in
    place. The checkpoint is written after them, and Lightning puts its weights together itself.
    """

    def __init__(self) -> None:
        self._plan: Captioner | None = None
        self._split: Captioner | None = None

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Keep how the captioner is built, without its weights: what is split cannot be copied."""
        assert isinstance(pl_module, CaptionModule)
        if self._plan is None:
            weightless = {id(parameter): _meta(parameter) for parameter in pl_module.captioner.parameters()}
            self._plan = copy.deepcopy(pl_module.captioner, weightless)

    # Tensors of inference mode would be of no use for gradients, which some explanations want.
    @torch.inference_mode(False)
    @torch.no_grad()
    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put a whole captioner in place; all processes together."""
        assert self._plan is not None
        assert isinstance(pl_module, CaptionModule)
        self._split = pl_module.captioner
        _average_statistics(self._split)
        whole = copy.deepcopy(self._plan)
        state = {
            name: value.full_tensor() if isinstance(value, DTensor) else value
            for name, value in self._split.state_dict().items()
        }
        whole.load_state_dict(state, assign=True)
        pl_module.captioner = whole.to(pl_module.device).to(memory_format=torch.channels_last).eval()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the split one back."""
        assert self._split is not None
        pl_module.captioner = self._split
        self._split = None


def _meta(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad)


def _average_statistics(captioner: Captioner) -> None:
    """Let the running statistics of batch norms, which each process gathers for itself, be those of all.

    Otherwise each would validate another model, and a resumed run would begin with those of the first.
    """
    for module in captioner.modules():
        if not isinstance(module, _BatchNorm) or isinstance(module, nn.SyncBatchNorm):
            continue
        if any(parameter.requires_grad for parameter in module.parameters()):
            for statistic in (module.running_mean, module.running_var):
                if statistic is not None:
                    distributed.all_reduce(statistic)
                    statistic /= distributed.get_world_size()
