r"""DataFrames and Series of pandas and polars: told apart, read into columns, and made again.

Neither library is imported to ask whether an object is of its kind; pandas is served directly,
polars through narwhals.
"""

__all__ = [
    "column_of",
    "columns_of",
    "filled",
    "frame_of",
    "is_frame",
    "is_series",
    "native",
    "replaced",
]

from collections import Counter
from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from fromnoise.data.columns import Column, Label
from fromnoise.data.pandas_columns import fill_pandas, from_pandas, to_pandas
from fromnoise.data.polars_columns import fill_narwhals, from_narwhals, to_narwhals
from fromnoise.errors import DataError, shown

Array = NDArray[Any]


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
        return from_pandas(series, label)
    return from_narwhals(nw.from_native(series, series_only=True), label)


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
        return to_pandas(column).rename(name)
    return to_narwhals(column).alias("" if name is None else str(name)).to_native()


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

        frame = pd.concat([to_pandas(column) for column in columns], axis=1)
        frame.columns = pd.Index(list(names))
        return frame
    series = [to_narwhals(c).alias(str(n)) for n, c in zip(names, columns, strict=True)]
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


def filled(series: Any, mask: Array, column: Column) -> Any:
    r"""Return a Series with other entries where it is masked; the rest is as it was, to the bit.

    Args:
        series: A pandas or polars Series.
        mask: bool ``(n,)``.
        column: What to fill in, as many entries; gaps leave the Series alone. All of one library.

    Returns:
        A Series, of the dtype that it had wherever that can hold what is filled in.

    Example:
        >>> import pandas as pd
        >>> column = column_of(pd.Series(["x", "y"]), "a")
        >>> filled(pd.Series([None, "z"]), np.array([True, False]), column).tolist()
        ['x', 'z']
    """
    mask = mask & ~column.gaps
    if not mask.any():
        return series
    if nw.dependencies.is_pandas_series(series):
        return fill_pandas(series, mask, column)
    return fill_narwhals(nw.from_native(series, series_only=True), mask, column).to_native()


def replaced(X: Any, series: dict[Label, Any]) -> Any:
    r"""Return a copy of a DataFrame with other columns under some of its names.

    Args:
        X: A pandas or polars DataFrame.
        series: Series of the same library by name, of the same length; their index is ignored.

    Returns:
        A DataFrame; pandas' has the index of ``X``.

    Example:
        >>> import pandas as pd
        >>> X = pd.DataFrame({"a": [1], "b": [2]}, index=[7])
        >>> replaced(X, {"b": pd.Series([3])}).to_dict("split")["data"]
        [[1, 3]]
    """
    if nw.dependencies.is_pandas_dataframe(X):
        X = X.copy()
        for label, column in series.items():
            X[label] = column.set_axis(X.index)
        return X
    return X.with_columns(*(column.alias(str(label)) for label, column in series.items()))
