r"""Distances between two sets of rows: how far is what a model makes from what is real?

    energy_distance     D² = 2 E|x - y| - E|x - x'| - E|y - y'|              (Székely 2004)
    mmd                 M² = E k(x, x') + E k(y, y') - 2 E k(x, y)           (Gretton 2012)
    sliced_wasserstein  SW² = mean over directions u of W₂²(u·x, u·y)        (Rabin 2011)
    c2st                area under the ROC curve of a classifier             (Lopez-Paz 2017)

with x, x' real and y, y' fake. The first two are U-statistics: the pair of a row with itself is
left out, so they are unbiased, 0 in the mean when both sets have one distribution, and sometimes
negative. The others depend on n also in the mean: compare models at equal n only. Every set is
measured in the units it comes in; see :mod:`fromnoise.metrics.features` for better ones.
"""

__all__ = ["c2st", "energy_distance", "mmd", "sliced_wasserstein"]

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import numpy as np
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier

from fromnoise.errors import DataError, did_you_mean, shown
from fromnoise.metrics.pairs import (
    Kernel,
    checked,
    distances,
    group_count,
    group_of,
    grouped_sums,
    with_and_without,
)
from fromnoise.metrics.result import Result, share_interval, summarise

_FOLDS = 5
_SEED = 0


def energy_distance(real: Any, fake: Any) -> Result:
    r"""Return the energy distance, unbiased and squared, so it may be negative.

    Args:
        real: Rows, (n, d).
        fake: Rows, (m, d).

    Returns:
        2 E|x - y| - E|x - x'| - E|y - y'| in the units of the rows; lower is better, target 0.

    Raises:
        DataError: If a set is not (n, d), finite, of at least 3 rows and of the same columns.

    Example:
        >>> real = np.array([[0.0], [1.0], [2.0]])
        >>> energy_distance(real, real + 10).value
        17.333
    """
    real, fake = checked({"real": real, "fake": fake})
    return _kernel_distance(lambda x, y: -distances(x, y), real, fake)


def mmd(real: Any, fake: Any, kernel: Literal["cubic", "rbf"] = "rbf") -> Result:
    r"""Return the maximum mean discrepancy, unbiased and squared, so it may be negative.

    Args:
        real: Rows, (n, d).
        fake: Rows, (m, d).
        kernel: ``"cubic"``, (x·y/d + 1)³, which on features of images is the kernel inception
            distance (Bińkowski 2018); or ``"rbf"``, exp(-‖x - y‖² / 2 h²), where h is the median
            of the distances between different rows among 1,000 of the real ones.

    Returns:
        The distance; lower is better, target 0.

    Raises:
        DataError: If a set is not (n, d), finite, of at least 3 rows and of the same columns; if
            the kernel is unknown; if all real rows are equal, so that "rbf" has no scale.

    Example:
        >>> real = np.array([[0.0], [1.0], [2.0]])
        >>> mmd(real, real + 10).value
        0.899
        >>> mmd(real, real, kernel="cubic").value
        -23.333
    """
    real, fake = checked({"real": real, "fake": fake})
    if kernel == "cubic":
        return _kernel_distance(_cubic, real, fake)
    if kernel == "rbf":
        return _kernel_distance(partial(_rbf, width=_median_distance(real)), real, fake)
    raise DataError(f"unknown kernel {shown(kernel)}.{did_you_mean(kernel, ['cubic', 'rbf'])}")


def _kernel_distance(kernel: Kernel, real: np.ndarray, fake: np.ndarray) -> Result:
    groups = group_count(real, fake)
    n, m = (with_and_without(np.bincount(group_of(len(rows), groups))) for rows in (real, fake))
    within_real = with_and_without(grouped_sums(kernel, real, real, groups, same=True))
    within_fake = with_and_without(grouped_sums(kernel, fake, fake, groups, same=True))
    between = with_and_without(grouped_sums(kernel, real, fake, groups))
    values = within_real / (n * (n - 1)) + within_fake / (m * (m - 1)) - 2 * between / (n * m)
    smaller = min(len(real), len(fake))
    return summarise(values, n=smaller, better="lower", target=0.0)


def _cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    base: np.ndarray = x @ y.T
    base /= x.shape[1]
    base += 1.0
    return np.asarray(base**2 * base)


def _rbf(x: np.ndarray, y: np.ndarray, width: float) -> np.ndarray:
    exponent = distances(x, y)
    exponent /= width
    exponent *= exponent
    exponent *= -0.5
    return np.asarray(np.exp(exponent, out=exponent))


def _median_distance(real: np.ndarray) -> float:
    some = real[:: -(-len(real) // 1000)]
    found = distances(some, some)
    if not found.any():
        raise DataError("all rows of real are equal, so 'rbf' has no scale; use kernel='cubic'")
    return float(np.median(found[found > 0]))


def sliced_wasserstein(real: Any, fake: Any, *, n_directions: int = 1000) -> Result:
    r"""Return the sliced 2-Wasserstein distance, the root of the mean square over directions.

    Args:
        real: Rows, (n, d).
        fake: Rows, (m, d).
        n_directions: Number of fixed random directions, made up to whole orthonormal bases; with
            d = 1 there is only one direction.

    Returns:
        The distance in the units of the rows; lower is better, target 0, though at finite n it
        is positive in the mean for equal distributions.

    Raises:
        DataError: If a set is not (n, d), finite, of at least 3 rows and of the same columns; if
            ``n_directions`` is below 1.

    Example:
        >>> real = np.array([[0.0], [1.0], [2.0]])
        >>> sliced_wasserstein(real, real + 10).value
        10.0
    """
    real, fake = checked({"real": real, "fake": fake})
    groups = group_count(real, fake)
    total = np.zeros(1 + groups)
    directions = _directions(real.shape[1], n_directions)
    for block in np.array_split(directions, -(-len(directions) // 50)):
        pairs = zip(
            _sorted_with_and_without(block @ real.T, groups),
            _sorted_with_and_without(block @ fake.T, groups),
            strict=True,
        )
        total += [_squared_wasserstein(x, y) for x, y in pairs]
    values = np.sqrt(total / len(directions))
    smaller = min(len(real), len(fake))
    return summarise(values, n=smaller, better="lower", target=0.0)


def _directions(d: int, count: int) -> np.ndarray:
    if count < 1:
        raise DataError(f"expected n_directions of at least 1, got {count}; 1000 is a good number")
    if d == 1:
        return np.ones((1, 1))
    # Whole orthonormal bases: the mean of (u·δ)² over each is |δ|²/d without an error of sampling.
    normal = np.random.default_rng(_SEED).standard_normal((-(-count // d), d, min(d, count)))
    return np.linalg.qr(normal)[0].swapaxes(1, 2).reshape(-1, d)


def _sorted_with_and_without(values: np.ndarray, groups: int) -> Iterator[np.ndarray]:
    order = np.argsort(values, axis=1)
    in_order = np.take_along_axis(values, order, axis=1)
    yield in_order
    group = group_of(values.shape[1], groups)[order]
    for left_out in range(groups):
        yield in_order[group != left_out].reshape(len(values), -1)


def _squared_wasserstein(x: np.ndarray, y: np.ndarray) -> float:
    # The quantile functions are steps: x's at multiples of 1/n, y's at multiples of 1/m. Counted
    # in units of 1/(n m), all steps are whole numbers.
    n, m = x.shape[1], y.shape[1]
    steps = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    gap = x[:, (steps - 1) // m] - y[:, (steps - 1) // n]
    np.square(gap, out=gap)
    return float((gap @ (np.diff(steps, prepend=0) / (n * m))).sum())


def c2st(real: Any, fake: Any) -> Result:
    r"""Return how well boosted trees tell real rows from fake ones: a cross-validated AUC.

    The area is the mean of those of 5 folds, each within one classifier's scores: areas over
    pooled scores of several classifiers are below 0.5 in the mean for equal distributions.

    Args:
        real: Rows, (n, d); missing values are allowed and count as information.
        fake: Rows, (m, d).

    Returns:
        The area, 0.5 when the sets cannot be told apart and 1 when no fake passes; nearer to the
        target 0.5 is better.

    Raises:
        DataError: If a set is not (n, d), without infinities, of at least 10 rows and of the same
            columns.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> real = rng.normal(0, 1, (200, 2))
        >>> c2st(real, rng.normal(3, 1, (200, 2))).value > 0.9
        True
    """
    real, fake = checked({"real": real, "fake": fake}, minimum=2 * _FOLDS, allow_nan=True)
    groups = group_count(real, fake)
    values = np.mean([_fold_areas(real, fake, fold, groups) for fold in range(_FOLDS)], axis=0)
    # The jackknife takes the classifiers as given. They share training rows, which correlates the
    # folds by about 1/5 (Nadeau & Bengio 2003) and so multiplies the variance of their mean.
    values[1:] += (np.sqrt(1 + (_FOLDS - 1) / _FOLDS) - 1) * (values[1:] - values[1:].mean())
    smaller = min(len(real), len(fake))
    interval = share_interval(values, smaller)
    return summarise(values, n=smaller, better="target", target=0.5, interval=interval)


def _fold_areas(real: np.ndarray, fake: np.ndarray, fold: int, groups: int) -> np.ndarray:
    rows = np.concatenate([real, fake])
    is_fake = np.repeat([False, True], [len(real), len(fake)])
    position = np.concatenate([np.arange(len(real)), np.arange(len(fake))])
    held = position % _FOLDS == fold
    trees = HistGradientBoostingClassifier(early_stopping=False, random_state=_SEED)
    trees.fit(rows[~held], is_fake[~held])
    score, truth = trees.predict_proba(rows[held])[:, 1], is_fake[held]
    group = position[held] % groups
    kept = [group != left_out for left_out in range(groups)]
    return np.array([_area(score, truth), *(_area(score[keep], truth[keep]) for keep in kept)])


def _area(score: np.ndarray, truth: np.ndarray) -> float:
    # Mann-Whitney: the share of (fake, real) pairs in the right order, ties half.
    n_fake = int(truth.sum())
    above = rankdata(score)[truth].sum() - n_fake * (n_fake + 1) / 2
    return float(above / (n_fake * (len(truth) - n_fake)))
