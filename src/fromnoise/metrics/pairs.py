r"""All pairs of rows of two sets, a block at a time, with the groups of rows kept apart.

A statistic of pairs is needed many times: with all rows, and with some of the G groups only.
Instead of many passes, one pass keeps what the groups contribute, row i being of group i mod G:

    sums        S_gh = Σ k(x_i, y_j) over i in g, j in h;  without g: S.. - S_g. - S_.g + S_gg
    neighbours  the k smallest |x_i - y_j| over j in h, for each row i and each group h

Distances are differences first and squares second. The faster |x|² + |y|² - 2 x·y cancels: it
puts equal rows 1e-8 |x| apart, and ties and copies are what some metrics look for.
"""

__all__ = [
    "Kernel",
    "checked",
    "count_within",
    "distances",
    "group_count",
    "group_of",
    "grouped_sums",
    "kth",
    "nearest",
    "nearest_by_group",
    "with_and_without",
]

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from fromnoise.errors import DataError, shown
from fromnoise.metrics.result import GROUPS

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]

_BLOCK_VALUES = 2_000_000  # 16 MB


def checked(
    sets: dict[str, Any], *, minimum: int = 3, allow_nan: bool = False
) -> list[np.ndarray]:
    r"""Return the sets as float64 arrays with equally many columns.

    Args:
        sets: Name for the error -> rows, (n, d) numbers.
        minimum: Fewest rows of each set.
        allow_nan: Whether missing values may stay.

    Returns:
        The arrays, in the order given.

    Raises:
        DataError: If one is not two-dimensional, not numeric, too short, not finite, or has other
            columns than the first.

    Example:
        >>> [rows.shape for rows in checked({"real": [[1], [2], [3]]})]
        [(3, 1)]
    """
    arrays = [_as_rows(name, rows, minimum, allow_nan) for name, rows in sets.items()]
    for name, rows in zip(sets, arrays, strict=True):
        if rows.shape[1] != arrays[0].shape[1]:
            raise DataError(
                f"expected equally many columns, got {arrays[0].shape[1]} in {next(iter(sets))} "
                f"and {rows.shape[1]} in {name}; pass both in the same features"
            )
    return arrays


def _as_rows(name: str, rows: Any, minimum: int, allow_nan: bool) -> np.ndarray:
    array = np.asarray(rows)
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"expected {name} as an array of numbers, got {shown(type(rows).__name__)} of dtype "
            f"{array.dtype}; turn a table into numbers with TableFeatures.fit(train)"
        )
    if array.ndim != 2 or array.shape[1] == 0:
        raise DataError(
            f"expected {name} as (n, d) with d >= 1, got shape {array.shape}; "
            f"reshape it, for example with {name}.reshape(len({name}), -1)"
        )
    if len(array) < minimum:
        raise DataError(f"expected at least {minimum} rows in {name}, got {len(array)}; add rows")
    array = array.astype(np.float64, copy=False)
    bad = np.isinf(array) if allow_nan else ~np.isfinite(array)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"expected finite numbers in {name}, got {array[row, column]} in row {row}, column "
            f"{column}; drop such rows or encode them, for example with TableFeatures.fit(train)"
        )
    return array


def group_count(*sets: np.ndarray) -> int:
    r"""Return G: 20, or the number of rows of the smallest set if that is less.

    Example:
        >>> group_count(np.ones((7, 2)), np.ones((100, 2)))
        7
    """
    return min(GROUPS, *map(len, sets))


def group_of(n: int, groups: int) -> np.ndarray:
    r"""Return the group of each of n rows, (n,).

    Example:
        >>> group_of(5, groups=3).tolist()
        [0, 1, 2, 0, 1]
    """
    return np.arange(n) % groups


def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    r"""Return the Euclidean distances of all pairs, (n, m); exactly 0 for equal rows.

    Example:
        >>> distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[5.0, 0.0]]
    """
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(_tensor(x), _tensor(y), compute_mode=exact).numpy()


def _tensor(x: np.ndarray) -> torch.Tensor:
    # torch refuses negative strides, and warns about arrays that cannot be written to
    return torch.from_numpy(np.require(x, requirements=["C", "W"]))


def grouped_sums(
    kernel: Kernel, x: np.ndarray, y: np.ndarray, groups: int, *, same: bool = False
) -> np.ndarray:
    r"""Return the sums of a kernel over the pairs of each two groups.

    Args:
        kernel: (b, d), (m, d) -> (b, m).
        x: Rows, (n, d).
        y: Rows, (m, d).
        groups: G.
        same: Whether x and y are one set, so that a row makes no pair with itself.

    Returns:
        Sums, (G, G).

    Example:
        >>> x = np.array([[0.0], [1.0], [3.0]])
        >>> grouped_sums(distances, x, x, 2, same=True).tolist()
        [[6.0, 3.0], [3.0, 0.0]]
    """
    of_row = np.eye(groups)[group_of(len(x), groups)]
    of_column = np.eye(groups)[group_of(len(y), groups)]
    sums = np.zeros((groups, groups))
    for rows in _blocks(len(x), len(y)):
        values = kernel(x[rows], y)
        if same:
            values[np.arange(len(values)), np.arange(len(x))[rows]] = 0.0
        sums += of_row[rows].T @ (values @ of_column)
    return sums


def with_and_without(sums: np.ndarray) -> np.ndarray:
    r"""Return the sum over all pairs, then without each group, (1 + G,).

    Args:
        sums: Of :func:`grouped_sums`, (G, G); or of single rows by their groups, (G,).

    Returns:
        Totals, (1 + G,).

    Example:
        >>> with_and_without(np.array([[6.0, 3.0], [3.0, 0.0]])).tolist()
        [12.0, 0.0, 6.0]
        >>> with_and_without(np.array([2, 1])).tolist()
        [3, 1, 2]
    """
    total = sums.sum()
    if sums.ndim == 1:
        return np.append(total, total - sums)
    without = total - sums.sum(axis=1) - sums.sum(axis=0) + np.diag(sums)
    return np.append(total, without)


def nearest(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the distance of each row of x to its nearest row of y, and which that is, (n,) each.

    Example:
        >>> nearest(np.array([[1.0], [9.0]]), np.array([[0.0], [7.0], [8.0]]))
        (array([1., 1.]), array([0, 2]))
    """
    far, which = np.empty(len(x)), np.empty(len(x), dtype=np.int64)
    for rows in _blocks(len(x), len(y)):
        found = distances(x[rows], y)
        far[rows], which[rows] = found.min(axis=1), found.argmin(axis=1)
    return far, which


def nearest_by_group(
    x: np.ndarray, y: np.ndarray, k: int, groups: int, *, same: bool = False
) -> np.ndarray:
    r"""Return the distances of each row of x to its k nearest rows of each group of y.

    Args:
        x: Rows, (n, d).
        y: Rows, (m, d).
        k: Number of neighbours.
        groups: G.
        same: Whether x and y are one set, so that a row is no neighbour of itself.

    Returns:
        Distances, (n, G, min(k, ⌈m/G⌉)), in no order, infinite where a group has fewer rows.

    Example:
        >>> x = np.array([[0.0], [1.0], [3.0]])
        >>> nearest_by_group(x, x, 1, 2, same=True)[:, :, 0].tolist()
        [[3.0, 1.0], [1.0, inf], [3.0, 2.0]]
    """
    width = -(-len(y) // groups)
    # Rows at infinity fill the last group, so that groups are equal slices of the columns.
    filler = np.full((groups * width - len(y), y.shape[1]), np.inf)
    by_group = np.concatenate([y, filler]).reshape(width, groups, -1).swapaxes(0, 1)
    columns = np.ascontiguousarray(by_group).reshape(groups * width, -1)
    kept = min(k, width)
    out = np.empty((len(x), groups, kept))
    for rows in _blocks(len(x), len(columns)):
        found = distances(x[rows], columns).reshape(-1, groups, width)
        if same:
            own = np.arange(len(x))[rows]
            found[np.arange(len(found)), own % groups, own // groups] = np.inf
        out[rows] = np.partition(found, kept - 1, axis=-1)[..., :kept]
    return out


def kth(found: np.ndarray, k: int, kept: np.ndarray) -> np.ndarray:
    r"""Return the distance of each row to its k-th neighbour among the groups that are kept.

    Args:
        found: Of :func:`nearest_by_group`, (n, G, k).
        k: Which neighbour, from 1.
        kept: Whether each group of columns is kept, (G,).

    Returns:
        Distances, (n,).

    Example:
        >>> found = np.array([[[3.0], [1.0]]])
        >>> kth(found, 1, np.array([True, True])), kth(found, 1, np.array([True, False]))
        (array([1.]), array([3.]))
    """
    near = found[:, kept].reshape(len(found), -1)
    return np.asarray(np.partition(near, k - 1, axis=1)[:, k - 1])


def count_within(
    x: np.ndarray, y: np.ndarray, radii: np.ndarray, counted: np.ndarray
) -> np.ndarray:
    r"""Return how many pairs of rows are no farther apart than a radius, for S kinds of radii.

    Args:
        x: Rows, (n, d).
        y: Rows, (m, d).
        radii: Around each row of x, (n, S).
        counted: Whether each row of y counts, (m, S).

    Returns:
        Numbers of pairs, (S,).

    Example:
        >>> x, y = np.array([[0.0], [5.0]]), np.array([[1.0], [2.0]])
        >>> radii, counted = np.array([[2.0, 1.5], [3.0, 1.0]]), np.array([[True, True]] * 2)
        >>> count_within(x, y, radii, counted).tolist()
        [3, 1]
    """
    totals = np.zeros(radii.shape[1], dtype=np.int64)
    for rows in _blocks(len(x), len(y)):
        found = distances(x[rows], y)
        # Most pairs are farther apart than any of the radii.
        i, j = np.nonzero(found <= radii[rows].max(axis=1, keepdims=True))
        near = found[i, j]
        for s, radius in enumerate(radii[rows].T):
            totals[s] += np.count_nonzero((near <= radius[i]) & counted[j, s])
    return totals


def _blocks(n: int, columns: int) -> Iterator[slice]:
    step = max(1, _BLOCK_VALUES // columns)
    return (slice(start, start + step) for start in range(0, n, step))
