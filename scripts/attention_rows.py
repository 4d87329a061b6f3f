"""Rows, training budgets and search settings of `compare_attention.py`."""

from __future__ import annotations

ATTENTION = {
    "scaled dot product": "model.decoder.score=scaled_dot",
    "dot product": "model.decoder.score=dot",
    "general": "model.decoder.score=general",
    "additive": "model.decoder.score=additive",
    "dot product with bias": "model.decoder.score=biased_dot",
    "cosine": "model.decoder.score=cosine",
    "sparsemax": "model.decoder.normaliser=sparsemax",
    "1.5-entmax": "model.decoder.normaliser=entmax15",
    "softmax off by one": "model.decoder.normaliser=off_by_one",
    "sink": "model.decoder.normaliser=sink",
    "visual sentinel": "model.decoder.sentinel=true",
    "visual sentinel, image-attention penalty": "model.decoder.sentinel=true objective.image_attention_penalty=0.1",
    "doubly stochastic": "objective.doubly_stochastic=1",
}
FIRST = "model.decoder.self_attention_first=true"
DECODERS: dict[str, dict[str, str]] = {
    "transformer": {
        **ATTENTION,
        "self-attention first": FIRST,
        "self-attention first, visual sentinel": f"{FIRST} model.decoder.sentinel=true",
        "self-attention first, sentinel, image-attention penalty": (
            f"{FIRST} model.decoder.sentinel=true objective.image_attention_penalty=0.3"
        ),
        "one key-value head": "model.decoder.num_kv_heads=1",
    },
    "lstm": {**ATTENTION, "hard": "model.decoder.hard=true"},
}
"""Overrides of each row, by decoder. The LSTM's default score is additive."""
SCENES = {
    "supervised attention": "experiment=supervised_attention",
    "rotary, grouped heads": "experiment=rotary_grouped",
    "windowed image layers": "experiment=local_attention",
    "scheduled sampling": "experiment=scheduled_sampling",
}
"""Further rows of the Transformer on scenes."""
FLICKR8K = {
    "scaled dot product, 12 × 12 cells": "encoder.image_size=[384,384]",
    "scaled dot product, 12 × 12 cells, finer feature maps": (
        "encoder.image_size=[384,384] encoder.finer=[1,2,3]"
    ),
}
"""Further rows of the Transformer on Flickr8k; the other rows have 7 × 7 cells."""

BUDGETS: dict[str, list[str]] = {
    "scenes": [
        "data.train.size=3000",
        "data.batch_size=16",
        "data.captions_per_image=1",
        "trainer.max_epochs=3",
        "+trainer.limit_val_batches=2",  # only the final scores count
        "cache=features",
        "cache.views=1",
        "image.cover=0",
        "encoder.trainable=none",
        "data.num_workers=0",
    ],
    "flickr8k": [
        "encoder.image_size=[224,224]",
        "encoder.finer=[]",
        "trainer.max_epochs=3",
        "data.captions_per_image=1",
        "+trainer.limit_val_batches=2",
        "cache=features",
        "cache.views=2",
    ],
}
"""Overrides of captioner.train for all rows of a data set."""
SEARCH = {"scenes": ["length_penalty=0", "limit=300"], "flickr8k": ["split=val", "limit=500"]}
"""Overrides of captioner.evaluate for all rows of a data set."""


def rows_of(data: str) -> dict[str, dict[str, str]]:
    """Overrides of each row of a data set, by decoder and name."""
    more = FLICKR8K if data == "flickr8k" else SCENES
    return {**DECODERS, "transformer": {**DECODERS["transformer"], **more}}


def overrides_of(decoder: str, row: str) -> list[str]:
    """Overrides of captioner.train for one row, without the sentinel that recipes may set."""
    return [f"decoder={decoder}", "model.decoder.sentinel=false", *row.split()]
