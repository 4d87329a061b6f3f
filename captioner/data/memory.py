"""How are pictures that are made in code made only once? Any dataset, with its pixels kept in memory."""

from __future__ import annotations

from captioner.data.samples import CaptionDataset, CaptionSample
from captioner.image.decode import Photo


class InMemory:
    """A dataset whose photos are decoded (or drawn) once and then kept, as uint8.

    Args:
        dataset: Where the photos come from.
    """

    def __init__(self, dataset: CaptionDataset) -> None:
        self.dataset = dataset
        self._photos: dict[int, Photo] = {}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> CaptionSample:
        return self.dataset[index]

    def photo(self, index: int) -> Photo:
        """The photo at `index`, from memory after the first time."""
        if index not in self._photos:
            self._photos[index] = self.dataset.photo(index)
        return self._photos[index]
