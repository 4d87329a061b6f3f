"""Captioning on a Ray cluster: `CaptionBatches`, a class for Ray Data's `map_batches`.

    import ray
    from captioner.ray import CaptionBatches

    photos = ray.data.read_binary_files("s3://bucket/photos", include_paths=True)
    captions = photos.map_batches(
        CaptionBatches, fn_constructor_args=("model.safetensors",), batch_size=64, num_gpus=1,
        compute=ray.data.ActorPoolStrategy(size=4),
    )
    captions.drop_columns(["bytes"]).write_json("captions")

Ray itself is not imported here: the class takes the columns of a batch and returns columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioner.decoding import make_search
from captioner.pipeline import load

Columns = dict[str, NDArray[Any]]


class CaptionBatches:
    """Adds columns `caption`, `score` (nats) and `error` to batches of encoded photos.

    Unreadable photos do not stop the batch: their `caption` is empty and `error` says why.

    Args:
        model: A model file that every worker can read.
        column: The column of the encoded photos' bytes.
        beam_size: 1 is greedy decoding.
        max_length: Longest caption in tokens.
        device: As in `captioner.load`.
        readers: Threads that decode photos.

    Raises:
        ModelFileError: If the file cannot be used.
        UsageError: If a number is out of range, or the device is not available.
    """

    def __init__(
        self,
        model: str,
        *,
        column: str = "bytes",
        beam_size: int = 3,
        max_length: int = 30,
        device: str = "auto",
        readers: int = 2,
    ) -> None:
        self.pipeline = load(model, device=device)
        self.search = make_search(beam_size, max_length=max_length)
        self.column = column
        self.readers = readers

    def __call__(self, batch: Columns) -> Columns:
        """The batch's columns and those of its captions."""
        photos = [(index, bytes(content)) for index, content in enumerate(batch[self.column])]
        (records,) = self.pipeline.records([photos], search=self.search, readers=self.readers)
        return {
            **batch,
            "caption": np.array([record.text or "" for record in records], dtype=object),
            "score": np.array([record.score for record in records], dtype=np.float32),
            "error": np.array(
                ["" if record.error is None else str(record.error) for record in records], dtype=object
            ),
        }
