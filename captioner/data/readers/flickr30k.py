"""Reader of Flickr30k in the authors' layout or as the CSV on Kaggle (Young et al. 2014)."""

from __future__ import annotations

from pathlib import Path

from captioner.data.annotations.flickr30k_entities import Flickr30kEntities
from captioner.data.annotations.token_regions import CaptionWithBoxes
from captioner.data.integrity.faults import OnBad
from captioner.data.readers.flickr import FlickrDataset, SplitBy
from captioner.data.readers.photo_folder import check_inside
from captioner.errors import UsageError

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
_ENTITIES_FOLDERS = ("", "flickr30k_entities")


class Flickr30k(FlickrDataset):
    """One split of Flickr30k; five captions a photo.

    The captions are the authors' token file, Kaggle's `results.csv` with its columns between bars, or a CSV that begins
    with the line `image,caption`. The authors give no splits. Papers use Karpathy's, in `dataset_flickr30k.json` (read
    by `Karpathy`), or the lists of Flickr30k Entities, such as `train.txt`.

    Args:
        root: The root folder.
        split: "train", "val" or "test".
        captions: The caption file, relative to `root`; None for the usual ones.
        images: The folder of photos, relative to `root`; None for the usual ones.
        entities: The folder of Flickr30k Entities, with `Annotations` and `Sentences`, relative to `root`; None for
            `root` itself or `flickr30k_entities` in it. Only `captions_with_boxes` needs it.
        split_by: "lists": `train.txt`, `val.txt` and `test.txt` in `root`, a name a line, with or without `.jpg`;
            or 80 % train, 10 % val, 10 % test by "hash" of the name or by "content", near-identical photos together.
        on_bad: "stop" at a malformed line, or "skip" it.
        allow_outside: Whether files outside `root` may be read.

    Attributes:
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
        captions: str | None = None,
        images: str | None = None,
        entities: str | None = None,
        split_by: SplitBy = "lists",
        on_bad: OnBad = "stop",
        allow_outside: bool = False,
    ) -> None:
        super().__init__(
            root,
            split,
            dataset="Flickr30k",
            caption_files=_CAPTION_FILES if captions is None else [captions],
            photo_folders=_IMAGE_FOLDERS if images is None else [images],
            split_lists=lambda split, _: [f"{split}.txt", f"flickr30k_entities/{split}.txt"],
            suffix=".jpg",
            split_by=split_by,
            lists_remedy="take the lists of Flickr30k Entities, data=karpathy with dataset_flickr30k.json, or",
            on_bad=on_bad,
            allow_outside=allow_outside,
        )
        self._entities_folders = [
            self.root / name for name in (_ENTITIES_FOLDERS if entities is None else [entities])
        ]
        self._home = None if allow_outside else self.root
        self._entities: Flickr30kEntities | None = None

    def captions_with_boxes(self, index: int) -> tuple[CaptionWithBoxes, ...]:
        """The captions at `index` with the boxes of what their phrases name.

        Raises:
            UsageError: Flickr30k Entities is missing.
            DataError: Its files of this photo are malformed.
        """
        if self._entities is None:
            folder = next(
                (place for place in self._entities_folders if (place / "Annotations").is_dir()), None
            )
            if folder is None:
                raise UsageError(
                    "objective.attention_supervision needs the boxes of Flickr30k Entities (looked for Annotations "
                    f"in {', '.join(map(str, self._entities_folders))}); name their folder by data.entities, or set "
                    "objective.attention_supervision=0"
                )
            self._entities = Flickr30kEntities(
                check_inside(folder, "boxes of Flickr30k Entities", self._home)
            )
        return self._entities.captions_with_boxes(self[index].id)
