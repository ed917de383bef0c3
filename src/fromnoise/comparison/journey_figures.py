r"""Figures of the way from noise to data: a strip of images, paths in the plane, a bent mesh.

Noise is grey, data are blue, and what lies between them is thin. The frame is that of the real
rows for what a mesh becomes; paths show their noise as well.
"""

__all__ = ["journey_figures"]

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fromnoise.comparison.image_grids import image_rows
from fromnoise.comparison.journeys import RINGS, Journey
from fromnoise.comparison.pictures import FAINT, MODEL, REAL, Picture, svg
from fromnoise.comparison.row_tables import column_names
from fromnoise.comparison.wording import cut

Array = np.ndarray
WIDTH, HEIGHT = 4.0, 3.2


def journey_figures(journey: Journey, real: Any, names: Sequence[Any] | None) -> list[Picture]:
    r"""Return the figures of one family.

    Args:
        journey: What it has to show.
        real: Held-out rows, which decide the frame.
        names: Names of the two columns.

    Returns:
        Up to two pictures.

    Example:
        >>> paths = np.zeros((5, 3, 2))
        >>> journey_figures(Journey((0.0, 0.5, 1.0), paths=paths), paths[:, 0], None)[0].alt
        '5 samples in the plane on their way from noise to data'
    """
    figures = []
    if journey.images is not None:
        figures.append(_strip(journey.images, journey.times))
    labels = [cut(name, 18) for name in column_names(names, 2)]
    if journey.paths is not None:
        figures.append(_paths(journey.paths, labels))
    if journey.mapped is not None and journey.noise is not None:
        figures.append(_mesh(journey.noise, journey.mapped, np.asarray(real, float), labels))
    return figures


def _strip(images: Array, times: Sequence[float]) -> Picture:
    count = len(images) // len(times)
    alt = f"{count} rows of {len(times)} images, each from noise to a sample"
    listed = ", ".join(f"{time:.2f}" for time in times)
    return image_rows(images, len(times), alt, f"From noise, t = 0, to data, t = 1: t = {listed}.")


def _paths(paths: Array, names: list[str]) -> Picture:
    both = np.concatenate([paths[:, 0], paths[:, -1]])
    low, high = np.nanquantile(np.where(np.isfinite(both), both, np.nan), [0.003, 0.997], axis=0)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        _lines(axes, paths, MODEL, 0.6, 0.5)
        _dots(axes, paths[:, 0], REAL)
        _dots(axes, paths[:, -1], MODEL)
        _frame(axes, low, high, names)

    alt = f"{len(paths)} samples in the plane on their way from noise to data"
    caption = "Grey: noise. Blue: the samples that it becomes, and their way."
    return svg(paint, (WIDTH, HEIGHT), alt, caption)


def _mesh(noise: Array, mapped: Array, real: Array, names: list[str]) -> Picture:
    low, high = np.quantile(real, [0.002, 0.998], axis=0)
    flat = noise.shape[2] == 2

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2) if flat else (None, figure.subplots())
        for axes, lines in ((left, noise), (right, mapped)):
            if axes is not None:
                _lines(axes, lines[len(RINGS) :], REAL, 0.7, 0.9)
                _lines(axes, lines[: len(RINGS)], MODEL, 1.0, 0.9)
        if left is not None:
            reach = 1.08 * np.abs(noise).max()
            left.set_aspect("equal")
            _frame(left, np.full(2, -reach), np.full(2, reach), ["z[0]", "z[1]"], margin=0.0)
        _dots(right, real[:400], REAL, size=4, alpha=0.4, order=1)
        _frame(right, low, high, names)

    if not flat:
        alt = "The line that the model makes of its one number of noise"
        caption = "Blue: what the model makes of one number, from its 1st to its 99th percentile."
        return svg(paint, (WIDTH, HEIGHT), alt, caption)
    alt = "A mesh of circles and rays in the plane of noise, and what the model makes of it"
    caption = (
        "Left: the plane of noise; within the circles lie 10, 30, 50, 70, 90 and 97 % of it."
        " Right: what the model makes of these lines, over real rows."
    )
    return svg(paint, (WIDTH, 2.3), alt, caption)


def _lines(axes: Axes, lines: Array, colour: str, width: float, alpha: float) -> None:
    axes.add_collection(
        LineCollection(list(lines), colors=colour, linewidths=width, alpha=alpha, rasterized=True),
        autolim=False,
    )


def _dots(
    axes: Axes, points: Array, colour: str, size: float = 7, alpha: float = 0.8, order: float = 3
) -> None:
    x, y = points.T
    axes.scatter(x, y, size, colour, alpha=alpha, linewidths=0, rasterized=True, zorder=order)


def _frame(axes: Axes, low: Array, high: Array, names: list[str], margin: float = 0.08) -> None:
    gap = margin * (high - low) + (high == low)
    (left, bottom), (right, top) = low - gap, high + gap
    axes.set(xlim=(left, right), ylim=(bottom, top), xlabel=names[0], ylabel=names[1])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4))
    axes.tick_params(color=FAINT)
