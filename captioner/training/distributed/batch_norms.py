"""Synchronised batch norms: trained batch norms are replaced during training by ones over the images of all ranks.

Lightning's own plugin uses torch's conversion, which drops the activation that many of timm's CNNs hold inside a batch
norm.
"""

from __future__ import annotations

import lightning
from lightning.pytorch.plugins import TorchSyncBatchNorm
from timm.layers.norm_act import convert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from captioner.errors import UsageError


class SynchronisedBatchNorms(TorchSyncBatchNorm):
    """Plugin that synchronises the statistics of trained batch norms; frozen ones are unchanged."""

    def __init__(self) -> None:
        self._replaced: list[tuple[nn.Module, str, _BatchNorm]] = []

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace the trained batch norms in place.

        Raises:
            UsageError: There are some and the run is on CPUs, for which torch has no synchronised batch norm.
        """
        self._replaced = [
            (parent, name, child)
            for parent in model.modules()
            for name, child in parent.named_children()
            if isinstance(child, _BatchNorm) and any(p.requires_grad for p in child.parameters())
        ]
        if self._replaced and isinstance(model, lightning.LightningModule) and _on_cpu(model):
            raise UsageError(
                "trainer.sync_batchnorm=true needs GPUs where batch norms are trained; on CPUs "
                "set trainer.sync_batchnorm=false, or encoder.trainable=none"
            )
        for parent, name, norm in self._replaced:
            setattr(parent, name, convert_sync_batchnorm(norm))  # type: ignore[no-untyped-call]
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Put the original layers back, with the parameters and statistics of the synchronised ones."""
        for parent, name, norm in self._replaced:
            trained = getattr(parent, name)
            for own, other in ((norm._parameters, trained._parameters), (norm._buffers, trained._buffers)):
                own.update(other)
            norm.training = trained.training
            setattr(parent, name, norm)
        self._replaced = []
        return model


def _on_cpu(module: lightning.LightningModule) -> bool:
    return module.trainer.strategy.root_device.type == "cpu"
