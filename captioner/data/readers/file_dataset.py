"""Base class of data sets whose photos are files."""

from __future__ import annotations

from captioner.data.integrity.reading_report import ReadingReport
from captioner.data.samples import CaptionSample, sample_at
from captioner.image.decode import Photo, read_photo


class FileDataset:
    """Samples whose photos are files: a `CaptionDataset` with a report.

    Args:
        samples: The samples; each has a path.
        report: What was found and what was left out.

    Attributes:
        report: As given.
    """

    def __init__(self, samples: tuple[CaptionSample, ...], report: ReadingReport) -> None:
        self._samples = samples
        self.report = report

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> CaptionSample:
        return sample_at(self._samples, index)

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        """The decoded, upright photo at `index`. Raises `ImageError` naming the file."""
        path = self[index].path
        assert path is not None
        return read_photo(path, min_size=min_size)
