r"""Are the columns of a table, and its pairs of columns, distributed as the real ones?

Numbers and dates are compared by their distribution functions F, other columns by the shares p of
their levels; pairs of numbers by the correlation ρ, other pairs by the shares of their pairs of
levels, for which numbers are cut into 10 bins of equal width over the real range, the outer ones
without an end. Each is 1 when both sets agree and 0 at worst, and the metric is the mean.

    column_shapes    numbers   1 - max_v |F_real(v) - F_fake(v)|          (Kolmogorov-Smirnov)
                     levels    1 - ½ Σ_a |p_real(a) - p_fake(a)|          (total variation)
    pair_trends      numbers   1 - ½ |ρ_real - ρ_fake|                    (Pearson correlation)
                     others    1 - ½ Σ_ab |p_real(a, b) - p_fake(a, b)|   (contingency table)

These are the definitions of SDMetrics (of the Synthetic Data Vault, Patki et al. 2016). As there,
column shapes and correlations leave missing values out, and contingency tables have a level for
them.
Where SDMetrics has no score, or leaves a column out of the mean, there is one here: two columns
without any value agree and a column without any value agrees with no other; the correlation with
a constant column is 0.

Equal distributions score below 1 in the mean, at small n and with many levels far below: compare
models at equal n, and with as many real rows. Neither sees more than two columns at once: drawing
each column by itself scores highest in shapes, and a classifier (c2st) tells such rows at once.
"""

__all__ = ["column_shapes", "pair_trends"]

from collections.abc import Hashable
from itertools import combinations
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np

from fromnoise.errors import DataError
from fromnoise.metrics.columns import floats, is_number, matched, moments, objects
from fromnoise.metrics.pairs import group_of
from fromnoise.metrics.result import Result, from_halves, half_count, half_masks, summarise

_BINS = 10


def column_shapes(real: Any, fake: Any) -> Result:
    r"""Return how well each column by itself is distributed, in the mean over the columns.

    Args:
        real: Rows, a pandas or polars DataFrame.
        fake: Rows with the same columns, in any order.

    Returns:
        The score, 0 to 1; higher is better, target 1, though at finite n it is lower in the mean
        for equal distributions.

    Raises:
        DataError: If one is no DataFrame or has less than 4 rows; if the columns are not the
            same, or numbers in one and something else in the other.

    Example:
        >>> import pandas as pd
        >>> real = pd.DataFrame({"age": [1, 2, 3, 4], "city": ["Oslo", "Oslo", "Rome", "Rome"]})
        >>> fake = pd.DataFrame({"age": [2, 3, 4, 5], "city": ["Oslo", "Rome", "Rome", "Rome"]})
        >>> column_shapes(real, fake).value
        0.75
    """
    columns = _columns(real, fake)
    return _summary([_shape(column) for column in columns], columns)


def pair_trends(real: Any, fake: Any) -> Result:
    r"""Return how well the columns go together, in the mean over the pairs of columns.

    Args:
        real: Rows, a pandas or polars DataFrame of at least two columns.
        fake: Rows with the same columns, in any order.

    Returns:
        The score, 0 to 1; higher is better, target 1, though at finite n it is lower in the mean
        for equal distributions.

    Raises:
        DataError: As for :func:`column_shapes`, and if there is only one column.

    Example:
        >>> import pandas as pd
        >>> real = pd.DataFrame({"x": [1, 2, 3, 4], "y": [2, 4, 6, 8]})
        >>> pair_trends(real, real.assign(y=[8, 6, 4, 2])).value
        0.0
    """
    columns = _columns(real, fake)
    if len(columns) < 2:
        raise DataError("expected at least two columns, got one; column_shapes measures a column")
    cut = [_cut(column) for column in columns]
    pairs = combinations(range(len(columns)), 2)
    both = [
        _correlation(columns[i], columns[j])
        if columns[i].number and columns[j].number
        else _contingency(cut[i], cut[j])
        for i, j in pairs
    ]
    return _summary(both, columns)


class _Column(NamedTuple):
    r"""A column of both tables: numbers, NaN where missing, or codes of levels, -1 where missing.

    Args:
        real: (n,).
        fake: (m,).
        number: Whether it is of numbers.
    """

    real: np.ndarray
    fake: np.ndarray
    number: bool


def _columns(real: Any, fake: Any) -> list[_Column]:
    pairs = matched({"real": real, "fake": fake}, minimum=4)
    return [_column(*pair) for pair in pairs]


def _column(real: nw.Series[Any], fake: nw.Series[Any]) -> _Column:
    if is_number(real):
        return _Column(floats(real), floats(fake), True)
    values = [objects(real), objects(fake)]
    codes: dict[Hashable, int] = {None: -1}
    for value in (*values[0], *values[1]):
        codes.setdefault(value, len(codes) - 1)
    of_real, of_fake = (np.array([codes[value] for value in some]) for some in values)
    return _Column(of_real, of_fake, False)


def _cut(column: _Column) -> _Column:
    if not column.number:
        return column
    seen = column.real[~np.isnan(column.real)]
    low, high = (seen.min(), seen.max()) if len(seen) else (0.0, 0.0)
    inner = np.arange(1, _BINS) / _BINS
    edges = low * (1 - inner) + high * inner
    real, fake = (
        np.where(np.isnan(values), -1, np.searchsorted(edges, values, side="right"))
        for values in (column.real, column.fake)
    )
    return _Column(real, fake, False)


def _shape(column: _Column) -> np.ndarray:
    difference = np.subtract(*_shares(*column))
    if column.number:
        return 1 - np.abs(difference.cumsum(axis=1)).max(axis=1)
    return 1 - np.abs(difference).sum(axis=1) / 2


def _contingency(a: _Column, b: _Column) -> np.ndarray:
    levels = max(b.real.max(), b.fake.max()) + 2
    real, fake = ((x + 1) * levels + y + 1 for x, y in ((a.real, b.real), (a.fake, b.fake)))
    return 1 - np.abs(np.subtract(*_shares(real, fake, False))).sum(axis=1) / 2


def _shares(real: np.ndarray, fake: np.ndarray, number: bool) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the shares of the distinct values for each mask, ascending, (2 G - 1, cells) each.

    One more cell, the last, holds all where there is no value.
    """
    groups = half_count(real, fake)
    seen = [~np.isnan(column) if number else column >= 0 for column in (real, fake)]
    values, cell = np.unique(np.concatenate([real[seen[0]], fake[seen[1]]]), return_inverse=True)
    cells = np.split(cell, [seen[0].sum()])
    masks = half_masks(groups).astype(np.float64)
    shares = []
    for which, some in zip(cells, seen, strict=True):
        place = np.flatnonzero(some) % groups * len(values) + which
        of_group = np.bincount(place, minlength=groups * len(values)).reshape(groups, len(values))
        counts = masks @ of_group
        total = counts.sum(axis=1, keepdims=True)
        shares.append(np.hstack([counts, total == 0]) / np.maximum(total, 1))
    return shares[0], shares[1]


def _correlation(a: _Column, b: _Column) -> np.ndarray:
    groups = half_count(a.real, a.fake)
    real, fake = _pearson(a.real, b.real, groups), _pearson(a.fake, b.fake, groups)
    return 1 - np.abs(real - fake) / 2


def _pearson(x: np.ndarray, y: np.ndarray, groups: int) -> np.ndarray:
    r"""Return the correlation for each mask, (2 G - 1,); 0 if a column is constant."""
    both = ~(np.isnan(x) | np.isnan(y))
    group = group_of(len(x), groups)[both]
    x, y = (_standard(values[both]) for values in (x, y))
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y])
    of_group = np.stack([np.bincount(group, term, minlength=groups) for term in terms])
    n, x, y, xx, yy, xy = of_group @ half_masks(groups).T
    n = np.maximum(n, 1)
    # Rounding leaves a little variance to a column that is constant.
    varies = (xx - x * x / n > 1e-12 * xx) & (yy - y * y / n > 1e-12 * yy)
    size = np.sqrt(np.where(varies, (xx - x * x / n) * (yy - y * y / n), 1.0))
    return np.clip(np.where(varies, (xy - x * y / n) / size, 0.0), -1.0, 1.0)


def _standard(values: np.ndarray) -> np.ndarray:
    mean, scale = moments(values)
    return (values - mean) / scale


def _summary(scores: list[np.ndarray], columns: list[_Column]) -> Result:
    values = from_halves(np.mean(scores, axis=0))
    smaller = min(len(columns[0].real), len(columns[0].fake))
    return summarise(values, n=smaller, better="higher", target=1.0, bounds=(0.0, 1.0))
