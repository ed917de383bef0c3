r"""Measure what the models drew: the same features and metrics for every row of the report.

Rows are turned into numbers once, by a map fitted on the training rows: vectors and the columns
of tables are standardised, categories become indicators, images their principal components (at
most 64); the metrics then see arrays. For conditional tables the label is a column again.

What a model reconstructs is held against the very rows that it was given, pixel by pixel for
images: with f the numbers that a row becomes,

    reconstruction error = mean over held-out rows of ‖f(x̂) − f(x)‖² / total variance of training f

which is 0 for a perfect reconstruction, 1 for the mean of the training rows, and 1 minus the
explained variance for principal components.
"""

__all__ = ["RANKED_BY", "Measure", "likelihood"]

import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import numpy as np

from fromnoise import data
from fromnoise.comparison.jobs import Split, with_label
from fromnoise.data import Encoding
from fromnoise.errors import DataError
from fromnoise.metrics import (
    PixelPCA,
    Result,
    Standardise,
    TableFeatures,
    c2st,
    copying,
    coverage,
    energy_distance,
    mmd,
    sliced_wasserstein,
)
from fromnoise.metrics.result import GROUPS, summarise
from fromnoise.training import numpy_rng

logger = logging.getLogger("fromnoise")

RANKED_BY = {"vectors": "energy_distance", "table": "c2st", "images": "mmd_pca"}
_TREE_ROWS = 5_000  # boosted trees gain little from more rows, and cost the most
_NEIGHBOURS = 8
_VARIANCE_ROWS = 10_000
_SUBSET, _HALVES = 50, 51  # what a random stream is for


class Measure:
    r"""Features and metrics of one comparison.

    Args:
        kind: ``"vectors"``, ``"table"`` or ``"images"``.
        split: The training and held-out rows.
        label: Name of the label column of a conditional table; None otherwise.
        seed: Seed of the subsets that are drawn.
    """

    def __init__(self, kind: str, split: Split, label: str | None, seed: int) -> None:
        self.kind, self.split, self.label, self.seed = kind, split, label, seed
        self.encoding: Encoding | None = None
        if kind == "images":
            self.encoding = data.fit_encoding(split.train)
        fitted: Any = {"vectors": Standardise, "table": TableFeatures, "images": PixelPCA}[kind]
        self.features = fitted.fit(self.rows(split.train, split.train_y))
        self.suffix = "_pca" if kind == "images" else ""
        self.train = self.numbers(split.train, split.train_y)
        self.test = self.numbers(split.test, split.test_y)

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

    def numbers(self, X: Any, y: Any = None) -> np.ndarray:
        r"""Return the features of rows, ``(n, d)``."""
        result: np.ndarray = self.features(self.rows(X, y))
        return result

    def metrics(self, fake: np.ndarray, real: np.ndarray | None = None) -> dict[str, Result]:
        r"""Return every metric of features ``fake`` against the held-out rows.

        Args:
            fake: Features of what a model drew.
            real: What they are held against, the held-out rows if None.

        Returns:
            Results by name; a metric that does not exist for these rows is left out.
        """
        real = self.test if real is None else real
        finite = np.isfinite(fake).all()
        if not finite:
            return {}
        kernel: Literal["cubic", "rbf"] = "cubic" if self.kind == "images" else "rbf"
        metrics: dict[str, Callable[[], Result]] = {
            "energy_distance": lambda: energy_distance(real, fake),
            "sliced_wasserstein": lambda: sliced_wasserstein(real, fake),
            "mmd": lambda: mmd(real, fake, kernel=kernel),
            "coverage": lambda: coverage(real, fake),
            "c2st": lambda: c2st(self._some(real), self._some(fake)),
            "copying": lambda: copying(self.train, self.test, fake),
        }
        found = {}
        for name, metric in metrics.items():
            try:
                found[name + self.suffix] = metric()
            except DataError as error:  # one metric that these rows have no number for
                logger.warning("%s: %s", name, error)
        return found

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
        features = fitted.fit(self.rows(train)) if fitted else _flat

        def to_numbers(X: Any) -> np.ndarray:
            return np.asarray(features(self.rows(X)))

        return to_numbers, float(to_numbers(train).var(0).sum())

    def neighbours(self, fake: np.ndarray, X: Any, y: Any, split: Split) -> tuple[Any, Any]:
        r"""Return a few drawn rows and the training rows nearest to them."""
        few = np.arange(min(_NEIGHBOURS, len(fake)))
        gaps = (
            ((self.train[None] - fake[few, None]) ** 2).sum(2) if self.train.size < 4e6 else None
        )
        if gaps is None:
            gaps = np.stack([((self.train - row) ** 2).sum(1) for row in fake[few]])
        near = gaps.argmin(1)
        y_few = None if y is None else data.take(y, few)
        y_near = None if split.train_y is None else data.take(split.train_y, near)
        drawn, real = data.take(X, few), data.take(split.train, near)
        return self.rows(drawn, y_few), self.rows(real, y_near)

    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        r"""Return the held-out features in two disjoint halves."""
        order = numpy_rng(self.seed, _HALVES).permutation(len(self.test))
        middle = len(order) // 2
        return self.test[order[:middle]], self.test[order[middle:]]

    def _some(self, rows: np.ndarray) -> np.ndarray:
        if len(rows) <= _TREE_ROWS:
            return rows
        chosen = numpy_rng(self.seed, _SUBSET).choice(len(rows), _TREE_ROWS, replace=False)
        return rows[np.sort(chosen)]


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float64)


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
