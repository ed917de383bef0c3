r"""Tables: columns of any dtype, and the map between a table and model space.

Each column is read as plain values (`Column`) and takes one of two roles.

*Levels*: text, booleans, categories, and numbers with few distinct values are one categorical
part; their values come back exactly. One level alone is a constant and takes no part.

*Numbers*: everything else goes to normal scores, v = Φ⁻¹(F(x)), F being the distribution over
the training rows: a monotone curve, linear between knots at quantiles on a grid uniform in v, and
beyond the last knots. It is exact to invert and log dv/dx is the log slope. Entries without a
density get a categorical part {value, missing, spike, spike, …}, where a spike is one value that
many rows share. Integers, dates and decimals of fixed length come back exact: they are counted
from an origin in units of a quantum, as Python's floats hold only 53 bits.

Which values, levels and gaps may occur is read from all rows; everything estimated, from the
training rows. pandas is served directly, polars through narwhals.
"""

__all__ = ["Column", "TableEncoding", "column_of", "frame_of", "is_frame", "is_series", "native"]

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import narwhals as nw
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from fromnoise.data.transforms import (
    EXACT,
    LARGEST,
    Encoded,
    FlatEncoding,
    Missing,
    spread,
    to_dtype,
)
from fromnoise.errors import DataError, shown

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
Kind = Literal["integer", "real", "boolean", "text", "date", "duration"]
Label = str | int

FEW = 20  # so many distinct values, or fewer, are levels
MANY = 1000  # so many distinct texts are no categories if they also are most of the rows
SPIKE = 0.05  # share of rows that one value must hold, and
STANDOUT = 10  # how many times the rows of any ordinary value
KNOTS = 64
ROWS_PER_KNOT = 8  # fewer overfit the slopes of 100 rows, more blur the tails of 400
DECIMALS = 6
_PLAIN: dict[Kind, Any] = {
    "integer": nw.Int64,
    "real": nw.Float64,
    "boolean": nw.Boolean,
    "text": nw.String,
    "date": nw.Int64,
    "duration": nw.Int64,
}
_NARWHALS = {
    kind.__name__: kind
    for kind in (
        *(nw.Int8, nw.Int16, nw.Int32, nw.Int64, nw.UInt8, nw.UInt16, nw.UInt32, nw.UInt64),
        *(nw.Float32, nw.Float64, nw.Boolean, nw.String, nw.Categorical, nw.Date),
    )
}
_UNIT_NS = {"D": 86_400_000_000_000, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_DATE_STEPS = [86_400 * 10**9, 3600 * 10**9, 60 * 10**9, 10**9, 10**6, 10**3, 1]


# --------------------------------------------------------------------------- columns as values
def is_frame(X: Any) -> bool:
    r"""Return whether ``X`` is a pandas or polars DataFrame, importing neither.

    Example:
        >>> is_frame([[1, 2]])
        False
    """
    known = nw.dependencies
    return bool(known.is_pandas_dataframe(X) or known.is_polars_dataframe(X))


def is_series(X: Any) -> bool:
    r"""Return whether ``X`` is a pandas or polars Series, importing neither.

    Example:
        >>> is_series([1, 2])
        False
    """
    return bool(nw.dependencies.is_pandas_series(X) or nw.dependencies.is_polars_series(X))


@dataclass(frozen=True, eq=False)
class Column:
    r"""One column of a table as plain values, with what it takes to make it a Series again.

    Attributes:
        values: int64 or uint64, float64, bool, or objects that are all str, ``(n,)``; dates and
            durations are int64 counts of their unit. Fillers stand where entries are missing.
        missing: bool ``(n,)``.
        kind: What the values mean.
        spec: The library and dtype of the Series; strings, numbers and lists only.
    """

    values: Array
    missing: Array
    kind: Kind
    spec: dict[str, Any]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_category(self) -> bool:
        r"""Whether the dtype is one of categories."""
        return "levels" in self.spec or self.spec["dtype"] == "Categorical"

    def to_state(self) -> dict[str, Any]:
        r"""Return a tree; text is stored as distinct strings and codes."""
        if self.kind != "text":
            stored: dict[str, Any] = {"values": self.values}
        else:
            codes = {text: code for code, text in enumerate(dict.fromkeys(self.values))}
            stored = {
                "strings": [str(text) for text in codes],
                "codes": np.array([codes[text] for text in self.values], np.int64),
            }
        return {"kind": self.kind, "missing": self.missing, "spec": self.spec, **stored}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        r"""Invert ``to_state``."""
        if state["kind"] == "text":
            values = np.array(state["strings"], object)[np.asarray(state["codes"], np.int64)]
        else:
            values = np.asarray(state["values"])
        return cls(values, np.asarray(state["missing"], bool), state["kind"], state["spec"])


def column_of(series: Any, label: Any) -> Column:
    r"""Read a pandas or polars Series.

    Args:
        series: The Series.
        label: Name of the column, for errors.

    Returns:
        The column.

    Raises:
        DataError: If its dtype or its mixture of types has no meaning here.

    Example:
        >>> import pandas as pd
        >>> column = column_of(pd.Series([1, None], dtype="Int64"), "a")
        >>> column.kind, column.missing.tolist(), native(column).dtype
        ('integer', [False, True], Int64Dtype())
    """
    if nw.dependencies.is_pandas_series(series):
        return _from_pandas(series, label)
    return _from_narwhals(nw.from_native(series, series_only=True), label)


def native(column: Column, name: Label | None = None) -> Any:
    r"""Return the Series of a column; see `column_of`.

    Args:
        column: The column.
        name: Name of the Series.

    Returns:
        A pandas or polars Series.

    Example:
        >>> import pandas as pd
        >>> native(column_of(pd.Series(["x", None]), "a"), "a").isna().tolist()
        [False, True]
    """
    if column.spec["library"] == "pandas":
        return _to_pandas(column).rename(name)
    return _to_narwhals(column).alias("" if name is None else str(name)).to_native()


def frame_of(names: Sequence[Label], columns: Sequence[Column]) -> Any:
    r"""Return a DataFrame of the library that the columns came from.

    Args:
        names: Names of the columns.
        columns: At least one column; all from one library.

    Returns:
        A pandas or polars DataFrame.

    Example:
        >>> import pandas as pd
        >>> frame_of(["a"], [column_of(pd.Series([1, 2]), "a")]).shape
        (2, 1)
    """
    if columns[0].spec["library"] == "pandas":
        import pandas as pd

        frame = pd.concat([_to_pandas(column) for column in columns], axis=1)
        frame.columns = pd.Index(list(names))
        return frame
    series = [_to_narwhals(c).alias(str(n)) for n, c in zip(names, columns, strict=True)]
    return series[0].to_frame().with_columns(*series[1:]).to_native()


def columns_of(X: Any) -> dict[Label, Column]:
    r"""Read all columns of a DataFrame.

    Args:
        X: A pandas or polars DataFrame.

    Returns:
        The columns by name.

    Raises:
        DataError: If names are repeated or neither strings nor integers, or a column cannot be
            read.

    Example:
        >>> import pandas as pd
        >>> list(columns_of(pd.DataFrame({"a": [1], "b": ["x"]})))
        ['a', 'b']
    """
    names = list(X.columns)
    repeated = sorted(shown(name) for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise DataError(f"Column names must differ, got twice: {', '.join(repeated[:5])}.")
    odd = [name for name in names if not isinstance(name, str | int | np.integer)]
    if odd:
        raise DataError(f"Column names must be strings or integers, got {shown(odd[0])}.")
    return {
        name if isinstance(name, str) else int(name): column_of(X[name], name) for name in names
    }


def _from_pandas(series: "pd.Series[Any]", label: Any) -> Column:
    import pandas as pd

    spec: dict[str, Any] = {"library": "pandas", "dtype": str(series.dtype)}
    missing = series.isna().to_numpy(bool)
    if isinstance(series.dtype, pd.CategoricalDtype):
        return _from_categories(series, missing, spec, label)
    if isinstance(series.dtype, np.dtype) and series.dtype.kind == "O":
        return _from_objects(series, missing, spec, label)
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        spec |= {"zone": str(series.dt.tz)}
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "Mm":
        counts = np.where(missing, 0, series.to_numpy().view(np.int64))
        spec |= {"dtype": str(series.dtype), "unit": np.datetime_data(series.dtype)[0]}
        return Column(counts, missing, "date" if series.dtype.kind == "M" else "duration", spec)
    return _from_plain(series, missing, spec, label)


def _from_plain(
    series: "pd.Series[Any]", missing: Array, spec: dict[str, Any], label: Any
) -> Column:
    from pandas.api import types

    dtype = series.dtype
    if types.is_bool_dtype(dtype):
        return Column(series.to_numpy(bool, na_value=False), missing, "boolean", spec)
    if types.is_integer_dtype(dtype):
        wide = np.uint64 if "uint64" in str(dtype).lower() else np.int64
        return Column(series.to_numpy(wide, na_value=0), missing, "integer", spec)
    if types.is_float_dtype(dtype):
        return Column(series.to_numpy(np.float64, na_value=np.nan), missing, "real", spec)
    if types.is_string_dtype(dtype):
        return Column(np.where(missing, "", series.to_numpy(object)), missing, "text", spec)
    raise _unknown(label, dtype)


def _from_categories(
    series: "pd.Series[Any]", missing: Array, spec: dict[str, Any], label: Any
) -> Column:
    dtype = series.dtype
    levels = _from_pandas(dtype.categories.to_series(), label)
    spec |= {"levels": levels.to_state(), "ordered": bool(dtype.ordered)}
    if not len(levels):
        return Column(np.full(len(series), "", object), missing, "text", spec)
    return Column(levels.values[np.maximum(series.cat.codes, 0)], missing, levels.kind, spec)


def _from_objects(
    series: "pd.Series[Any]", missing: Array, spec: dict[str, Any], label: Any
) -> Column:
    from pandas.api.types import infer_dtype

    found = infer_dtype(series, skipna=True)
    values = series.to_numpy(object)
    if any(entry is None for entry in values[missing]):
        spec["none"] = True
    kinds: dict[str, tuple[Kind, Any, Any]] = {
        "string": ("text", object, ""),
        "boolean": ("boolean", bool, False),
        "integer": ("integer", np.int64, 0),
        "floating": ("real", np.float64, np.nan),
        "mixed-integer-float": ("real", np.float64, np.nan),
        "empty": ("real", np.float64, np.nan),
    }
    if found not in kinds:
        raise DataError(
            f"Column {shown(label)} mixes types or holds objects ({_odd_rows(values, missing)}): "
            "convert it to one type, such as numbers, strings or datetimes."
        )
    kind, dtype, filler = kinds[found]
    try:
        return Column(np.where(missing, filler, values).astype(dtype), missing, kind, spec)
    except OverflowError:
        raise DataError(
            f"Column {shown(label)} holds integers beyond 64 bits: store them as text."
        ) from None


def _odd_rows(values: Array, missing: Array) -> str:
    seen: dict[str, str] = {}
    for row in np.flatnonzero(~missing):
        name = type(values[row]).__name__
        seen.setdefault(name, f"row {row} is {shown(values[row])}, {name}")
    return "; ".join(list(seen.values())[:3])


def _unknown(label: Any, dtype: Any) -> DataError:
    return DataError(
        f"Column {shown(label)} has dtype {dtype}, which is not supported: convert it to "
        "numbers, strings, booleans, categories or datetimes, or drop it."
    )


def _to_pandas(column: Column) -> "pd.Series[Any]":
    import pandas as pd

    spec, values, missing = column.spec, column.values, column.missing
    if "levels" in spec:
        return _to_categories(column)
    if column.kind in ("date", "duration"):
        series = pd.Series(values.astype(np.int64).view(spec["dtype"]))
    elif column.kind == "text":
        series = pd.Series(values, dtype=object).mask(missing, None).astype(spec["dtype"])
    else:
        series = pd.Series(values.astype(_storage(spec))).astype(spec["dtype"])
    if missing.any():
        as_none = spec["dtype"] == "object" and spec.get("none", False)
        series = series.mask(missing, None) if as_none else series.mask(missing)
    if "zone" in spec:
        series = series.dt.tz_localize("UTC").dt.tz_convert(spec["zone"])
    return series


def _to_categories(column: Column) -> "pd.Series[Any]":
    import pandas as pd

    levels = Column.from_state(column.spec["levels"])
    position = {value: code for code, value in enumerate(levels.values.tolist())}
    codes = np.array([position.get(value, -1) for value in column.values.tolist()], np.int64)
    codes[column.missing] = -1
    categories = pd.Index(_to_pandas(levels))
    return pd.Series(pd.Categorical.from_codes(codes, categories, ordered=column.spec["ordered"]))


def _storage(spec: dict[str, Any]) -> np.dtype[Any]:
    r"""Return the NumPy dtype in which a dtype such as ``Int64`` keeps its numbers."""
    name = spec["dtype"].lower().partition("[")[0]
    plain = {"object": "O", "boolean": "bool", "double": "float64", "float": "float32"}
    dtype: np.dtype[Any] = np.dtype(plain.get(name, name))
    return dtype


def _from_narwhals(series: nw.Series[Any], label: Any) -> Column:
    dtype, missing = series.dtype, np.asarray(series.is_null().to_numpy(), bool)
    spec: dict[str, Any] = {"library": "polars", "dtype": type(dtype).__name__}
    if isinstance(dtype, nw.Enum):
        spec["levels"] = list(dtype.categories)
    if isinstance(dtype, nw.Enum | nw.Categorical | nw.String):
        text = series.cast(nw.String).fill_null("").to_numpy().astype(object)
        return Column(text, missing, "text", spec)
    if isinstance(dtype, nw.Datetime | nw.Duration | nw.Date):
        return _from_dates(series, missing, spec)
    if dtype.is_float():
        return Column(series.cast(nw.Float64).to_numpy(), missing, "real", spec)
    if isinstance(dtype, nw.Boolean):
        return Column(series.fill_null(False).to_numpy(), missing, "boolean", spec)
    if dtype.is_integer() and spec["dtype"] in _NARWHALS:
        wide = nw.UInt64 if isinstance(dtype, nw.UInt64) else nw.Int64
        return Column(series.fill_null(0).cast(wide).to_numpy(), missing, "integer", spec)
    raise _unknown(label, dtype)


def _from_dates(series: nw.Series[Any], missing: Array, spec: dict[str, Any]) -> Column:
    dtype = series.dtype
    counts = series.to_physical() if hasattr(series, "to_physical") else series.cast(nw.Int64)
    values = counts.fill_null(0).cast(nw.Int64).to_numpy()
    spec["unit"] = dtype.time_unit if isinstance(dtype, nw.Datetime | nw.Duration) else "D"
    if isinstance(dtype, nw.Datetime) and dtype.time_zone is not None:
        spec["zone"] = dtype.time_zone
    return Column(values, missing, "duration" if isinstance(dtype, nw.Duration) else "date", spec)


def _to_narwhals(column: Column) -> nw.Series[Any]:
    plain = nw.UInt64 if column.values.dtype == np.uint64 else _PLAIN[column.kind]
    values: Any = column.values
    if column.missing.any() or column.kind == "text":
        entries = zip(values.tolist(), column.missing.tolist(), strict=True)
        values = [None if gone else value for value, gone in entries]
    series = nw.new_series("", values, plain, backend=column.spec["library"])
    if column.spec["dtype"] == "Date":
        series = series.cast(nw.Int32)
    return series.cast(_narwhals_dtype(column.spec))


def _narwhals_dtype(spec: dict[str, Any]) -> Any:
    if spec["dtype"] == "Enum":
        return nw.Enum(spec["levels"])
    if spec["dtype"] == "Datetime":
        return nw.Datetime(spec["unit"], spec.get("zone"))
    return nw.Duration(spec["unit"]) if spec["dtype"] == "Duration" else _NARWHALS[spec["dtype"]]


# --------------------------------------------------------------------------- roles of columns
@dataclass(frozen=True, eq=False)
class Levels:
    r"""A column of few distinct values: one code each, and one for "missing".

    Attributes:
        label: Name of the column.
        levels: The distinct values, without a missing one.
        holes: Whether entries may be missing; their code is the last.

    Example:
        >>> import pandas as pd
        >>> column = column_of(pd.Series(["b", "a", None, "b"]), "x")
        >>> role = Levels.fit("x", column)
        >>> role.encode(column).tolist(), role.cardinality
        ([1, 0, 2, 1], 3)
    """

    label: Label
    levels: Column
    holes: bool

    has_value: ClassVar[bool] = False
    is_continuous: ClassVar[bool] = False

    @classmethod
    def fit(cls, label: Label, column: Column) -> Self:
        r"""Collect the distinct values of a column."""
        values = _distinct(column.values[~_gaps(column)])
        levels = Column(values, np.zeros(len(values), bool), column.kind, column.spec)
        return cls(label, levels, bool(_gaps(column).any()))

    @property
    def cardinality(self) -> int:
        r"""Number of codes."""
        return len(self.levels) + self.holes

    def encode(self, column: Column) -> Array:
        r"""Return codes int64 ``(n,)``; -1 for what has none."""
        if self.levels.kind == "text":
            position = {text: code for code, text in enumerate(self.levels.values)}
            codes = np.array([position.get(text, -1) for text in column.values], np.int64)
        else:
            known = self.levels.values
            codes = np.searchsorted(known, column.values).astype(np.int64)
            codes = np.minimum(codes, len(known) - 1)
            codes[(known[codes] != column.values) if len(known) else slice(None)] = -1
        codes[_gaps(column)] = len(self.levels) if self.holes else -1
        return codes

    def decode(self, codes: Array) -> Column:
        r"""Invert ``encode``."""
        missing = codes >= len(self.levels)
        if not len(self.levels):
            blank = np.full(len(codes), "" if self.levels.kind == "text" else 0)
            values = blank.astype(self.levels.values.dtype)
            return Column(values, missing, self.levels.kind, self.levels.spec)
        values = self.levels.values[np.where(missing, 0, codes)]
        if self.levels.kind == "real":
            values = np.where(missing, np.nan, values)
        return Column(values, missing, self.levels.kind, self.levels.spec)

    def check(self, column: Column) -> None:
        r"""Refuse values that have no code."""
        unseen = column.values[(self.encode(column) < 0) & ~_gaps(column)]
        if len(unseen):
            known = ", ".join(shown(value) for value in self.levels.values[:10].tolist())
            raise DataError(
                f"Column {shown(self.label)} holds {shown(unseen[:1].tolist()[0])}, which was "
                f"not in fit. Known: {known}{', …' if len(self.levels) > 10 else ''}."
            )

    def to_state(self) -> dict[str, Any]:
        r"""Return a tree."""
        levels = self.levels.to_state()
        return {"role": "levels", "label": self.label, "levels": levels, "holes": self.holes}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        r"""Invert ``to_state``."""
        return cls(state["label"], Column.from_state(state["levels"]), bool(state["holes"]))


@dataclass(frozen=True, eq=False)
class Curve:
    r"""A monotone, piecewise linear map; its first and last pieces go on for ever.

    Attributes:
        x: Knots in data, increasing, ``(k,)`` with k >= 2.
        v: Knots in model space, increasing, ``(k,)``.

    Example:
        >>> curve = Curve(np.array([0.0, 1.0, 3.0]), np.array([-1.0, 0.0, 1.0]))
        >>> curve.forward(np.array([-1.0, 2.0, 5.0])).tolist()
        [-2.0, 0.5, 2.0]
    """

    x: Array
    v: Array

    @classmethod
    def fit(cls, x: Array) -> Self:
        r"""Map ``x`` to its normal scores; few rows, or few distinct ones, are standardised.

        Args:
            x: Finite numbers, ``(n,)``.

        Returns:
            The curve.
        """
        distinct, counts = np.unique(x, return_counts=True)
        rank = np.cumsum(counts) - counts / 2
        kept = _knots(rank, ndtri(rank / max(1, len(x)))) if len(x) else []
        if len(kept) > 2:
            return cls(distinct[kept], ndtri(rank[kept] / len(x)))
        mean, deviation = spread(x) if len(x) else (0.0, 1.0)
        # Where x never varies, any slope will do.
        ends = mean + (deviation or 1.0) * np.array([-1.0, 1.0])
        return cls(ends, np.array([-1.0, 1.0]))

    @cached_property
    def _sides(self) -> tuple[Array, Array]:
        return np.diff(self.x), np.diff(self.v)

    def forward(self, x: Array) -> Array:
        r"""Return v at ``x``."""
        piece, (width, height) = _piece(self.x, x), self._sides
        # The slope itself would overflow where knots are 1e-310 apart; the share does not.
        v: Array = self.v[piece] + (x - self.x[piece]) / width[piece] * height[piece]
        return v

    def inverse(self, v: Array) -> Array:
        r"""Return x at ``v``."""
        piece, (width, height) = _piece(self.v, v), self._sides
        x: Array = self.x[piece] + (v - self.v[piece]) / height[piece] * width[piece]
        return x

    def log_slope(self, v: Array) -> Array:
        r"""Return log dv/dx at ``v``."""
        width, height = self._sides
        logs: Array = (np.log(height) - np.log(width))[_piece(self.v, v)]
        return logs


def _piece(knots: Array, at: Array) -> Array:
    return np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)


def _knots(rank: Array, score: Array) -> list[int]:
    r"""Return positions near a uniform grid of scores, with enough rows between neighbours."""
    grid = np.linspace(score[0], score[-1], KNOTS + 1)
    near = np.unique(np.clip(np.searchsorted(score, grid), 0, len(score) - 1))
    kept = [int(near[0])]
    for position in near[1:]:
        if rank[position] - rank[kept[-1]] >= ROWS_PER_KNOT:
            kept.append(int(position))
    if kept[-1] != len(rank) - 1 and len(kept) > 1:
        kept[-1] = len(rank) - 1
    return kept


@dataclass(frozen=True, eq=False)
class Numbers:
    r"""A column of many distinct numbers or dates: a value, and a code where there is none.

    Attributes:
        label: Name of the column.
        kind: Kind of its values.
        spec: Its dtype.
        curve: Map from units to model space.
        holes: Whether entries may be missing; their code is 1.
        spikes: Values with codes of their own, as stored in a `Column`.
        origin: Where counting starts, for integers and dates; one entry.
        step: Width of one unit, for integers and dates.
        decimals: Digits after the point that all rows keep to, or -1.

    Example:
        >>> import pandas as pd
        >>> column = column_of(pd.Series(np.arange(100.0) ** 2 / 7), "x")
        >>> role = Numbers.fit("x", column, np.arange(100))
        >>> values, codes = role.encode(column)
        >>> bool(np.allclose(role.decode(values, codes).values, column.values, rtol=1e-12))
        True
    """

    label: Label
    kind: Kind
    spec: dict[str, Any]
    curve: Curve
    holes: bool
    spikes: Array
    origin: Array
    step: int = 1
    decimals: int = -1

    has_value: ClassVar[bool] = True

    @classmethod
    def fit(cls, label: Label, column: Column, rows: Array) -> Self:
        r"""Measure a column on the training ``rows``."""
        gone = _gaps(column)
        present = column.values[~gone]
        origin = np.zeros(1) if column.kind == "real" else present.min(keepdims=True)
        step, decimals = _quantum(column, present, origin)
        train = column.values[rows][~gone[rows]]
        spikes = _spikes(train)
        blank = cls(label, column.kind, column.spec, Curve(np.arange(2.0), np.arange(2.0)),
                    bool(gone.any()), spikes, origin, step, decimals)  # fmt: skip
        curve = Curve.fit(blank._units(train[~np.isin(train, spikes)]))
        return cls(label, column.kind, column.spec, curve, blank.holes, spikes, origin, step,
                   decimals)  # fmt: skip

    @property
    def cardinality(self) -> int:
        r"""Number of codes: value, missing, spikes; 1 if all entries are values."""
        return 1 + self.holes + len(self.spikes)

    @property
    def quantum(self) -> float:
        r"""Distance of neighbouring values in units; 0 if they are continuous."""
        if self.kind != "real":
            return 1.0
        return 10.0**-self.decimals if self.decimals >= 0 else 0.0

    @property
    def is_continuous(self) -> bool:
        r"""Whether a density exists: floats, not all whole, none missing or in a spike."""
        return self.kind == "real" and self.decimals != 0 and self.cardinality == 1

    def encode(self, column: Column) -> tuple[Array, Array]:
        r"""Return values ``(n,)`` and codes ``(n,)``."""
        gone = _gaps(column)
        codes = np.zeros(len(column), np.int64)
        for code, spike in enumerate(self.spikes, start=1 + self.holes):
            codes[column.values == spike] = code
        codes[gone] = 1 if self.holes else -1
        values = self.curve.forward(self._units(column.values))
        return np.where(codes == 0, values, 0.0), codes

    def decode(self, values: Array, codes: Array) -> Column:
        r"""Invert ``encode``."""
        data = self._from_units(self.curve.inverse(values))
        for code, spike in enumerate(self.spikes, start=1 + self.holes):
            data[codes == code] = spike
        missing = codes == 1 if self.holes else np.zeros(len(codes), bool)
        if self.kind == "real":
            data[missing] = np.nan
        return Column(data, missing, self.kind, self.spec)

    def dequantise(self, values: Array, rng: np.random.Generator) -> Array:
        r"""Spread values that lie on a lattice over its cells."""
        if not self.quantum:
            return values
        noise = rng.uniform(-self.quantum / 2, self.quantum / 2, len(values))
        return self.curve.forward(self.curve.inverse(values) + noise)

    def log_slope(self, values: Array) -> Array:
        r"""Return log |dv/dx| in the units of the data."""
        slope: Array = self.curve.log_slope(values) - np.log(float(self.step))
        return slope

    def check(self, column: Column) -> None:
        r"""Refuse fractions where fit saw integers, and what is not finite."""
        _refuse_huge(self.label, column)
        if self.kind == "integer" and column.kind == "real":
            seen = column.values[~_gaps(column)]
            if not _is_whole(seen):
                raise DataError(
                    f"Column {shown(self.label)} held integers in fit, now "
                    f"{shown(float(seen[seen != np.rint(seen)][0]))}."
                )

    def _units(self, values: Array) -> Array:
        if values.dtype.kind in "bf":
            return (values - np.float64(self.origin[0])) / self.step
        # Unsigned differences are exact, though int64 ones may overflow.
        wide, origin = values.astype(np.uint64), self.origin.astype(np.uint64)
        above = values >= self.origin
        distance = np.where(above, wide - origin, origin - wide)
        whole, rest = np.divmod(distance, np.uint64(self.step))
        units = whole.astype(np.float64) + rest.astype(np.float64) / self.step
        return np.where(above, units, -units)

    def _from_units(self, units: Array) -> Array:
        if self.kind == "real":
            data = units if self.decimals < 0 else np.round(units, self.decimals)
            return to_dtype(data, _real_dtype(self.spec)).astype(np.float64)
        steps = to_dtype(np.clip(units, *self._ends()), np.dtype(np.int64))
        moved = self.origin.astype(np.uint64) + steps.astype(np.uint64) * np.uint64(self.step)
        return moved.astype(self.origin.dtype)

    def _ends(self) -> tuple[float, float]:
        r"""Return the first and last unit that the dtype of the column can hold."""
        plain = self.kind == "integer" and self.spec["dtype"] != "object"
        info = np.iinfo(_storage(self.spec) if plain else np.int64)
        # pandas reads the smallest int64 as a missing date.
        low = int(info.min) + (self.kind != "integer") - int(self.origin[0])
        high = int(info.max) - int(self.origin[0])
        ends = (float(-(-low // self.step)), float(high // self.step))
        # A float beyond 2**53 may have been rounded away from zero.
        inner = [float(np.nextafter(end, 0)) if abs(end) > EXACT else end for end in ends]
        return inner[0], inner[1]

    def to_state(self) -> dict[str, Any]:
        r"""Return a tree."""
        return {
            "role": "numbers",
            "label": self.label,
            "kind": self.kind,
            "spec": self.spec,
            "x": self.curve.x,
            "v": self.curve.v,
            "holes": self.holes,
            "spikes": self.spikes,
            "origin": self.origin,
            "step": self.step,
            "decimals": self.decimals,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        r"""Invert ``to_state``."""
        curve = Curve(np.asarray(state["x"], np.float64), np.asarray(state["v"], np.float64))
        return cls(
            state["label"],
            state["kind"],
            state["spec"],
            curve,
            bool(state["holes"]),
            np.asarray(state["spikes"]),
            np.asarray(state["origin"]),
            int(state["step"]),
            int(state["decimals"]),
        )


def _gaps(column: Column) -> Array:
    return column.missing | np.isnan(column.values) if column.kind == "real" else column.missing


def _distinct(values: Array) -> Array:
    if values.dtype.kind == "O":
        return np.array(sorted(set(values.tolist())), object)
    return np.unique(values)


def _real_dtype(spec: dict[str, Any]) -> np.dtype[Any]:
    dtype = _storage(spec)
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


def _quantum(column: Column, present: Array, origin: Array) -> tuple[int, int]:
    r"""Return the step that integers or dates keep to, and the decimals that floats keep to."""
    if column.kind == "real":
        return 1, _decimals(present, _real_dtype(column.spec))
    if column.kind == "integer":
        return 1, -1
    unit = _UNIT_NS[column.spec["unit"]]
    steps = [step // unit for step in _DATE_STEPS if step >= unit]
    return next(step for step in steps if not ((present - origin) % step).any()), -1


def _decimals(x: Array, dtype: np.dtype[Any]) -> int:
    largest = np.abs(x).max()
    for decimals in range(DECIMALS + 1):
        if largest * 10.0**decimals >= EXACT:
            break
        # A look at the first rows settles most columns.
        if all((np.round(y, decimals).astype(dtype) == y).all() for y in (x[:50], x)):
            return decimals
    return -1


def _spikes(x: Array) -> Array:
    values, counts = np.unique(x, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    sizes = counts[order]
    least = max(SPIKE * len(x), STANDOUT + 1)
    high = (sizes[:-1] >= least) & (sizes[:-1] > STANDOUT * sizes[1:])
    many = int(np.flatnonzero(high)[-1]) + 1 if high.any() else 0
    spikes: Array = np.sort(values[order[:many]])
    return spikes


def _in_unit_of(column: Column, spec: dict[str, Any]) -> Column:
    unit = column.spec.get("unit")
    if column.kind not in ("date", "duration") or unit == spec.get("unit"):
        return column
    counts = column.values.view(f"m8[{unit}]").astype(f"m8[{spec['unit']}]").view(np.int64)
    return Column(counts, column.missing, column.kind, spec)


def _refuse_huge(label: Label, column: Column) -> None:
    if column.kind != "real":
        return
    rows = np.flatnonzero(np.abs(column.values) > LARGEST)
    if len(rows):
        raise DataError(
            f"Column {shown(label)} holds inf, or a number beyond 1e150, in {len(rows)} rows "
            f"(first {', '.join(map(str, rows[:3]))}): expected finite numbers."
        )


# --------------------------------------------------------------------------- whole tables
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
    def is_continuous(self) -> bool:
        r"""Whether all columns that vary are floats that are not all whole, without gaps."""
        varying = [role for role in self.roles if role.has_value or role.cardinality > 1]
        return all(role.is_continuous for role in varying)

    def check(self, X: Any, *, missing_ok: bool = False) -> Any:
        r"""Return ``X`` with its columns in the order of fit; see `Encoding.check`."""
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
            if isinstance(role, Levels):
                columns.append(role.decode(code))
            else:
                columns.append(role.decode(encoded.values[:, value], code))
        return frame_of([role.label for role in self.roles], columns)

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
    _refuse_huge(label, column)
    present = column.values[~_gaps(column)]
    distinct = _distinct(present)
    if column.kind == "text" and len(distinct) > max(MANY, len(column) / 2):
        raise DataError(
            f"Column {shown(label)} holds {len(distinct)} distinct texts in {len(column)} rows, "
            "too many for categories: drop it, or convert it to numbers, dates or fewer groups."
        )
    named = column.kind in ("text", "boolean") or column.is_category
    whole = column.kind == "integer" or (column.kind == "real" and _is_whole(distinct))
    few = len(distinct) <= FEW and (whole or len(present) >= STANDOUT * len(distinct))
    if named or few or len(distinct) <= 1:
        return Levels.fit(label, column)
    return Numbers.fit(label, column, rows)


def _is_whole(values: Array) -> bool:
    return bool((values == np.rint(values)).all())


def _spec(role: Levels | Numbers) -> dict[str, Any]:
    return role.spec if isinstance(role, Numbers) else role.levels.spec


def _kind(role: Levels | Numbers) -> Kind:
    return role.kind if isinstance(role, Numbers) else role.levels.kind


def _comparable(role: Levels | Numbers, column: Column) -> Column:
    kind, spec, numeric = _kind(role), _spec(role), ("integer", "real", "boolean")
    same = kind == column.kind or (kind in numeric and column.kind in numeric)
    if _gaps(column).all() or (same and ("zone" in spec) == ("zone" in column.spec)):
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


def _refuse_gaps(columns: dict[Label, Column], why: str = "") -> None:
    counts = {label: int(_gaps(column).sum()) for label, column in columns.items()}
    holed = {label: count for label, count in counts.items() if count}
    if holed:
        listed = ", ".join(f"{shown(label)}: {count}" for label, count in list(holed.items())[:5])
        raise DataError(
            f"Missing values (rows by column: {listed}){why}. Fill them, or fit with "
            'missing="model" on data that have them.'
        )
