"""Streams of the captioning engine give what it gives for single photos."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from captioner.bundle import Bundle
from captioner.captioning.engine import CaptioningEngine
from captioner.captioning.stream import caption_stream, record_stream
from captioner.decoding import Search, make_search
from captioner.errors import ImageError
from captioner.explain.attention import Attention
from captioner.image.photo_reader import GivenPhoto, NamedPhoto, PhotoReader
from captioner.models.captioner import Captioner
from captioner.prefetch import BusyClock, in_batches

SEARCH = make_search(3, max_length=9)


def picture(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)


GIVEN: list[GivenPhoto] = [
    picture(0), picture(1), NamedPhoto("bad.jpg", b"<html>"), picture(2), ImageError("no photo"),
    Path("/nowhere.jpg"), picture(3), picture(4),
]  # fmt: skip


def other_model(captioner: Captioner) -> Captioner:
    """A second model with other predictions."""
    other = copy.deepcopy(captioner)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in other.decoder.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return other


def engine_of(model: Bundle, *, ensemble: int = 0, average: str = "logprobs") -> CaptioningEngine:
    others = [other_model(model.captioner)] * ensemble
    return CaptioningEngine(model.captioner, model.tokenizer, ensemble=others, average=average)


def reader_of(model: Bundle, *, ensemble: int = 0) -> PhotoReader:
    return PhotoReader([model.transform] * (1 + ensemble))


@pytest.mark.parametrize(
    "search",
    [SEARCH, make_search(1, max_length=9), make_search(method="sample", samples=2, seed=3, max_length=9)],
)
@pytest.mark.parametrize(("batch_size", "readers"), [(1, 0), (3, 2), (8, 1)])
def test_records_are_the_captions_of_single_photos(
    random_model: Bundle, search: Search, batch_size: int, readers: int
) -> None:
    engine, reader, busy = engine_of(random_model), reader_of(random_model), BusyClock()
    batches = in_batches(enumerate(GIVEN), batch_size)
    given = record_stream(engine, reader, batches, search=search, readers=readers, busy=busy)
    records = list(itertools.chain.from_iterable(given))
    assert [record.index for record in records] == list(range(len(GIVEN)))
    assert [record.text is None for record in records] == [record.error is not None for record in records]
    assert [record.index for record in records if record.error is not None] == [2, 4, 5]
    assert "bad.jpg" in str(records[2].error)
    assert busy.seconds > 0
    for record in records:
        (alone,) = caption_stream(
            engine, reader, [[(record.index, GIVEN[record.index])]], search=search, methods=(Attention(),)
        )
        assert (alone.index, alone.error is None) == (record.index, record.error is None)
        if alone.caption is not None:
            assert alone.caption.text == record.text
            assert alone.caption.score == pytest.approx(record.score, abs=1e-3)
            assert alone.caption.logprob == pytest.approx(record.logprob, abs=1e-3)
            assert [other.text for other in alone.caption.others] == [other.text for other in record.others]


def test_both_streams_give_the_same_to_the_last_bit(random_model: Bundle) -> None:
    engine, reader = engine_of(random_model), reader_of(random_model)
    batches = list(in_batches(enumerate(GIVEN), 3))
    records = list(
        itertools.chain.from_iterable(record_stream(engine, reader, batches, search=SEARCH, readers=2))
    )
    results = list(caption_stream(engine, reader, batches, search=SEARCH, methods=(Attention(),), readers=2))
    for result, record in zip(results, records, strict=True):
        if result.caption is not None:
            assert (result.caption.text, result.caption.score) == (record.text, record.score)
            assert result.caption.others == record.others


def test_records_come_while_photos_are_still_being_given(random_model: Bundle) -> None:
    given: list[int] = []

    def batches() -> Iterator[list[tuple[int, GivenPhoto]]]:
        for number in itertools.count():  # endless: reading it all would never end
            given.append(number)
            yield [(number, picture(number % 5))]

    records = record_stream(engine_of(random_model), reader_of(random_model), batches(), search=SEARCH)
    assert [next(records)[0].index for _ in range(3)] == [0, 1, 2]
    records.close()  # type: ignore[attr-defined]
    assert len(given) <= 6  # the batch in the buffer and the one being encoded


@pytest.mark.parametrize(("ensemble", "average"), [(0, "logprobs"), (1, "logprobs"), (1, "probs")])
@pytest.mark.parametrize("beam_size", [1, 3])
def test_the_teacher_forced_pass_has_the_log_probabilities_of_the_search(
    random_model: Bundle, ensemble: int, average: str, beam_size: int
) -> None:
    engine = engine_of(random_model, ensemble=ensemble, average=average)
    reader = reader_of(random_model, ensemble=ensemble)
    search = make_search(beam_size, max_length=9)
    batch = [list(enumerate(picture(seed) for seed in range(6)))]
    (records,) = record_stream(engine, reader, batch, search=search)
    results = caption_stream(engine, reader, batch, search=search, methods=(Attention(),))
    for record, result in zip(records, results, strict=True):
        assert result.caption is not None
        assert result.caption.text == record.text
        assert result.caption.logprob == pytest.approx(record.logprob, abs=1e-4)


@pytest.mark.parametrize("average", ["logprobs", "probs"])
def test_an_ensemble_of_one_model_is_that_model(random_model: Bundle, average: str) -> None:
    captioner, tokenizer = random_model.captioner, random_model.tokenizer
    twice = CaptioningEngine(captioner, tokenizer, ensemble=[captioner], average=average)
    batch = [list(enumerate(picture(seed) for seed in range(6)))]
    (alone,) = record_stream(engine_of(random_model), reader_of(random_model), batch, search=SEARCH)
    (joined,) = record_stream(twice, reader_of(random_model, ensemble=1), batch, search=SEARCH)
    for a, b in zip(alone, joined, strict=True):
        assert a.text == b.text
        assert a.logprob == pytest.approx(b.logprob, abs=1e-4)
    (other,) = record_stream(
        engine_of(random_model, ensemble=1), reader_of(random_model, ensemble=1), batch, search=SEARCH
    )
    assert any(abs(a.logprob - b.logprob) > 1e-2 for a, b in zip(alone, other, strict=True))
