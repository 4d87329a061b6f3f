"""The embedded data set `Scenes`: captions, pixels and the scenes behind them, by index."""

from __future__ import annotations

import numpy as np

from captioner.data.annotations.token_regions import CaptionWithBoxes
from captioner.data.samples import CaptionSample
from captioner.data.scenes.language import Reference, describe
from captioner.data.scenes.render import render
from captioner.data.scenes.world import SPLITS, Scene, sample_scene
from captioner.errors import UsageError, did_you_mean
from captioner.image.decode import Photo

_DEFAULT_SIZE = {"train": 8000, "val": 500, "test": 1000}
_MIN_IMAGE_SIZE = 32


class Scenes:
    """One split of the procedural dataset, a `CaptionDataset`.

    Sample i depends on `seed`, `split` and i alone. Nothing is stored, so worker processes share no state.

    Args:
        split: "train", "val" or "test".
        size: Number of images; 8000, 500 and 1000 by default. A larger size extends a smaller one.
        image_size: Height and width in pixels, at least 32. The scenes do not depend on it.
        seed: Seed of the data set, from 0. Splits of different seeds share no scene either.

    Raises:
        UsageError: An argument is not one of the values above.
    """

    def __init__(self, split: str, *, size: int | None = None, image_size: int = 96, seed: int = 0) -> None:
        if split not in SPLITS:
            raise UsageError(
                f"scenes: split is {split!r}; choose one of {', '.join(SPLITS)}{did_you_mean(split, SPLITS)}"
            )
        self.split = split
        self.size = _whole("size", _DEFAULT_SIZE[split] if size is None else size, minimum=1)
        self.image_size = _whole("image_size", image_size, minimum=_MIN_IMAGE_SIZE)
        self.seed = _whole("seed", seed, minimum=0)

    def __len__(self) -> int:
        """The number of images."""
        return self.size

    def __getitem__(self, index: int) -> CaptionSample:
        """The sample at `index`, with five references. Raises IndexError outside `[0, len)`."""
        captions = tuple(reference.text for reference in self.references(index))
        return CaptionSample(f"scenes-{self.split}-{self.seed}-{index:06d}", captions, None)

    def photo(self, index: int, *, min_size: tuple[int, int] | None = None) -> Photo:
        """The rendered picture at `index`. Raises IndexError outside `[0, len)`."""
        side = self.image_size
        return Photo(pixels=render(self.scene(index)), size=(side, side), orientation=1, path=None)

    def scene(self, index: int) -> Scene:
        """The scene of picture `index`. Raises IndexError outside `[0, len)`."""
        if not 0 <= index < self.size:
            raise IndexError(f"scenes: index {index} is outside 0–{self.size - 1} of split {self.split}")
        return sample_scene(self.split, index, image_size=self.image_size, seed=self.seed)

    def references(self, index: int) -> tuple[Reference, ...]:
        """The five references at `index`, with the objects that their nouns name. Raises IndexError as `scene`."""
        return self._describe(self.scene(index), index)

    def _describe(self, scene: Scene, index: int) -> tuple[Reference, ...]:
        return describe(scene, np.random.default_rng((self.seed, SPLITS.index(self.split), index, 2)))

    def captions_with_boxes(self, index: int) -> tuple[CaptionWithBoxes, ...]:
        """The five references at `index` with the boxes of the objects that their nouns name.

        Raises IndexError as `scene`.
        """
        scene, side = self.scene(index), self.image_size
        boxes = scene.boxes
        return tuple(
            CaptionWithBoxes(
                reference.text,
                {m.word_index: tuple(boxes[k] for k in m.objects) for m in reference.mentions},
                (side, side),
            )
            for reference in self._describe(scene, index)
        )


def _whole(name: str, value: int, *, minimum: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise UsageError(f"scenes: {name} is {value!r}; give a whole number of at least {minimum}")
    return value
