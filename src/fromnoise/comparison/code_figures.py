r"""Figures of codes: reconstructions, a traversal, an interpolation, a map.

What they show is made in :mod:`fromnoise.comparison.codes`; here it is drawn. Each returns a list
with one figure, or an empty one where there is nothing to show.

Classes on the map are told apart by ten colours that are seen on white and on black, the second
ten by a second mark; classes beyond twenty, the less frequent ones, share grey. Labels that are
numbers are a ramp from grey to blue.
"""

__all__ = ["code_map", "interpolation", "reconstructions", "traversal"]

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fromnoise.comparison.codes import LEVELS, STEPS
from fromnoise.comparison.image_grids import image_rows
from fromnoise.comparison.jobs import Codes
from fromnoise.comparison.pictures import MODEL, REAL, SECOND, Picture, svg
from fromnoise.comparison.row_tables import column_names, pair_table
from fromnoise.comparison.wording import amount, cut

Array = np.ndarray
ACROSS, DOWN = 6, 2  # pairs of images
MAPPED = 1000
WIDTH = 4.0
# Seen on white and on near-black alike, as MODEL, REAL and SECOND are.
COLOURS = (
    MODEL, SECOND, "#2b9a5a", "#d6455d", "#9566cc", "#8a7a1f", "#1a94a8", "#c255a5", "#a3653f",
    "#5f8a1f",
)  # fmt: skip
MARKS = ("o", "^")
RAMP = LinearSegmentedColormap.from_list("ramp", ["#c9b458", "#2b9a5a", MODEL, "#8a4fd0"])


def reconstructions(
    kind: str, codes: Codes, originals: Any, names: Sequence[Any] | None
) -> list[Any]:
    r"""Return held-out rows beside what became of them on the way through their codes.

    Args:
        kind: ``"vectors"``, ``"table"`` or ``"images"``.
        codes: What the codes have to show.
        originals: Held-out rows, of which the first were reconstructed.
        names: Names of columns, for vectors.

    Returns:
        A grid (images), a figure (vectors in the plane), or a small table.

    Example:
        >>> codes = Codes(2, reconstructed=np.ones((3, 3)))
        >>> reconstructions("vectors", codes, np.zeros((3, 3)), None)[0]["titles"]
        ('original', 'decoded')
    """
    decoded = codes.reconstructed
    if decoded is None:
        return []
    if kind == "images":
        return [_image_pairs(originals, decoded)]
    if kind == "vectors" and decoded.shape[1] == 2:
        return [_moves(originals[: len(decoded)], decoded, column_names(names, 2))]
    return [pair_table(originals, decoded, ("original", "decoded"), names)]


def traversal(codes: Codes) -> list[Picture]:
    r"""Return images along single numbers of a code, one number in each row.

    Args:
        codes: What the codes have to show.

    Example:
        >>> traversal(Codes(size=2))
        []
    """
    if codes.traversed is None:
        return []
    listed = ", ".join(str(i + 1) for i in codes.dimensions)
    count = len(codes.dimensions)
    which = f"numbers {listed}" if count > 1 else f"number {listed}"
    caption = (
        f"Rows: {which} of {codes.size}, those that vary most. From left to right that number of"
        " one image's code goes from -2 to 2 standard deviations (as quantiles of the training"
        " codes); the others stay."
    ).replace("-2", "\u22122")
    alt = f"{count} rows of {len(LEVELS)} images, each along one number of the code"
    return [image_rows(codes.traversed, len(LEVELS), alt, caption)]


def interpolation(codes: Codes, originals: Any) -> list[Picture]:
    r"""Return images between pairs of held-out ones, which stand at both ends of each row.

    Args:
        codes: What the codes have to show.
        originals: Held-out images.

    Example:
        >>> interpolation(Codes(size=2), None)
        []
    """
    if codes.between is None:
        return []
    steps = len(STEPS)
    rows = [
        np.concatenate(
            [originals[i : i + 1], codes.between[k * steps :][:steps], originals[j : j + 1]]
        )
        for k, (i, j) in enumerate(codes.ends)
    ]
    way = (
        "on an arc (spherical), because codes are about N(0, I)"
        if codes.spherical
        else "on a straight line, because these codes are not N(0, I)"
    )
    caption = f"Left and right: two held-out images. Between them: decoded codes {way}."
    alt = f"{len(rows)} rows of images that go from one held-out image to another"
    return [image_rows(np.concatenate(rows), steps + 2, alt, caption)]


def code_map(codes: Codes, labels: Any) -> list[Picture]:
    r"""Return codes in the plane, coloured by their labels.

    Args:
        codes: What the codes have to show.
        labels: One label or number for each held-out row; None where there are none.

    Example:
        >>> codes = Codes(size=2, points=np.random.default_rng(0).normal(size=(20, 2)))
        >>> code_map(codes, ["a", "b"] * 10)[0].alt
        'Codes of 20 held-out rows in the plane, coloured by 2 classes'
    """
    if codes.points is None:
        return []
    points = codes.points[:MAPPED]
    names = ["code 1", "code 2"]
    caption = ""
    if codes.explained is not None:
        names = ["first component", "second component"]
        caption = (
            f"The first two principal components of {codes.size} numbers:"
            f" {codes.explained:.0%} of their variance."
        )
    values = None if labels is None else np.asarray(labels)[: len(points)]
    alt = f"Codes of {len(points)} held-out rows in the plane"
    if values is None or values.ndim != 1 or len(values) != len(points):
        return [svg(lambda figure: _plain(figure, points, names), (WIDTH, 3.2), alt, caption)]
    if values.dtype.kind == "f":
        ends = [amount(float(end)) for end in (values.min(), values.max())]
        caption = f"{caption} Colour: y from {ends[0]} (yellow) to {ends[1]} (violet).".strip()
        paint = lambda figure: _ramp(figure, points, names, values)  # noqa: E731
        return [svg(paint, (WIDTH, 3.2), f"{alt}, coloured by y", caption)]
    return [_classes(points, names, list(map(str, values.tolist())), alt, caption)]


def _image_pairs(originals: Array, decoded: Array) -> Picture:
    n = min(len(decoded), len(originals), ACROSS * DOWN)
    across = min(n, ACROSS)
    rows = []
    for start in range(0, n - n % across, across):
        rows += [originals[start : start + across], decoded[start : start + across]]
    alt = f"{across * len(rows) // 2} held-out images, each above its reconstruction"
    caption = "Held-out images, and below each what is decoded from its code."
    return image_rows(np.concatenate(rows), across, alt, caption)


def _moves(originals: Any, decoded: Any, names: list[str]) -> Picture:
    r"""Return rows in the plane, each with a line to its reconstruction."""
    x, y = (np.asarray(rows, float)[:MAPPED] for rows in (originals, decoded))
    labels = [cut(name, 18) for name in names]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(*np.stack([x, y]).transpose(2, 0, 1), color=REAL, lw=0.5, alpha=0.5, zorder=0)
        for rows, colour in ((x, REAL), (y, MODEL)):
            _dots(axes, rows, c=colour)
        _framed(axes, labels)

    alt = f"{len(x)} held-out rows in the plane, each joined to its reconstruction"
    return svg(paint, (WIDTH, 3.2), alt, "Grey: held-out rows. Blue: what is decoded.")


def _framed(axes: Axes, names: Sequence[str]) -> None:
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _dots(axes: Axes, points: Array, **options: Any) -> None:
    x, y = points.T
    axes.scatter(x, y, s=9, alpha=0.8, linewidths=0, rasterized=True, **options)


def _plain(figure: Figure, points: Array, names: list[str]) -> None:
    axes = figure.subplots()
    _dots(axes, points, c=MODEL)
    _framed(axes, names)


def _ramp(figure: Figure, points: Array, names: list[str], values: Array) -> None:
    axes = figure.subplots()
    _dots(axes, points, c=values, cmap=RAMP)
    _framed(axes, names)


def _classes(
    points: Array, names: list[str], labels: list[str], alt: str, caption: str
) -> Picture:
    groups = _groups(labels)
    kinds = np.array([groups.get(label, len(groups)) for label in labels])
    shown = [*groups, "others"] if (kinds == len(groups)).any() else list(groups)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for i, name in enumerate(shown):
            other = i == len(groups)
            colour = REAL if other else COLOURS[i % len(COLOURS)]
            mark = MARKS[0 if other else i // len(COLOURS)]
            _dots(axes, points[kinds == i], c=colour, marker=mark, label=cut(name, 14))
        _framed(axes, names)
        _legend(figure, axes, min(len(shown), 5))

    count = len(set(labels))
    height = 3.2 + 0.17 * -(-len(shown) // 5)
    return svg(paint, (WIDTH, height), f"{alt}, coloured by {count} classes", caption)


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    handles, texts = axes.get_legend_handles_labels()
    # Filled column by column, but read row by row.
    order = [i for first in range(columns) for i in range(first, len(texts), columns)]
    figure.legend(
        [handles[i] for i in order],
        [texts[i] for i in order],
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=7,
        markerscale=1.6,
        handletextpad=0.1,
        columnspacing=0.8,
    )


def _groups(labels: list[str]) -> dict[str, int]:
    r"""Return a place for each class that has a colour of its own: the most frequent ones."""
    most = len(COLOURS) * len(MARKS)
    frequent = [name for name, _ in Counter(labels).most_common()]
    chosen = frequent if len(frequent) <= most else frequent[: most - 1]
    return {name: i for i, name in enumerate(sorted(chosen, key=_by_number))}


def _by_number(name: str) -> tuple[int, int, str]:
    return (0, int(name), "") if name.isascii() and name.isdigit() else (1, 0, name)
