r"""Where data come from, and the containers they come in.

`load` turns a name or a path into `Data`. The same few containers then travel everywhere: a
NumPy array, a torch tensor, a pandas or polars DataFrame, an `ImageArray`. `take`, `n_rows`,
`to_state` and `from_state` are all that others need to know of them.

CSV files are read as text, and types are inferred here, because general readers destroy values:
the category ``NA`` becomes a missing value, ``00123`` becomes 123, 2**53 + 1 beside a gap loses
its last digit, and a row that is too long shifts the others. So an empty field is missing; a
column is of integers, floats, booleans or ISO 8601 dates only if all its fields are, in which
case ``NA``, ``NaN`` and ``null`` mean missing among numbers; all else is text, kept to the letter.
"""

__all__ = [
    "Data",
    "encoding_from_state",
    "fit_encoding",
    "from_state",
    "load",
    "n_rows",
    "take",
    "to_state",
]

import codecs
import csv
import gzip
import io
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fromnoise.data import toy
from fromnoise.data.images import ImageArray, ImageEncoding, read_folder
from fromnoise.data.tables import (
    Column,
    TableEncoding,
    column_of,
    columns_of,
    frame_of,
    is_frame,
    is_series,
    native,
)
from fromnoise.data.transforms import Encoding, Missing, VectorEncoding
from fromnoise.errors import DataError, did_you_mean, shown

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
Kind = Literal["vectors", "table", "images"]

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # Debian's dataset-fashion-mnist
_IDX = {"train": "train-{}-ubyte.gz", "test": "t10k-{}-ubyte.gz"}
_BOMS = {
    # UTF-32's mark begins with UTF-16's, so it is looked for first.
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF8: "utf-8",
}
_GAPS = {"", "NA", "NaN", "nan", "null"}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)\.?|(0|[1-9][0-9]*)?\.[0-9]+)([eE][+-]?[0-9]+)?")
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_TRUTH = [{"true": True, "false": False}, {"True": True, "False": False},
          {"TRUE": True, "FALSE": False}]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Data:
    r"""A data set.

    Attributes:
        X: Array, torch tensor, DataFrame or `ImageArray`.
        y: Labels or numbers, one a row, or None.
        kind: ``"vectors"``, ``"table"`` or ``"images"``.
        name: What to call it.
        label: Name of the column that ``y`` was in a table.
        note: Remarks about reading it.

    Example:
        >>> load("wine").X.shape
        (178, 13)
    """

    X: Any
    y: Any = None
    kind: Kind = "vectors"
    name: str = ""
    label: str | None = None
    note: tuple[str, ...] = ()


def load(
    source: Any,
    *,
    label: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    encoding: str = "utf-8",
) -> Data:
    r"""Read data.

    Args:
        source: A built-in name (``digits, wine, breast-cancer, diabetes, fashion-mnist`` and the
            toy distributions ``moons, 8gaussians, 25gaussians, checkerboard, swissroll,
            scurve``); a path to a ``.csv``, ``.parquet``, ``.npy`` or ``.npz`` file (arrays ``X``
            and ``y``) or to a folder of images; an array, tensor or DataFrame; or `Data`.
        label: Column of a table to take out as ``y``.
        image_size: Side, or (height, width), that the images of a folder are resized to.
        encoding: Of a CSV file without a byte order mark.

    Returns:
        The data.

    Raises:
        DataError: If the source is unknown or cannot be read whole; the message says where.

    Example:
        >>> data = load("digits")
        >>> data.kind, data.X.shape, data.y.shape
        ('images', (1797, 8, 8), (1797,))
    """
    data = _load(source, image_size, encoding)
    if image_size is not None and not (isinstance(source, str | Path) and Path(source).is_dir()):
        raise DataError("image_size resizes folders of image files, and nothing else.")
    return data if label is None else _with_label(data, label)


def fit_encoding(X: Any, *, missing: Missing = "auto", index: Array | None = None) -> Encoding:
    r"""Validate all rows of ``X`` and fit the encoding of its kind.

    Args:
        X: Data.
        missing: ``"auto"`` refuses missing entries in arrays and models them in tables;
            ``"error"`` refuses them everywhere, ``"model"`` nowhere (images apart).
        index: Training rows, from which all statistics come; default all.

    Returns:
        The encoding.

    Raises:
        DataError: If something is wrong with ``X``; the message says what and where.

    Example:
        >>> fit_encoding(np.eye(3)).shape
        (3,)
    """
    if missing not in ("auto", "error", "model"):
        names = ["auto", "error", "model"]
        raise DataError(f"Unknown missing={missing!r}.{did_you_mean(str(missing), names)}")
    return _ENCODINGS[_kind(X)].fit(X, missing=missing, index=index)


def encoding_from_state(state: dict[str, Any]) -> Encoding:
    r"""Return the encoding that ``Encoding.to_state`` described.

    Args:
        state: The tree.

    Returns:
        The encoding.

    Example:
        >>> encoding_from_state(fit_encoding(np.eye(3)).to_state()).kind
        'vectors'
    """
    return _ENCODINGS[state["kind"]].from_state(state)


def n_rows(X: Any) -> int:
    r"""Return the number of rows of a container.

    Example:
        >>> n_rows(np.zeros((3, 2)))
        3
    """
    return len(X)


def take(X: Any, index: Array) -> Any:
    r"""Return rows in the same container.

    Args:
        X: Any container, or labels.
        index: Positions, int ``(m,)``.

    Returns:
        The rows; those of a pandas object are numbered anew.

    Example:
        >>> take(np.array([[1], [2], [3]]), np.array([2, 0])).tolist()
        [[3], [1]]
    """
    if isinstance(X, ImageArray):
        return ImageArray(take(X.array, index), X.channels)
    if hasattr(X, "iloc"):
        return X.iloc[index].reset_index(drop=True)
    return [X[i] for i in index] if isinstance(X, list) else X[index]


def to_state(X: Any) -> dict[str, Any]:
    r"""Return a container, or labels, as a tree of arrays, strings and numbers.

    Args:
        X: Any container that `load` returns, a Series, an array of strings, or None.

    Returns:
        A tree that `from_state` turns back exactly, the index of pandas objects apart.

    Raises:
        DataError: If it holds something that a tree cannot.

    Example:
        >>> from_state(to_state(np.array(["a", "b"]))).tolist()
        ['a', 'b']
    """
    if X is None:
        return {"container": "none"}
    if isinstance(X, ImageArray):
        return {"container": "images", "array": to_state(X.array), "channels": X.channels}
    if is_frame(X):
        columns = columns_of(X)
        states = [column.to_state() for column in columns.values()]
        return {"container": "frame", "names": list(columns), "columns": states}
    if is_series(X):
        column = column_of(X, X.name).to_state()
        return {"container": "series", "name": X.name, "column": column}
    if type(X).__module__.partition(".")[0] == "torch":
        return {"container": "torch", "values": X.detach().cpu().numpy()}
    return _array_state(np.asarray(X))


def from_state(state: dict[str, Any]) -> Any:
    r"""Invert `to_state`.

    Args:
        state: The tree.

    Returns:
        The container.

    Example:
        >>> from_state(to_state(np.eye(2))).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    return _THAW[state["container"]](state)


def _array_state(X: Array) -> dict[str, Any]:
    if X.dtype.kind in "biuf":
        values = np.ascontiguousarray(X, X.dtype.newbyteorder("="))
        return {"container": "numpy", "values": values}
    if not all(isinstance(entry, str) for entry in X.flat):
        raise DataError(f"An array of dtype {X.dtype} must hold numbers or strings.")
    levels = {text: code for code, text in enumerate(dict.fromkeys(X.flat))}
    return {
        "container": "text",
        "strings": [str(text) for text in levels],
        "codes": np.array([levels[text] for text in X.flat], np.int64).reshape(X.shape),
        "dtype": X.dtype.str,
    }


def _text(state: dict[str, Any]) -> Array:
    strings = np.array(state["strings"], object)
    codes = np.asarray(state["codes"])
    return strings[codes].astype(np.dtype(state["dtype"])) if codes.size else strings


def _frame(state: dict[str, Any]) -> Any:
    return frame_of(state["names"], [Column.from_state(column) for column in state["columns"]])


def _torch(state: dict[str, Any]) -> Any:
    import torch

    return torch.from_numpy(np.array(state["values"]))


_THAW: dict[str, Callable[[dict[str, Any]], Any]] = {
    "none": lambda state: None,
    "numpy": lambda state: np.asarray(state["values"]),
    "text": _text,
    "torch": _torch,
    "frame": _frame,
    "series": lambda state: native(Column.from_state(state["column"]), state["name"]),
    "images": lambda state: ImageArray(from_state(state["array"]), state["channels"]),
}


def _kind(X: Any) -> Kind:
    if is_frame(X):
        return "table"
    if isinstance(X, ImageArray):
        return "images"
    return "images" if getattr(X, "ndim", 2) in (3, 4) else "vectors"


# --------------------------------------------------------------------------- names and paths
def _load(source: Any, image_size: int | tuple[int, int] | None, encoding: str) -> Data:
    if isinstance(source, Data):
        return source
    if isinstance(source, str) and source in _BUILT_IN:
        return _BUILT_IN[source](source)
    if isinstance(source, str | Path):
        return _from_path(source, image_size, encoding)
    X = np.asarray(source) if isinstance(source, list | tuple) else source
    return Data(X, kind=_kind(X), name="data")


def _from_path(
    source: str | Path, image_size: int | tuple[int, int] | None, encoding: str
) -> Data:
    path = Path(source)
    if "://" in str(source):
        raise DataError(f"{shown(str(source), 80)} is no local file: download it first.")
    if path.is_dir():
        if (path / _IDX["train"].format("images-idx3")).is_file():
            return _read_idx(path)
        X, y, note = read_folder(path, image_size)
        return Data(X, y, kind="images", name=path.resolve().name, note=note)
    if not path.is_file():
        hint = did_you_mean(str(source), _BUILT_IN)
        raise DataError(f"There is no file, folder or built-in data {_name(path)}.{hint}")
    if path.suffix.lower() not in _READERS:
        raise DataError(
            f"{_name(path)}: expected a file that ends in {', '.join(_READERS)}, or a folder of "
            "images."
        )
    return _READERS[path.suffix.lower()](path, encoding)


def _name(path: Path) -> str:
    return shown(str(path), 120)


def _with_label(data: Data, label: str) -> Data:
    if not is_frame(data.X):
        if data.y is not None and label in ("target", "y", "label"):
            return replace(data, label=label)
        known = 'it has labels; label="target" uses them' if data.y is not None else "it has none"
        raise DataError(
            f"{shown(label)} names a column of a table, but this is no table: {known}."
        )
    names = [str(name) for name in data.X.columns]
    if label not in names:
        raise DataError(f"No column {shown(label)}.{did_you_mean(label, names[:50])}")
    if len(names) == 1:
        raise DataError(f"The table has no column besides the label {shown(label)}.")
    column = list(data.X.columns)[names.index(label)]
    rest = [name for name in data.X.columns if name is not column and name != column]
    return Data(data.X[rest], data.X[column], data.kind, data.name, label, data.note)


def _read_array(path: Path, encoding: str) -> Data:
    del encoding
    try:
        # A map, so that a header which claims more than the file holds is found out at once.
        X = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{_name(path)} is no sound .npy file of numbers: {error}") from error
    return Data(X, kind=_kind(X), name=path.stem)


def _read_arrays(path: Path, encoding: str) -> Data:
    del encoding
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{_name(path)} is no sound .npz file of numbers: {error}") from error
    y = arrays.pop("y", None)
    if "X" not in arrays and len(arrays) != 1:
        listed = ", ".join(shown(name) for name in arrays)
        raise DataError(f"{_name(path)}: expected an array named X (and y), got {listed}.")
    X = arrays["X"] if "X" in arrays else next(iter(arrays.values()))
    return Data(X, y, kind=_kind(X), name=path.stem)


def _read_parquet(path: Path, encoding: str) -> Data:
    del encoding
    import pandas as pd

    try:
        X = pd.read_parquet(path)
    except ImportError as error:
        message = "Reading Parquet takes pyarrow: pip install 'fromnoise[table]'."
        raise DataError(message) from error
    except (ValueError, OSError) as error:
        raise DataError(f"{_name(path)} is no sound Parquet file: {error}") from error
    return Data(X, kind="table", name=path.stem)


# --------------------------------------------------------------------------- built-in data
def _toy(name: str) -> Data:
    return Data(toy.sample(name, 10_000, seed=0), kind="vectors", name=name)


def _digits(name: str) -> Data:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Data(bunch.images, bunch.target, kind="images", name=name)


def _vectors(name: str) -> Data:
    from sklearn import datasets

    read = {
        "wine": datasets.load_wine,
        "breast-cancer": datasets.load_breast_cancer,
        "diabetes": datasets.load_diabetes,
    }
    X, y = read[name](return_X_y=True)
    return Data(X, y, kind="vectors", name=name)


def _fashion_mnist(name: str) -> Data:
    if not FASHION_MNIST.is_dir():
        raise DataError(
            f"{name} is not on this machine: install Debian's package dataset-fashion-mnist, or "
            "give the path of a folder that holds train-images-idx3-ubyte.gz and its siblings."
        )
    return _read_idx(FASHION_MNIST)


def _read_idx(folder: Path) -> Data:
    r"""Read the four files of MNIST's format: big-endian sizes, then bytes."""
    X = np.concatenate([_idx(folder / name.format("images-idx3"), 3) for name in _IDX.values()])
    y = np.concatenate([_idx(folder / name.format("labels-idx1"), 1) for name in _IDX.values()])
    if len(X) != len(y):
        raise DataError(f"{_name(folder)} holds {len(X)} images but {len(y)} labels.")
    note = "the last 10,000 rows are the official test set"
    return Data(X, y.astype(np.int64), kind="images", name=folder.name, note=(note,))


def _idx(path: Path, axes: int) -> Array:
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{_name(path)} cannot be read: {error}") from error
    start = 4 + 4 * axes
    head = struct.unpack(f">{axes + 1}I", raw[:start]) if len(raw) >= start else (0,)
    if head[0] != 0x800 + axes or len(raw) - start != int(np.prod(head[1:], dtype=object)):
        raise DataError(f"{_name(path)} is no sound idx file of bytes with {axes} axes.")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(head[1:])


# --------------------------------------------------------------------------- CSV
def _read_csv(path: Path, encoding: str) -> Data:
    import pandas as pd

    text = _decoded(path, encoding)
    header, rows, lines = _parsed(path, text)
    columns = [
        _infer(f"{_name(path)}, column {shown(name)}", list(fields), lines)
        for name, fields in zip(header, zip(*rows, strict=True), strict=True)
    ]
    frame = pd.concat(columns, axis=1)
    frame.columns = pd.Index(header)
    return Data(frame, kind="table", name=path.stem)


def _decoded(path: Path, encoding: str) -> str:
    raw = path.read_bytes()
    mark = next((mark for mark in _BOMS if raw.startswith(mark)), b"")
    codec = _BOMS.get(mark, encoding)
    try:
        text = raw[len(mark) :].decode(codec)
    except LookupError:
        raise DataError(f"There is no encoding {shown(encoding)}: try utf-8 or latin-1.") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{_name(path)} is not {codec}: byte {len(mark) + error.start} is wrong. Say what it "
            'is by encoding=, for example encoding="latin-1" (--encoding latin-1).'
        ) from None
    if "\0" in text:
        offset = len(mark) + len(text[: text.index("\0")].encode(codec))
        raise DataError(
            f"{_name(path)} holds a NUL at byte {offset}: it is damaged, or UTF-16 without a byte "
            'order mark, which encoding="utf-16-le" (--encoding utf-16-le) would read.'
        )
    return text


def _parsed(path: Path, text: str) -> tuple[list[str], list[list[str]], list[int]]:
    records = _records(path, text)
    _, header = next(records, (1, []))
    _check_header(path, header)
    rows, lines = [], []
    for line, row in records:
        if not row and len(header) == 1:
            row = [""]
        if row and len(row) != len(header):
            raise DataError(
                f"{_name(path)}, line {line}: expected {len(header)} fields as in the header, got "
                f"{len(row)}. Quote fields that hold commas, and write empty ones for gaps."
            )
        if row:
            rows.append(row)
            lines.append(line)
    if not rows:
        raise DataError(f"{_name(path)} holds a header but no rows.")
    return header, rows, lines


def _records(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    r"""Yield each record with the line on which it starts."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{_name(path)}: the record that starts on line {line} is broken ({error}). Is a "
                "quotation mark left open?"
            ) from error


def _check_header(path: Path, header: list[str]) -> None:
    if not header:
        raise DataError(f"{_name(path)} is empty: expected a first line of column names.")
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        names = ", ".join(shown(name) for name in repeated[:5])
        raise DataError(f"{_name(path)}: column names must differ, got twice: {names}.")
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        raise DataError(
            f"{_name(path)} seems to be separated by semicolons or tabs: expected commas."
        )


def _infer(place: str, fields: list[str], lines: list[int]) -> "pd.Series[Any]":
    r"""Return fields as numbers, booleans, dates or text, whatever all of them are."""
    import pandas as pd

    present = set(fields) - {""}
    numbers = {field for field in present if field.strip() not in _GAPS}
    if numbers and all(_is_number(field.strip()) for field in numbers):
        return _numbers(place, [field.strip() for field in fields], lines)
    truth = next((truth for truth in _TRUTH if present and present <= truth.keys()), None)
    if truth is not None:
        values = [truth.get(field) for field in fields]
        return pd.Series(values, dtype="boolean" if "" in fields else "bool")
    if present and all(_DATE.fullmatch(field) for field in present):
        dates = _dates(fields, present)
        if dates is not None:
            return dates
    text = [field or None for field in fields]
    return pd.Series(text) if present else pd.Series(np.full(len(fields), np.nan))


def _is_number(field: str) -> bool:
    return bool(_NUMBER.fullmatch(field) or _INFINITE.fullmatch(field))


def _numbers(place: str, fields: list[str], lines: list[int]) -> "pd.Series[Any]":
    import pandas as pd

    gaps = np.array([field in _GAPS for field in fields])
    if all(gap or _INTEGER.fullmatch(field) for field, gap in zip(fields, gaps, strict=True)):
        whole = [0 if gap else int(field) for field, gap in zip(fields, gaps, strict=True)]
        unsigned = max(whole) >= 2**63
        if min(whole) < (0 if unsigned else -(2**63)) or max(whole) >= 2**64:
            return pd.Series([None if gap else f for f, gap in zip(fields, gaps, strict=True)])
        values = np.array(whole, np.uint64 if unsigned else np.int64)
        return pd.Series(pd.arrays.IntegerArray(values, gaps) if gaps.any() else values)
    floats = np.array([np.nan if field in _GAPS else float(field) for field in fields])
    if np.isinf(floats).any():
        row = int(np.flatnonzero(np.isinf(floats))[0])
        raise DataError(
            f"{place} holds {shown(fields[row])} on line {lines[row]}, too large for a number: "
            "expected finite values."
        )
    return pd.Series(floats)


def _dates(fields: list[str], present: set[str]) -> "pd.Series[Any] | None":
    r"""Return datetimes, or None where days do not exist or time zones differ."""
    import pandas as pd

    zones = {match["zone"] for field in present if (match := _DATE.fullmatch(field))}
    if len(zones) > 1:
        return None
    try:
        dates = pd.to_datetime([field or None for field in fields], format="ISO8601")
    except ValueError:
        return None
    return pd.Series(dates)


_BUILT_IN: dict[str, Callable[[str], Data]] = {
    "digits": _digits,
    **dict.fromkeys(("wine", "breast-cancer", "diabetes"), _vectors),
    **dict.fromkeys(toy.NAMES, _toy),
    "fashion-mnist": _fashion_mnist,
}
_READERS: dict[str, Callable[[Path, str], Data]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".npy": _read_array,
    ".npz": _read_arrays,
}
_ENCODINGS: dict[str, type[VectorEncoding] | type[TableEncoding] | type[ImageEncoding]] = {
    "vectors": VectorEncoding,
    "table": TableEncoding,
    "images": ImageEncoding,
}
