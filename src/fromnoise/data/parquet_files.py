r"""Parquet files, read so that what they hold survives in a DataFrame of pandas.

pandas by itself turns integers with gaps into floats, in which 2**53 + 1 loses its last digit,
and days into Python objects. Here they become nullable integers and datetimes.
"""

__all__ = ["read_parquet"]

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromnoise.errors import DataError, shown

if TYPE_CHECKING:
    import pandas as pd


def read_parquet(path: Path) -> "pd.DataFrame":
    r"""Read a Parquet file.

    Args:
        path: The file.

    Returns:
        A pandas DataFrame.

    Raises:
        DataError: If pyarrow is not installed, or it is no sound Parquet file.

    Example:
        >>> import pandas as pd, tempfile
        >>> path = Path(tempfile.mkdtemp()) / "x.parquet"
        >>> pd.DataFrame({"n": pd.array([2**53 + 1, None], dtype="Int64")}).to_parquet(path)
        >>> read_parquet(path)["n"].tolist()
        [9007199254740993, <NA>]
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        message = "Reading Parquet takes pyarrow: pip install 'fromnoise[table]'."
        raise DataError(message) from error
    try:
        with ParquetFile(path) as file:
            return _frame(file.read())
    except (ArrowException, ValueError, OSError) as error:
        place = shown(str(path), 120)
        raise DataError(f"{place} is no sound Parquet file: {shown(str(error), 200)}") from error


def _frame(table: Any) -> "pd.DataFrame":
    frame: pd.DataFrame = table.to_pandas(date_as_object=False)
    nullable = _nullable()
    for name, column in zip(table.column_names, table.columns, strict=True):
        unique = table.column_names.count(name) == 1 and name in frame
        if column.null_count and column.type in nullable and unique:
            frame[name] = column.to_pandas(types_mapper=nullable.get).array
    return frame


def _nullable() -> dict[Any, Any]:
    r"""Return the types of Arrow that pandas by itself holds no gaps in, and what does."""
    import pandas as pd
    import pyarrow as pa

    return {
        pa.bool_(): pd.BooleanDtype(),
        pa.int8(): pd.Int8Dtype(),
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.uint8(): pd.UInt8Dtype(),
        pa.uint16(): pd.UInt16Dtype(),
        pa.uint32(): pd.UInt32Dtype(),
        pa.uint64(): pd.UInt64Dtype(),
    }
