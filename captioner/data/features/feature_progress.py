"""Progress of writing features: a bar on a terminal, two lines in a file."""

from __future__ import annotations

import sys
import time

from captioner.data.features.feature_cache import StoredFeatures

_WIDTH = 24
_REFRESH = 0.5  # seconds


class WritingProgress:
    """Counts the views that this process writes, and shows how much of the cache is complete.

    Args:
        stored: The features being written.
        show: Whether anything is shown.
    """

    def __init__(self, stored: StoredFeatures, *, show: bool) -> None:
        self.stored = stored
        self.show = show
        self._live = show and sys.stderr.isatty()
        self._start = time.monotonic()
        self._shown = 0.0
        self._views = 0
        self._error = 0.0
        self._unfinished = 0
        self._at_start = self._complete()
        if show:
            size = len(stored.dataset) * stored.views * stored.row.itemsize
            views = f" x {stored.views} views" if stored.views > 1 else ""
            print(
                f"writing features of {len(stored.dataset):,} images{views}, {file_size(size)}, to {stored.folder}",
                file=sys.stderr,
                flush=True,
            )

    def add(self, error: float) -> None:
        """Count one view; `error` is its rounding error relative to the features."""
        self._views += 1
        self._unfinished += 1
        self._error += error

    def shard_complete(self) -> None:
        """Count the shard of the views so far as complete."""
        self._unfinished = 0

    def draw(self) -> None:
        """Refresh the bar, at most every half second."""
        now = time.monotonic()
        if not self._live or now - self._shown < _REFRESH:
            return
        self._shown = now
        total = len(self.stored.dataset) * self.stored.views
        done = self._complete() + self._unfinished
        full = round(done / total * _WIDTH)
        bar = "━" * full + "─" * (_WIDTH - full)
        speed = (done - self._at_start) / (now - self._start)  # of all writing processes
        left = f" · {_clock((total - done) / speed)} left" if speed > 0 else ""
        print(f"\r\x1b[2Kfeatures {bar} {speed:.0f} views/s{left}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Print the final line."""
        if not self.show:
            return
        seconds = time.monotonic() - self._start
        error = f", {self._error / self._views:.2%} rounding error" if self._views else ""
        start = "\r\x1b[2K" if self._live else ""
        print(
            f"{start}features complete after {_clock(seconds)}{error}",
            file=sys.stderr,
            flush=True,
        )

    def _complete(self) -> int:
        """The number of views in complete shards, of all processes."""
        missing = sum(len(self.stored.images_of(shard)) for shard in self.stored.missing())
        return (len(self.stored.dataset) - missing) * self.stored.views


def file_size(count: float) -> str:
    """A number of bytes as text, such as "1.2 GB"."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if count >= unit / 10:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1e3:.0f} kB"


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
