"""Reader that `Flickr8k` and `Flickr30k` share: a caption file, a folder of photos and a list for each split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from captioner.data.integrity.faults import Faults, OnBad
from captioner.data.readers.caption_rows import PhotoLocation, build_samples, group_by_photo
from captioner.data.readers.file_dataset import FileDataset
from captioner.data.readers.flickr_captions import flickr_rows
from captioner.data.readers.photo_folder import existing_folder, first_existing
from captioner.data.readers.splits import check_split, check_split_by, read_names, split_members

SplitBy = Literal["lists", "hash", "content"]


class FlickrDataset(FileDataset):
    """One split of a Flickr data set.

    Args:
        root: The root folder.
        split: "train", "val" or "test"; "dev" is "val".
        dataset: The data set's name, for messages.
        caption_files: Candidates for the caption file, relative to `root`; the first that exists is read.
        photo_folders: Candidates for the folder of photos, likewise.
        split_lists: Gives the candidates for the list of a split's photos, relative to `root` or absolute, from the
            split and the caption file.
        suffix: What is appended to listed names that have no suffix.
        split_by: "lists" reads the list; otherwise 80 % train, 10 % val, 10 % test by "hash" of the name or by
            "content" of the photo, near-identical photos together.
        lists_remedy: What to do where the list is missing, for messages.
        on_bad: "stop" at a malformed line, or "skip" it.
        allow_outside: Whether files outside `root` may be read.

    Attributes:
        root: The root folder.
        report: What was found and what was left out.

    Raises:
        UsageError: `split`, `split_by` or `on_bad` is not known.
        DataError: A file or folder is missing or malformed, or no photo of the split exists with captions.
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        dataset: str,
        caption_files: Sequence[Path | str],
        photo_folders: Sequence[Path | str],
        split_lists: Callable[[str, Path], Sequence[Path | str]],
        suffix: str,
        split_by: SplitBy,
        lists_remedy: str,
        on_bad: OnBad,
        allow_outside: bool,
    ) -> None:
        split = check_split(split, dataset)
        check_split_by(split_by, get_args(SplitBy))
        faults = Faults(on_bad)
        self.root = existing_folder(root, f"root of {dataset}")
        home = None if allow_outside else self.root
        caption_file = first_existing(
            [self.root / name for name in caption_files],
            what=f"captions of {dataset}",
            remedy="name it by captions",
            home=home,
        )
        photos = first_existing(
            [self.root / name for name in photo_folders],
            what=f"images of {dataset}",
            remedy="name it by images",
            home=home,
        )
        photos = existing_folder(photos, f"photos of {dataset}")
        captioned = group_by_photo(flickr_rows(caption_file, faults), faults, allow_outside=allow_outside)
        if split_by == "lists":
            list_file = first_existing(
                [self.root / name for name in split_lists(split, caption_file)],
                what=f"list of {dataset}'s {split} photos",
                remedy=f"{lists_remedy} split_by=hash or split_by=content",
                home=home,
            )
            source = str(list_file)
            listed = read_names(list_file, faults, allow_outside=allow_outside)
            names = [name if PurePosixPath(name).suffix else name + suffix for name in listed]
        else:
            source = f"the {split} share of {caption_file}"
            names = split_members(list(captioned.texts), split, by=split_by, photos=photos)
        samples, report = build_samples(
            names,
            captioned,
            PhotoLocation(self.root, photos, allow_outside),
            faults,
            file=caption_file,
            source=source,
            noun="photos",
            remedy="set images to the folder that does",
        )
        super().__init__(samples, report)
