from __future__ import annotations

from captioner.data.memory import InMemory
from captioner.data.samples import CaptionSample
from captioner.data.scenes.dataset import Scenes
from captioner.image.decode import Photo


class Counting(Scenes):
    """Counts how often a picture is drawn."""

    drawn = 0

    def photo(self, index: int) -> Photo:
        self.drawn += 1
        return super().photo(index)


def test_each_picture_is_drawn_once_and_stays_the_same() -> None:
    plain = Counting("val", size=3, image_size=32)
    kept = InMemory(plain)
    expected = Scenes("val", size=3, image_size=32)
    for _ in range(3):
        assert (kept.photo(2).pixels == expected.photo(2).pixels).all()
    assert plain.drawn == 1
    assert len(kept) == 3
    sample: CaptionSample = kept[1]
    assert sample == expected[1]
