r"""Grids of images: all tiles on one sheet, one PNG with transparent gaps.

Tiles keep their pixel values. Small ones are enlarged by a whole factor, each pixel becoming a
square, because a few pixels a side cannot be judged by eye, and smoothing would flatter them;
large ones are made smaller by averaging.
"""

__all__ = ["image_grid", "image_rows"]

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fromnoise.comparison.pictures import Picture, png
from fromnoise.comparison.wording import cut

Array = NDArray[Any]

SMALL, LARGE = 64, 96  # tiles are enlarged up to, and reduced down to, so many pixels a side


def image_grid(images: Array, labels: Sequence[str] | None = None) -> Picture:
    r"""Return a square grid of images; with labels, a class in each row.

    Args:
        images: `(n, C, H, W)` in [-1, 1]; values outside are clipped.
        labels: One for each image.

    Returns:
        One PNG with transparent gaps; images of at most 32 pixels a side are enlarged towards 64
        by a whole factor, those larger than 96 made smaller.

    Example:
        >>> image_grid(np.zeros((5, 1, 8, 8))).alt
        '5 images of 8 × 8 pixels'
    """
    height, width = images.shape[2:]
    side = 6 if max(height, width) <= 64 else 4
    names = sorted(set(labels or ()))[:10]
    if labels:
        index = np.array(labels, object)
        rows = [np.flatnonzero(index == name)[:side] for name in names]
    else:
        rows = np.split(np.arange(len(images))[: side * side], range(side, side * side, side))
    cells = [[_tile(images[i]) for i in row] for row in rows if len(row)]
    alt = f"{sum(map(len, cells))} images of {height} × {width} pixels"
    caption = f"Rows: {', '.join(cut(name, 20) for name in names)}" if names else ""
    return png(_sheet(cells), alt, caption)


def image_rows(images: Array, columns: int, alt: str, caption: str) -> Picture:
    r"""Return images in the rows that they come in.

    Args:
        images: `(rows * columns, C, H, W)` in [-1, 1]; values outside are clipped.
        columns: How many stand in a row.
        alt: What the figure shows.
        caption: What to say below it.

    Returns:
        One PNG, with tiles as in :func:`image_grid`.

    Example:
        >>> image_rows(np.zeros((6, 1, 8, 8)), 3, "two rows", "").alt
        'two rows'
    """
    cells = [list(map(_tile, images[i : i + columns])) for i in range(0, len(images), columns)]
    return png(_sheet(cells), alt, caption)


def _tile(image: Array) -> Array:
    r"""Return one image as `(h, w, 4)` bytes: grey, RGB or RGBA, else its first channel."""
    channels = image if len(image) in (3, 4) else image[:1].repeat(3, 0)
    unit = np.nan_to_num(np.clip(channels.astype(float), -1, 1), nan=-1.0) / 2 + 0.5
    opaque = unit if len(unit) == 4 else np.concatenate([unit, np.ones_like(unit[:1])])
    picture = Image.fromarray(np.rint(opaque * 255).astype(np.uint8).transpose(1, 2, 0).copy())
    picture.thumbnail((LARGE, LARGE), Image.Resampling.BOX)
    factor = max(1, SMALL // max(picture.size))
    return np.asarray(picture).repeat(factor, 0).repeat(factor, 1)


def _sheet(cells: list[list[Array]]) -> Array:
    height, width = cells[0][0].shape[:2]
    gap = max(1, max(height, width) // 12)
    down, across = height + gap, width + gap
    size = (len(cells) * down - gap, max(map(len, cells)) * across - gap, 4)
    sheet = np.zeros(size, np.uint8)
    for i, row in enumerate(cells):
        for j, tile in enumerate(row):
            sheet[i * down : i * down + height, j * across : j * across + width] = tile
    return sheet
