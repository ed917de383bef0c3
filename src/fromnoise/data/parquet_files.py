r"""Parquet files, read so that what they hold survives in a DataFrame of pandas.

pandas by itself turns integers with gaps into floats, in which 2**53 + 1 loses its last digit,
and days into Python objects. Here they become nullable integers and datetimes.

A table is read whole, and refused if it would not fit; or its batches, one after another.
"""

__all__ = ["batches_of", "read_parquet", "schema_of"]

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromnoise.data.memory import refuse_too_large
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
        MemoryError: If what it holds would not fit in memory.

    Example:
        >>> import pandas as pd, tempfile
        >>> path = Path(tempfile.mkdtemp()) / "x.parquet"
        >>> pd.DataFrame({"n": pd.array([2**53 + 1, None], dtype="Int64")}).to_parquet(path)
        >>> read_parquet(path)["n"].tolist()
        [9007199254740993, <NA>]
    """
    advice = (
        "its columns of numbers become a .npy file, which need not fit, by"
        " fromnoise.data.to_npy(source, out)."
    )
    with _opened(path) as file:
        refuse_too_large(_size(file), f"{shown(str(path), 120)}, read whole,", advice)
        return _frame(file.read())


def schema_of(path: Path) -> tuple[Any, int]:
    r"""Return the schema of a Parquet file and its number of rows.

    Args:
        path: The file.

    Raises:
        DataError: As in `read_parquet`.

    Example:
        >>> import pandas as pd, tempfile
        >>> path = Path(tempfile.mkdtemp()) / "x.parquet"
        >>> pd.DataFrame({"n": [1, 2]}).to_parquet(path)
        >>> schema, n = schema_of(path)
        >>> schema.names, n
        (['n'], 2)
    """
    with _opened(path) as file:
        return file.schema_arrow, file.metadata.num_rows


def batches_of(path: Path, columns: Sequence[str], n_rows: int) -> Iterator[Any]:
    r"""Yield record batches of some columns, within one row group and of at most ``n_rows`` rows.

    Args:
        path: The file.
        columns: Their names.
        n_rows: Rows a batch.

    Raises:
        DataError: As in `read_parquet`.

    Example:
        >>> import pandas as pd, tempfile
        >>> path = Path(tempfile.mkdtemp()) / "x.parquet"
        >>> pd.DataFrame({"n": range(5)}).to_parquet(path)
        >>> [batch.num_rows for batch in batches_of(path, ["n"], 2)]
        [2, 2, 1]
    """
    # Left to itself pyarrow reads ahead, to the end of the file.
    with _opened(path, pre_buffer=False, buffer_size=2**20) as file:
        for group in range(file.num_row_groups):
            yield from file.iter_batches(n_rows, row_groups=[group], columns=list(columns))


@contextmanager
def _opened(path: Path, **options: Any) -> Iterator[Any]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        message = "Reading Parquet takes pyarrow: pip install 'fromnoise[table]'."
        raise DataError(message) from error
    try:
        with ParquetFile(path, **options) as file:
            yield file
    except MemoryError:
        raise
    except (ArrowException, ValueError, OSError) as error:
        place = shown(str(path), 120)
        raise DataError(f"{place} is no sound Parquet file: {shown(str(error), 200)}") from error


def _size(file: Any) -> int:
    r"""Return how many bytes a table and the DataFrame made of it take, at least."""
    from pyarrow.types import is_primitive

    meta, types = file.metadata, file.schema_arrow.types
    width = sum(type_.bit_width / 8 if is_primitive(type_) else 8 for type_ in types)
    stored = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    return 2 * max(int(meta.num_rows * width), stored)


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
