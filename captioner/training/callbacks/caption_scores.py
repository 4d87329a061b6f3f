"""Callback: caption metrics of validation images (BLEU, ROUGE-L, CIDEr-D, …) after every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from captioner.captioning.caption_text import best_texts
from captioner.captioning.engine import CaptioningEngine
from captioner.data.batch import CaptionBatch
from captioner.data.samples import CaptionDataset
from captioner.decoding import make_search
from captioner.errors import UsageError
from captioner.metrics.measure import check_metrics
from captioner.metrics.report import score_captions
from captioner.models.captioner import Memory
from captioner.text.tokenizer import Tokenizer
from captioner.training.module import CaptionModule


class CaptionScores(Callback):
    """Captions validation images greedily, with the memory that the validation loss used, and logs the scores.

    Each of several processes captions its own images; the captions are gathered by image and scored once, so that the
    scores are those of a single process.

    Args:
        dataset: Validation images and references.
        tokenizer: The model's.
        limit: The number of images to caption, from the first; at least 2, since CIDEr needs several.
        metrics: Some of `metrics.measure.METRICS`. Each value is logged by its name, such as `val/CIDEr-D`.
        max_length: Longest caption in tokens.

    Raises:
        UsageError: If `limit` is below 2, or a metric cannot be computed.
    """

    def __init__(
        self,
        dataset: CaptionDataset,
        tokenizer: Tokenizer,
        *,
        limit: int,
        metrics: Sequence[str] = ("BLEU", "ROUGE-L", "CIDEr-D"),
        max_length: int = 30,
    ) -> None:
        if limit < 2:
            raise UsageError(
                f"validate_captions={limit} must be at least 2: CIDEr weighs words over several images"
            )
        check_metrics(metrics)
        self.metrics = tuple(metrics)
        self.dataset = dataset
        self.tokenizer = tokenizer
        self.limit = limit
        self.search = make_search(1, max_length=max_length)
        self._captions: dict[int, str] = {}

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: CaptionBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Caption the images of one batch."""
        assert isinstance(pl_module, CaptionModule)
        memory: Memory = outputs["memory"]
        # Images that could not be read, or that another process captions, have no captions here.
        wanted = (batch.indices < self.limit) & (batch.tokens[:, 0, 0] != self.tokenizer.pad_id)
        if not bool(wanted.any()):
            return
        engine = CaptioningEngine(pl_module.captioner, self.tokenizer, device=pl_module.device)
        hypotheses = engine.search([replace(memory, features=memory.features[wanted])], self.search)
        texts = best_texts(hypotheses, self.tokenizer)
        self._captions |= zip(batch.indices[wanted].tolist(), texts, strict=True)

    def on_validation_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Score the captions of the epoch."""
        captions = self._captions
        self._captions = {}
        if trainer.world_size > 1:
            parts: list[dict[int, str]] = [{} for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(parts, captions)
            captions = {index: text for part in parts for index, text in part.items()}
        samples = {index: self.dataset[index] for index in sorted(captions)}
        referenced = {index: sample for index, sample in samples.items() if sample.captions}
        # By index, not by id: shards of other tools may repeat ids.
        scores = score_captions(
            {str(index): captions[index] for index in referenced},
            {str(index): sample.captions for index, sample in referenced.items()},
            metrics=self.metrics,
        )
        for name, value in scores.corpus.items():
            pl_module.log(f"val/{name}", value, prog_bar=name == "CIDEr-D")
        distinct = len(set(captions.values())) / max(1, len(captions))
        pl_module.log("val/distinct", distinct)
