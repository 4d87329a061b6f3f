"""Rendering of scenes: background, clutter, objects with jittered colours, and noise."""

from __future__ import annotations

from colorsys import hsv_to_rgb

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from captioner.data.scenes.shapes import coverage
from captioner.data.scenes.world import Scene

_Pixels = NDArray[np.float32]
_Colour = NDArray[np.float32]  # [3], 0–255

# Ranges of hue (turns), saturation and value of each colour, separated by visible gaps.
_HSV: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-0.025, 0.012), (0.80, 1.0), (0.72, 0.95)),
    "orange": ((0.068, 0.092), (0.85, 1.0), (0.93, 1.0)),
    "yellow": ((0.145, 0.170), (0.72, 0.95), (0.92, 1.0)),
    "green": ((0.31, 0.40), (0.65, 0.95), (0.48, 0.72)),
    "blue": ((0.575, 0.635), (0.75, 1.0), (0.70, 0.95)),
    "purple": ((0.755, 0.805), (0.60, 0.85), (0.52, 0.78)),
    "white": ((0.0, 1.0), (0.0, 0.05), (0.94, 1.0)),
    "black": ((0.0, 1.0), (0.0, 0.3), (0.03, 0.13)),
}
_CONTRAST = 72.0  # least distance between an object's colour and both colours of the background
_PATTERNS = ("plain", "gradient", "stripes", "checks", "blotches", "speckle")


def render(scene: Scene) -> NDArray[np.uint8]:
    """Render a scene; the same scene gives the same pixels.

    Args:
        scene: The scene.

    Returns:
        uint8 `[H, W, 3]`, RGB.
    """
    rng = np.random.default_rng(scene.render_seed)
    size = scene.image_size
    colours = [_jittered(thing.colour, rng) for thing in scene.objects]
    ground, second = _ground_colours(colours, rng)
    blend = _pattern(size, rng)[:, :, None]
    pixels = _with_clutter(ground + blend * (second - ground), ground, rng)
    for thing, colour in zip(scene.objects, colours, strict=True):
        top, left, patch = coverage(thing.shape, thing.centre, radius=thing.radius, angle=thing.angle)
        rows, cols = patch.shape
        # Lit from above: lighter at the top, darker at the bottom.
        shade = np.linspace(1, -1, rows, dtype=np.float32)[:, None, None] * np.float32(4 + 10 * rng.random())
        under = pixels[top : top + rows, left : left + cols]
        under += patch[:, :, None] * (colour + shade - under)
    noise = rng.standard_normal((size, size, 3), dtype=np.float32)
    noise *= np.float32(2 + 6 * rng.random())
    pixels += noise
    return pixels.clip(0, 255).astype(np.uint8)


def _jittered(name: str, rng: np.random.Generator) -> _Colour:
    hue, saturation, value = (low + (high - low) * rng.random() for low, high in _HSV[name])
    return np.array(hsv_to_rgb(hue % 1, saturation, value), dtype=np.float32) * 255


def _distance(one: _Colour, other: _Colour) -> float:
    """Distance of two colours, 0–255, with green weighted most, as in human vision."""
    red, green, blue = ((one - other) ** 2).tolist()
    return float(((2 * red + 4 * green + 3 * blue) / 9) ** 0.5)


def _ground_colours(colours: list[_Colour], rng: np.random.Generator) -> tuple[_Colour, _Colour]:
    """Two muted colours that contrast with every object: the first of 30 pairs with enough contrast, or the best."""
    best, best_contrast = None, -1.0
    for _ in range(30):
        hue, saturation, value = rng.random(), 0.05 + 0.3 * rng.random(), 0.25 + 0.6 * rng.random()
        shift = (0.05 + 0.09 * rng.random()) * (1 if rng.random() < 0.5 else -1)
        pair = (
            np.array(hsv_to_rgb(hue, saturation, value), dtype=np.float32) * 255,
            np.array(hsv_to_rgb((hue + shift / 2) % 1, saturation, value + shift), dtype=np.float32) * 255,
        )
        contrast = min(_distance(ground, colour) for ground in pair for colour in colours)
        if contrast > best_contrast:
            best, best_contrast = pair, contrast
        if contrast >= _CONTRAST:
            break
    assert best is not None
    return best


def _pattern(size: int, rng: np.random.Generator) -> _Pixels:
    """The share of the second background colour at each pixel: float32 `[H, W]`, 0–1."""
    kind = _PATTERNS[rng.integers(len(_PATTERNS))]
    angle, period, phase = (
        2 * np.pi * rng.random(),
        size * (0.1 + 0.2 * rng.random()),
        2 * np.pi * rng.random(),
    )
    if kind == "plain":
        return np.zeros((size, size), dtype=np.float32)
    if kind in ("blotches", "speckle"):
        cells = int(rng.integers(4, 9)) if kind == "blotches" else size // 3
        coarse = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
        return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)).clip(0, 1)
    steps = np.arange(size, dtype=np.float32)
    rows, cols = steps[:, None], steps[None, :]
    if kind == "gradient":
        ramp = np.float32(np.sin(angle)) * rows + np.float32(np.cos(angle)) * cols
        return np.asarray((ramp - ramp.min()) / (ramp.max() - ramp.min()), dtype=np.float32)
    turn = np.float32(2 * np.pi / period)
    along = turn * (np.float32(np.sin(angle)) * rows + np.float32(np.cos(angle)) * cols) + np.float32(phase)
    if kind == "stripes":
        wave = np.sin(along)
    else:
        across = turn * (np.float32(np.cos(angle)) * rows - np.float32(np.sin(angle)) * cols)
        wave = np.sin(along) * np.sin(across)
    # Steep but not abrupt, for soft edges.
    return np.asarray((0.5 + 2 * wave).clip(0, 1), dtype=np.float32)


def _with_clutter(pixels: _Pixels, ground: _Colour, rng: np.random.Generator) -> _Pixels:
    """Add a few faint dots and lines that are no objects."""
    size = pixels.shape[0]
    count = int(rng.integers(0, 9))
    if not count:
        return pixels
    canvas = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(canvas)
    for _ in range(count):
        x, y, across, down = (rng.random(4) * (size, size, 0.2 * size, 0.2 * size)).tolist()
        tone = ground + (1 if rng.random() < 0.5 else -1) * (12 + 14 * rng.random())
        red, green, blue = tone.clip(0, 255).astype(int).tolist()
        if rng.random() < 0.5:
            pen.line((x, y, x + across - 0.1 * size, y + down - 0.1 * size), fill=(red, green, blue))
        else:
            reach = size * (0.006 + 0.01 * rng.random())
            pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=(red, green, blue))
    return np.array(canvas, dtype=np.float32)
