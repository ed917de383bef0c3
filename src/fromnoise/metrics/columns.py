r"""The columns of a table, as numbers or as levels.

A pandas or polars DataFrame comes in, one column at a time comes out: numbers and dates as floats
with NaN where they are missing, everything else as hashable values with ``None``.
"""

__all__ = ["columns_of", "floats", "in_order_of", "is_number", "matched", "moments", "objects"]

from collections.abc import Hashable
from typing import Any

import narwhals as nw
import numpy as np
from narwhals.exceptions import DuplicateError

from fromnoise.errors import DataError, shown


def columns_of(X: Any, name: str = "X") -> dict[str, nw.Series[Any]]:
    r"""Return the columns of a DataFrame by their names.

    Args:
        X: A pandas or polars DataFrame.
        name: What the error calls it.

    Raises:
        DataError: If it is something else, has no rows or no columns, or two columns of one name.

    Example:
        >>> import pandas as pd
        >>> list(columns_of(pd.DataFrame({"age": [20, 30], "city": ["Oslo", "Rome"]})))
        ['age', 'city']
    """
    try:
        table = nw.from_native(X, eager_only=True)
    except TypeError:
        raise DataError(
            f"expected {name} as a pandas or polars DataFrame, got {shown(type(X).__name__)}; "
            "make one of it, or take Standardise for features of an array"
        ) from None
    except DuplicateError:
        raise DataError(
            f"expected columns of different names in {name}, got two of one name; rename one"
        ) from None
    if 0 in table.shape:
        raise DataError(f"expected rows and columns in {name}, got shape {table.shape}")
    return {column.name: column for column in table.iter_columns()}


def in_order_of(known: list[str], columns: dict[str, nw.Series[Any]]) -> list[nw.Series[Any]]:
    r"""Return the columns in the order of the names that are known.

    Raises:
        DataError: If names lack or are not known.

    Example:
        >>> import pandas as pd
        >>> columns = columns_of(pd.DataFrame({"a": [1], "b": [2]}))
        >>> [column.name for column in in_order_of(["b", "a"], columns)]
        ['b', 'a']
    """
    if set(columns) != set(known):
        lacking = shown([name for name in known if name not in columns])
        unknown = shown([name for name in columns if name not in known])
        raise DataError(
            f"expected the columns of the real table, but {lacking} are missing and {unknown} are "
            "not known; pass the same columns"
        )
    return [columns[name] for name in known]


def matched(sets: dict[str, Any], minimum: int) -> list[tuple[nw.Series[Any], nw.Series[Any]]]:
    r"""Return the columns of two tables in pairs, in the order of the first.

    Args:
        sets: Name for the error -> a pandas or polars DataFrame, the real one first.
        minimum: Fewest rows of each.

    Raises:
        DataError: If one is no DataFrame or too short, or the columns are not the same, or of
            numbers in one table and of something else in the other.

    Example:
        >>> import pandas as pd
        >>> real, fake = pd.DataFrame({"a": [1], "b": [2]}), pd.DataFrame({"b": [3], "a": [4]})
        >>> [two[1].to_list() for two in matched({"real": real, "fake": fake}, minimum=1)]
        [[4], [3]]
    """
    tables = {name: columns_of(table, name) for name, table in sets.items()}
    for name, columns in tables.items():
        n = len(next(iter(columns.values())))
        if n < minimum:
            raise DataError(f"expected at least {minimum} rows in {name}, got {n}; add rows")
    real, fake = tables.values()
    pairs = list(zip(real.values(), in_order_of(list(real), fake), strict=True))
    for one, other in pairs:
        if is_number(one) != is_number(other):
            raise DataError(
                f"expected {one.dtype} in column {shown(one.name)} of {list(sets)[1]}, as in "
                f"{next(iter(sets))}, got {other.dtype}; convert one to the type of the other"
            )
    return pairs


def is_number(column: nw.Series[Any]) -> bool:
    r"""Return whether a column is of numbers or dates; booleans are neither.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"age": [20, 30], "member": [True, False]})
        >>> [is_number(column) for column in columns_of(table).values()]
        [True, False]
    """
    return column.dtype.is_numeric() or isinstance(column.dtype, (nw.Datetime, nw.Date))


def floats(column: nw.Series[Any]) -> np.ndarray:
    r"""Return numbers, or dates in microseconds since 1970, with NaN where missing, (n,).

    Raises:
        DataError: If the column is of something else, or holds an infinity.

    Example:
        >>> import pandas as pd
        >>> floats(columns_of(pd.DataFrame({"age": [20, None]}))["age"]).tolist()
        [20.0, nan]
    """
    if not is_number(column):
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


def moments(values: np.ndarray) -> tuple[float, float]:
    r"""Return the mean of what is not missing and its standard deviation, 1 if that is 0.

    Example:
        >>> moments(np.array([1.0, 3.0, np.nan])), moments(np.array([np.nan]))
        ((2.0, 1.0), (0.0, 1.0))
    """
    seen = values[~np.isnan(values)]
    return (float(seen.mean()), float(seen.std()) or 1.0) if len(seen) else (0.0, 1.0)


def objects(column: nw.Series[Any]) -> list[Hashable]:
    r"""Return the values, ``None`` where missing; what is not hashable stands as its text.

    Example:
        >>> import pandas as pd
        >>> objects(columns_of(pd.DataFrame({"city": ["Oslo", None]}))["city"])
        ['Oslo', None]
    """
    missing = column.is_null().to_list()
    values = [None if gone else x for gone, x in zip(missing, column.to_list(), strict=True)]
    return [x if isinstance(x, Hashable) else str(x) for x in values]
