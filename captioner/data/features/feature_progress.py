"""How far is the writing of features? A bar on a terminal, two lines in a file."""

from __future__ import annotations

import sys
import time

from captioner.data.features.feature_cache import StoredFeatures

_WIDTH = 24
_REFRESH = 0.5  # seconds


class WritingProgress:
    """Counts what this process writes, and shows how much of the cache is there.

    Args:
        stored: What is written.
        show: Show anything at all.
    """

    def __init__(self, stored: StoredFeatures, *, show: bool) -> None:
        self.stored = stored
        self.show = show
        self._live = show and sys.stderr.isatty()
        self._start = time.monotonic()
        self._shown = 0.0
        self._views = 0
        self._lost = 0.0
        self._unfinished = 0
        self._at_start = self._complete()
        if show:
            size = len(stored.dataset) * stored.views * stored.row.itemsize
            views = f" x {stored.views} views" if stored.views > 1 else ""
            print(
                f"features of {len(stored.dataset):,} images{views}, {file_size(size)}, go to {stored.folder}",
                file=sys.stderr,
                flush=True,
            )

    def add(self, lost: float) -> None:
        """Count one view; `lost` is its rounding error relative to the features."""
        self._views += 1
        self._unfinished += 1
        self._lost += lost

    def shard(self) -> None:
        """Count the shard that was filled by the views so far as complete."""
        self._unfinished = 0

    def draw(self) -> None:
        """Show the bar, if it is time."""
        now = time.monotonic()
        if not self._live or now - self._shown < _REFRESH:
            return
        self._shown = now
        total = len(self.stored.dataset) * self.stored.views
        done = self._complete() + self._unfinished
        full = round(done / total * _WIDTH)
        bar = "━" * full + "─" * (_WIDTH - full)
        speed = (done - self._at_start) / (now - self._start)  # of all who write
        left = f" · {_clock((total - done) / speed)} left" if speed > 0 else ""
        print(f"\r\x1b[2Kfeatures {bar} {speed:.0f} views/s{left}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave one line behind."""
        if not self.show:
            return
        seconds = time.monotonic() - self._start
        lost = f", {self._lost / self._views:.2%} rounding error" if self._views else ""
        start = "\r\x1b[2K" if self._live else ""
        print(
            f"{start}features complete after {_clock(seconds)}{lost}",
            file=sys.stderr,
            flush=True,
        )

    def _complete(self) -> int:
        """Views in shards that are complete, whoever wrote them."""
        missing = sum(len(self.stored.images_of(shard)) for shard in self.stored.missing())
        return (len(self.stored.dataset) - missing) * self.stored.views


def file_size(count: float) -> str:
    """Bytes for people."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if count >= unit / 10:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1e3:.0f} kB"


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
