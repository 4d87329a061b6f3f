from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.batch import EncodedSample, collate
from tests.data.pixels import pixels

PAD, BOS, EOS = 0, 1, 2

captions_of_an_image = st.lists(st.lists(st.integers(3, 9), max_size=4).map(tuple), max_size=3).map(tuple)


def samples_of(captions: Sequence[tuple[tuple[int, ...], ...]]) -> list[EncodedSample]:
    return [EncodedSample(torch.full((3, 4, 5), float(i)), own, 10 + i) for i, own in enumerate(captions)]


@given(st.lists(captions_of_an_image, min_size=1, max_size=4))
def test_every_caption_can_be_read_back(captions: list[tuple[tuple[int, ...], ...]]) -> None:
    batch = collate(samples_of(captions), bos_id=BOS, eos_id=EOS, pad_id=PAD)
    C = max(1, *(len(own) for own in captions), 1)
    L = 2 + max((len(ids) for own in captions for ids in own), default=0)
    assert batch.tokens.shape == (len(captions), C, L)
    assert batch.tokens.dtype == torch.int64
    for row, own in zip(batch.tokens.tolist(), captions, strict=True):
        for tokens, ids in zip(row, own, strict=False):
            assert tokens == [BOS, *ids, EOS, *[PAD] * (L - 2 - len(ids))]
        # A caption that an image lacks is all padding.
        assert all(tokens == [PAD] * L for tokens in row[len(own) :])


def test_images_stay_in_order_and_lie_channels_last() -> None:
    batch = collate(samples_of([((3,),), ((4,), (5,))]), bos_id=BOS, eos_id=EOS, pad_id=PAD)
    assert pixels(batch).shape == (2, 3, 4, 5)
    assert pixels(batch).is_contiguous(memory_format=torch.channels_last)
    assert pixels(batch)[:, 0, 0, 0].tolist() == [0, 1]
    assert batch.indices.tolist() == [10, 11]


def test_moving_keeps_everything() -> None:
    batch = collate(samples_of([((3,),), ((4, 6), (5,))]), bos_id=BOS, eos_id=EOS, pad_id=PAD)
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(pixels(moved), pixels(batch))
    assert torch.equal(moved.tokens, batch.tokens)
    assert torch.equal(moved.indices, batch.indices)
    assert pixels(moved).is_contiguous(memory_format=torch.channels_last)
    assert pixels(batch.to(torch.device("meta"))).device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a GPU")
def test_pinning_keeps_everything() -> None:
    batch = collate(samples_of([((3,),)]), bos_id=BOS, eos_id=EOS, pad_id=PAD)
    pinned = batch.pin_memory()
    assert pixels(pinned).is_pinned()
    assert torch.equal(pinned.tokens, batch.tokens)
