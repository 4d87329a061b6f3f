"""What does every reader give? `CaptionSample`, the `CaptionDataset` protocol, and how a reader of files answers it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from captioner.image.decode import Photo, read_photo


@dataclass(frozen=True, slots=True)
class CaptionSample:
    """One image and its reference captions, without the pixels.

    Attributes:
        id: Unique within the dataset, stable over runs; by default the file name.
        captions: The reference captions as written. May be empty where only photos are known.
        path: The image file, or None where the pixels are made in code.
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
            index: Place in the dataset.
            min_size: (rows, cols). A large JPEG may be decoded at a reduced scale, but to no fewer pixels than these.

        Raises:
            ImageError: Names the file.
        """
        ...


class ChosenSamples:
    """Some samples of a dataset, in their order.

    Args:
        dataset: Gives them.
        indices: Their places in it.
    """

    def __init__(self, dataset: CaptionDataset, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> CaptionSample:
        return self.dataset[self.indices[index]]

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        """As of the dataset."""
        return self.dataset.photo(self.indices[index], min_size=min_size)

    @property
    def report(self) -> object:
        """The report of the dataset, if it keeps one."""
        return getattr(self.dataset, "report", None)


def repeated_ids(ids: Iterable[str]) -> dict[str, list[int]]:
    """The places of each id that is there more than once."""
    first: dict[str, int] = {}
    places: dict[str, list[int]] = {}
    for place, own in enumerate(ids):
        if first.setdefault(own, place) != place:
            places.setdefault(own, [first[own]]).append(place)
    return places


def sample_at(samples: Sequence[CaptionSample], index: int) -> CaptionSample:
    """The sample at `index`.

    Raises:
        IndexError: There is none; negative ones do not count from the end.
    """
    if not 0 <= index < len(samples):
        raise IndexError(f"index {index} is outside the {len(samples)} images")
    return samples[index]


def photo_of(sample: CaptionSample, min_size: tuple[int, int] | None) -> Photo:
    """The decoded, upright photo of a sample that has a file; arguments as in `CaptionDataset.photo`.

    Raises:
        ImageError: Names the file.
    """
    assert sample.path is not None
    return read_photo(sample.path, min_size=min_size)
