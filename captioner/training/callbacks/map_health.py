"""Callback: detection of collapsed attention maps during training, with one warning."""

from __future__ import annotations

import sys
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from captioner.data.batch import CaptionBatch
from captioner.explain.attention import on_grid
from captioner.explain.attention_stats import AttentionStats, attention_health, attention_stats
from captioner.models.captioner import Memory
from captioner.text.tokenizer import Tokenizer
from captioner.training.module import CaptionModule


class MapHealth(Callback):
    """Logs the entropy and the similarity of cross-attention maps over a few validation captions, teacher-forced.

    It takes the first caption of each image in the first validation batch, with the memory that the validation loss
    used: one pass of the decoder. Of several processes the first does it.

    Args:
        tokenizer: The model's.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._warning: str | None = None

    @torch.no_grad()
    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: CaptionBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure the maps of the first batch."""
        if batch_idx or trainer.sanity_checking or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, CaptionModule)
        memory: Memory = outputs["memory"]
        tokens = batch.tokens[:, :1]
        output = pl_module.captioner.decoder(tokens[:, :, :-1], memory.features, need_weights=True)
        assert output.cross_attention is not None
        maps = on_grid(output.cross_attention[:, 0].float(), memory.grid).cpu().numpy()
        stats: list[AttentionStats] = []
        special = (self.tokenizer.pad_id, self.tokenizer.eos_id)
        for of_caption, target in zip(maps, tokens[:, 0, 1:].tolist(), strict=True):
            words = [k for k, token in enumerate(target) if token not in special]
            texts = [self.tokenizer.id_to_token(target[k]) for k in words]
            if (of_words := attention_stats(texts, of_caption[words], nouns=())) is not None:
                stats.append(of_words)
        summary = attention_health(stats)
        pl_module.log("val/map_entropy", summary.entropy, rank_zero_only=True)
        pl_module.log("val/map_same_in_caption", summary.same_in_caption, rank_zero_only=True)
        warning = summary.warning()
        if warning is not None and self._warning is None:
            print(f"warning: epoch {trainer.current_epoch + 1}: {warning}", file=sys.stderr)
        self._warning = warning
