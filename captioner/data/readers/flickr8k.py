"""Reader of Flickr8k in the authors' layout or as the CSV on Kaggle (Hodosh et al. 2013)."""

from __future__ import annotations

from pathlib import Path

from captioner.data.integrity.faults import OnBad
from captioner.data.readers.flickr import FlickrDataset, SplitBy
from captioner.errors import UsageError

_SPLIT_LISTS = {
    "train": "Flickr_8k.trainImages.txt",
    "val": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
_CAPTION_FILES = ("Flickr8k.token.txt", "captions.txt")
_TEXT_FOLDERS = ("", "Flickr8k_text")
# "Flicker" is how the authors spell it.
_IMAGE_FOLDERS = ("images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset")


class Flickr8k(FlickrDataset):
    """One split of Flickr8k, in the order of its split list; five captions a photo.

    The captions are a token file, lines of `name.jpg#k<TAB>caption`, or a CSV that begins with the line
    `image,caption`. Captions whose photo is missing and listed photos that are missing are left out and
    counted.

    Args:
        root: The root folder.
        split: `"train"`, `"val"` or `"test"`; `"dev"` is `"val"`.
        captions: The caption file, relative to `root`. By default `Flickr8k.token.txt` or `captions.txt`, in
            `root` or its sub-folder `Flickr8k_text`.
        images: The folder of photos, relative to `root`. By default `images`, `Images`, `Flicker8k_Dataset`
            or `Flickr8k_Dataset`.
        split_file: The list of this split's photos, one name a line, relative to `root`. By default the
            official one, such as `Flickr_8k.trainImages.txt`, in `root`, `Flickr8k_text` or beside the
            captions.
        split_by: `"lists"`, or for the CSV that comes without lists 80 % train, 10 % val, 10 % test by `"hash"` of
            the name or by `"content"`, near-identical photos together; the same on every machine. It is not the
            official split: no score on it compares with a published one.
        on_bad: `"stop"` at a malformed line, or `"skip"` it.
        allow_outside: Whether files outside `root` may be read.

    Attributes:
        report: What was found and what was left out.

    Raises:
        UsageError: `split`, `split_by` or `on_bad` is not known, or a list is given together with another `split_by`.
        DataError: A file or folder is missing or malformed, or no photo of the split exists with captions.
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        captions: str | None = None,
        images: str | None = None,
        split_file: str | None = None,
        split_by: SplitBy = "lists",
        on_bad: OnBad = "stop",
        allow_outside: bool = False,
    ) -> None:
        if split_by in ("hash", "content") and split_file is not None:
            raise UsageError(f"split_by={split_by} takes no split_file={split_file}; leave one of them out")

        def split_lists(split: str, caption_file: Path) -> list[Path]:
            name = _SPLIT_LISTS[split] if split_file is None else split_file
            return [Path(folder, name) for folder in (*_TEXT_FOLDERS, caption_file.parent.absolute())]

        super().__init__(
            root,
            split,
            dataset="Flickr8k",
            caption_files=[
                Path(folder, name)
                for name in (_CAPTION_FILES if captions is None else [captions])
                for folder in _TEXT_FOLDERS
            ],
            photo_folders=_IMAGE_FOLDERS if images is None else [images],
            split_lists=split_lists,
            suffix="",
            split_by=split_by,
            lists_remedy="name it by split_file, or without lists set",
            on_bad=on_bad,
            allow_outside=allow_outside,
        )
