r"""Tables: the map between a DataFrame and model space, column by column.

Each column is read as plain values (`Column`) and takes one of two roles.

*Levels*: text, booleans, categories, and numbers with few distinct values are one categorical
part; their values come back exactly. One level alone is a constant and takes no part.

*Numbers*: everything else goes to normal scores along a monotone curve; entries without a
density, missing ones and spikes, get a categorical part beside it.

Which values, levels and gaps may occur is read from all rows; everything estimated, from the
training rows. pandas and polars come back as they were.
"""

__all__ = ["TableEncoding"]

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fromnoise.data.arrays import refuse_path
from fromnoise.data.columns import Column, Kind, Label
from fromnoise.data.frames import (
    column_of,
    columns_of,
    filled,
    frame_of,
    is_frame,
    native,
    replaced,
)
from fromnoise.data.levels import Levels
from fromnoise.data.numeric import Numbers, is_whole, refuse_huge
from fromnoise.data.transforms import Encoded, FlatEncoding, Missing, Partial, full_mask
from fromnoise.errors import DataError, shown

Array = NDArray[Any]

FEW = 20  # so many distinct values, or fewer, are levels
MANY = 1000  # so many distinct texts are no categories if they also are most of the rows
ROWS_A_LEVEL = 10  # so many rows each level of a column of floats must hold on average


@dataclass(frozen=True, eq=False)
class TableEncoding(FlatEncoding):
    r"""Maps a DataFrame to values and codes, column by column.

    Attributes:
        roles: What each column is.

    Example:
        >>> import pandas as pd
        >>> X = pd.DataFrame({"size": np.arange(100) / 7, "colour": ["red", "blue"] * 50})
        >>> encoding = TableEncoding.fit(X)
        >>> encoding.shape, encoding.cardinalities
        ((1,), (2,))
        >>> encoding.decode(encoding.encode(X)).dtypes.tolist() == X.dtypes.tolist()
        True
    """

    kind: ClassVar[str] = "table"
    roles: tuple[Levels | Numbers, ...]

    @classmethod
    def fit(cls, X: Any, *, missing: Missing = "auto", index: Array | None = None) -> Self:
        r"""Validate all rows of ``X`` and measure those at ``index``.

        Args:
            X: A pandas or polars DataFrame.
            missing: ``"error"`` refuses missing entries; others model them.
            index: Training rows; default all.

        Returns:
            The encoding.

        Raises:
            DataError: Naming the column that cannot be used.
        """
        columns = columns_of(X)
        if not columns:
            raise DataError("Found a table with 0 feature(s), a minimum of 1 is required.")
        if len(X) < 2:
            raise DataError(
                f"Found a table with {len(X)} sample(s) while a minimum of 2 is required."
            )
        if missing == "error":
            _refuse_gaps({label: column for label, column in columns.items()})
        rows = np.arange(len(X)) if index is None else np.asarray(index)
        return cls(tuple(_role(label, column, rows) for label, column in columns.items()))

    @cached_property
    def _values(self) -> dict[Label, int]:
        labels = [role.label for role in self.roles if role.has_value]
        return {label: position for position, label in enumerate(labels)}

    @cached_property
    def _parts(self) -> dict[Label, int]:
        labels = [role.label for role in self.roles if role.cardinality > 1]
        return {label: position for position, label in enumerate(labels)}

    @cached_property
    def gates(self) -> tuple[int, ...]:
        r"""Per value, the part that says whether there is one, or -1."""
        return tuple(self._parts.get(label, -1) for label in self._values)

    @property
    def layout(self) -> list[tuple[int, int]]:
        r"""Per column, the positions of its value and of its categorical part, or -1."""
        return [
            (self._values.get(role.label, -1), self._parts.get(role.label, -1))
            for role in self.roles
        ]

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        r"""Number of codes of each categorical part."""
        return tuple(role.cardinality for role in self.roles if role.cardinality > 1)

    @property
    def n_features(self) -> int:
        r"""Number of columns."""
        return len(self.roles)

    @property
    def feature_names(self) -> list[str] | None:
        r"""Names of the columns."""
        return [str(role.label) for role in self.roles]

    @property
    def kinds(self) -> dict[str, Kind]:
        r"""What each column held in fit, by its name."""
        return {str(role.label): _kind(role) for role in self.roles}

    @property
    def is_continuous(self) -> bool:
        r"""Whether all columns that vary are floats that are not all whole, without gaps."""
        varying = [role for role in self.roles if role.has_value or role.cardinality > 1]
        return all(role.is_continuous for role in varying)

    def check(self, X: Any, *, missing_ok: bool = False) -> Any:
        r"""Return ``X`` with its columns in the order of fit; see `Encoding.check`."""
        refuse_path(X)
        if not is_frame(X):
            raise DataError(
                f"Expected a DataFrame with the columns of fit, got {type(X).__name__}."
            )
        if not len(X):
            raise DataError("Found a table with 0 sample(s) while a minimum of 1 is required.")
        columns = columns_of(X)
        self._check_names(list(columns))
        for role in self.roles:
            column = _comparable(role, columns[role.label])
            if not (role.holes or missing_ok):
                _refuse_gaps({role.label: column}, ", but none in fit")
            role.check(column)
        return X[[role.label for role in self.roles]]

    def _check_names(self, names: list[Label]) -> None:
        fitted, given = {role.label: None for role in self.roles}, dict.fromkeys(names)
        extra = [shown(name) for name in given if name not in fitted]
        lost = [shown(name) for name in fitted if name not in given]
        if extra or lost:
            unseen = f" Feature names unseen at fit time: {', '.join(extra[:5])}." * bool(extra)
            gone = f" Feature names seen at fit time, yet now missing: {', '.join(lost[:5])}."
            raise DataError(
                "The feature names should match those that were passed during fit."
                f"{unseen}{gone * bool(lost)}"
            )

    def encode(self, X: Any) -> Encoded:
        r"""Return values and codes of checked rows."""
        values = np.zeros((len(X), len(self.gates)))
        codes = np.zeros((len(X), len(self.cardinalities)), np.int64)
        observed = np.ones(values.shape, bool)
        for role, (value, part) in zip(self.roles, self.layout, strict=True):
            column = _aligned(role, column_of(X[role.label], role.label))
            if isinstance(role, Levels):
                code = role.encode(column)
            else:
                values[:, value], code = role.encode(column)
                observed[:, value] = code == 0
            if part >= 0:
                codes[:, part] = code
        return Encoded(values, codes, observed)

    def decode(self, encoded: Encoded) -> Any:
        r"""Return a DataFrame of the library, columns and dtypes given to fit."""
        columns = []
        for role, (value, part) in zip(self.roles, self.layout, strict=True):
            code = encoded.codes[:, part] if part >= 0 else np.zeros(len(encoded), np.int64)
            values = encoded.values[:, value] if value >= 0 else np.zeros(len(encoded))
            columns.append(self._decoded(role, values, code))
        return frame_of([role.label for role in self.roles], columns)

    @property
    def missing_codes(self) -> tuple[int, ...]:
        r"""Per part, the code that says "missing", or -1."""
        return tuple(role.missing_code for role in self.roles if role.cardinality > 1)

    def partial(self, X: Any, mask: Any = None) -> Partial:
        r"""Map rows that lack entries to model space; see `Encoding.partial`."""
        if not is_frame(X) or not len(X):
            self.check(X)
        names = list(X.columns)
        self._check_names(names)
        if mask is None:
            gone = np.stack([column.gaps for column in columns_of(X).values()], 1)
        else:
            gone = full_mask(mask, (len(X), len(names)))
        position = {label: column for column, label in enumerate(names)}
        masks = {role.label: gone[:, position[role.label]] for role in self.roles}
        held = {
            role.label: self._hidden(X[role.label], masks[role.label], role)
            for role in self.roles
            if masks[role.label].any()
        }
        encoded = self.encode(self.check(replaced(X, held)))
        values = np.zeros(encoded.values.shape, bool)
        codes = np.zeros(encoded.codes.shape, bool)
        for role, (value, part) in zip(self.roles, self.layout, strict=True):
            if value >= 0:
                values[:, value] = masks[role.label]
            if part >= 0:
                codes[:, part] = masks[role.label]
        return self._opened(encoded, values, codes, gone)

    def _hidden(self, series: Any, mask: Array, role: Levels | Numbers) -> Any:
        r"""Return a Series that holds something that was seen where it is masked."""
        if mask.all():
            return native(self._decoded(role, np.zeros(len(mask)), np.zeros(len(mask), int)))
        index = np.where(mask, np.flatnonzero(~mask)[0], np.arange(len(mask)))
        return series.iloc[index] if hasattr(series, "iloc") else series[index]

    def filled(self, X: Any, mask: Array, encoded: Encoded | None) -> Any:
        r"""Return a copy of ``X`` with decoded entries; see `Encoding.filled`."""
        if encoded is None:
            return replaced(X, {})
        labels = {label: column for column, label in enumerate(X.columns)}
        row = np.maximum(np.cumsum(mask.any(1)) - 1, 0)  # of encoded, for each of X
        series = {}
        for role, (value, part) in zip(self.roles, self.layout, strict=True):
            gone = mask[:, labels[role.label]]
            if gone.any():
                values = encoded.values[row, value] if value >= 0 else np.zeros(len(row))
                codes = encoded.codes[row, part] if part >= 0 else np.zeros(len(row), int)
                column = self._decoded(role, values, codes)
                series[role.label] = filled(
                    X[role.label], gone, _in_unit_of(column, column_of(X[role.label], "").spec)
                )
        return replaced(X, series)

    def _decoded(self, role: Levels | Numbers, values: Array, codes: Array) -> Column:
        if isinstance(role, Levels):
            return role.decode(codes)
        return role.decode(values, codes)

    def dequantise(self, encoded: Encoded, rng: np.random.Generator) -> Encoded:
        r"""Spread integers, dates and fixed decimals over one quantum."""
        values = encoded.values.copy()
        for role, (value, _) in zip(self.roles, self.layout, strict=True):
            if isinstance(role, Numbers):
                moved = role.dequantise(values[:, value], rng)
                values[:, value] = np.where(encoded.observed[:, value], moved, 0.0)
        return Encoded(values, encoded.codes, encoded.observed)

    def log_det(self, encoded: Encoded) -> Array:
        r"""Return the sum of log dv/dx over observed entries, ``(n,)``."""
        total = np.zeros(len(encoded))
        for role, (value, _) in zip(self.roles, self.layout, strict=True):
            if isinstance(role, Numbers):
                slope = role.log_slope(encoded.values[:, value])
                total += np.where(encoded.observed[:, value], slope, 0.0)
        return total

    def linear(self) -> None:
        r"""Return None: the curves bend."""

    def to_state(self) -> dict[str, Any]:
        r"""Return a tree."""
        return {"kind": self.kind, "roles": [role.to_state() for role in self.roles]}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        r"""Invert ``to_state``."""
        roles: dict[str, type[Levels] | type[Numbers]] = {"levels": Levels, "numbers": Numbers}
        return cls(tuple(roles[role["role"]].from_state(role) for role in state["roles"]))


def _role(label: Label, column: Column, rows: Array) -> Levels | Numbers:
    refuse_huge(label, column)
    distinct = column.distinct()
    if column.kind == "text" and len(distinct) > max(MANY, len(column) / 2):
        raise DataError(
            f"Column {shown(label)} holds {len(distinct)} distinct texts in {len(column)} rows, "
            "too many for categories: drop it, or convert it to numbers, dates or fewer groups."
        )
    named = column.kind in ("text", "boolean") or column.is_category
    whole = column.kind == "integer" or (column.kind == "real" and is_whole(distinct))
    few = len(distinct) <= FEW and (whole or (~column.gaps).sum() >= ROWS_A_LEVEL * len(distinct))
    if named or few or len(distinct) <= 1:
        return Levels.fit(label, column)
    return Numbers.fit(label, column, rows)


def _spec(role: Levels | Numbers) -> dict[str, Any]:
    return role.spec if isinstance(role, Numbers) else role.levels.spec


def _kind(role: Levels | Numbers) -> Kind:
    return role.kind if isinstance(role, Numbers) else role.levels.kind


def _comparable(role: Levels | Numbers, column: Column) -> Column:
    kind, spec, numeric = _kind(role), _spec(role), ("integer", "real", "boolean")
    same = kind == column.kind or (kind in numeric and column.kind in numeric)
    if column.gaps.all() or (same and ("zone" in spec) == ("zone" in column.spec)):
        return _aligned(role, column)
    raise DataError(
        f"Column {shown(role.label)} held {kind} values in fit, now {column.kind} values of dtype "
        f"{column.spec['dtype']}: convert it to the dtype of fit, {spec['dtype']}."
    )


def _aligned(role: Levels | Numbers, column: Column) -> Column:
    r"""Return dates in the unit of fit, and a column without entries as NaN."""
    if column.kind != _kind(role) and column.missing.all():
        return Column(np.full(len(column), np.nan), column.missing, "real", column.spec)
    return _in_unit_of(column, _spec(role))


def _in_unit_of(column: Column, spec: dict[str, Any]) -> Column:
    unit = column.spec.get("unit")
    if column.kind not in ("date", "duration") or unit == spec.get("unit"):
        return column
    counts = column.values.view(f"m8[{unit}]").astype(f"m8[{spec['unit']}]").view(np.int64)
    return Column(counts, column.missing, column.kind, spec)


def _refuse_gaps(columns: dict[Label, Column], why: str = "") -> None:
    counts = {label: int(column.gaps.sum()) for label, column in columns.items()}
    holed = {label: count for label, count in counts.items() if count}
    if holed:
        listed = ", ".join(f"{shown(label)}: {count}" for label, count in list(holed.items())[:5])
        raise DataError(
            f"Missing values (rows by column: {listed}){why}. Fill them, or fit with "
            'missing="model" on data that have them.'
        )
