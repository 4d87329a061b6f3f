"""How do processes share a model? Which of Lightning's strategies that is, and what cannot be combined with it."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from omegaconf import DictConfig

from captioner.errors import UsageError
from captioner.image.transforms import ImageTransform
from captioner.models.captioner import Captioner

_OTHERS = ("fsdp", "deepspeed", "model_parallel")


class FullyShardedStrategy(ModelParallelStrategy):
    """FSDP2 over all processes, with a checkpoint that is one file, as that of every other strategy.

    How the model is split, `CaptionModule.configure_model` says.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Split over all processes; Lightning's "auto" would be one a machine."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


def choose_strategy(name: Any) -> Any:
    """What `lightning.Trainer` takes for `trainer.strategy`.

    Raises:
        UsageError: If the strategy splits weights in another way than `fsdp`.
    """
    if name == "fsdp":
        return FullyShardedStrategy()
    if any(other in str(name) for other in _OTHERS):
        raise UsageError(
            f"trainer.strategy={name} splits the weights, and validation captions with whole ones, which only "
            "strategy=fsdp puts together; take that, strategy=ddp, or strategy=lean where memory is short"
        )
    return name


def refuse_with_split(cfg: DictConfig, captioner: Captioner, transform: ImageTransform) -> None:
    """Refuse what needs whole weights in training.

    Raises:
        UsageError: If the average of the weights is wanted, or an encoder that is trained sees photos of any shape.
    """
    if cfg.ema is not None:
        raise UsageError(
            f"ema={cfg.ema} averages whole weights, and strategy=fsdp splits them; leave ema out, or take strategy=ddp"
        )
    if transform.fit == "native" and not captioner.encoder.frozen:
        # Where a new shape's grid lies is found by a pass of its own, which only some processes would make.
        raise UsageError(
            "image.fit=native looks through the encoder at each new shape, and strategy=fsdp splits an encoder that "
            "is trained; take encoder.trainable=none, another image.fit, or strategy=ddp"
        )
