from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from captioner.data.annotations.token_regions import TokenRegions
from captioner.data.scenes.dataset import Scenes
from captioner.errors import UsageError
from captioner.image.transforms import ImageTransform
from captioner.text.tokenizer import Tokenizer

SIDE, IMAGES = 48, 12


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return Scenes("train", size=IMAGES, image_size=SIDE)


def tokenizer(scenes: Scenes, kind: str = "word") -> Tokenizer:
    captions = [caption for i in range(IMAGES) for caption in scenes[i].captions]
    return Tokenizer.train(captions, kind=kind, vocab_size=None if kind == "word" else 300)  # type: ignore[arg-type]


def regions(
    scenes: Scenes, made: Tokenizer, *, fit: str = "crop", size: tuple[int, int] = (24, 24), **k: object
) -> TokenRegions:
    transform = ImageTransform(size, fit=fit, mean=(0.5,) * 3, std=(0.5,) * 3)  # type: ignore[arg-type]
    return TokenRegions(scenes, tokenizer=made, transform=transform, grid=(6, 6), cells=k.get("cells"))  # type: ignore[arg-type]


def targets(scenes: Scenes, made: Tokenizer, index: int, limit: int = 99) -> Tensor:
    """All captions of one image, cut to `limit` tokens, as a batch of one."""
    ids = [[*caption[:limit], made.eos_id] for caption in made.encode_batch(scenes[index].captions)]
    longest = max(map(len, ids)) + 2
    return torch.tensor([[[*row, *[made.pad_id] * (longest - len(row))] for row in ids]])


def covered_shares(scenes: Scenes, index: int, objects: tuple[int, ...]) -> Tensor:
    """Share of each of 6 x 6 cells that the objects' boxes cover, pixel by pixel."""
    mask = np.zeros((SIDE, SIDE))
    for k in objects:
        top, left, bottom, right = scenes.scene(index).boxes[k]
        mask[top:bottom, left:right] = 1
    return torch.from_numpy(mask.reshape(6, 8, 6, 8).mean(axis=(1, 3)).astype(np.float32)).flatten()


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_nouns_have_the_cells_of_their_objects_and_other_tokens_none(scenes: Scenes, kind: str) -> None:
    made = tokenizer(scenes, kind)
    find = regions(scenes, made)
    for index in range(IMAGES):
        target = targets(scenes, made, index)
        found = find(torch.tensor([index]), target)
        assert found.shape == (*target.shape, 36)
        for c, reference in enumerate(scenes.references(index)):
            expected = torch.zeros(target.shape[2], 36)
            spans = made.words(target[0, c].tolist())
            for mention in reference.mentions:
                span = spans[mention.word_index]
                assert span.text == mention.noun
                expected[span.start : span.end] = covered_shares(scenes, index, mention.objects)
            torch.testing.assert_close(found[0, c], expected)
            assert expected.any()


def test_each_image_of_a_batch_has_its_own(scenes: Scenes) -> None:
    made = tokenizer(scenes)
    find = regions(scenes, made)
    few = [targets(scenes, made, i)[:, :2, :9] for i in (3, 5)]
    together = find(torch.tensor([3, 5]), torch.cat(few))
    for b, index in enumerate((3, 5)):
        torch.testing.assert_close(together[b : b + 1], find(torch.tensor([index]), few[b]))


def test_a_truncated_caption_keeps_its_regions(scenes: Scenes) -> None:
    made = tokenizer(scenes)
    find = regions(scenes, made)
    whole = find(torch.tensor([0]), targets(scenes, made, 0))
    cut = find(torch.tensor([0]), targets(scenes, made, 0, limit=4))
    torch.testing.assert_close(cut[:, :, :4], whole[:, :, :4])
    assert not cut[:, :, 4:].any()


def test_unknown_captions_and_padding_have_no_regions(scenes: Scenes) -> None:
    made = tokenizer(scenes)
    find = regions(scenes, made)
    others = targets(scenes, made, 1)
    assert not find(torch.tensor([0]), others).any() or set(scenes[0].captions) & set(scenes[1].captions)
    assert not find(torch.tensor([0]), torch.full((1, 3, 7), made.pad_id)).any()


def test_regions_follow_crop_padding_and_cells(scenes: Scenes) -> None:
    made = tokenizer(scenes)
    index = torch.tensor([0])
    target = targets(scenes, made, 0)
    plain = regions(scenes, made)(index, target).view(-1, 6, 6)
    # With padding a tall input of the same width shows the whole width: no box lies above or below.
    padded = regions(scenes, made, fit="pad", size=(48, 24))(index, target).view(-1, 6, 6)
    assert not padded[:, 0].any()
    assert not padded[:, -1].any()
    torch.testing.assert_close(2 * padded.sum(dim=(1, 2)), plain.sum(dim=(1, 2)), atol=1e-4, rtol=1e-4)
    # Cells moved down by one cell contain the regions of the row below.
    moved = regions(scenes, made, cells=(4.0, 0.0, 28.0, 24.0))(index, target).view(-1, 6, 6)
    torch.testing.assert_close(moved[:, :5], plain[:, 1:])


def test_a_dataset_without_boxes_is_refused(scenes: Scenes) -> None:
    transform = ImageTransform((24, 24), fit="crop", mean=(0.5,) * 3, std=(0.5,) * 3)

    class Bare:
        def __len__(self) -> int:
            return len(scenes)

    with pytest.raises(UsageError, match=r"attention_supervision needs boxes.+data=scenes"):
        TokenRegions(Bare(), tokenizer=tokenizer(scenes), transform=transform, grid=(6, 6), cells=None)  # type: ignore[arg-type]
