"""How are photos captioned on a cluster that runs Ray? `CaptionBatches`, a class for Ray Data's `map_batches`.

    import ray
    from captioner.ray import CaptionBatches

    photos = ray.data.read_binary_files("s3://bucket/photos", include_paths=True)
    captions = photos.map_batches(
        CaptionBatches, fn_constructor_args=("model.safetensors",), batch_size=64, num_gpus=1,
        compute=ray.data.ActorPoolStrategy(size=4),
    )
    captions.drop_columns(["bytes"]).write_json("captions")

Ray itself is not imported here: the class is given columns of a batch and gives columns back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioner.bulk.tell import tell
from captioner.decoding import make_search
from captioner.pipeline import load

Columns = dict[str, NDArray[Any]]


class CaptionBatches:
    """Adds columns `caption`, `score` (nats) and `error` to batches of encoded photos; a bad photo is no end.

    Args:
        model: A model file that every worker can read.
        column: Holds the bytes of the photos' files.
        beam_size: 1 is greedy decoding.
        max_length: Longest caption in tokens.
        device: As in `captioner.load`.
        readers: Threads that decode.

    Raises:
        ModelFileError: If the file cannot be used.
        UsageError: If a number is out of range, or the device is not there.
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
        """The batch's columns and those of its captions; where a photo cannot be read, `caption` is empty."""
        photos = [(index, bytes(content)) for index, content in enumerate(batch[self.column])]
        told = [
            one
            for of_batch in tell(self.pipeline, [photos], search=self.search, readers=self.readers)
            for one in of_batch
        ]
        return {
            **batch,
            "caption": np.array([one.text or "" for one in told], dtype=object),
            "score": np.array([one.score for one in told], dtype=np.float32),
            "error": np.array(["" if one.error is None else str(one.error) for one in told], dtype=object),
        }
