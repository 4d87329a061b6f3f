from __future__ import annotations

from colorsys import rgb_to_hsv
from dataclasses import replace

import numpy as np

from captioner.data.scenes.render import render
from captioner.data.scenes.world import Scene, sample_scene


def hue_name(red: float, green: float, blue: float) -> str:
    """What a person calls a colour (0–255), written down without a look at the ranges that are drawn from."""
    hue, saturation, value = rgb_to_hsv(red / 255, green / 255, blue / 255)
    if value < 0.25:
        return "black"
    if saturation < 0.15:
        return "white"
    edges = [(15, "red"), (43, "orange"), (75, "yellow"), (170, "green"), (250, "blue"), (320, "purple")]
    return next((name for edge, name in edges if hue * 360 < edge), "red")


def test_the_same_scene_gives_the_same_pixels() -> None:
    scene = sample_scene("train", 7, image_size=96, seed=0)
    assert np.array_equal(render(scene), render(sample_scene("train", 7, image_size=96, seed=0)))
    assert not np.array_equal(render(scene), render(replace(scene, render_seed=(1,))))


def test_gives_uint8_rgb_that_can_be_written_to() -> None:
    for side in (32, 33, 96, 224):
        pixels = render(sample_scene("test", side, image_size=side, seed=0))
        assert pixels.shape == (side, side, 3)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        assert pixels.flags.writeable


def test_each_mask_shows_the_colour_that_is_named() -> None:
    for i in range(400):
        scene = sample_scene("test", i, image_size=96, seed=0)
        pixels = render(scene)
        for k, thing in enumerate(scene.objects):
            assert hue_name(*np.median(pixels[scene.mask(k)], axis=0)) == thing.colour, (
                f"scene {i} object {k}"
            )


def test_each_object_contrasts_with_its_surroundings() -> None:
    for i in range(400):
        scene = sample_scene("train", i, image_size=96, seed=0)
        pixels = render(scene).astype(float)
        objects = np.any([scene.mask(k) for k in range(len(scene.objects))], axis=0)
        for k, (top, left, bottom, right) in enumerate(scene.boxes):
            near = np.zeros_like(objects)
            near[max(top - 3, 0) : bottom + 3, max(left - 3, 0) : right + 3] = True
            inside, outside = pixels[scene.mask(k)].mean(axis=0), pixels[near & ~objects].mean(axis=0)
            assert np.abs(inside - outside).max() > 40, f"scene {i} object {k}"


def test_backgrounds_vary_and_are_textured() -> None:
    empty = [
        render(Scene(sample_scene("train", i, image_size=96, seed=0).objects, 96, (i,))) for i in range(60)
    ]
    corners = np.array([pixels[:3, :3].mean(axis=(0, 1)) for pixels in empty])
    assert corners.std(axis=0).min() > 25
