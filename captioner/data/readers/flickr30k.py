"""How is Flickr30k read, as its authors ship it or as the CSV on Kaggle? (Young et al. 2014)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from captioner.data.annotations.flickr30k_entities import Flickr30kEntities
from captioner.data.annotations.regions import MarkedCaption
from captioner.data.integrity.faults import Faults, OnBad
from captioner.data.readers.captioned import Place, gather, samples_of
from captioner.data.readers.flickr_captions import flickr_rows
from captioner.data.readers.photo_folder import check_inside, existing_folder, first_existing
from captioner.data.readers.splits import check_split, check_split_by, members, read_names
from captioner.data.samples import CaptionSample, photo_of, sample_at
from captioner.errors import UsageError
from captioner.image.decode import Photo

SplitBy = Literal["lists", "hash", "content"]

_CAPTION_FILES = (
    "results_20130124.token",
    "flickr30k/results_20130124.token",
    "results.csv",
    "flickr30k_images/results.csv",
    "captions.txt",
)
_IMAGE_FOLDERS = (
    "flickr30k-images",
    "images",
    "Images",
    "flickr30k_images/flickr30k_images",
    "flickr30k_images",
)


class Flickr30k:
    """One split of Flickr30k; five captions a photo.

    The captions are the authors' token file, Kaggle's `results.csv` with its columns between bars, or a CSV that begins
    with the line `image,caption`. The authors give no splits. Those that papers use are Karpathy's, in
    `dataset_flickr30k.json` (read by `Karpathy`), or the lists of Flickr30k Entities, `train.txt` and the like.

    Args:
        root: The folder with everything.
        split: "train", "val" or "test".
        captions: The caption file, relative to `root`; None for the usual ones.
        images: The folder of photos, relative to `root`; None for the usual ones.
        entities: The folder of Flickr30k Entities, with `Annotations` and `Sentences`, relative to `root`; None for
            `root` itself or `flickr30k_entities` in it. Only `marked` needs it.
        split_by: "lists": `train.txt`, `val.txt` and `test.txt` in `root`, a name a line, with or without `.jpg`;
            or 80 % train, 10 % val, 10 % test by "hash" of the name or by "content", near-identical photos together.
        on_bad: "stop" at a line that is wrong, or "skip" it.
        allow_outside: Read what lies outside `root` too.

    Attributes:
        report: What was found and what was left out.

    Raises:
        UsageError: `split` or `split_by` is not known.
        DataError: A file or folder is missing or malformed, or no photo of the split is there with captions.
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        captions: str | None = None,
        images: str | None = None,
        entities: str | None = None,
        split_by: SplitBy = "lists",
        on_bad: OnBad = "stop",
        allow_outside: bool = False,
    ) -> None:
        split = check_split(split, "Flickr30k")
        check_split_by(split_by, get_args(SplitBy))
        faults = Faults(on_bad)
        base = existing_folder(root, "root of Flickr30k")
        home = None if allow_outside else base
        caption_file = first_existing(
            [base / name for name in (_CAPTION_FILES if captions is None else [captions])],
            what="captions of Flickr30k",
            remedy="name it by captions",
            home=home,
        )
        photos = first_existing(
            [base / name for name in (_IMAGE_FOLDERS if images is None else [images])],
            what="images of Flickr30k",
            remedy="name it by images",
            home=home,
        )
        self._places = [
            base / name for name in (("", "flickr30k_entities") if entities is None else (entities,))
        ]
        self._home = home
        self._entities: Flickr30kEntities | None = None
        place = Place(base, existing_folder(photos, "photos of Flickr30k"), allow_outside)
        captioned = gather(flickr_rows(caption_file, faults), faults, allow_outside=allow_outside)
        if split_by == "lists":
            list_file = first_existing(
                [base / f"{split}.txt", base / "flickr30k_entities" / f"{split}.txt"],
                what=f"the list of Flickr30k's {split} photos",
                remedy="take the lists of Flickr30k Entities, data=karpathy with dataset_flickr30k.json, "
                "or split_by=hash or split_by=content",
                home=home,
            )
            source = str(list_file)
            listed = read_names(list_file, faults, allow_outside=allow_outside)
            names = [name if PurePosixPath(name).suffix else f"{name}.jpg" for name in listed]
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

    def marked(self, index: int) -> tuple[MarkedCaption, ...]:
        """The captions at `index` with the boxes of what their phrases name.

        Raises:
            UsageError: Flickr30k Entities is not there.
            DataError: Its files of this photo are malformed.
        """
        if self._entities is None:
            found = next((place for place in self._places if (place / "Annotations").is_dir()), None)
            if found is None:
                raise UsageError(
                    "objective.attention_supervision needs the boxes of Flickr30k Entities (looked for Annotations "
                    f"in {', '.join(map(str, self._places))}); name their folder by data.entities, or set "
                    "objective.attention_supervision=0"
                )
            self._entities = Flickr30kEntities(check_inside(found, "boxes of Flickr30k Entities", self._home))
        return self._entities.marked(self[index].id)
