r"""Do drawn rows teach what real rows teach?

Boosted trees learn to predict one column from the others on fake rows, and are scored on real
rows that the model did not see ("train on synthetic, test on real", Esteban et al. 2017):

    classes    the mean over the test's classes c of the area under the ROC curve of p(c | rest)
               against the other classes; 1/2 where the fakes do not tell a class from others
    numbers    R² = 1 - Σ (y - ŷ)²/Σ (y - mean y)², at most 1 and below 0 if the mean is better

The value for a perfect model is not known beforehand: it is that of training on real rows, which
is the same function with the model's training rows as ``fake``. Trees depend on every row, so the
interval is that of halves, in which the fakes as well as the test are halved, with 8 groups.
"""

__all__ = ["train_on_synthetic"]

from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score, roc_auc_score

from fromnoise.data.numeric import is_whole
from fromnoise.data.tables import FEW
from fromnoise.errors import DataError, did_you_mean, shown
from fromnoise.metrics.columns import floats, is_number, matched, moments, objects
from fromnoise.metrics.pairs import group_of
from fromnoise.metrics.result import Result, halved, share_interval, summarise

_GROUPS = 8  # each takes two fits
_MINIMUM = 10
_CLASSES = 100
_ITERATIONS = 100
_SEED = 0


def train_on_synthetic(fake: Any, test: Any, target: str) -> Result:
    r"""Return how well boosted trees that learnt from fake rows predict a column of real ones.

    Args:
        fake: Rows that the model made, a pandas or polars DataFrame.
        test: Real rows that it did not see, with the same columns, in any order.
        target: The column to predict from all others. Numbers and dates are predicted as numbers,
            but at most 20 distinct whole numbers (in the test) are classes, as is everything
            else. Rows without a value in it are left out.

    Returns:
        The score, higher is better: for classes the mean of one-vs-rest areas, 0.5 when nothing
        was learnt; for numbers R², 0 when no more than the mean was. The target 1 is perfect
        prediction, which real rows do not teach either.

    Raises:
        DataError: If one is no DataFrame or has less than 10 rows with a value in ``target``; if
            the columns are not the same, numbers in one and something else in the other, or only
            ``target``; if ``target`` is no column, or has one value only in the test, or more
            than 100 classes.

    Example:
        >>> import pandas as pd
        >>> x = np.random.default_rng(0).normal(size=200)
        >>> test = pd.DataFrame({"x": x, "positive": x > 0})
        >>> train_on_synthetic(test, test, "positive").value > 0.9
        True
    """
    task = _task(fake, test, target)
    of_fake, of_test = (group_of(len(y), _GROUPS) for y in (task.y, task.truth))
    values = halved(lambda kept: task.score(kept[of_fake], kept[of_test]), _GROUPS)
    smaller = min(len(task.y), len(task.truth))
    if not task.n_classes:
        return summarise(values, n=smaller, better="higher", target=1.0, bounds=(-np.inf, 1.0))
    interval = share_interval(values, smaller)
    return summarise(values, n=smaller, better="higher", target=1.0, interval=interval)


class _Task(NamedTuple):
    r"""What is predicted from what.

    Args:
        X: Of fake rows, (n, p).
        y: Of fake rows, numbers or codes of classes, (n,).
        rows: Of test rows, (m, p).
        truth: Of test rows, (m,).
        is_level: Whether each column of X holds codes, (p,).
        n_classes: Of the test; 0 for numbers. The code ``n_classes`` is that of all other values.
    """

    X: np.ndarray
    y: np.ndarray
    rows: np.ndarray
    truth: np.ndarray
    is_level: np.ndarray
    n_classes: int

    def score(self, fake: np.ndarray, test: np.ndarray) -> float:
        r"""Return the score of training on some fake rows and testing on some real ones."""
        X, y, rows, truth = self.X[fake], self.y[fake], self.rows[test], self.truth[test]
        X[:, np.isnan(X).all(axis=0)] = 0.0  # scikit-learn cannot bin a column without values
        options = {
            "categorical_features": self.is_level,
            "max_iter": _ITERATIONS,
            "early_stopping": False,
            "random_state": _SEED,
        }
        if not self.n_classes:
            trees = HistGradientBoostingRegressor(**options).fit(X, y)
            return float(r2_score(truth, trees.predict(rows)))
        share = np.zeros((len(rows), self.n_classes + 1))
        if len(np.unique(y)) > 1:
            trees = HistGradientBoostingClassifier(**options).fit(X, y)
            share[:, trees.classes_.astype(int)] = trees.predict_proba(rows)
        return float(np.mean(list(_areas(truth, share))))


def _areas(truth: np.ndarray, share: np.ndarray) -> Iterator[float]:
    present = np.unique(truth)
    if len(present) < 2:  # a half without any other class tells nothing
        yield 0.5
        return
    for code in present:
        yield float(roc_auc_score(truth == code, share[:, int(code)]))


def _task(fake: Any, test: Any, target: str) -> _Task:
    pairs = {two[0].name: two for two in matched({"test": test, "fake": fake}, _MINIMUM)}
    if target not in pairs:
        raise DataError(f"unknown column {shown(target)}.{did_you_mean(target, pairs)}")
    truth, y, n_classes = _outcome(*pairs.pop(target))
    if not pairs:
        raise DataError(f"expected columns beside {shown(target)} to predict it from, got none")
    in_test, in_fake = (~np.isnan(values) for values in (truth, y))
    for name, some in (("test", in_test), ("fake", in_fake)):
        if some.sum() < _MINIMUM:
            raise DataError(
                f"expected at least {_MINIMUM} rows of {name} with a value in {shown(target)}, "
                f"got {some.sum()}; add rows"
            )
    if len(np.unique(truth[in_test])) < 2:
        raise DataError(f"{shown(target)} has one value only in test: there is nothing to predict")
    rows, X = map(np.column_stack, zip(*(_feature(*two) for two in pairs.values()), strict=True))
    is_level = np.array([not is_number(two[0]) for two in pairs.values()])
    return _Task(X[in_fake], y[in_fake], rows[in_test], truth[in_test], is_level, n_classes)


def _outcome(test: nw.Series[Any], fake: nw.Series[Any]) -> tuple[np.ndarray, np.ndarray, int]:
    # NaN where missing
    if is_number(test):
        truth, y = floats(test), floats(fake)
        distinct = np.unique(truth[~np.isnan(truth)])
        if len(distinct) > FEW or not is_whole(distinct):
            mean, scale = moments(y)
            return (truth - mean) / scale, (y - mean) / scale, 0
    codes = _codes(_values(test), _CLASSES + 1)
    if len(codes) > _CLASSES:
        raise DataError(
            f"expected at most {_CLASSES} classes in {shown(test.name)}, got more; "
            "choose another target, or join rare classes"
        )
    other = float(len(codes))
    return _coded(test, codes, other), _coded(fake, codes, other), len(codes)


def _feature(test: nw.Series[Any], fake: nw.Series[Any]) -> tuple[np.ndarray, np.ndarray]:
    if is_number(test):
        return floats(test), floats(fake)
    values = _values(fake)
    # The trees take 255 levels, of which the last is here that of all rare ones.
    codes = dict.fromkeys(values, 254.0) | _codes(values, 254)
    # A level that the fakes lack is to the trees a missing one.
    return _coded(test, codes, np.nan), _coded(fake, codes, np.nan)


def _values(column: nw.Series[Any]) -> list[Hashable]:
    if not is_number(column):
        return objects(column)
    return [None if np.isnan(value) else value for value in floats(column)]


def _codes(values: list[Hashable], most: int) -> dict[Hashable, float]:
    frequent = Counter(value for value in values if value is not None).most_common(most)
    return {level: float(code) for code, (level, _) in enumerate(frequent)}


def _coded(column: nw.Series[Any], codes: dict[Hashable, float], other: float) -> np.ndarray:
    known = codes | {None: np.nan}
    return np.array([known.get(value, other) for value in _values(column)])
