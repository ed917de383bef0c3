r"""Tables."""

__all__ = ["Column", "column_of", "frame_of", "is_frame", "is_series", "native"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from fromnoise.errors import DataError, shown

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
Kind = Literal["integer", "real", "boolean", "text", "date"]


def is_frame(X: Any) -> bool:
    r"""Return whether ``X`` is a pandas or polars DataFrame, importing neither."""
    known = nw.dependencies
    return bool(known.is_pandas_dataframe(X) or known.is_polars_dataframe(X))


def is_series(X: Any) -> bool:
    r"""Return whether ``X`` is a pandas or polars Series, importing neither."""
    return bool(nw.dependencies.is_pandas_series(X) or nw.dependencies.is_polars_series(X))


@dataclass(frozen=True, eq=False)
class Column:
    r"""One column of a table as plain values, with what it takes to make it a Series again.

    Attributes:
        values: int64 or uint64, float64, bool, or objects that are all str, ``(n,)``; dates are
            int64 counts of their unit. Fillers stand where entries are missing.
        missing: bool ``(n,)``.
        kind: What the values mean.
        spec: The library and dtype of the Series; strings, numbers and lists only.
    """

    values: Array
    missing: Array
    kind: Kind
    spec: dict[str, Any]

    @property
    def is_category(self) -> bool:
        r"""Whether the dtype itself lists the values that may occur."""
        return "levels" in self.spec

    def to_state(self) -> dict[str, Any]:
        r"""Return a tree; text is stored as distinct strings and codes."""
        if self.kind != "text":
            stored: dict[str, Any] = {"values": self.values}
        else:
            levels, codes = np.unique(self.values.astype(object), return_inverse=True)
            stored = {"strings": [str(level) for level in levels], "codes": codes}
        return {"kind": self.kind, "missing": self.missing, "spec": self.spec, **stored}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        r"""Invert ``to_state``."""
        if state["kind"] == "text":
            values = np.array(state["strings"], object)[np.asarray(state["codes"])]
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


def native(column: Column, name: str | int | None = None) -> Any:
    r"""Return the Series of a column; see `column_of`."""
    if column.spec["library"] == "pandas":
        return _to_pandas(column).rename(name)
    return _to_narwhals(column).alias(str(name or "")).to_native()


def frame_of(names: Sequence[str | int], columns: Sequence[Column]) -> Any:
    r"""Return a DataFrame of the library that the columns came from.

    Args:
        names: Names of the columns.
        columns: At least one column; all from one library.

    Returns:
        A pandas or polars DataFrame.
    """
    if columns[0].spec["library"] == "pandas":
        import pandas as pd

        frame = pd.concat([_to_pandas(column) for column in columns], axis=1)
        frame.columns = pd.Index(names)
        return frame
    series = [_to_narwhals(c).alias(str(n)) for n, c in zip(names, columns, strict=True)]
    return series[0].to_frame().with_columns(*series[1:]).to_native()


def _from_pandas(series: "pd.Series[Any]", label: Any) -> Column:
    import pandas as pd

    dtype = series.dtype
    missing = series.isna().to_numpy(bool)
    spec: dict[str, Any] = {"library": "pandas", "dtype": str(dtype)}
    if isinstance(dtype, pd.CategoricalDtype):
        levels = _from_pandas(dtype.categories.to_series(), label)
        spec |= {"levels": levels.to_state(), "ordered": bool(dtype.ordered)}
        codes = np.maximum(series.cat.codes.to_numpy(), 0)
        if not len(levels.values):
            return Column(np.full(len(series), "", object), missing, "text", spec)
        return Column(levels.values[codes], missing, levels.kind, spec)
    if dtype == object:
        return _from_objects(series, missing, spec, label)
    if pd.api.types.is_bool_dtype(dtype):
        return Column(series.to_numpy(bool, na_value=False), missing, "boolean", spec)
    if pd.api.types.is_integer_dtype(dtype):
        wide = np.uint64 if "uint64" in str(dtype).lower() else np.int64
        return Column(series.to_numpy(wide, na_value=0), missing, "integer", spec)
    if pd.api.types.is_float_dtype(dtype):
        return Column(series.to_numpy(np.float64, na_value=np.nan), missing, "real", spec)
    if isinstance(dtype, pd.DatetimeTZDtype):
        spec |= {"dtype": f"datetime64[{dtype.unit}]", "zone": str(dtype.tz)}
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    elif pd.api.types.is_string_dtype(dtype):
        text = series.astype(object).mask(missing, "").to_numpy(object)
        return Column(text, missing, "text", spec)
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "Mm":
        counts = np.where(missing, 0, series.to_numpy().view(np.int64))
        return Column(counts, missing, "date", spec)
    raise _unknown(label, dtype)


def _from_objects(
    series: "pd.Series[Any]", missing: Array, spec: dict[str, Any], label: Any
) -> Column:
    import pandas as pd

    found = pd.api.types.infer_dtype(series, skipna=True)
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
    if found in kinds:
        kind, dtype, filler = kinds[found]
        try:
            return Column(np.where(missing, filler, values).astype(dtype), missing, kind, spec)
        except OverflowError:
            raise DataError(
                f"Column {shown(label)} holds integers beyond 64 bits: store them as text."
            ) from None
    odd = _odd_rows(values, missing)
    raise DataError(
        f"Column {shown(label)} mixes types ({odd}): convert it to one type, such as numbers, "
        "strings or datetime64, first."
    )


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
        levels = pd.Index(_to_pandas(Column.from_state(spec["levels"])))
        plain = pd.Index(Column.from_state(spec["levels"]).values)
        codes = np.where(missing, -1, plain.get_indexer(pd.Index(values)) if len(plain) else -1)
        return pd.Series(pd.Categorical.from_codes(codes, levels, ordered=spec["ordered"]))
    if column.kind == "date":
        series = pd.Series(values.astype(np.int64).view(spec["dtype"]))
        if "zone" in spec:
            series = series.dt.tz_localize("UTC").dt.tz_convert(spec["zone"])
    elif column.kind == "text":
        series = pd.Series(values, dtype=object).mask(missing, None).astype(spec["dtype"])
    else:
        series = pd.Series(values).astype(spec["dtype"])
    if missing.any():
        filler = None if spec.get("none") else np.nan
        series = series.mask(missing) if spec["dtype"] != "object" else series.mask(missing, filler)
    return series


def _from_narwhals(series: nw.Series[Any], label: Any) -> Column:
    raise NotImplementedError


def _to_narwhals(column: Column) -> nw.Series[Any]:
    raise NotImplementedError
