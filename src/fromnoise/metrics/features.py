r"""Rows as numbers that are worth measuring distances between.

A distance weighs columns by their units, so columns are put on one scale first, always the scale
of the *training* rows: real and fake rows then pass through one fixed map.

    Standardise     arrays (n, d): (x - mean)/std of each column
    PixelPCA        images: the 64 directions of largest variance of the pixels, divided by one
                    number so that the mean square of a feature is 1 on training images
    TableFeatures   DataFrames: numbers and dates standardised, with 1 in a second column where
                    they are missing; other columns one-hot, so two different categories are √2
                    apart, as two standardised numbers are in the root mean square

Each is made by ``fit(train)``, called with rows, and has a ``name`` for the metric's label.
"""

__all__ = ["PixelPCA", "Standardise", "TableFeatures"]

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import narwhals as nw
import numpy as np
from sklearn.utils.extmath import randomized_svd

from fromnoise.errors import DataError
from fromnoise.metrics.columns import columns_of, floats, in_order_of, is_number, moments, objects
from fromnoise.metrics.pairs import checked

_FIT_VALUES = 20_000_000  # of pixels, 160 MB
_BLOCK_ROWS = 1024
_LEVELS = 1000


@dataclass(frozen=True, eq=False)
class Standardise:
    r"""Columns in units of the training rows' mean and standard deviation.

    Args:
        mean: (d,).
        scale: (d,); 1 where a column was constant.

    Example:
        >>> features = Standardise.fit(np.array([[0.0], [2.0]]))
        >>> features(np.array([[3.0]])).tolist(), features.name
        ([[2.0]], 'standardised')
    """

    mean: np.ndarray
    scale: np.ndarray
    name: ClassVar[str] = "standardised"

    @classmethod
    def fit(cls, train: Any) -> Self:
        r"""Return the features that the training rows (n, d) give."""
        (rows,) = checked({"train": train}, minimum=1)
        return cls(rows.mean(axis=0), _nonzero(rows.std(axis=0)))

    def __call__(self, X: Any) -> np.ndarray:
        r"""Return the features of rows, (n, d)."""
        (rows,) = checked({"X": X}, minimum=1)
        _check_width(rows, len(self.mean))
        return np.asarray((rows - self.mean) / self.scale)


@dataclass(frozen=True, eq=False)
class PixelPCA:
    r"""Images by their principal components.

    Args:
        mean: Of the pixels, (p,).
        components: Orthonormal rows over the scale, (k, p) with k at most 64.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 256, (100, 8, 8), dtype=np.uint8)
        >>> features = PixelPCA.fit(images)
        >>> features(images[:5]).shape, features.name
        ((5, 64), 'pixel-pca-64')
    """

    mean: np.ndarray
    components: np.ndarray

    @property
    def name(self) -> str:
        r"""``"pixel-pca-64"``, or the smaller number of components."""
        return f"pixel-pca-{len(self.components)}"

    @classmethod
    def fit(cls, train: Any, n_components: int = 64) -> Self:
        r"""Return the features that real training images give.

        Args:
            train: Images, (n, ...) of any layout; evenly spaced ones of them are enough if all
                would take more than 160 MB.
            n_components: How many, or fewer if there are not so many pixels or images.
        """
        shape = _image_shape(train)
        step = -(-shape[0] * int(np.prod(shape[1:])) // _FIT_VALUES)
        rows = _flat(train[::step])
        mean = rows.mean(axis=0)
        rows -= mean
        count = min(n_components, *rows.shape)
        _, singular, components = randomized_svd(rows, count, random_state=0)
        scale = np.sqrt(np.square(singular).sum() / (len(rows) * count))
        return cls(mean, components / (scale or 1.0))

    def __call__(self, X: Any) -> np.ndarray:
        r"""Return the features of images, (n, k)."""
        n = _image_shape(X)[0]
        blocks = (_flat(X[start : start + _BLOCK_ROWS]) for start in range(0, n, _BLOCK_ROWS))
        return np.concatenate([self._project(rows) for rows in blocks])

    def _project(self, rows: np.ndarray) -> np.ndarray:
        _check_width(rows, len(self.mean))
        return np.asarray((rows - self.mean) @ self.components.T)


@dataclass(frozen=True, eq=False)
class TableFeatures:
    r"""Rows of a table as numbers.

    Args:
        numbers: Column -> (mean, scale) of what is not missing, for numbers and dates.
        categories: Column -> level -> position, at most the 1,000 most frequent; ``None`` is the
            level of missing values, where training rows had some.

    Example:
        >>> import pandas as pd
        >>> train = pd.DataFrame({"age": [20.0, 40.0, None], "city": ["Oslo", "Rome", "Rome"]})
        >>> features = TableFeatures.fit(train)
        >>> features.columns
        ['age', 'age is missing', "city = 'Rome'", "city = 'Oslo'"]
        >>> features(pd.DataFrame({"age": [50.0, None], "city": ["Oslo", "Bonn"]})).tolist()
        [[2.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]]
    """

    numbers: dict[str, tuple[float, float]]
    categories: dict[str, dict[Hashable, int]]
    name: ClassVar[str] = "table"

    @property
    def columns(self) -> list[str]:
        r"""What each feature is."""
        numbers = [name for column in self.numbers for name in (column, f"{column} is missing")]
        levels = [(column, level) for column, all in self.categories.items() for level in all]
        return numbers + [f"{column} = {level!r}" for column, level in levels]

    @classmethod
    def fit(cls, train: Any) -> Self:
        r"""Return the features that the training rows, a DataFrame, give."""
        columns = columns_of(train, "train").values()
        numeric = [column for column in columns if is_number(column)]
        other = [column for column in columns if not is_number(column)]
        return cls(
            {column.name: moments(floats(column)) for column in numeric},
            {column.name: _levels(objects(column)) for column in other},
        )

    def __call__(self, X: Any) -> np.ndarray:
        r"""Return the features of the rows of a table with the training table's columns, (n, d).

        Raises:
            DataError: If columns lack or are not known, or one is no longer of numbers.
        """
        columns = iter(in_order_of([*self.numbers, *self.categories], columns_of(X)))
        parts = [_standardised(next(columns), *two) for two in self.numbers.values()]
        parts += [_one_hot(next(columns), levels) for levels in self.categories.values()]
        return np.concatenate(parts, axis=1)


def _standardised(column: nw.Series[Any], mean: float, scale: float) -> np.ndarray:
    values = floats(column)
    missing = np.isnan(values)
    return np.column_stack([np.where(missing, 0.0, (values - mean) / scale), missing])


def _levels(values: list[Hashable]) -> dict[Hashable, int]:
    frequent = Counter(values).most_common(_LEVELS)
    return {level: position for position, (level, _) in enumerate(frequent)}


def _one_hot(column: nw.Series[Any], levels: dict[Hashable, int]) -> np.ndarray:
    position = np.array([levels.get(value, len(levels)) for value in objects(column)])
    return np.asarray(np.eye(len(levels) + 1)[position, :-1])


def _nonzero(scale: np.ndarray) -> np.ndarray:
    return np.where(scale > 0, scale, 1.0)


def _check_width(rows: np.ndarray, width: int) -> None:
    if rows.shape[1] != width:
        raise DataError(
            f"expected rows of {width} numbers as in training, got {rows.shape[1]}; "
            "pass the same columns or the same size of image"
        )


def _image_shape(X: Any) -> tuple[int, ...]:
    shape = tuple(getattr(X, "shape", ()))
    if len(shape) < 2 or 0 in shape:
        raise DataError(
            f"expected images as an array (n, ...), got shape {shape}; "
            "stack them, for example with numpy.stack"
        )
    return shape


def _flat(X: Any) -> np.ndarray:
    (rows,) = checked({"images": np.asarray(X).reshape(len(X), -1)}, minimum=1)
    return rows.astype(np.float64)
