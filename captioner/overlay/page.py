"""Self-contained HTML page with the words and maps of one photo or many, to explore.

The page makes no network requests, and its content security policy forbids them. Maps are stored as bytes and coloured
in the browser. Entries are written one by one, so that memory does not grow with their number.
"""

from __future__ import annotations

import base64
import hashlib
import html
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from captioner.errors import UsageError
from captioner.overlay.colour import Scale
from captioner.overlay.entries import PageEntry, entry_data, jpeg_uri
from captioner.overlay.page_maps import merge_choices
from captioner.overlay.viewer.assets import asset, script, script_json, viewer_settings


class PageWriter:
    """Writes a page entry by entry; a context manager. The page appears under its name only when it is complete.

    Args:
        path: The HTML file.
        title: Heading of the page.
        scale: Initial scale, as in `upper_end`; the reader can change it.

    Attributes:
        count: The number of photos written so far.

    Raises:
        UsageError: If the file cannot be written.
    """

    def __init__(self, path: Path, *, title: str, scale: Scale = "caption") -> None:
        self.path = path
        self.scale = scale
        self.count = 0
        self._values = _values(title)
        self._head, self._tail = asset("page.html").split("{{entries}}")
        self._unfinished = path.with_name(f".{path.name}.unfinished")
        self._choices: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        with self._naming_the_page():
            # Names from disk may hold bytes that are not text; they become question marks.
            self._file = self._unfinished.open("w", encoding="utf-8", errors="replace", newline="\n")
            self._file.write(_fill(self._head, self._values))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with self._naming_the_page(), self._file:
                if kind is None:
                    settings = script_json(viewer_settings(self.scale, list(self._choices.values())))
                    self._file.write(_fill(self._tail, self._values | {"settings": settings}))
            if kind is None:
                with self._naming_the_page():
                    os.replace(self._unfinished, self.path)
        finally:
            self._unfinished.unlink(missing_ok=True)

    def add(self, entry: PageEntry) -> None:
        """Write the entry of one photo."""
        self.count += 1
        data = entry_data(entry)
        merge_choices(self._choices, data["methods"])
        section = _section(entry, data, self.count)
        with self._naming_the_page():
            self._file.write(section)

    @contextmanager
    def _naming_the_page(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(f"cannot write the page {self.path}: {error.strerror}") from error


def write_page(path: Path, entries: Iterable[PageEntry], *, title: str, scale: Scale = "caption") -> int:
    """Write all entries of a page by `PageWriter`, taken one at a time.

    Returns:
        The number of photos written.
    """
    with PageWriter(path, title=title, scale=scale) as page:
        for entry in entries:
            page.add(entry)
    return page.count


def _values(title: str) -> dict[str, str]:
    """Values of the page's placeholders, except its entries and the settings, which depend on these."""
    style = asset("viewer.css")
    code = script()
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(code)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return {"policy": policy, "title": html.escape(title), "style": style, "script": code}


def _fill(template: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def _section(entry: PageEntry, data: Mapping[str, object], number: int) -> str:
    uri, width, height = jpeg_uri(entry.photo)
    text, name = html.escape(entry.caption.text), html.escape(entry.name)
    image = (
        f'<img width="{width}" height="{height}" decoding="async" loading="lazy" alt="{text}" src="{uri}">'
    )
    return f"""<section class="entry" aria-labelledby="photo-{number}">
<h2 id="photo-{number}">{name}</h2>
<div class="stage">{image}</div>
<p class="sentence" dir="auto">{text}</p>
<script type="application/json">{script_json(data)}</script>
</section>
"""


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
