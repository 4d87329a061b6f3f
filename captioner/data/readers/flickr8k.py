"""How is Flickr8k read, as its authors ship it or as the CSV on Kaggle? (Hodosh et al. 2013)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from captioner.data.integrity.faults import Faults, OnBad
from captioner.data.readers.captioned import Place, gather, samples_of
from captioner.data.readers.flickr_captions import flickr_rows
from captioner.data.readers.photo_folder import existing_folder, first_existing
from captioner.data.readers.splits import check_split, check_split_by, members, read_names
from captioner.data.samples import CaptionSample, photo_of, sample_at
from captioner.errors import UsageError
from captioner.image.decode import Photo

SplitBy = Literal["lists", "hash", "content"]

_SPLIT_LISTS = {
    "train": "Flickr_8k.trainImages.txt",
    "val": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
_CAPTION_FILES = ("Flickr8k.token.txt", "captions.txt")
_TEXT_FOLDERS = ("", "Flickr8k_text")
# "Flicker" is how the authors spell it.
_IMAGE_FOLDERS = ("images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset")


class Flickr8k:
    """One split of Flickr8k, in the order of its split list; five captions a photo.

    The captions are a token file, lines of `name.jpg#k<TAB>caption`, or a CSV that begins with the line
    `image,caption`. Captions whose photo is missing and listed photos that are missing are left out and
    counted.

    Args:
        root: The folder with everything.
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
        on_bad: `"stop"` at a line that is wrong, or `"skip"` it.
        allow_outside: Read what lies outside `root` too.

    Attributes:
        report: What was found and what was left out.

    Raises:
        UsageError: `split` or `split_by` is not known, or a list is given together with another `split_by`.
        DataError: A file or folder is missing or malformed, or no photo of the split is there with captions.
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
        split = check_split(split, "Flickr8k")
        check_split_by(split_by, get_args(SplitBy))
        if split_by != "lists" and split_file is not None:
            raise UsageError(f"split_by={split_by} takes no split_file={split_file}; leave one of them out")
        faults = Faults(on_bad)
        base = existing_folder(root, "root of Flickr8k")
        home = None if allow_outside else base
        caption_file = first_existing(
            [
                base / place / name
                for name in (_CAPTION_FILES if captions is None else [captions])
                for place in _TEXT_FOLDERS
            ],
            what="captions of Flickr8k",
            remedy="name it by captions",
            home=home,
        )
        photos = first_existing(
            [base / name for name in (_IMAGE_FOLDERS if images is None else [images])],
            what="images of Flickr8k",
            remedy="name it by images",
            home=home,
        )
        place = Place(base, existing_folder(photos, "photos of Flickr8k"), allow_outside)
        captioned = gather(flickr_rows(caption_file, faults), faults, allow_outside=allow_outside)
        if split_by == "lists":
            list_file = first_existing(
                [
                    base / folder / (_SPLIT_LISTS[split] if split_file is None else split_file)
                    for folder in (*_TEXT_FOLDERS, caption_file.parent.absolute())
                ],
                what="split_file of Flickr8k",
                remedy="name it by split_file, or without lists ask for split_by=hash or split_by=content",
                home=home,
            )
            source = str(list_file)
            names = read_names(list_file, faults, allow_outside=allow_outside)
        else:
            source = f"the {split} share of {caption_file}"
            names = members(list(captioned.texts), split, by=split_by, photos=place.photos)
        self._samples, self.report = samples_of(
            names,
            captioned,
            place,
            faults,
            file=caption_file,
            source=source,
            noun="photos",
            remedy="set images to the folder that does",
        )

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> CaptionSample:
        return sample_at(self._samples, index)

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        """The decoded, upright photo at `index`. Raises `ImageError` naming the file."""
        return photo_of(self[index], min_size)
