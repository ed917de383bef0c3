r"""Measure what the models drew: the same features and metrics for every row of the report.

Rows are turned into numbers once, by maps fitted on the training rows (see ``extractors``). For
conditional tables the label is a column again. Which metrics there are:

    all       distances and moments of the features, coverage; c2st and copying of simple ones
    arrays    density and the Vendi score besides, whose ideal is that of as many real rows
    tables    single columns, pairs of columns, and whether drawn rows teach what real ones do

What a model reconstructs is held against the very rows that it was given, pixel by pixel for
images: with f the numbers that a row becomes,

    reconstruction error = mean over held-out rows of ‖f(x̂) − f(x)‖² / total variance of training f

which is 0 for a perfect reconstruction, 1 for the mean of the training rows, and 1 minus the
explained variance for principal components.
"""

__all__ = ["Measure", "Sample", "likelihood"]

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from fromnoise import data
from fromnoise.comparison.extractors import Features, extractor, flat, simple
from fromnoise.comparison.jobs import Split, with_label
from fromnoise.data import Encoding
from fromnoise.errors import DataError
from fromnoise.metrics import (
    Result,
    Standardise,
    TableFeatures,
    c2st,
    column_shapes,
    copying,
    coverage,
    density,
    energy_distance,
    frechet_distance,
    mmd,
    pair_trends,
    sliced_wasserstein,
    train_on_synthetic,
    vendi,
)
from fromnoise.metrics.pairs import nearest
from fromnoise.metrics.result import GROUPS, summarise
from fromnoise.training import numpy_rng

logger = logging.getLogger("fromnoise")

_TREE_ROWS = 5_000  # boosted trees gain little from more rows, and cost the most
_TAUGHT_ROWS = 2_000  # rows that trees learn from, fifteen times
_WIDE, _WIDE_ROWS = 256, 2_000  # columns from which on all pairs of rows cost minutes
_MOST_COLUMNS = 64  # of a table whose pairs of columns are compared
_NEIGHBOURS = 8
_VARIANCE_ROWS = 10_000
_COPIES, _SUBSET, _HALVES = 41, 50, 51  # what a random stream is for
# Numbers that are not 0 for equal distributions, but fall like a power of 1/n + 1/m.
_FALLING = {"sliced_wasserstein": 0.5, "frechet_distance": 1.0, "fd": 1.0}
Metrics = dict[str, Callable[[], Result]]


@dataclass(frozen=True)
class Sample:
    r"""Rows as the metrics take them.

    Args:
        features: What distances are measured in, `(n, d)`; of the first rows only, where all
            of them would cost minutes.
        simple: What trees and copying see, `(n, k)`.
        table: The rows of a table; None for arrays.

    Example:
        >>> Sample(np.zeros((3, 2)), np.zeros((3, 2))).table is None
        True
    """

    features: np.ndarray
    simple: np.ndarray
    table: Any = None

    def __len__(self) -> int:
        return len(self.simple)

    def take(self, index: np.ndarray) -> "Sample":
        r"""Return some of the rows."""
        table = None if self.table is None else data.take(self.table, index)
        return Sample(self.features[index[index < len(self.features)]], self.simple[index], table)


class Measure:
    r"""Features and metrics of one comparison.

    Args:
        kind: ``"vectors"``, ``"table"`` or ``"images"``.
        split: The training and held-out rows.
        label: Name of the label column of a conditional table; None otherwise.
        seed: Seed of the subsets that are drawn.
        features: What distances are measured in, as :func:`fromnoise.compare` takes it.
        target: Column of a table that drawn rows are to teach to predict; None for the label.
    """

    def __init__(
        self,
        kind: str,
        split: Split,
        label: str | None,
        seed: int,
        features: Features = "auto",
        target: str | None = None,
    ) -> None:
        self.kind, self.split, self.label, self.seed = kind, split, label, seed
        self.target = label if target is None else target
        self.encoding: Encoding | None = None
        if kind == "images":
            self.encoding = data.fit_encoding(split.train)
        rows = self.rows(split.train, split.train_y)
        shape = () if self.encoding is None else self.encoding.shape
        self.simple = simple(kind, rows)
        self.features = extractor(features, self.simple, split.train, shape)
        self.train = np.asarray(self.simple.function(rows))
        self.test = self.sample(split.test, split.test_y)

    @property
    def ranked_by(self) -> str:
        r"""Name of the number that families are ranked by."""
        if self.kind == "table":
            return "c2st"
        return ("mmd" if self.kind == "images" else "energy_distance") + self.features.ending

    @property
    def copying(self) -> str:
        r"""Name of the number that tells copies."""
        return "copying" + self.simple.ending

    def rows(self, X: Any, y: Any = None) -> Any:
        r"""Return rows as the features and the report want them.

        Args:
            X: Rows as the user or a model gave them.
            y: Their labels; None where there are none, or a column of X holds them.

        Returns:
            Vectors as an array, a table as a DataFrame with its label, images ``(n, C, H, W)``.
        """
        if self.encoding is not None:
            return self.encoding.encode(self.encoding.check(X)).values
        if self.kind == "vectors":
            return np.asarray(X, dtype=np.float64)
        joined = X if self.label is None or y is None else with_label(X, y, self.label)
        if hasattr(joined, "with_columns") or all(isinstance(name, str) for name in joined):
            return joined
        return joined.set_axis([str(name) for name in joined.columns], axis=1)

    def sample(self, X: Any, y: Any = None) -> Sample:
        r"""Return rows as the metrics take them.

        Args:
            X: Rows as the user or a model gave them.
            y: Their labels, as in :meth:`rows`.
        """
        rows = self.rows(X, y)
        plain = np.asarray(self.simple.function(rows))
        table = rows if self.kind == "table" else None
        if self.features is self.simple:
            return Sample(plain, plain, table)
        given = X if self.features.given else rows
        if self.features.costly:
            given = data.take(X, np.arange(min(len(plain), _WIDE_ROWS)))
        found = np.asarray(self.features.function(given), np.float64)
        return Sample(found if found.shape[1] <= _WIDE else found[:_WIDE_ROWS], plain, table)

    def metrics(self, fake: Sample, real: Sample | None = None) -> dict[str, Result]:
        r"""Return every metric of drawn rows against the held-out rows.

        Args:
            fake: What a model drew.
            real: What it is held against, the held-out rows if None.

        Returns:
            Results by name; a metric that does not exist for these rows is left out.
        """
        real = self.test if real is None else real
        if not (np.isfinite(fake.features).all() and np.isfinite(fake.simple).all()):
            return {}
        return _measured(self._all(real, fake))

    def _all(self, real: Sample, fake: Sample) -> Metrics:
        few = self._some(real), self._some(fake)
        named = {
            name + self.features.ending: metric
            for name, metric in self._distances(real.features, fake.features).items()
        }
        named["c2st" + self.simple.ending] = lambda: c2st(few[0].simple, few[1].simple)
        named[self.copying] = lambda: copying(self.train, self.test.simple, fake.simple)
        return named | ({} if fake.table is None else self._of_tables(real.table, fake.table))

    def _distances(self, real: np.ndarray, fake: np.ndarray) -> Metrics:
        r"""Return what is measured in the features, by name without their ending."""
        images, wide = self.kind == "images", real.shape[1] > _WIDE
        kernel: Literal["cubic", "rbf"] = "cubic" if images else "rbf"
        found: Metrics = {}
        if not images or not wide:
            found["energy_distance"] = lambda: energy_distance(real, fake)
            found["sliced_wasserstein"] = lambda: sliced_wasserstein(real, fake)
        found["mmd"] = lambda: mmd(real, fake, kernel=kernel)
        found["coverage"] = lambda: coverage(real, fake)
        if self.kind == "table":
            return found
        # With no more rows than columns, it is hardly more than bias.
        if real.shape[1] < min(len(real), len(fake)):
            found["fd" if images else "frechet_distance"] = lambda: frechet_distance(real, fake)
        found["density"] = lambda: density(real, fake)
        found["vendi"] = lambda: _diversity(real, fake)
        return found

    def _of_tables(self, real: Any, fake: Any) -> Metrics:
        found: Metrics = {"column_shapes": lambda: column_shapes(real, fake)}
        if 1 < fake.shape[1] <= _MOST_COLUMNS:
            found["pair_trends"] = lambda: pair_trends(real, fake)
        if self.target is not None:
            found["train_on_synthetic"] = lambda: self._taught(fake)
        return found

    def _taught(self, fake: Any) -> Result:
        r"""Return what a table teaches about the target column of the held-out rows."""
        held = self.test.table
        fake, test = (data.take(X, _evenly(data.n_rows(X), _TAUGHT_ROWS)) for X in (fake, held))
        return train_on_synthetic(fake, test, str(self.target))

    def real(self, n_samples: int) -> dict[str, Result]:
        r"""Return the metrics of real rows: one half of the held-out rows against the other.

        What depends on their number is brought to that of the models' rows, where its rate is
        known. Where it is not, as for the columns of tables, training rows are held against the
        held-out ones. There is no number for copying.

        Args:
            n_samples: Rows that each model draws.

        Returns:
            Results by name.
        """
        first, second = self.halves()
        found = self.metrics(second, first)
        found.pop(self.copying, None)  # held-out rows against themselves
        n = len(self.test.features)
        n_samples = n_samples if n == len(self.test) else min(n_samples, _WIDE_ROWS)
        sizes = 1 / n + 1 / n_samples
        factor = sizes / (1 / len(first) + 1 / len(second))
        for name, power in _FALLING.items():
            full = name + self.features.ending
            if full in found:
                found[full] = _scaled(found[full], factor**power)
        name = "coverage" + self.features.ending
        if name in found:
            found[name] = _as_many(found[name], n, n_samples)
        name = "vendi" + self.features.ending
        if name in found:
            found[name] = _diversity(self.test.features, self.test.features[:n_samples])
        if self.kind == "table":
            train = self.rows(self.split.train, self.split.train_y)
            train = data.take(train, _evenly(data.n_rows(train), n_samples))
            found |= _measured(self._of_tables(self.test.table, train))
        return found

    def copier(self, n_samples: int) -> dict[str, Result]:
        r"""Return the metrics of training rows, handed out again.

        Args:
            n_samples: Rows that each model draws.
        """
        n = data.n_rows(self.split.train)
        rng = numpy_rng(self.seed, _COPIES)
        index = rng.choice(n, n_samples, replace=n_samples > n)
        y = self.split.train_y
        labels = None if y is None else data.take(y, index)
        return self.metrics(self.sample(data.take(self.split.train, index), labels))

    def reconstruction(self, X: Any) -> Result | None:
        r"""Return the reconstruction error of the first held-out rows, as the module defines it.

        Args:
            X: Those rows as a model gave them back, without labels.

        Returns:
            The result; None where it is not finite, or the training rows do not vary.
        """
        numbers, variance = self._unlabelled
        try:
            rows = numbers(X)
        except DataError as error:
            logger.warning("reconstruction_error: %s", error)
            return None
        first = data.take(self.split.test, np.arange(len(rows)))
        errors = np.square(rows - numbers(first)).sum(1) / (variance or 1.0)
        if not variance or not np.isfinite(errors).all():
            return None  # images are not checked on their way
        group = np.arange(len(errors)) % GROUPS
        without = [errors[group != g].mean() for g in range(GROUPS)]
        values = np.array([errors.mean(), *without])
        return summarise(values, n=len(errors), better="lower", target=0.0)

    @cached_property
    def _unlabelled(self) -> tuple[Callable[[Any], np.ndarray], float]:
        r"""Return what turns rows into numbers, labels left out, and their training variance."""
        n = data.n_rows(self.split.train)
        train = data.take(self.split.train, np.arange(0, n, -(-n // _VARIANCE_ROWS)))
        fitted: Any = {"vectors": Standardise, "table": TableFeatures}.get(self.kind)
        features = fitted.fit(self.rows(train)) if fitted else flat

        def to_numbers(X: Any) -> np.ndarray:
            return np.asarray(features(self.rows(X)))

        return to_numbers, float(to_numbers(train).var(0).sum())

    def neighbours(self, fake: Sample, X: Any, y: Any, split: Split) -> tuple[Any, Any]:
        r"""Return a few drawn rows and the training rows nearest to them."""
        few = np.arange(min(_NEIGHBOURS, len(fake)))
        near = nearest(fake.simple[few], self.train)[1]
        y_few = None if y is None else data.take(y, few)
        y_near = None if split.train_y is None else data.take(split.train_y, near)
        drawn, real = data.take(X, few), data.take(split.train, near)
        return self.rows(drawn, y_few), self.rows(real, y_near)

    def halves(self) -> tuple[Sample, Sample]:
        r"""Return the held-out rows in two disjoint halves."""
        # Halves of the first rows are needed too, where there are features of these alone.
        order = numpy_rng(self.seed, _HALVES).permutation(len(self.test.features))
        middle = len(order) // 2
        return self.test.take(order[:middle]), self.test.take(order[middle:])

    def _some(self, rows: Sample) -> Sample:
        if len(rows) <= _TREE_ROWS:
            return rows
        chosen = numpy_rng(self.seed, _SUBSET).choice(len(rows), _TREE_ROWS, replace=False)
        return rows.take(np.sort(chosen))


def _measured(metrics: Metrics) -> dict[str, Result]:
    found = {}
    for name, metric in metrics.items():
        try:
            found[name] = metric()
        except DataError as error:  # one metric that these rows have no number for
            logger.warning("%s: %s", name, error)
    return found


def _diversity(real: np.ndarray, fake: np.ndarray) -> Result:
    r"""Return the Vendi score, whose ideal is that of as many real rows: noise has the highest."""
    n = min(len(real), len(fake))
    return replace(vendi(fake[:n]), better="target", target=vendi(real[:n]).value)


def _evenly(n: int, most: int) -> np.ndarray:
    return np.arange(0, n, -(-n // most))


def _scaled(result: Result, factor: float) -> Result:
    ends = {name: factor * getattr(result, name) for name in ("value", "low", "high")}
    return replace(result, **ends)


def _as_many(result: Result, n: int, m: int) -> Result:
    r"""Return the coverage of n real rows by m others, given that of two sets of one size.

    The share that is missed has the mean Π_{i<5} (n - 1 - i)/(n - 1 + m - i).
    """
    order = np.arange(5)
    missed = float(np.prod((n - 1 - order) / (n - 1 + m - order)))
    factor = missed / (1 - result.target)
    value, low, high = (
        max(0.0, 1 - factor * (1 - end)) for end in (result.value, result.low, result.high)
    )
    return replace(result, value=value, low=low, high=high, target=1 - missed)


def likelihood(log_p: np.ndarray) -> Result | None:
    r"""Return the mean log-density with its normal 95 % interval; None if it is not finite.

    Example:
        >>> likelihood(np.array([-1.0, -3.0])).value
        -2.0
    """
    if len(log_p) < 2 or not np.isfinite(log_p).all():
        return None
    mean, half = float(log_p.mean()), 1.96 * float(log_p.std(ddof=1)) / len(log_p) ** 0.5
    return Result(mean, mean - half, mean + half, len(log_p), "higher", 0.0)
