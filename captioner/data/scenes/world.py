"""Scenes and their objects, sampled so that no two splits share a scene."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from captioner.data.scenes.shapes import SHAPES, coverage

COLOURS: tuple[str, ...] = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
SIZES: tuple[str, ...] = ("small", "large")
SPLITS: tuple[str, ...] = ("train", "val", "test")

# (shape, colour) pairs of the test split alone. Training has each of these shapes and colours in other pairs.
HELD_OUT: frozenset[tuple[str, str]] = frozenset({("circle", "purple"), ("square", "yellow")})

# Half the side of an object, as a share of the image: 17–21 and 29–35 of 96 pixels across, with a gap between.
_RADIUS = {"small": (8.5 / 96, 10.5 / 96), "large": (14.5 / 96, 17.5 / 96)}
_MARGIN = 2.0 / 96  # between objects, and to the border
_TILT = 0.14  # radians in either direction (8°): squares keep looking like squares
# Values of the hash of a scene's content modulo 4.
_BUCKETS = {"train": (0, 1), "val": (2,), "test": (3,)}
_GRID = 8  # cells a side that positions are rounded to before hashing, so that nearby positions are one scene

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object and its position.

    Attributes:
        shape: One of `SHAPES`.
        colour: One of `COLOURS`.
        size: One of `SIZES`.
        box: (top, left, bottom, right) in pixels, half-open, tight around the object's mask.
        centre: (row, column) in pixels, not rounded; the centre of its square.
        radius: Half the side of the square it fills, in pixels.
        angle: Clockwise tilt in radians.
    """

    shape: str
    colour: str
    size: str
    box: Box
    centre: tuple[float, float]
    radius: float
    angle: float


@dataclass(frozen=True, slots=True)
class Scene:
    """The content of one picture.

    Attributes:
        objects: One to three objects that do not touch, all fully inside the image.
        image_size: Height and width of the picture in pixels.
        render_seed: Seed of background, clutter, colour jitter and noise.
    """

    objects: tuple[SceneObject, ...]
    image_size: int
    render_seed: tuple[int, ...]

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The box of each object: (top, left, bottom, right) in pixels, half-open."""
        return tuple(thing.box for thing in self.objects)

    @property
    def has_held_out(self) -> bool:
        """Whether an object has a (shape, colour) pair that does not occur in training."""
        return any((thing.shape, thing.colour) in HELD_OUT for thing in self.objects)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """The pixels of object `index` (at least half covered by it): bool `[H, W]`. Raises IndexError."""
        thing = self.objects[index]
        top, left, patch = coverage(thing.shape, thing.centre, radius=thing.radius, angle=thing.angle)
        mask = np.zeros((self.image_size, self.image_size), dtype=np.bool_)
        mask[top : top + patch.shape[0], left : left + patch.shape[1]] = patch >= 0.5
        return mask


@dataclass(frozen=True, slots=True)
class _Plan:
    """An object independent of the resolution: lengths are shares of the image side."""

    shape: str
    colour: str
    size: str
    row: float
    column: float
    radius: float
    angle: float


def sample_scene(split: str, index: int, *, image_size: int, seed: int) -> Scene:
    """Sample scene `index` of a split; it depends on the arguments alone.

    Candidates are sampled until one belongs to the split: a hash of its content (shape, colour, size and
    rounded position of every object, in any order) assigns every possible scene to one split, for every seed. Outside
    test, candidates with a held-out pair are rejected.

    Args:
        split: One of `SPLITS`.
        index: Number of the scene, from 0.
        image_size: Height and width in pixels.
        seed: Seed of the data set, from 0.

    Returns:
        The scene; its content does not depend on `image_size`.
    """
    entropy = (seed, SPLITS.index(split), index)
    rng = np.random.default_rng(entropy)
    while True:
        plans = _candidate(rng)
        if plans is None or _bucket(plans) not in _BUCKETS[split]:
            continue
        if split == "test" or not any((plan.shape, plan.colour) in HELD_OUT for plan in plans):
            objects = tuple(_on_grid(plan, image_size) for plan in plans)
            return Scene(objects, image_size, render_seed=(*entropy, 1))


def _candidate(rng: np.random.Generator) -> list[_Plan] | None:
    """One to three random objects, or None if they do not fit."""
    plans: list[_Plan] = []
    for shape, colour, size in _kinds(rng):
        low, high = _RADIUS[size]
        radius = low + (high - low) * rng.random()
        reach = radius + _MARGIN
        for _ in range(20):
            row, column = reach + (1 - 2 * reach) * rng.random(), reach + (1 - 2 * reach) * rng.random()
            gap = radius + _MARGIN
            if all(max(abs(p.row - row), abs(p.column - column)) >= gap + p.radius for p in plans):
                break
        else:
            return None
        plans.append(_Plan(shape, colour, size, row, column, radius, _TILT * (2 * rng.random() - 1)))
    return plans


def _kinds(rng: np.random.Generator) -> list[tuple[str, str, str]]:
    """Shape, colour and size of each object.

    Identical objects are frequent, so that captions count. Others differ in shape and in colour, so that a phrase such
    as "a red circle" is never ambiguous.
    """
    count = int(rng.choice(3, p=(0.3, 0.42, 0.28))) + 1
    distinct = count
    if count > 1 and rng.random() < 0.4:
        distinct = count - 1 if count == 2 or rng.random() < 0.65 else 1
    shapes = rng.choice(len(SHAPES), distinct, replace=False)
    colours = rng.choice(len(COLOURS), distinct, replace=False)
    kinds = [(SHAPES[s], COLOURS[c], SIZES[rng.integers(2)]) for s, c in zip(shapes, colours, strict=True)]
    kinds += [kinds[0]] * (count - distinct)
    return kinds


def _bucket(plans: list[_Plan]) -> int:
    """The quarter of all scenes that contains a scene, 0–3; the same on every machine."""
    content = sorted((p.shape, p.colour, p.size, int(p.row * _GRID), int(p.column * _GRID)) for p in plans)
    return blake2b(repr(content).encode(), digest_size=1).digest()[0] % 4


def _on_grid(plan: _Plan, image_size: int) -> SceneObject:
    """The object in pixels, with the tight box of its mask."""
    centre = (plan.row * image_size, plan.column * image_size)
    radius = plan.radius * image_size
    top, left, patch = coverage(plan.shape, centre, radius=radius, angle=plan.angle)
    covered = patch >= 0.5
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    box = (top + int(rows[0]), left + int(columns[0]), top + int(rows[-1]) + 1, left + int(columns[-1]) + 1)
    return SceneObject(plan.shape, plan.colour, plan.size, box, centre, radius, plan.angle)
