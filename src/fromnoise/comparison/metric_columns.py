r"""One metric down all rows of the report: what is best, how it is written, where its bars end.

Columns stand in groups by what they answer, so that none scrolls out of sight.
All bars of a column share a scale. It spans the intervals of the families and of real data; where
one family lies far from the rest the scale stops short of it, and its bar becomes an arrow, so
that the others can be told apart. A metric may be wanted low, high, or near a target. Only a
family that was trained to the end and does not copy is ranked.
"""

__all__ = ["GROUPS", "MetricColumn", "Row", "grouped", "metric_column", "place", "spent"]

import math
from dataclasses import dataclass
from statistics import median
from typing import Any

from fromnoise.comparison.verdict import SILENT
from fromnoise.comparison.wording import amount, is_finite, power

Row = dict[str, Any]
Group = tuple[str, "list[MetricColumn]"]

METRICS = {
    "energy_distance": "Squared distance of two samples; 0 when the distributions agree. "
    "Unbiased, so it may fall below 0.",
    "c2st": "How well boosted trees tell real from drawn (AUC); 0.5 is guessing, 1 is certain.",
    "sliced_wasserstein": "How far mass must be moved, averaged over directions, in the units of "
    "the features.",
    "mmd": "Squared maximum mean discrepancy; 0 when the distributions agree. Unbiased, so it may "
    "fall below 0.",
    "frechet_distance": "Squared distance between Gaussians fitted to both samples. It sees means "
    "and covariances alone, and is above 0 for equal distributions.",
    "fd": "Squared Fréchet distance between Gaussians fitted to the features of both samples. "
    "Above 0 for equal distributions. Not the FID, which is of another network.",
    "log_likelihood": "Mean log-density of held-out rows, in nats and the units of the data.",
    "reconstruction_error": "Mean squared error of held-out rows decoded from their codes, as a "
    "share of the variance of the training rows (images: of their pixels). 0 is perfect, 1 is as "
    "good as the mean row.",
    "column_shapes": "Agreement of single columns, from 0 to 1.",
    "pair_trends": "Agreement of pairs of columns, from 0 to 1.",
    "train_on_synthetic": "How well trees that learnt from drawn rows predict the target column "
    "of real ones: area under the ROC curve for classes, R² for numbers. Real training rows show "
    "what can be reached.",
    "coverage": "Share of real rows that have a drawn row among their nearest neighbours.",
    "density": "How densely drawn rows lie among real ones; 1 is ideal, more is too near the "
    "middle.",
    "vendi": "How many rows of different directions would be as varied; as varied as real rows is "
    "ideal, for noise has the most.",
    "copying": "0: as near to training rows as fresh data; 1: training rows handed out again.",
}
GROUPS = {
    "Quality": tuple(METRICS)[:8],
    "Use": ("column_shapes", "pair_trends", "train_on_synthetic"),
    "Variety and memory": ("coverage", "density", "vendi", "copying"),
}
WIDEST = 7  # columns that a page of 1,280 pixels shows without scrolling


@dataclass(frozen=True)
class MetricColumn:
    r"""One metric down all rows: how it is written, and the scale of its bars.

    Args:
        name: Name of the metric.
        better: ``"lower"``, ``"higher"`` or ``"target"``.
        target: The ideal value, for ``"target"``.
        exponent: The power of ten that all values of the column are written in.
        frame: Values at the two ends of the bars.
        best: Value of the best family that is sound.
        mark: Value to be marked on all bars: the target, or what real data reach.

    Example:
        >>> column = MetricColumn("c2st", "target", 0.5, 0, (0.5, 1.0), None, 0.5)
        >>> column.goal, column.position(0.75)
        ('0.5 is ideal', 50.0)
    """

    name: str
    better: str
    target: float | None
    exponent: int
    frame: tuple[float, float]
    best: float | None
    mark: float | None

    @property
    def heading(self) -> str:
        r"""What stands above the column."""
        return self.name.replace("_", " ")

    @property
    def goal(self) -> str:
        r"""What is to be wished for."""
        if self.better == "target":
            return f"{amount(self.target).rstrip('0').rstrip('.')} is ideal"
        return f"{self.better} is better"

    @property
    def unit(self) -> str:
        r"""The power of ten that values are given in; may be empty."""
        return f"in {power(self.exponent)}" if self.exponent else ""

    @property
    def meaning(self) -> str:
        r"""What the metric measures, in a sentence; empty if it is not known."""
        return METRICS.get(_known(self.name), "")

    def cell(self, row: Row) -> dict[str, Any] | None:
        r"""Return what a row's cell shows; None where it has no finite value."""
        value, low, high = (_part(row, self.name, part) for part in ("value", "low", "high"))
        if value is None:
            return None
        interval = (value, value) if low is None or high is None else (low, high)
        spread, factor = (interval[1] - interval[0]) / 2, 10.0**-self.exponent
        texts = [amount(v * factor, spread * factor) for v in (value, *interval)]
        return {
            "value": texts[0],
            "interval": f"{texts[1]} to {texts[2]}" if texts[1] != texts[2] else "",
            "at": self.position(value),
            "from": self.position(interval[0]),
            "to": self.position(interval[1]),
            "beyond": (value > self.frame[1]) - (value < self.frame[0]),
            "best": _sound(row) and value == self.best,
        }

    def position(self, value: float) -> float:
        r"""Return where ``value`` lies on a bar from 0 to 100."""
        low, high = self.frame
        return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 2)


def metric_column(name: str, rows: list[Row]) -> MetricColumn:
    r"""Measure one metric over the rows of a report.

    Args:
        name: Name of the metric.
        rows: Rows of report.json.

    Returns:
        The column.

    Example:
        >>> metrics = {"mmd": {"value": 0.5, "better": "lower"}}
        >>> row = {"name": "a", "role": "family", "status": "ok", "metrics": metrics}
        >>> metric_column("mmd", [row]).best
        0.5
    """
    found = [(row, row["metrics"][name]) for row in rows if name in (row.get("metrics") or {})]
    found = [(row, result) for row, result in found if is_finite(result.get("value"))]
    first = found[0][1] if found else {}
    better, target = first.get("better", "lower"), first.get("target")
    own = [result for row, result in found if row.get("role") == "family"]
    real = [result for row, result in found if row.get("name") == "real"]
    sound = [result["value"] for row, result in found if _sound(row)]
    best = min(sound, key=lambda value: _badness(value, better, target), default=None)
    sizes = [abs(result["value"]) for result in own or [result for _, result in found]]
    exponent = 0
    if sizes and (size := median(sizes)) > 0 and not 0.01 <= size < 1e4:
        exponent = math.floor(math.log10(size))
    mark = target if better == "target" else real[0]["value"] if real else None
    return MetricColumn(name, better, target, exponent, _limits([*own, *real], mark), best, mark)


def grouped(
    columns: list[MetricColumn], first: str | None
) -> list[tuple[str, list[MetricColumn]]]:
    r"""Return columns by what they answer, each group in its order.

    Args:
        columns: All columns of a report.
        first: Name of the column that families are ranked by, which opens the first group.

    Returns:
        Titles and columns, without empty groups; a metric that is not known is one of quality.

    Example:
        >>> rows = [{"name": "a", "metrics": {"copying": {"value": 0.0}, "mmd": {"value": 0.0}}}]
        >>> columns = [metric_column(name, rows) for name in ("copying", "mmd")]
        >>> [(title, [c.name for c in some]) for title, some in grouped(columns, None)]
        [('Quality', ['mmd']), ('Variety and memory', ['copying'])]
    """
    quality, order = next(iter(GROUPS)), [*METRICS, ""]
    home = {name: title for title, names in GROUPS.items() for name in names}
    found: dict[str, list[MetricColumn]] = {title: [] for title in GROUPS}
    for column in sorted(columns, key=lambda c: (c.name != first, order.index(_known(c.name)))):
        title = quality if column.name == first else home.get(_known(column.name), quality)
        found[title].append(column)
    groups = [(title, some) for title, some in found.items() if some]
    return [*groups[:1], *_joined(groups[1:])]


def _joined(groups: list[Group]) -> list[Group]:
    r"""Return the groups as one, if it fits on a page."""
    columns = [column for _, some in groups for column in some]
    if not columns or len(columns) > WIDEST:
        return groups
    titles = [title if i == 0 else title.lower() for i, (title, _) in enumerate(groups)]
    return [(", ".join(titles), columns)]


def _known(name: str) -> str:
    r"""Return the metric that a name begins with; empty if there is none."""
    return max((key for key in METRICS if name.startswith(key)), key=len, default="")


def place(row: Row, verdict: dict[str, Any], columns: list[MetricColumn]) -> tuple[Any, ...]:
    r"""Return the sort key: the best, then ranked rows by the ranking metric, then the rest.

    Args:
        row: A row of report.json.
        verdict: The verdict of report.json.
        columns: The ranking metric, if there is one.

    Returns:
        What to sort families by.

    Example:
        >>> rows = [{"name": name, "role": "family", "status": "ok"} for name in ("a", "b")]
        >>> [row["name"] for row in sorted(rows, key=lambda row: place(row, {"best": "b"}, []))]
        ['b', 'a']
    """
    badness = math.inf
    for column in columns:
        if (value := _part(row, column.name, "value")) is not None:
            badness = _badness(value, column.better, column.target)
    return row["name"] != verdict["best"], not _ranked(row), badness


def spent(row: Row) -> float | None:
    r"""Return the seconds of fitting and drawing; None where neither is known.

    Example:
        >>> spent({"seconds": {"fit": 2.0, "sample": None}}), spent({"seconds": None})
        (2.0, None)
    """
    seconds = row.get("seconds") or {}
    known = [seconds[key] for key in ("fit", "sample") if is_finite(seconds.get(key))]
    return float(sum(known)) if known else None


def _part(row: Row, metric: str, part: str) -> float | None:
    r"""Return a number out of a row's metrics; None where it is missing or not finite."""
    number = ((row.get("metrics") or {}).get(metric) or {}).get(part)
    return None if number is None or not is_finite(number) else float(number)


def _ranked(row: Row) -> bool:
    return _sound(row) and SILENT not in (row.get("flags") or ())


def _sound(row: Row) -> bool:
    trained = row.get("status") == "ok" and "copying" not in (row.get("flags") or ())
    return row.get("role") == "family" and trained


def _badness(value: float, better: str, target: float | None) -> float:
    if better == "target":
        return abs(value - (target or 0.0))
    return -value if better == "higher" else value


def _limits(results: list[dict[str, Any]], mark: float | None) -> tuple[float, float]:
    r"""Return the ends of a column's bars: all intervals, unless one lies far from the rest."""
    values = [result["value"] for result in results] or [mark or 0.0]
    ends = [result.get(key) for result in results for key in ("low", "high")]
    points = [*values, *(end for end in ends if is_finite(end)), *([] if mark is None else [mark])]
    centre = median(values)
    reach = 6 * median(abs(value - centre) for value in values) or math.inf
    low, high = max(min(points), centre - reach), min(max(points), centre + reach)
    if mark is not None:
        low, high = min(low, mark), max(high, mark)
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin
