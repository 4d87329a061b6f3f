"""Diversity and novelty of captions, and the unknown words of references."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from omegaconf import DictConfig, OmegaConf

from captioner.data.open import open_split
from captioner.errors import UsageError
from captioner.metrics.corpus_diversity import corpus_diversity
from captioner.text.tokenizer import Tokenizer


def diversity_figures(captions: Sequence[str], training: Iterable[str] | None) -> dict[str, float]:
    """The figures of `metrics.corpus_diversity`; `novel` is nan without the training captions."""
    figures = asdict(corpus_diversity(captions, training))
    del figures["captions"]
    return figures


def training_captions(data: DictConfig, card: Mapping[str, Any]) -> Iterator[str]:
    """All captions of the training split, if the model was trained on it.

    Args:
        data: The `data` configuration that is evaluated.
        card: The model's training card.

    Raises:
        UsageError: There is no such split, or the model was trained on other data; the message names them.
    """
    settings = OmegaConf.create(dict(card))
    name = OmegaConf.select(settings, "settings.data.name") or OmegaConf.select(settings, "data.name")
    if name is None:
        raise UsageError("the model's card does not name its training data")
    if name != data.name:
        raise UsageError(f"the model was trained on {name}, and this is {data.name}")
    split = open_split(data, "train")
    trained_on = card.get("data", {}).get("train_images")
    if len(split) != trained_on:
        raise UsageError(f"the model was trained on {trained_on} images, and split=train has {len(split)}")
    return (caption for index in range(len(split)) for caption in split[index].captions)


def unknown_words(tokenizer: Tokenizer, references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Words of the references that are not in the vocabulary; none with byte-pair encoding.

    Args:
        tokenizer: The model's.
        references: The references of each image.

    Returns:
        `unknown_word_rate`: their share of all words, 0–1; `images_with_unknown_words`: the number of images that have
        one in any reference.
    """
    words = unknown = images = 0
    for of_image in references:
        ids = [token for caption in of_image for token in tokenizer.encode(caption)]
        missing = ids.count(tokenizer.unk_id)
        words += len(ids)
        unknown += missing
        images += missing > 0
    return {"unknown_word_rate": unknown / max(1, words), "images_with_unknown_words": images}
