"""LightningModule of a captioner: training loss, validation loss, optimizer and learning-rate schedule."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from captioner.data.batch import CaptionBatch
from captioner.errors import CaptionerError, UsageError
from captioner.models.captioner import Captioner, Memory
from captioner.objectives.cross_entropy import CrossEntropy
from captioner.objectives.objective import Objective, TrainingStep
from captioner.training.distributed.ranks import rank_weights, sum_over_ranks
from captioner.training.distributed.sharding import gather_decoder, shard
from captioner.training.parameter_groups import parameter_groups


class CaptionModule(lightning.LightningModule):
    """An objective minimised by AdamW with linear warm-up and cosine decay of the learning rate.

    Args:
        captioner: The model to train.
        objective: The loss; `prepare` has been called.
        pad_id: The tokenizer's padding id.
        lr: Peak learning rate of bridge and decoder.
        encoder_lr: Peak learning rate of the encoder's trained layers; None for `lr`.
        weight_decay: AdamW's decay, of the parameters that `parameter_groups` gives any.
        warmup: Fraction of all steps over which the learning rate rises from 0, in [0, 1).
        final_lr: Fraction of the peak learning rate at the last step.
        betas: AdamW's running-average coefficients.

    Raises:
        UsageError: If a learning rate or `warmup` is out of range.
    """

    def __init__(
        self,
        captioner: Captioner,
        objective: Objective,
        *,
        pad_id: int,
        lr: float = 1e-3,
        encoder_lr: float | None = None,
        weight_decay: float = 0.05,
        warmup: float = 0.1,
        final_lr: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.98),
    ) -> None:
        super().__init__()
        if lr <= 0 or (encoder_lr is not None and encoder_lr <= 0):
            raise UsageError(f"optim.lr={lr} and optim.encoder_lr={encoder_lr} must be positive")
        if not 0 <= warmup < 1:
            raise UsageError(
                f"optim.warmup={warmup} must be at least 0 and below 1: it is a fraction of all steps"
            )
        self.captioner = captioner
        self.objective = objective
        self.pad_id = pad_id
        self.lr = lr
        self.encoder_lr = lr if encoder_lr is None else encoder_lr
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.final_lr = final_lr
        self.betas = betas
        self._validated = (0.0, 0)  # summed loss (nats) and tokens of this rank in the running validation

    def configure_model(self) -> None:
        """Shard the weights where the strategy sets a device mesh, which only `fsdp` does."""
        if self.device_mesh is not None:
            shard(self.captioner, self.device_mesh["data_parallel"])

    def training_step(self, batch: CaptionBatch, batch_idx: int) -> Tensor:
        """The loss of one batch.

        Raises:
            CaptionerError: If it is not finite.
        """
        gather_decoder(self.captioner)
        if self.captioner.encoder.frozen and isinstance(batch.images, Tensor):
            # Encode once for all forward passes of the objective.
            batch = dataclasses.replace(batch, images=self.captioner.encoder(batch.images))
        losses = self.objective(
            self.captioner,
            TrainingStep(
                batch,
                step=self.global_step,
                progress=self.global_step / max(1.0, float(self.trainer.estimated_stepping_batches)),
            ),
        )
        terms = losses.terms
        distributed = self.trainer.world_size > 1
        if distributed:
            # Weight each rank's mean by its count, so that averaged gradients equal those of one process.
            terms = {
                name: term * weight
                for (name, term), weight in zip(terms.items(), rank_weights(losses), strict=True)
            }
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            raise CaptionerError(
                f"the loss is {loss.item()} at step {self.global_step} (batch {batch_idx} of epoch "
                f"{self.current_epoch}); the last checkpoint is intact: lower optim.lr or use trainer.precision=32-true"
            )
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=False, sync_dist=distributed)
        if len(terms) > 1:
            self.log_dict({f"train/{name}": term for name, term in terms.items()})
        for name, value in losses.metrics.items():
            self.log(f"train/{name}", value, prog_bar=name == "reward")
        return loss

    def validation_step(self, batch: CaptionBatch, batch_idx: int) -> dict[str, Memory]:
        """Accumulate the negative log-likelihood, without smoothing; return the encoded images for callbacks."""
        targets = batch.tokens[:, :, 1:]
        memory = self.captioner.encode(batch.images)
        output = self.captioner.decoder(batch.tokens[:, :, :-1], memory.features)
        loss = CrossEntropy()(output.logits, targets, pad_id=self.pad_id)
        count = int((targets != self.pad_id).sum())
        self._validated = (self._validated[0] + float(loss) * count, self._validated[1] + count)
        return {"memory": memory}

    def on_validation_epoch_start(self) -> None:
        """Reset the validation sums."""
        self._validated = (0.0, 0)

    def on_validation_epoch_end(self) -> None:
        """Log the mean over the tokens of all ranks; Lightning's own mean rounds each rank's weight to an integer."""
        nats, count = sum_over_ranks(self._validated, self.device)
        self.log("val/loss", nats / count if count else math.nan, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """AdamW over `parameter_groups` under one schedule, advanced after each step."""
        optimizer = AdamW(
            parameter_groups(
                self.captioner, lr=self.lr, encoder_lr=self.encoder_lr, weight_decay=self.weight_decay
            ),
            betas=self.betas,
        )
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = LambdaLR(optimizer, lambda step: self.lr_factor(step, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def lr_factor(self, step: int, total: int) -> float:
        """Fraction of the peak learning rate at `step` of `total`: linear warm-up, then half a cosine.

        It is (step + 1) / warm-up steps at first, and `final_lr` from step `total` on.
        """
        warmup_steps = max(1, round(self.warmup * total))
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = min(1.0, (step - warmup_steps) / max(1, total - warmup_steps))
        return self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * progress))
