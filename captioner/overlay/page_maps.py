"""Maps of one photo for the page, packed into bytes of bounded size whatever the grid and the methods.

A page stays under 150 KB beyond one photo. Each method's map of each word is always included, on a coarser grid if all
of them together are too large; maps of single heads, else of single layers, are included if there is room. The page
says what was left out and which grid became coarser.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioner.caption import Caption
from captioner.image.regrid import regrid
from captioner.overlay.map_selection import MapSelection, select_maps

Grid = tuple[int, int]

MAX_CHARACTERS = 80_000
"""Limit for the maps of one photo in the page; the viewer itself takes 55,000."""
_PEAK_CHARACTERS = 10
_LEFT_OUT = ("", "heads", "layers")  # what may be left out, least first


def method_data(caption: Caption) -> list[dict[str, Any]]:
    """Maps of each method as bytes, with title and unit. Attention comes last if it was not asked for.

    `layers` and `heads` are the numbers of layers and heads with maps of their own; 0 heads with some layers means that
    the maps are means over each layer's heads.
    """
    selection = {
        name: select_maps(caption, name) for name in dict.fromkeys([*caption.explanations, "attention"])
    }
    grids = _bounded([_grid(one.maps) for one in selection.values()], words=len(caption.words))
    room = MAX_CHARACTERS - len(caption.words) * sum(map(_cost, grids))
    methods = []
    for (name, one), grid in zip(selection.items(), grids, strict=True):
        pooled = _grid(one.maps) if caption.words and grid != _grid(one.maps) else None
        maps = _on(one.maps, grid)
        layers = heads = 0
        left_out = ""
        if name == "attention" and caption.words:
            maps, layers, heads, left_out = _with_heads(caption, maps, grid, room)
        methods.append(
            {
                **{**_packed(maps), **_named(one), "name": name, "layers": layers, "heads": heads},
                **{"left_out": left_out, "pooled": pooled and list(pooled)},
            }
        )
    return methods


def merge_choices(choices: dict[str, dict[str, Any]], methods: Iterable[Mapping[str, Any]]) -> None:
    """Add one photo's methods to the choices of its page.

    Args:
        choices: By method name: name and title, the largest number of layers and heads of any photo so far, and the
            most that was left out of one. Updated in place.
        methods: The photo's `method_data`.
    """
    for method in methods:
        known = choices.setdefault(
            method["name"], {key: method[key] for key in ("name", "title", "layers", "heads", "left_out")}
        )
        known["layers"] = max(known["layers"], method["layers"])
        known["heads"] = max(known["heads"], method["heads"])
        known["left_out"] = max(known["left_out"], method["left_out"], key=_LEFT_OUT.index)


def _bounded(grids: Sequence[Grid], *, words: int) -> list[Grid]:
    """The grids, the finest made coarser until one map per word and method fits."""
    bounded = list(grids)
    for side in range(max(max(grid) for grid in grids), 0, -1):
        bounded = [_within(grid, side) for grid in grids]
        if words * sum(map(_cost, bounded)) <= MAX_CHARACTERS:
            break
    return bounded


def _within(grid: Grid, side: int) -> Grid:
    """A grid of the same aspect ratio with no side longer than `side`."""
    longest = max(grid)
    if longest <= side:
        return grid
    return -(-grid[0] * side // longest), -(-grid[1] * side // longest)


def _cost(grid: Grid) -> int:
    """Characters of one map on a grid: base64 and its peak."""
    return -(-grid[0] * grid[1] * 4 // 3) + _PEAK_CHARACTERS


def _with_heads(
    caption: Caption, own: NDArray[np.float32], grid: Grid, room: int
) -> tuple[NDArray[np.float32], int, int, str]:
    """For each word its own map, then those of all heads: `[words · (1 + layers · heads), rows, cols]`.

    Returns:
        The maps, the numbers of layers and heads that have one, and what was left out: "heads", "layers" or "".
    """
    words, layers, heads = caption.maps.shape[:3]
    single, left_out = caption.maps, ""
    if words * layers * heads * _cost(grid) > room:
        single, heads, left_out = single.mean(axis=2, keepdims=True), 0, "heads"
    if heads == 0 and words * layers * _cost(grid) > room:
        single, layers, left_out = single[:, :0], 0, "layers"
    of_heads = _on(single, grid).reshape(words, -1, *grid)
    together = np.concatenate([own[:, None], of_heads], axis=1)
    return together.reshape(-1, *grid), layers, heads, left_out


def _named(selection: MapSelection) -> dict[str, object]:
    return {"title": selection.title[:1].upper() + selection.title[1:], "unit": selection.unit}


def _packed(maps: NDArray[np.float32]) -> dict[str, object]:
    """Maps `[n, rows, cols]` as bytes: 0–255 for 0 to a map's peak; 1–255 around 128 if any value is negative."""
    peaks = np.abs(maps).max(axis=(1, 2), initial=0.0)
    shares = maps / np.maximum(peaks, 1e-12)[:, None, None]
    signed = bool(maps.size) and float(maps.min()) < 0
    levels = np.rint(shares * 127 + 128 if signed else shares * 255).astype(np.uint8)
    return {
        "grid": list(maps.shape[1:]),
        "signed": signed,
        "maps": base64.b64encode(levels.tobytes()).decode("ascii"),
        "peaks": [float(f"{peak:.4g}") for peak in peaks],
    }


def _on(maps: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    return regrid(maps, grid).astype(np.float32)


def _grid(maps: NDArray[np.float32]) -> Grid:
    return maps.shape[-2], maps.shape[-1]
