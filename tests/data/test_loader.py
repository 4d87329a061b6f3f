from __future__ import annotations

import functools
from collections.abc import Sequence

import pytest
import torch
from torch.utils.data import Dataset

from captioner.data.batch import CaptionBatch, EncodedSample, collate
from captioner.data.loader import EpochOrder, ResumableLoader
from captioner.data.torch_dataset import SampleRequest
from captioner.errors import ImageError
from tests.data.pixels import pixels


class Numbers(Dataset[EncodedSample]):
    """A dataset whose pixels encode the requested epoch and index."""

    def __getitem__(self, request: SampleRequest) -> EncodedSample:
        return EncodedSample(
            torch.full((3, 2, 2), float(100 * request.epoch + request.index)), ((9,),), request.index
        )


def loader(order: EpochOrder, num_workers: int = 0) -> ResumableLoader:
    stack = functools.partial(collate, bos_id=1, eos_id=2, pad_id=0)
    return ResumableLoader(Numbers(), order, collate=stack, num_workers=num_workers)


def indices(batches: Sequence[CaptionBatch]) -> list[list[int]]:
    return [batch.indices.tolist() for batch in batches]


def epoch_of(order: EpochOrder, epoch: int, *, skip: int = 0) -> list[list[int]]:
    return [[request.index for request in batch] for batch in order.batches(epoch, skip=skip)]


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    torch.manual_seed(1)
    first = epoch_of(EpochOrder(20, 4, seed=3), 5)
    torch.manual_seed(2)
    again = EpochOrder(20, 4, seed=3)
    epoch_of(again, 0)
    assert epoch_of(again, 5) == first
    assert epoch_of(again, 6) != first
    assert epoch_of(EpochOrder(20, 4, seed=4), 5) != first
    assert all(request.epoch == 5 for batch in again.batches(5) for request in batch)


@pytest.mark.parametrize("size", [1, 7, 8, 9])
def test_an_epoch_has_every_sample_once(size: int) -> None:
    order = EpochOrder(size, 4)
    batches = epoch_of(order, 2)
    assert sorted(index for batch in batches for index in batch) == list(range(size))
    assert len(batches) == len(order)
    assert [len(batch) for batch in batches[:-1]] == [4] * (len(batches) - 1)


def test_without_shuffling_the_datasets_order_is_kept() -> None:
    assert epoch_of(EpochOrder(7, 3, shuffle=False), 9) == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize(("size", "expected"), [(3, [3]), (4, [4]), (7, [4]), (8, [4, 4])])
def test_an_incomplete_last_batch_is_dropped_unless_it_is_the_only_one(
    size: int, expected: list[int]
) -> None:
    order = EpochOrder(size, 4, drop_last=True)
    assert [len(batch) for batch in epoch_of(order, 0)] == expected
    assert len(order) == len(expected)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("size", [1, 2, 5, 12, 13, 23])
def test_processes_get_equal_batches_and_together_every_sample(
    size: int, world_size: int, drop_last: bool
) -> None:
    orders = [
        EpochOrder(size, 3, drop_last=drop_last, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    batches = [epoch_of(order, 1) for order in orders]
    shapes = {tuple(len(batch) for batch in own) for own in batches}
    assert len(shapes) == 1
    assert min(shapes.pop()) >= 1
    assert {len(order) for order in orders} == {len(batches[0])}
    seen = [index for own in batches for batch in own for index in batch]
    if not drop_last:
        assert set(seen) == set(range(size))
        # Padded to equal shares, not more.
        assert len(seen) == -(-size // world_size) * world_size


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 7, 12])
def test_padding_of_validation_does_not_count(size: int, world_size: int) -> None:
    orders = [
        EpochOrder(size, 3, shuffle=False, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    counted = [
        request.index for order in orders for batch in order.batches(0) for request in batch if request.counts
    ]
    assert sorted(counted) == list(range(size))
    trained = [EpochOrder(size, 3, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert all(request.counts for order in trained for batch in order.batches(0) for request in batch)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_loader_gives_the_remaining_batches(num_workers: int) -> None:
    order = EpochOrder(11, 3, seed=1)
    whole = loader(order)
    straight = [pixels(batch) for _ in range(3) for batch in whole]
    resumed = loader(order, num_workers)
    resumed.epoch, resumed.done = 1, 2
    rest = [pixels(batch) for _ in range(2) for batch in resumed]
    assert len(rest) == 2 + 4
    for expected, found in zip(straight[4 + 2 :], rest, strict=True):
        assert torch.equal(expected, found)


def test_a_loader_resumed_after_its_last_batch_continues_with_the_next_epoch() -> None:
    order = EpochOrder(4, 2)
    resumed = loader(order)
    resumed.done = 2
    assert list(resumed) == []
    assert indices(list(resumed)) == epoch_of(order, 1)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("take", [1, 3, 4])
def test_an_abandoned_iteration_is_followed_by_the_next_epoch(take: int, num_workers: int) -> None:
    # A trainer that knows the number of batches never exhausts the iterator.
    order = EpochOrder(11, 3)
    stopped = loader(order, num_workers)
    for epoch in range(3):
        batches = iter(stopped)
        assert indices([next(batches) for _ in range(take)]) == epoch_of(order, epoch)[:take]


def test_length_is_that_of_a_whole_epoch() -> None:
    resumed = loader(EpochOrder(11, 3))
    resumed.done = 2
    assert len(resumed) == 4


class Broken(Numbers):
    """A dataset with a photo that cannot be read."""

    def __getitem__(self, request: SampleRequest) -> EncodedSample:
        if request.index == 5:
            raise ImageError("/photos/5.jpg is a JPEG file that is cut short: copy it again")
        return super().__getitem__(request)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_photo_that_cannot_be_read_is_named_in_one_line(num_workers: int) -> None:
    stack = functools.partial(collate, bos_id=1, eos_id=2, pad_id=0)
    broken = ResumableLoader(Broken(), EpochOrder(8, 2), collate=stack, num_workers=num_workers)
    with pytest.raises(ImageError) as caught:
        list(broken)
    assert str(caught.value) == "/photos/5.jpg is a JPEG file that is cut short: copy it again"
