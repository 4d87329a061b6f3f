"""Callback: a few validation images with captions and overlays after every epoch."""

from __future__ import annotations

import contextlib
from pathlib import Path

import lightning
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from captioner.caption import Caption
from captioner.captioning.engine import CaptioningEngine
from captioner.data.samples import CaptionDataset
from captioner.decoding import make_search
from captioner.errors import ImageError
from captioner.image.transforms import ImageTransform, same_size
from captioner.overlay.sheet import contact_sheet
from captioner.text.tokenizer import Tokenizer
from captioner.training.module import CaptionModule


class SampleOverlays(Callback):
    """Captions the same validation images after each epoch; writes contact sheets to a folder and the logger.

    Args:
        dataset: Validation images.
        tokenizer: The model's.
        transform: The model's.
        count: The number of images, spread over the dataset.
        folder: Where `epoch-NNN-K.png` go.
        max_length: Longest caption in tokens.
    """

    def __init__(
        self,
        dataset: CaptionDataset,
        tokenizer: Tokenizer,
        transform: ImageTransform,
        *,
        count: int,
        folder: Path,
        max_length: int = 30,
    ) -> None:
        self.dataset = dataset
        self.tokenizer = tokenizer
        self.transform = transform
        self.indices = [round(i) for i in np.linspace(0, len(dataset) - 1, min(count, len(dataset)))]
        self.folder = folder
        self.search = make_search(1, max_length=max_length)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Caption and draw."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, CaptionModule)
        photos = []
        for index in self.indices:
            with contextlib.suppress(ImageError):  # reported when training began
                photos.append(self.dataset.photo(index))
        if not photos:
            return
        engine = CaptioningEngine(pl_module.captioner, self.tokenizer, device=pl_module.device)
        inputs = [self.transform(photo) for photo in photos]
        captions: dict[int, Caption] = {}
        for places in same_size([pixels for pixels, _ in inputs]):
            of_one_size = engine.caption(
                engine.stack([[inputs[place][0]] for place in places]),
                [inputs[place][1] for place in places],
                search=self.search,
            )
            captions |= zip(places, of_one_size, strict=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        for number, photo in enumerate(photos, start=1):
            sheet = contact_sheet(photo.pixels, captions[number - 1])
            sheet.save(self.folder / f"epoch-{trainer.current_epoch + 1:03d}-{number}.png")
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_image(
                        f"samples/{number}", np.asarray(sheet), trainer.global_step, dataformats="HWC"
                    )
                elif isinstance(logger, WandbLogger):
                    logger.log_image(f"samples/{number}", [sheet], caption=[captions[number - 1].text])
