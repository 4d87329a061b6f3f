from __future__ import annotations

import math

import pytest

from captioner.errors import UsageError
from captioner.evaluation.diversity import diversity_figures, training_captions, unknown_words
from captioner.text.tokenizer import Tokenizer
from tests.conftest import compose


def test_words_outside_the_vocabulary_are_counted_and_their_images() -> None:
    tokenizer = Tokenizer.train(["a red dog runs"])
    references = [["a dog runs", "A blue dog"], ["a red dog"], ["zebras graze"]]
    assert unknown_words(tokenizer, references) == {
        "unknown_word_rate": pytest.approx(3 / 11),
        "images_with_unknown_words": 2,
    }
    assert unknown_words(tokenizer, [])["unknown_word_rate"] == 0


def test_no_word_is_unknown_to_byte_pairs() -> None:
    tokenizer = Tokenizer.train(["a red dog runs"], kind="bpe", vocab_size=270)
    assert unknown_words(tokenizer, [["zebras graze 🦓"]])["unknown_word_rate"] == 0


def test_training_captions_are_those_the_model_was_trained_on() -> None:
    data = compose("evaluate", "model=none", "data.train.size=3").data
    card = {"data": {"train_images": 3}, "settings": {"data": {"name": "scenes"}}}
    captions = list(training_captions(data, card))
    assert len(captions) == 15
    figures = diversity_figures([captions[0], captions[7], "no such caption"], captions)
    assert figures["novel"] == pytest.approx(1 / 3)
    assert math.isnan(diversity_figures(captions, None)["novel"])


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({}, "the model's card"),
        ({"data": {"name": "coco"}}, "trained on coco, .* scenes"),
        ({"data": {"name": "scenes", "train_images": 4}}, "on 4 images, .* 3"),
    ],
)
def test_other_training_data_is_refused(card: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        training_captions(compose("evaluate", "model=none", "data.train.size=3").data, card)
