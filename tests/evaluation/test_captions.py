from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from captioner.evaluation.captions import Record, in_order, share
from captioner.evaluation.distributed import ProcessGroup


@given(size=st.integers(0, 60), batch_size=st.integers(1, 9), members=st.integers(1, 7))
def test_every_batch_of_one_process_goes_to_exactly_one_of_several(
    size: int, batch_size: int, members: int
) -> None:
    alone = share(size, batch_size, ProcessGroup())
    assert [index for batch in alone for index in batch] == list(range(size))
    shares = [share(size, batch_size, ProcessGroup(rank, members)) for rank in range(members)]
    assert sorted((batch for part in shares for batch in part), key=lambda batch: batch.start) == alone


def test_records_of_several_processes_hold_each_image_once_in_order() -> None:
    """A sampler that makes all shares equally long would caption some images twice."""
    first = Record(0, "a", "a dog", -1.0, {})
    records = [replace(first, index=index, image=name) for index, name in enumerate("abcde")]
    parts = [[records[4], records[1]], [], [records[0], records[3], records[2], records[1]]]
    assert in_order(parts) == records


def test_images_of_one_id_stay_apart() -> None:
    first, second = (Record(index, "000", "a dog", -1.0, {}) for index in range(2))
    assert in_order([[second], [first]]) == [first, second]
