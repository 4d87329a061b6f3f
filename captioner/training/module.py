"""How does a captioner learn from a batch? The LightningModule: loss, optimizer, schedule."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from captioner.data.batch import CaptionBatch
from captioner.errors import CaptionerError, UsageError
from captioner.models.captioner import Captioner, Memory
from captioner.objectives.cross_entropy import CrossEntropy
from captioner.objectives.objective import Objective, TrainingStep
from captioner.training.distributed.ranks import shares, sum_over_ranks
from captioner.training.distributed.sharding import gather_decoder, shard


class CaptionModule(lightning.LightningModule):
    """An objective with AdamW, linear warm-up and cosine decay.

    Args:
        captioner: What is trained.
        objective: The loss, prepared.
        pad_id: The tokenizer's padding.
        lr: Peak learning rate of bridge and decoder.
        encoder_lr: Peak learning rate of the encoder's trained layers; None for `lr`.
        weight_decay: AdamW's decay; biases, norms and embeddings of positions have none.
        warmup: Share of all steps over which the learning rate rises from 0, 0–1.
        final_lr: Share of the peak at the last step.
        betas: AdamW's averaging coefficients.

    Raises:
        UsageError: If a rate is out of range.
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
                f"optim.warmup={warmup} must be at least 0 and below 1: it is a share of all steps"
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
        self._validated = (0.0, 0)  # nats and words of this rank's validation images so far

    def configure_model(self) -> None:
        """Split the weights over the processes, where the strategy asks for it: only then is there a mesh."""
        if self.device_mesh is not None:
            shard(self.captioner, self.device_mesh["data_parallel"])

    def training_step(self, batch: CaptionBatch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        gather_decoder(self.captioner)
        if self.captioner.encoder.frozen and isinstance(batch.images, Tensor):
            # Once for all models and passes of the objective.
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
        several = self.trainer.world_size > 1
        if (
            several
        ):  # each rank's mean by its share of what it is over, so that ranks give what one process would
            terms = {
                name: term * share for (name, term), share in zip(terms.items(), shares(losses), strict=True)
            }
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            raise CaptionerError(
                f"the loss is {loss.item()} at step {self.global_step} (batch {batch_idx} of epoch "
                f"{self.current_epoch}); the last checkpoint is intact: lower optim.lr or use trainer.precision=32-true"
            )
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=False, sync_dist=several)
        if len(terms) > 1:
            self.log_dict({f"train/{name}": term for name, term in terms.items()})
        for name, value in losses.shown.items():
            self.log(f"train/{name}", value, prog_bar=name == "reward")
        return loss

    def validation_step(self, batch: CaptionBatch, batch_idx: int) -> dict[str, Memory]:
        """Add up the negative log-likelihood, without smoothing; give the encoded images on."""
        targets = batch.tokens[:, :, 1:]
        memory = self.captioner.encode(batch.images)
        output = self.captioner.decoder(batch.tokens[:, :, :-1], memory.features)
        loss = CrossEntropy()(output.logits, targets, pad_id=self.pad_id)
        words = int((targets != self.pad_id).sum())
        self._validated = (self._validated[0] + float(loss) * words, self._validated[1] + words)
        return {"memory": memory}

    def on_validation_epoch_start(self) -> None:
        """Count anew."""
        self._validated = (0.0, 0)

    def on_validation_epoch_end(self) -> None:
        """Log the mean over the words of all ranks; Lightning's own rounds their number down to whole ones a rank."""
        nats, words = sum_over_ranks(self._validated, self.device)
        self.log("val/loss", nats / words if words else math.nan, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """AdamW over four groups (encoder or not, decayed or not) under one schedule."""
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.captioner.named_parameters():
            if parameter.requires_grad:
                is_encoder = name.startswith("encoder.")
                decays = parameter.ndim >= 2 and "position" not in name
                groups.setdefault((is_encoder, decays), []).append(parameter)
        optimizer = AdamW(
            [
                {
                    "params": parameters,
                    "lr": self.encoder_lr if is_encoder else self.lr,
                    "weight_decay": self.weight_decay if decays else 0.0,
                }
                for (is_encoder, decays), parameters in groups.items()
            ],
            betas=self.betas,
        )
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = LambdaLR(optimizer, lambda step: self._rate(step, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _rate(self, step: int, total: int) -> float:
        """Share of the peak learning rate at `step`: up in a line, down in a half cosine."""
        rise = max(1, round(self.warmup * total))
        if step < rise:
            return (step + 1) / rise
        progress = min(1.0, (step - rise) / max(1, total - rise))
        return self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * progress))
