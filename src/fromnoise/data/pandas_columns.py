r"""Columns from pandas, and back to the dtype that they had.

pandas keeps a missing entry as NaN, NaT, None or NA, which all become the mask of a `Column`.
Categories keep their levels and order, dates their unit and time zone. A Series of objects is
read as the one type that its entries share; one that mixes types is refused with its first rows.
"""

__all__ = ["fill_pandas", "from_pandas", "to_pandas"]

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fromnoise.data.columns import Column, Kind, storage, unsupported
from fromnoise.errors import DataError, shown

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]


def from_pandas(series: "pd.Series[Any]", label: Any) -> Column:
    r"""Read a pandas Series.

    Args:
        series: The Series.
        label: Name of the column, for errors.

    Returns:
        The column.

    Raises:
        DataError: If its dtype or its mixture of types has no meaning here.

    Example:
        >>> import pandas as pd
        >>> from_pandas(pd.Series(["b", None], dtype="category"), "a").values.tolist()
        ['b', 'b']
    """
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


def to_pandas(column: Column) -> "pd.Series[Any]":
    r"""Invert `from_pandas`, names and index apart.

    Args:
        column: The column.

    Returns:
        A Series without a name, numbered from 0.

    Example:
        >>> import pandas as pd
        >>> to_pandas(from_pandas(pd.Series([1, None], dtype="Int64"), "a")).dtype
        Int64Dtype()
    """
    import pandas as pd

    spec, values, missing = column.spec, column.values, column.missing
    if "levels" in spec:
        return _to_categories(column)
    if column.kind in ("date", "duration"):
        series = pd.Series(values.astype(np.int64).view(spec["dtype"]))
    elif column.kind == "text":
        series = pd.Series(values, dtype=object).mask(missing, None).astype(spec["dtype"])
    else:
        series = pd.Series(values.astype(storage(spec))).astype(spec["dtype"])
    if missing.any():
        as_none = spec["dtype"] == "object" and spec.get("none", False)
        series = series.mask(missing, None) if as_none else series.mask(missing)
    if "zone" in spec:
        series = series.dt.tz_localize("UTC").dt.tz_convert(spec["zone"])
    return series


def fill_pandas(series: "pd.Series[Any]", mask: Array, column: Column) -> "pd.Series[Any]":
    r"""Return a Series with the entries of a column where it is masked.

    Args:
        series: The Series.
        mask: bool ``(n,)``.
        column: As many entries, of the values of the Series.

    Returns:
        A Series of the same dtype, unless no dtype but that of the column can hold its entries:
        a Series without any, or categories that lack one.

    Example:
        >>> import pandas as pd
        >>> column = from_pandas(pd.Series([1, 2]), "a")
        >>> fill_pandas(pd.Series([float("nan"), 5.0]), np.array([True, False]), column).tolist()
        [1.0, 5.0]
    """
    import pandas as pd

    drawn, series = to_pandas(column), series.reset_index(drop=True)
    if isinstance(series.dtype, pd.CategoricalDtype):
        lost = pd.Index(drawn[mask].unique()).difference(series.cat.categories, sort=False)
        series = series.cat.add_categories(lost)
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iu":
        info = np.iinfo(series.dtype)
        drawn = drawn.clip(info.min, info.max)
    try:
        return series.mask(mask, drawn.astype(series.dtype))
    except (TypeError, ValueError):
        return series.astype(drawn.dtype).mask(mask, drawn)


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
    raise unsupported(label, dtype)


def _from_categories(
    series: "pd.Series[Any]", missing: Array, spec: dict[str, Any], label: Any
) -> Column:
    dtype = series.dtype
    levels = from_pandas(dtype.categories.to_series(), label)
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


def _to_categories(column: Column) -> "pd.Series[Any]":
    import pandas as pd

    levels = Column.from_state(column.spec["levels"])
    position = {value: code for code, value in enumerate(levels.values.tolist())}
    codes = np.array([position.get(value, -1) for value in column.values.tolist()], np.int64)
    codes[column.missing] = -1
    categories = pd.Index(to_pandas(levels))
    return pd.Series(pd.Categorical.from_codes(codes, categories, ordered=column.spec["ordered"]))
