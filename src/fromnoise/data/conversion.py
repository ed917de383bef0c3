r"""From tables to ``.npy`` files, block by block, for tables larger than memory.

A ``.npy`` file can be a map, of which only the rows at hand are in memory; a Parquet file cannot.
So its numbers are converted once, a few rows at a time, and everything else reads the map.
"""

__all__ = ["to_npy"]

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fromnoise.data.arrays import EXACT
from fromnoise.data.parquet_files import batches_of, schema_of
from fromnoise.data.sinks import open_sink
from fromnoise.errors import DataError, did_you_mean, shown

Array = NDArray[Any]

_BLOCK = 2**18  # entries converted together


def to_npy(
    source: str | Path,
    out: str | Path,
    *,
    columns: str | Sequence[str] | None = None,
    dtype: DTypeLike | None = None,
    overwrite: bool = False,
) -> Path:
    r"""Convert columns of numbers of a Parquet file to an array in a ``.npy`` file.

    No more is in memory than a row group of the file. ``out`` appears when it is whole.

    Args:
        source: The Parquet file.
        out: Name of the ``.npy`` file, of which :func:`load` makes a map.
        columns: Names in the order wanted, or one; default all.
        dtype: Of the array. None is float32 if that holds all that the types of the columns
            can, else float64. To other floats numbers are rounded; to integers they are not.
        overwrite: Whether ``out`` may be replaced.

    Returns:
        ``out``. The array is ``(n, columns)``; what is missing is NaN, booleans are 0 and 1.

    Raises:
        DataError: If a column is not of numbers (text, dates and categories are not), or holds
            one that the dtype does not; it names the column, and the row.
        FileExistsError: If ``out`` exists and ``overwrite`` is False.

    Example:
        >>> import pandas as pd, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> frame = pd.DataFrame({"a": [1.5, None], "n": [3, 4], "name": ["x", "y"]})
        >>> frame.to_parquet(folder / "x.parquet")
        >>> path = to_npy(folder / "x.parquet", folder / "x.npy", columns=["n", "a"])
        >>> np.load(path).tolist()
        [[3.0, 1.5], [4.0, nan]]
    """
    path, out = Path(source), Path(out)
    for given, ending in ((path, ".parquet"), (out, ".npy")):
        if given.suffix.lower() != ending:
            raise DataError(f"{shown(str(given), 120)} must end in {ending}.")
    if not path.is_file():
        raise DataError(f"There is no file {shown(str(path), 120)}.")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists. Choose another name, or pass overwrite=True.")
    schema, n = schema_of(path)
    names = _chosen(schema.names, columns)
    kind = _dtype({name: schema.field(name).type for name in names}, dtype)
    if n == 0:
        raise DataError(f"{shown(str(path), 120)} holds no rows.")
    start = 0
    with open_sink(out, kind="vectors", n_rows=n, overwrite=overwrite) as sink:
        for batch in batches_of(path, names, max(1, _BLOCK // len(names))):
            numbers = [_numbers(batch.column(name), name, kind, start) for name in names]
            sink.write(np.stack(numbers, 1), None)
            start += len(batch)
    return out


def _chosen(known: list[str], columns: str | Sequence[str] | None) -> list[str]:
    names = known if columns is None else [columns] if isinstance(columns, str) else list(columns)
    for name in names:
        if name not in known:
            raise DataError(f"No column {shown(name)}.{did_you_mean(str(name), known[:50])}")
    repeated = [name for name in names if names.count(name) + known.count(name) > 2]
    if repeated:
        raise DataError(f"Column names must differ, got twice: {shown(repeated[0])}.")
    if not names:
        raise DataError("Expected at least one column, got none.")
    return names


def _dtype(types: dict[str, Any], dtype: DTypeLike | None) -> np.dtype[Any]:
    r"""Return the dtype of the array; refuse columns that are not of numbers."""
    from pyarrow import types as of

    numeric = (of.is_boolean, of.is_integer, of.is_floating)
    other = {name: kind for name, kind in types.items() if not any(is_(kind) for is_ in numeric)}
    if other:
        listed = ", ".join(f"{shown(name)} ({kind})" for name, kind in list(other.items())[:5])
        raise DataError(
            f"An array holds numbers, which {len(other)} of the columns are not: {listed}. Name"
            " those that are by columns=, or convert the others."
        )
    if dtype is None:
        plain = [np.dtype(type_.to_pandas_dtype()) for type_ in types.values()]
        return np.result_type(np.float32, *plain)
    chosen = np.dtype(dtype)
    if chosen.kind not in "iuf":
        raise DataError(f"dtype must be of floats or integers, got {chosen}.")
    return chosen


def _numbers(column: Any, name: str, dtype: np.dtype[Any], start: int) -> Array:
    r"""Return the numbers of a column, none of which the dtype may change in kind."""
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    exact = column.fill_null(0) if pa.types.is_integer(column.type) else column
    values = exact.to_numpy(zero_copy_only=False)
    with np.errstate(all="ignore"):
        cast: Array = values.astype(dtype)
    gaps = column.is_null().to_numpy(zero_copy_only=False)
    if dtype.kind == "f":
        cast[gaps] = np.nan
    _refuse_first(gaps & (dtype.kind != "f"), f"a gap, which {dtype} has no room for", name, start)
    if dtype.kind != "f":
        _refuse_first(cast != values, f"a number that {dtype} does not hold", name, start)
        return cast
    lost = np.isinf(cast) & ~np.isinf(values)
    _refuse_first(lost, f"a number too large for {dtype}", name, start)
    if values.dtype.kind != "f" and dtype.itemsize >= 8:
        lost = (values > EXACT) | (values < -EXACT)
        why = "an integer beyond 2**53, which floats cannot tell apart"
        _refuse_first(lost, why, name, start)
    return cast


def _refuse_first(bad: Array, why: str, name: str, start: int) -> None:
    if bad.any():
        row = start + int(np.flatnonzero(bad)[0])
        raise DataError(f"Column {shown(name)} holds {why}, in row {row}.")
