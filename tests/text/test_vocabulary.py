from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models

from captioner.errors import ModelFileError
from captioner.text.tokenizer import Tokenizer

CAPTIONS = ["a dog runs", "a cat sits on the mat"]
WORD = Tokenizer.train(CAPTIONS).to_json()
BPE = Tokenizer.train(CAPTIONS, kind="bpe", vocab_size=264).to_json()


@pytest.mark.parametrize("text", ["", "{}", "[]", "not json", '{"model": 1}', "[" * 100_000, WORD[:-20]])
def test_rubbish_is_refused(text: str) -> None:
    with pytest.raises(ModelFileError, match=r"tokenizer.*Tokenizer\.to_json"):
        Tokenizer.from_json(text)


def _drop_normalizer(spec: dict[str, Any]) -> None:
    spec["normalizer"] = None


def _keep_brackets(spec: dict[str, Any]) -> None:
    spec["normalizer"] = {"type": "Lowercase"}


def _truncate(spec: dict[str, Any]) -> None:
    spec["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}


def _register(spec: dict[str, Any]) -> None:
    token = {"id": 4, "content": "a", "single_word": False, "lstrip": False, "rstrip": False}
    spec["added_tokens"] = [{**token, "normalized": False, "special": False}]


def _leave_a_gap(spec: dict[str, Any]) -> None:
    spec["model"]["vocab"]["zebra"] = 999


def _swap_controls(spec: dict[str, Any]) -> None:
    vocab = spec["model"]["vocab"]
    vocab["<eos>"], vocab["<bos>"] = vocab["<bos>"], vocab["<eos>"]


def _add_a_blank(spec: dict[str, Any]) -> None:
    spec["model"]["vocab"]["two words"] = len(spec["model"]["vocab"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop_normalizer, "lets a caption spell a control token"),
        (_keep_brackets, "lets a caption spell a control token"),
        (_truncate, "parts around the vocabulary differ"),
        (_register, "parts around the vocabulary differ"),
        (_leave_a_gap, "do not run from 0"),
        (_swap_controls, "ids 0 to 3 are not <pad>, <bos>, <eos>, <unk>"),
        (_add_a_blank, "a token is empty or contains white space"),
    ],
)
def test_a_foreign_part_is_refused(change: Callable[[dict[str, Any]], None], message: str) -> None:
    spec = json.loads(WORD)
    change(spec)
    with pytest.raises(ModelFileError, match=message):
        Tokenizer.from_json(json.dumps(spec))


def test_dropout_and_missing_bytes_are_refused() -> None:
    spec = json.loads(BPE)
    spec["model"]["dropout"] = 0.5
    with pytest.raises(ModelFileError, match="parts around the vocabulary differ"):
        Tokenizer.from_json(json.dumps(spec))
    spec = json.loads(BPE)
    vocab = spec["model"]["vocab"]
    vocab["zz"] = vocab.pop("~")
    with pytest.raises(ModelFileError, match="lacks some of the 256 bytes"):
        Tokenizer.from_json(json.dumps(spec))


def test_another_kind_of_model_is_refused() -> None:
    with pytest.raises(ModelFileError, match=r"Unigram.*WordLevel.*BPE"):
        Tokenizer.from_json(Backend(models.Unigram([("a", 0.0)], 0, False)).to_str())


def test_both_kinds_stop_learning_at_min_count() -> None:
    frequent = Tokenizer.train(["dog dog cat"], kind="bpe", min_count=2)
    assert frequent.words(frequent.encode("dog"))[0].end == 1
    assert frequent.words(frequent.encode("cat"))[0].end > 1
