"""Choice of Lightning's strategy, and checks of what cannot be combined with sharded weights."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy

from captioner.errors import UsageError
from captioner.image.transforms import ImageTransform
from captioner.models.captioner import Captioner

_UNSUPPORTED = ("fsdp", "deepspeed", "model_parallel")


class FullyShardedStrategy(ModelParallelStrategy):
    """FSDP2 over all processes, with the checkpoint in one file as in every other strategy.

    `CaptionModule.configure_model` shards the model.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Shard over all processes; Lightning's "auto" would be one shard per machine."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


def choose_strategy(name: Any) -> Any:
    """The value of `lightning.Trainer` for `trainer.strategy`.

    Raises:
        UsageError: If the strategy shards weights in another way than `fsdp`.
    """
    if name == "fsdp":
        return FullyShardedStrategy()
    if any(part in str(name) for part in _UNSUPPORTED):
        raise UsageError(
            f"trainer.strategy={name} shards the weights in a way that validation cannot gather; set "
            "trainer=fsdp, trainer=ddp, or trainer=ddp_lean to save memory"
        )
    return name


def check_sharding(captioner: Captioner, transform: ImageTransform, *, ema: float | None) -> None:
    """Check that nothing needs unsharded weights during training.

    Args:
        captioner: The model to shard.
        transform: Its image transform.
        ema: Decay of the weight average; None for no average.

    Raises:
        UsageError: If weights are averaged, or a trained encoder takes images of any shape.
    """
    if ema is not None:
        raise UsageError(
            f"ema={ema} needs unsharded weights; set ema=null, or trainer=ddp instead of trainer=fsdp"
        )
    if transform.fit == "native" and not captioner.encoder.frozen:
        # The grid of a new shape is found by an extra forward pass, which only some processes would make.
        raise UsageError(
            "image.fit=native with a trained encoder does not work with trainer=fsdp; set encoder.trainable=none, "
            "another image.fit, or trainer=ddp"
        )
