"""Samples of a data set: `CaptionSample`, and the `CaptionDataset` protocol that every reader meets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from captioner.image.decode import Photo


@dataclass(frozen=True, slots=True)
class CaptionSample:
    """One image and its reference captions, without the pixels.

    Attributes:
        id: Unique within the dataset, stable over runs; by default the file name.
        captions: The reference captions as written. May be empty.
        path: The image file, or None where the photo has no file of its own.
    """

    id: str
    captions: tuple[str, ...]
    path: Path | None


class CaptionDataset(Protocol):
    """Image–caption pairs with random access. Both calls are safe in worker processes."""

    def __len__(self) -> int:
        """The number of images."""
        ...

    def __getitem__(self, index: int) -> CaptionSample:
        """The sample at `index`; cheap, no image is opened. Raises IndexError outside `[0, len)`."""
        ...

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        """The decoded, upright photo at `index`.

        Args:
            index: Index in the dataset.
            min_size: (rows, cols). A large JPEG may be decoded at a reduced scale, but to no fewer pixels than these.

        Raises:
            ImageError: Names the file.
        """
        ...


class Subset:
    """A subset of a dataset.

    Args:
        dataset: The dataset.
        indices: Indices into it, in the order of the subset.
    """

    def __init__(self, dataset: CaptionDataset, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> CaptionSample:
        return self.dataset[self.indices[index]]

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        """As in the dataset."""
        return self.dataset.photo(self.indices[index], min_size=min_size)

    @property
    def report(self) -> object:
        """The dataset's report, if it has one."""
        return getattr(self.dataset, "report", None)


def repeated_ids(ids: Iterable[str]) -> dict[str, list[int]]:
    """The positions of each id that occurs more than once."""
    first: dict[str, int] = {}
    repeated: dict[str, list[int]] = {}
    for position, sample_id in enumerate(ids):
        if first.setdefault(sample_id, position) != position:
            repeated.setdefault(sample_id, [first[sample_id]]).append(position)
    return repeated


def sample_at(samples: Sequence[CaptionSample], index: int) -> CaptionSample:
    """The sample at `index`.

    Raises:
        IndexError: It is out of range; negative indices do not count from the end.
    """
    if not 0 <= index < len(samples):
        raise IndexError(f"index {index} is outside the {len(samples)} images")
    return samples[index]
