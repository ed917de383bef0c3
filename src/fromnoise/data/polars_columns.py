r"""Columns from polars, and back to the dtype that they had.

polars is reached through narwhals, so this library runs without it. Dates and durations are
counts of their own unit, so that nothing is rounded on the way.
"""

__all__ = ["fill_narwhals", "from_narwhals", "to_narwhals"]

from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from fromnoise.data.columns import Column, Kind, unsupported

Array = NDArray[Any]

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


def from_narwhals(series: nw.Series[Any], label: Any) -> Column:
    r"""Read a Series.

    Args:
        series: A Series of narwhals, over one of polars.
        label: Name of the column, for errors.

    Returns:
        The column.

    Raises:
        DataError: If its dtype has no meaning here.

    Example:
        >>> import pandas as pd
        >>> from_narwhals(nw.from_native(pd.Series([1, 2]), series_only=True), "a").kind
        'integer'
    """
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
    raise unsupported(label, dtype)


def to_narwhals(column: Column) -> nw.Series[Any]:
    r"""Invert `from_narwhals`, names apart.

    Args:
        column: The column.

    Returns:
        A Series of narwhals without a name.

    Example:
        >>> spec = {"library": "pandas", "dtype": "Int8"}
        >>> column = Column(np.array([1, 2]), np.zeros(2, bool), "integer", spec)
        >>> to_narwhals(column).to_list()
        [1, 2]
    """
    plain = nw.UInt64 if column.values.dtype == np.uint64 else _PLAIN[column.kind]
    values: Any = column.values
    if column.missing.any() or column.kind == "text":
        entries = zip(values.tolist(), column.missing.tolist(), strict=True)
        values = [None if gone else value for value, gone in entries]
    series = nw.new_series("", values, plain, backend=column.spec["library"])
    if column.spec["dtype"] == "Date":
        series = series.cast(nw.Int32)
    return series.cast(_narwhals_dtype(column.spec))


def fill_narwhals(series: nw.Series[Any], mask: Array, column: Column) -> nw.Series[Any]:
    r"""Return a Series with the entries of a column where it is masked.

    Args:
        series: A Series of narwhals.
        mask: bool ``(n,)``.
        column: As many entries, of the values of the Series.

    Returns:
        A Series of the same dtype.

    Example:
        >>> import pandas as pd
        >>> series = nw.from_native(pd.Series([4, 5]), series_only=True)
        >>> spec = {"library": "pandas", "dtype": "Int64"}
        >>> column = Column(np.array([1, 2]), np.zeros(2, bool), "integer", spec)
        >>> fill_narwhals(series, np.array([True, False]), column).to_list()
        [1, 5]
    """
    drawn = to_narwhals(column).cast(series.dtype)
    keep = nw.new_series("", (~mask).tolist(), nw.Boolean, backend=column.spec["library"])
    return series.zip_with(keep, drawn)


def _from_dates(series: nw.Series[Any], missing: Array, spec: dict[str, Any]) -> Column:
    dtype = series.dtype
    counts = series.to_physical() if hasattr(series, "to_physical") else series.cast(nw.Int64)
    values = counts.fill_null(0).cast(nw.Int64).to_numpy()
    spec["unit"] = dtype.time_unit if isinstance(dtype, nw.Datetime | nw.Duration) else "D"
    if isinstance(dtype, nw.Datetime) and dtype.time_zone is not None:
        spec["zone"] = dtype.time_zone
    return Column(values, missing, "duration" if isinstance(dtype, nw.Duration) else "date", spec)


def _narwhals_dtype(spec: dict[str, Any]) -> Any:
    if spec["dtype"] == "Enum":
        return nw.Enum(spec["levels"])
    if spec["dtype"] == "Datetime":
        return nw.Datetime(spec["unit"], spec.get("zone"))
    return nw.Duration(spec["unit"]) if spec["dtype"] == "Duration" else _NARWHALS[spec["dtype"]]
