r"""The report's line figures: scatters of pairs, distributions of columns, curves of losses.

Real rows are grey and decide the frame, drawn ones are blue, so that all families of a report are
seen against the same axes; what lies outside is counted in the caption.

Names of columns and categories are data, hence hostile: they are cut and made printable before
they are drawn. Far values, constants, gaps and missing records must all leave a figure.
"""

__all__ = ["loss_curve", "marginals", "pair_plot"]

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import (
    Formatter,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
)

from fromnoise.comparison.pictures import FAINT, MODEL, REAL, SECOND, Picture, svg
from fromnoise.comparison.wording import cut

Array = np.ndarray
History = list[dict[str, Any]]
WIDTH = 4.0
POINTS = 1500
COLUMNS, VECTOR_COLUMNS, CATEGORIES = 8, 4, 4
_DAYS, _MS = (-719_162, 2_932_896), 86_400_000  # years 1 to 9999, in days since 1970; a day
# Steps between dates, the widest first.
_STEPS = [
    *(("Y", step) for step in (2000, 1000, 500, 200, 100, 50, 20, 10, 5, 2, 1)),
    *(("M", step) for step in (6, 3, 1)),
    *(("D", step) for step in (14, 7, 2, 1)),
    *(("h", step) for step in (12, 6, 2, 1)),
    *((unit, step) for unit in "ms" for step in (30, 10, 5, 2, 1)),
]


def pair_plot(real: Array, fake: Array | None, names: Sequence[str]) -> Picture:
    r"""Return scatters of pairs of columns: drawn rows below the diagonal, real ones above.

    Args:
        real: `(n, d)` held-out rows, in grey; they decide the frame.
        fake: `(m, d)` drawn rows, in blue; None to show the real ones alone.
        names: d names of columns.

    Returns:
        For d = 2 one scatter of the drawn rows alone. Else up to four columns, those that
        correlate most with the others, with histograms of both on the diagonal.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(50, 2))
        >>> pair_plot(rows, rows, ["a", "b"]).alt
        'Scatter of b against a: drawn rows'
    """
    columns = _entangled(real, VECTOR_COLUMNS)
    low, high = _frame(real[:, columns])
    shown = real if fake is None else fake
    unit = (shown[:, columns] - low) / (high - low)
    caption = "" if fake is None else _outside(unit)
    labels = [cut(names[i], 18) for i in columns]
    if len(columns) == 2:
        what = "real rows" if fake is None else "drawn rows"
        alt = f"Scatter of {labels[1]} against {labels[0]}: {what}"
        colour = REAL if fake is None else MODEL
        ratio = (high[1] - low[1]) / (high[0] - low[0])
        equal = 0.4 < ratio < 1.3
        paint = _scatter(shown[:, columns], (low, high), labels, colour, equal)
        return svg(paint, (WIDTH, WIDTH * (0.87 * ratio + 0.12 if equal else 0.8)), alt, caption)
    base = (real[:, columns] - low) / (high - low)
    alt = f"Pairs and histograms of {', '.join(labels)}"
    return svg(lambda figure: _pairs(figure, base, unit, labels), (WIDTH, WIDTH), alt, caption)


def marginals(real: pd.DataFrame, fake: pd.DataFrame) -> Picture:
    r"""Return a small panel for each of the first eight columns, drawn over real.

    Args:
        real: Held-out rows.
        fake: Drawn rows with the same columns in the same order.

    Returns:
        Histograms of numbers and dates, bars for the most frequent categories.

    Example:
        >>> frame = pd.DataFrame({"age": [31.5, 40.1, 22.2], "city": ["Oslo", "Rome", "Rome"]})
        >>> marginals(frame, frame).alt
        'Distributions of age, city: real and drawn'
    """
    count = min(real.shape[1], COLUMNS)
    names = [cut(name, 22) for name in real.columns[:count]]

    def paint(figure: Figure) -> None:
        grid = figure.subplots(math.ceil(count / 2), 2, squeeze=False).ravel()
        for i, axes in enumerate(grid):
            if i < count:
                _marginal(axes, real.iloc[:, i], fake.iloc[:, i], names[i])
            else:
                axes.set_axis_off()

    alt = f"Distributions of {', '.join(names)}: real and drawn"
    caption = f"{count} of {real.shape[1]} columns." if count < real.shape[1] else ""
    return svg(paint, (WIDTH, 1.5 * math.ceil(count / 2)), alt, caption)


def loss_curve(history: History) -> Picture:
    r"""Return the losses of a fit against its steps.

    Args:
        history: Records with ``step`` (else ``seconds``) and keys that hold "loss" or
            "validation"; what is missing or not finite is left out.

    Returns:
        One line for each loss; on a logarithmic axis where they span more than a hundredfold.

    Raises:
        ValueError: If no loss is left to draw.

    Example:
        >>> loss_curve([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]).alt
        'loss falls from 2 to 1 over 2 records'
    """
    axis = next((k for k in ("step", "seconds") if all(k in line for line in history)), None)
    lines = {name: _line(history, name, axis) for name in _loss_names(history)}
    lines = {name: points for name, points in lines.items() if len(points)}
    if not lines:
        raise ValueError("the history holds no finite loss")
    name, points = next(iter(lines.items()))
    trend = "falls" if points[-1, 1] < points[0, 1] else "goes"
    span = f"from {points[0, 1]:.3g} to {points[-1, 1]:.3g} over {len(points)} records"
    alt = f"{cut(name)} {trend} {span}"
    height = 2.2 + 0.15 * math.ceil(len(lines) / 2) * (len(lines) > 1)
    return svg(lambda figure: _losses(figure, lines, axis or "record"), (WIDTH, height), alt)


def _entangled(rows: Array, count: int) -> list[int]:
    r"""Return the columns with the largest sum of absolute correlations, in their order."""
    if rows.shape[1] <= count:
        return list(range(rows.shape[1]))
    head = rows[:POINTS, :200]
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.nan_to_num(np.abs(np.corrcoef(head, rowvar=False))).sum(0)
    return sorted(np.argsort(-weight, kind="stable")[:count].tolist())


def _frame(rows: Array) -> tuple[Array, Array]:
    r"""Return limits around the central 99 % of the rows, a tenth wider on each side."""
    seen = np.where(np.isfinite(rows).any(0), rows, 0.0)
    low, high = np.nanquantile(seen, [0.005, 0.995], axis=0)
    flat = high - low <= 1e-9 * np.abs(low)
    margin = np.where(flat, 0.5 * np.maximum(1, np.abs(low)), 0.1 * (high - low))
    return low - margin, high + margin


def _outside(unit: Array) -> str:
    inside = ((unit >= 0) & (unit <= 1)).all(1)
    share = 1 - inside.mean()
    return f"{share:.0%} of the drawn rows lie outside the frame." if share > 0.05 else ""


def _scatter(
    rows: Array, frame: tuple[Array, Array], labels: list[str], colour: str, equal: bool
) -> Callable[[Figure], None]:
    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        _cloud(axes, rows[:POINTS, 0], rows[:POINTS, 1], colour)
        (left, bottom), (right, top) = frame
        axes.set(xlim=(left, right), ylim=(bottom, top), xlabel=labels[0], ylabel=labels[1])
        axes.set_aspect("equal" if equal else "auto")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(_Numbers())
        axes.yaxis.set_major_formatter(_Numbers())

    return paint


def _pairs(figure: Figure, real: Array, drawn: Array, labels: list[str]) -> None:
    r"""Draw all cells as unit squares in one pair of axes: far quicker than d² of them."""
    axes, count, pitch = figure.add_axes((0.01, 0.01, 0.98, 0.98)), len(labels), 1.07
    seen = {
        colour: unit[((unit >= 0) & (unit <= 1)).all(1)][:POINTS]
        for unit, colour in ((real, REAL), (drawn, MODEL))
    }
    for row, column in product(range(count), repeat=2):
        left, bottom = column * pitch, (count - 1 - row) * pitch
        axes.add_patch(Rectangle((left, bottom), 1, 1, fill=False, ec=FAINT, lw=0.6))
        if row == column:
            axes.text(left + 0.04, bottom + 0.96, labels[row], va="top")
            for colour, unit in seen.items():
                heights, edges = np.histogram(unit[:, row], bins=24, range=(0, 1))
                heights = 0.78 * heights / max(heights.max(), 1)
                _stairs(axes, bottom + heights, left + edges, bottom, colour)
        else:
            colour = REAL if row < column else MODEL
            unit = seen[colour]
            _cloud(axes, left + unit[:, column], bottom + unit[:, row], colour)
    axes.set(xlim=(-0.02, count * pitch), ylim=(-0.02, count * pitch))
    axes.set_axis_off()


def _cloud(axes: Axes, x: Array, y: Array, colour: str) -> None:
    axes.scatter(x, y, s=4, c=colour, alpha=0.65, linewidths=0, rasterized=True)


def _stairs(axes: Axes, heights: Array, edges: Array, base: float, colour: str) -> None:
    r"""Draw a histogram: real rows as an area, drawn ones as a line over it."""
    area = colour == REAL
    alpha, width = (0.45, 0.0) if area else (1.0, 1.2)
    axes.stairs(heights, edges, baseline=base, fill=area, color=colour, alpha=alpha, lw=width)


def _marginal(axes: Axes, real: pd.Series, fake: pd.Series, name: str) -> None:
    dates = pd.api.types.is_datetime64_any_dtype(real.dtype)
    numbers = pd.api.types.is_numeric_dtype(real) and not pd.api.types.is_bool_dtype(real)
    if dates or numbers:
        _histogram(axes, _as_floats(real, dates), _as_floats(fake, dates))
    else:
        _bars(axes, real, fake)
    if dates:
        axes.set_xticks(*_date_ticks(*axes.get_xlim()))
    missing = [column.isna().mean() for column in (real, fake)]
    axes.set_title(name, pad=12 if any(missing) else 3)
    if any(missing):
        text = f"missing {missing[0]:.0%} real, {missing[1]:.0%} drawn"
        axes.text(0, 1.03, text, transform=axes.transAxes, size=6.5)


def _date_ticks(low: float, high: float) -> tuple[Array, list[str]]:
    r"""Return two or three dates between two days since 1970, and how they are written.

    Example:
        >>> _date_ticks(0.5, 400.0)[1], _date_ticks(0.1, 0.9)[1]
        (['1970-07', '1971-01'], ['01-01 06:00', '01-01 12:00', '01-01 18:00'])
    """
    low, high = np.clip([low, high], *_DAYS)
    ends = (np.array([low, high]) * _MS).round().astype("M8[ms]")
    for unit, step in _STEPS:
        since = 1970 * (unit == "Y")
        first, last = ends.astype(f"M8[{unit}]").astype(np.int64) + since
        dates = (np.arange(first - first % step, last + 1, step) - since).astype(f"M8[{unit}]")
        days = dates.astype("M8[ms]").astype(np.int64) / _MS
        inside = np.flatnonzero((days >= low) & (days <= high))
        if len(inside) > 1:
            kept = inside[:: math.ceil(len(inside) / 3)]
            start = {"h": 5, "m": 5, "s": 11}.get(unit, 0)  # the rest goes without saying
            texts = dates[kept].astype("M8[m]" if unit == "h" else dates.dtype).astype(str)
            return days[kept], [text[start:].replace("T", " ") for text in texts]
    return np.empty(0), []


class _Numbers(Formatter):
    r"""Numbers in full, each by itself, with the digits that tell them apart."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return self.format_ticks([x])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        ticks = np.asarray(values, float)
        top, steps = np.abs(ticks).max(initial=0.0), np.abs(np.diff(ticks))
        step = steps[steps > 0].min(initial=top) or 1.0
        digits = 1 - math.floor(math.log10(step))  # a step may be 2.5 of its power of ten
        if top == 0 or 1e-4 <= top < 1e10:
            texts = [np.format_float_positional(round(x, digits) + 0.0, trim="-") for x in ticks]
        else:
            digits += math.floor(math.log10(top))
            texts = [f"{x:.{digits}e}" if x else "0" for x in ticks]
            texts = [re.sub(r"\.?0*e\+?(-?)0*", r"e\1", text) for text in texts]
        return [text.replace("-", "−") for text in texts]


def _as_floats(column: pd.Series, dates: bool) -> Array:
    seen = column.dropna()
    if dates:
        seen = seen.dt.tz_localize(None).to_numpy("M8[ms]").astype(np.int64) / _MS
    values = np.array(seen, float)
    return np.asarray(values[np.isfinite(values)])


def _histogram(axes: Axes, real: Array, fake: Array) -> None:
    (low,), (high,) = _frame(real[:, None]) if len(real) else ((0.0,), (1.0,))
    edges = np.linspace(low, high, 25)
    if len(real) and high - low < 30 and (real == np.rint(real)).all():
        # A bin for each integer, or the counts would beat against the bins.
        edges = np.arange(real.min(), real.max() + 2) - 0.5
    for values, colour in ((real, REAL), (fake, MODEL)):
        _stairs(axes, np.histogram(values, edges)[0] / max(len(values), 1), edges, 0, colour)
    axes.set(yticks=[], ylim=(0, None))
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(_Numbers())


def _bars(axes: Axes, real: pd.Series, fake: pd.Series) -> None:
    counts = [Counter(map(str, column.dropna())) for column in (real, fake)]
    names = [name for name, _ in counts[0].most_common(CATEGORIES)]
    heights = [[c[name] / max(c.total(), 1) for name in names] for c in counts]
    if any(set(c) - set(names) for c in counts):
        names = [*names, "others"]
        heights = [[*h, 1 - sum(h)] for h in heights]
    y = np.arange(len(names))
    axes.barh(y, heights[0], 0.16, color=REAL, alpha=0.7)
    axes.barh(y + 0.18, heights[1], 0.16, color=MODEL)
    for i, name in enumerate(names):
        axes.text(0, i - 0.1, cut(name, 24), va="bottom", size=6.5)
    axes.set(yticks=[], xticks=[], xlim=(0, None), ylim=(len(names) - 0.5, -0.75))
    axes.spines["bottom"].set_visible(False)


def _loss_names(history: History) -> list[str]:
    names = dict.fromkeys(key for line in history for key in line)
    return [name for name in names if "loss" in name or "validation" in name][:6]


def _line(history: History, name: str, axis: str | None) -> Array:
    r"""Return the finite points `(n, 2)` of one loss."""
    x = [line[axis] if axis else i for i, line in enumerate(history, start=1)]
    # Where nothing was measured the record holds None, which becomes NaN.
    points = np.array([x, [line.get(name) for line in history]], float).T
    return np.asarray(points[np.isfinite(points).all(1)])


def _losses(figure: Figure, lines: dict[str, Array], axis: str) -> None:
    axes = figure.subplots()
    colours = [SECOND if "validation" in name else MODEL for name in lines]
    for i, (name, points) in enumerate(lines.items()):
        dash = "--" if colours[i] in colours[:i] else "-"
        marker = "o" if len(points) == 1 else ""
        axes.plot(*points.T, dash, marker=marker, c=colours[i], lw=1.3, label=cut(name))
    values = np.concatenate([points[:, 1] for points in lines.values()])
    if values.min() > 0 and values.max() > 100 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        # The usual labels are mathematics, which is switched off.
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(_Numbers())
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=axis != "seconds"))
    axes.xaxis.set_major_formatter(_Numbers())
    axes.set_xlabel(axis)
    axes.grid(axis="y", lw=0.5)
    if len(lines) > 1:  # above the curves, not over them
        figure.legend(frameon=False, loc="outside upper left", ncols=2, fontsize=7)
