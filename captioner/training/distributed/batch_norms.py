"""How do batch norms see the images of all ranks? Those that learn are replaced by synchronised ones while training.

Lightning's own replacement, torch's, loses the activation that many of timm's CNNs keep within a batch norm.
"""

from __future__ import annotations

import lightning
from lightning.pytorch.plugins import TorchSyncBatchNorm
from timm.layers.norm_act import convert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from captioner.errors import UsageError


class SynchronisedBatchNorms(TorchSyncBatchNorm):
    """Means and variances over the images of all ranks. Batch norms that are frozen ask nobody, and stay."""

    def __init__(self) -> None:
        self._replaced: list[tuple[nn.Module, str, _BatchNorm]] = []

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace the batch norms that learn, in place.

        Raises:
            UsageError: There are some, and the run is on CPUs, where torch cannot synchronise them.
        """
        self._replaced = [
            (parent, name, child)
            for parent in model.modules()
            for name, child in parent.named_children()
            if isinstance(child, _BatchNorm) and any(p.requires_grad for p in child.parameters())
        ]
        if self._replaced and isinstance(model, lightning.LightningModule) and _on_cpu(model):
            raise UsageError(
                "trainer.sync_batchnorm=true cannot be on CPUs, where torch synchronises no batch norms that learn; "
                "there leave strategy=ddp or strategy=lean out, or take encoder.trainable=none"
            )
        for parent, name, norm in self._replaced:
            setattr(parent, name, convert_sync_batchnorm(norm))  # type: ignore[no-untyped-call]
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Put the former layers back, with what the synchronised ones have learned and counted."""
        for parent, name, norm in self._replaced:
            learned = getattr(parent, name)
            for own, other in ((norm._parameters, learned._parameters), (norm._buffers, learned._buffers)):
                own.update(other)
            norm.training = learned.training
            setattr(parent, name, norm)
        self._replaced = []
        return model


def _on_cpu(module: lightning.LightningModule) -> bool:
    return module.trainer.strategy.root_device.type == "cpu"
