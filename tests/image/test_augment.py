from __future__ import annotations

import numpy as np
import pytest
import torch

from captioner.errors import UsageError
from captioner.image.augment import TrainingAugment, _jitter, may_flip
from captioner.image.decode import Photo, read_photo
from captioner.image.transforms import Fit, ImageTransform

GREY = (0.5, 0.5, 0.5)
STILL = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "jitter": 0.0, "flip": 0.0}


@pytest.fixture
def photo() -> Photo:
    return read_photo(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("captions", "allowed"),
    [
        (["a dog runs", "the bright light upright"], True),
        ([], True),
        (["a dog", "a cat LEFT of a dog"], False),
        (["a right-handed man"], False),
        (["the leftmost tree"], False),
        (["turning right."], False),
    ],
)
def test_sides_forbid_mirroring(captions: list[str], allowed: bool) -> None:
    assert may_flip(captions) is allowed


@pytest.mark.parametrize(
    ("sides", "caption", "allowed"),
    [
        (["gauche", "droit"], "un chien à GAUCHE", False),
        (["gauche", "droit"], "à la droite d'un chat", False),
        (["gauche", "droit"], "a dog on the left", True),
        (["лев"], "Слева собака", True),
        (["лев", "слева"], "Слева собака", False),
        (["左", "右"], "一只狗在左边", False),
        (["左", "右"], "一只狗", True),
        (["l.ft"], "left", True),
        ([], "left", True),
    ],
)
def test_the_words_of_sides_can_be_chosen(sides: list[str], caption: str, allowed: bool) -> None:
    assert may_flip([caption], sides) is allowed


@pytest.mark.parametrize("sides", ["left", [""], [3]])
def test_sides_are_a_list_of_words(sides: object) -> None:
    transform = ImageTransform((8, 8), fit="crop", mean=GREY, std=GREY)
    with pytest.raises(UsageError, match="it must be a list of words"):
        TrainingAugment(transform, sides=sides)  # type: ignore[arg-type]


def augmented(
    augment: TrainingAugment, photo: Photo, generator: torch.Generator, *, may_flip: bool
) -> torch.Tensor:
    return augment.vary(photo, augment.draw(generator), may_flip=may_flip)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_without_variation_it_is_the_transform(fit: Fit, photo: Photo) -> None:
    # A square crop of a photo lies anywhere; only a photo of the input's shape leaves it no choice.
    size = (40, 60) if fit == "crop" else (48, 48)
    transform = ImageTransform(size, fit=fit, mean=GREY, std=GREY)
    augment = TrainingAugment(transform, **STILL)  # type: ignore[arg-type]
    image = augmented(augment, photo, seeded(), may_flip=True)
    torch.testing.assert_close(image, transform(photo)[0], rtol=0, atol=1e-5)


def test_same_seed_same_pixels_and_other_seed_others(photo: Photo) -> None:
    augment = TrainingAugment(ImageTransform((32, 32), fit="crop", mean=GREY, std=GREY))
    first = augmented(augment, photo, seeded(3), may_flip=True)
    assert torch.equal(first, augmented(augment, photo, seeded(3), may_flip=True))
    assert not torch.equal(first, augmented(augment, photo, seeded(4), may_flip=True))


def test_the_generator_moves_on_alike_whether_mirroring_is_allowed_or_not(photo: Photo) -> None:
    augment = TrainingAugment(ImageTransform((32, 32), fit="crop", mean=GREY, std=GREY))
    states = []
    for allowed in (True, False):
        generator = seeded()
        augmented(augment, photo, generator, may_flip=allowed)
        states.append(generator.get_state())
    assert torch.equal(*states)


def test_mirrors_only_where_allowed(photo: Photo) -> None:
    transform = ImageTransform((60, 90), fit="squash", mean=GREY, std=GREY)
    augment = TrainingAugment(transform, **(STILL | {"flip": 1.0}))  # type: ignore[arg-type]
    plain = transform(photo)[0]
    mirrored = augmented(augment, photo, seeded(), may_flip=True)
    torch.testing.assert_close(mirrored, plain.flip(-1), rtol=0, atol=1e-5)
    torch.testing.assert_close(augmented(augment, photo, seeded(), may_flip=False), plain, rtol=0, atol=1e-5)


def test_crops_cover_the_photo_and_stay_within_bounds() -> None:
    """Each pixel contains its own coordinates, which identify the crop."""
    coordinates = np.zeros((100, 200, 3), np.uint8)
    coordinates[..., 0] = np.arange(100)[:, None]
    coordinates[..., 1] = np.arange(200)[None, :]
    photo = read_photo(coordinates)
    transform = ImageTransform((50, 50), fit="crop", mean=(0, 0, 0), std=(1, 1, 1))
    augment = TrainingAugment(transform, scale=(0.25, 1.0), ratio=(0.8, 1.25), jitter=0, flip=0)
    generator = seeded()
    areas, lefts, rights = [], [], []
    for _ in range(300):
        values = augmented(augment, photo, generator, may_flip=False) * 255
        high = float(values[0].max() - values[0].min()) + 1
        wide = float(values[1].max() - values[1].min()) + 1
        areas.append(high * wide / 100**2)
        lefts.append(float(values[1].min()))
        rights.append(float(values[1].max()))
        assert 0.72 < wide / high < 1.35
    assert 0.2 < min(areas) < 0.35
    assert 0.85 < max(areas) <= 1.02
    assert min(lefts) < 5
    assert max(rights) > 194


def test_jitter_is_what_torchvision_calls_brightness_contrast_and_saturation() -> None:
    from torchvision.transforms.v2.functional import adjust_brightness, adjust_contrast, adjust_saturation

    image = torch.rand(3, 20, 30, generator=seeded()) * 100 + 60  # far from the ends: nothing is clipped
    plain = ImageTransform((20, 30), fit="squash", mean=(0, 0, 0), std=(1, 1, 1))
    for factor in (0.8, 1.2):
        for ours, theirs in (
            ((factor, 1, 1), adjust_brightness),
            ((1, factor, 1), adjust_contrast),
            ((1, 1, factor), adjust_saturation),
        ):
            expected = theirs(image / 255, factor) * 255
            found = plain.finish_mixed(image, (20, 30), *_jitter(image, *ours)) * 255
            torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_mixed_colours_are_clipped_to_what_a_photo_can_show(fit: Fit) -> None:
    mean, std = (0.3, 0.4, 0.5), (0.2, 0.25, 0.3)
    transform = ImageTransform((24, 30), fit=fit, mean=mean, std=std)
    image = torch.rand(3, 20, 30, generator=seeded()) * 255
    matrix = [[1.5, -0.2, 0.1], [0.0, 1.8, -0.3], [0.2, 0.2, 0.2]]
    offset = -40.0
    if fit == "squash":
        image = torch.rand(3, 24, 30, generator=seeded()) * 255
    mixed = torch.einsum("ij,jrc->irc", torch.tensor(matrix), image) + offset
    assert bool((mixed < 0).any())
    assert bool((mixed > 255).any())
    expected = transform.finish(mixed.clamp(0, 255), (24, 30))
    torch.testing.assert_close(
        transform.finish_mixed(image, (24, 30), matrix, offset), expected, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": (0, 1)}, "scale is"),
        ({"scale": (0.9, 0.5)}, "0 < low <= high <= 1"),
        ({"ratio": (2, 1)}, "ratio is"),
        ({"jitter": 1.5}, "jitter is 1.5; it must be from 0 to 1"),
        ({"flip": -1}, "flip is -1"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainingAugment(ImageTransform((8, 8), fit="crop", mean=GREY, std=GREY), **options)  # type: ignore[arg-type]
