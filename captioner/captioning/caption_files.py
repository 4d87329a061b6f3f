"""Output files of captioned photos: captions.jsonl, errors.jsonl, overlays and the page."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from captioner.caption import Caption
from captioner.captioning.records import CaptionRecord, CaptionResult
from captioner.files import json_text, output_folder
from captioner.image.find import NOT_PHOTOS
from captioner.overlay.colour import Scale
from captioner.overlay.entries import PageEntry
from captioner.overlay.files import write_files
from captioner.overlay.page import PageWriter


class CaptionFiles:
    """Writes the results of captioning into a folder as they come; a context manager.

    The page appears when all results are written; errors.jsonl is there only if a photo could not be read.

    Args:
        folder: Where captions.jsonl, errors.jsonl and index.html go, and the pictures below overlays/.
        kinds: The overlays of each photo, among `overlay.files.KINDS`; "html" is the page of all photos.
        scale: What the lightest colour of an overlay stands for.
    """

    def __init__(self, folder: Path, *, kinds: Sequence[str], scale: Scale = "caption") -> None:
        self.folder = folder
        self.scale = scale
        self.kinds = [kind for kind in kinds if kind != "html"]
        self._page = (
            PageWriter(folder / "index.html", title="Captions", scale=scale) if "html" in kinds else None
        )
        self._files = ExitStack()

    def __enter__(self) -> Self:
        if self.kinds:
            # A second run does not caption our own pictures.
            (output_folder(self.folder / "overlays") / NOT_PHOTOS).touch()
        self._captions = self._files.enter_context(
            open(self.folder / "captions.jsonl", "w", encoding="utf-8")
        )
        if self._page:
            self._files.enter_context(self._page)
        (self.folder / "errors.jsonl").unlink(missing_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._files.__exit__(kind, error, traceback)

    def add(self, path: Path, result: CaptionResult) -> None:
        """Write the result of one photo.

        Args:
            path: The photo's file.
            result: Its caption, or why it cannot be read.
        """
        if result.error is not None:
            with open(self.folder / "errors.jsonl", "a", encoding="utf-8") as errors:
                errors.write(json_text({"image": str(path), "error": str(result.error)}) + "\n")
            return
        assert result.caption is not None
        assert result.photo is not None
        caption = result.caption
        words = [
            {"word": word.text, "logprob": word.logprob, "visual_mass": word.visual_mass}
            for word in caption.words
        ]
        self._captions.write(json_text({**caption_fields(str(path), caption), "words": words}) + "\n")
        if self.kinds:
            # Photos of several folders may share a name: the number keeps them apart and in order.
            stem = f"{result.index + 1:05d}-{path.stem}"
            write_files(
                self.folder / "overlays",
                stem,
                result.photo.pixels,
                caption,
                kinds=self.kinds,
                scale=self.scale,
                name=str(path),
            )
        if self._page:
            self._page.add(PageEntry(result.photo.pixels, caption, str(path)))


def caption_fields(image: str, caption: Caption | CaptionRecord) -> dict[str, Any]:
    """A caption as a line of JSON holds it, without its words.

    Args:
        image: The name of its photo.
        caption: The caption.
    """
    return {
        "image": image,
        "caption": caption.text,
        "score": caption.score,
        "logprob": caption.logprob,
        "others": [{"caption": other.text, "score": other.logprob} for other in caption.others],
    }
