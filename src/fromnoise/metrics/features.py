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

from fromnoise.errors import DataError, shown
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
        table = _table(train)
        if 0 in table.shape:
            raise DataError(f"expected rows and columns in train, got shape {table.shape}")
        numeric = [column for column in table.iter_columns() if _is_number(column)]
        other = [column for column in table.iter_columns() if not _is_number(column)]
        return cls(
            {column.name: _moments(_floats(column)) for column in numeric},
            {column.name: _levels(_objects(column)) for column in other},
        )

    def __call__(self, X: Any) -> np.ndarray:
        r"""Return the features of the rows of a table with the training table's columns, (n, d).

        Raises:
            DataError: If columns lack or are not known, or one is no longer of numbers.
        """
        table, known = _table(X), [*self.numbers, *self.categories]
        if set(table.columns) != set(known):
            lacking = shown([name for name in known if name not in table.columns])
            unknown = shown([name for name in table.columns if name not in known])
            raise DataError(
                f"expected the columns of the training table, but {lacking} are missing and "
                f"{unknown} are not known; pass the same columns"
            )
        parts = [_standardised(table[name], *two) for name, two in self.numbers.items()]
        parts += [_one_hot(table[name], levels) for name, levels in self.categories.items()]
        return np.concatenate(parts, axis=1)


def _table(X: Any) -> nw.DataFrame[Any]:
    try:
        return nw.from_native(X, eager_only=True)
    except TypeError:
        raise DataError(
            f"expected a pandas or polars DataFrame, got {shown(type(X).__name__)}; "
            "arrays need Standardise instead"
        ) from None


def _is_number(column: nw.Series[Any]) -> bool:
    return column.dtype.is_numeric() or isinstance(column.dtype, (nw.Datetime, nw.Date))


def _floats(column: nw.Series[Any]) -> np.ndarray:
    # (n,), NaN where missing
    if not _is_number(column):
        raise DataError(
            f"expected numbers or dates in column {shown(column.name)}, got {column.dtype}; "
            "convert it to the training table's type"
        )
    missing = column.is_null().to_numpy()
    if isinstance(column.dtype, (nw.Datetime, nw.Date)):
        column = column.dt.timestamp("us")
    out = np.full(len(missing), np.nan)
    out[~missing] = column.drop_nulls().cast(nw.Float64).to_numpy()
    if np.isinf(out).any():
        raise DataError(
            f"expected finite numbers in column {shown(column.name)}, got an infinity in row "
            f"{np.flatnonzero(np.isinf(out))[0]}; drop the row or mark it missing"
        )
    return out


def _moments(values: np.ndarray) -> tuple[float, float]:
    seen = values[~np.isnan(values)]
    return (float(seen.mean()), float(seen.std()) or 1.0) if len(seen) else (0.0, 1.0)


def _standardised(column: nw.Series[Any], mean: float, scale: float) -> np.ndarray:
    values = _floats(column)
    missing = np.isnan(values)
    return np.column_stack([np.where(missing, 0.0, (values - mean) / scale), missing])


def _objects(column: nw.Series[Any]) -> list[Hashable]:
    # None where missing; what cannot be a key of a dict stands as its text
    missing = column.is_null().to_list()
    values = [None if gone else x for gone, x in zip(missing, column.to_list(), strict=True)]
    return [x if isinstance(x, Hashable) else str(x) for x in values]


def _levels(values: list[Hashable]) -> dict[Hashable, int]:
    frequent = Counter(values).most_common(_LEVELS)
    return {level: position for position, (level, _) in enumerate(frequent)}


def _one_hot(column: nw.Series[Any], levels: dict[Hashable, int]) -> np.ndarray:
    position = np.array([levels.get(value, len(levels)) for value in _objects(column)])
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
