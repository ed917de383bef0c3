r"""Where drawn rows go: a CSV, a ``.npy``, a Parquet file, or a folder of PNGs.

Rows are written block by block, so a million rows need no more memory than a thousand. A file
grows under a name of its own and is renamed when it is whole; an existing one is never touched
unless that was asked for. Values are written verbatim, numbers with every digit they have.
"""

__all__ = ["check_writable", "open_sink"]

import csv
import errno
import logging
import os
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import quote

import numpy as np

from fromnoise.data.images import ImageArray
from fromnoise.errors import DataError

logger = logging.getLogger("fromnoise")

_ENDINGS = (".csv", ".npy", ".parquet")
_MIDNIGHT = " 00:00:00"


def check_writable(path: Path) -> None:
    r"""Refuse a path that cannot be made, before work is spent on what is to be written there.

    Args:
        path: A file or folder, which need not exist.

    Raises:
        OSError: If the nearest folder above it that exists cannot be written, or is none.

    Example:
        >>> check_writable(Path("new/folder/x.csv"))
    """
    above = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if above.is_file() and above == path.absolute():
        above = above.parent
    if not above.is_dir():
        raise PermissionError(f"{path} cannot be written: {above} is not a folder.")
    try:
        # What may be written is known only by trying: root may write everywhere, but not in /proc.
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise PermissionError(
            f"{path} cannot be written: {above} is not a folder that can be written."
        ) from error


def open_sink(
    path: str | Path | None,
    *,
    kind: str,
    n_rows: int,
    overwrite: bool = False,
    layout: str = "none",
    limits: tuple[float, float] = (0.0, 255.0),
) -> "Sink":
    r"""Return a context whose ``write(X, y)`` takes blocks of rows and their labels.

    Args:
        path: A name that ends in .csv, .npy or .parquet; a folder for images; None for CSV on
            standard output.
        kind: ``"vectors"``, ``"table"`` or ``"images"``.
        n_rows: How many rows will come.
        overwrite: Whether an existing file, or a folder of nothing but PNGs, may be replaced.
        layout: Of images: where channels are, ``"first"``, ``"last"`` or ``"none"``.
        limits: Of images: the pixel values that are black and white in a PNG.

    Returns:
        The sink.

    Raises:
        DataError: If rows of this kind cannot be written there.
        FileExistsError: If it exists and ``overwrite`` is False, or holds other things.
        PermissionError: If it cannot be written.

    Example:
        >>> import tempfile
        >>> name = tempfile.mkdtemp() + "/x.npy"
        >>> with open_sink(name, kind="vectors", n_rows=4) as sink:
        ...     sink.write(np.zeros((3, 2)), None)
        ...     sink.write(np.ones((1, 2)), None)
        >>> np.load(name).shape
        (4, 2)
    """
    if path is None:
        if kind == "images":
            raise DataError("Images cannot go to standard output; name a folder with --out.")
        return _Csv(None)
    path = Path(path)
    ending = path.suffix.lower()
    is_folder = kind == "images" and not ending
    _check_free(path, is_folder, overwrite)
    check_writable(path)
    if ending not in _ENDINGS:
        if is_folder:
            return _Pngs(path, layout, limits)
        listed = ", ".join(_ENDINGS)
        raise DataError(f"{path} must end in one of {listed} (images: or be a folder's name).")
    if (kind == "images" and ending != ".npy") or (kind == "table" and ending == ".npy"):
        raise DataError(f"Rows of kind {kind!r} cannot be written as {ending}.")
    made = {".csv": _Csv, ".parquet": _Parquet}.get(ending)
    return made(path) if made else _Npy(path, n_rows)


def _check_free(path: Path, is_folder: bool, overwrite: bool) -> None:
    if not path.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{path} exists. Choose another name, or overwrite it (--force).")
    if not path.is_dir() and not path.is_file():
        raise FileExistsError(f"{path} exists and is no regular file; it is not replaced.")
    if path.is_dir() != is_folder:
        raise FileExistsError(f"{path} exists and is {'no' if is_folder else 'a'} folder.")
    if is_folder and not all(p.is_dir() or p.suffix.lower() == ".png" for p in path.rglob("*")):
        raise FileExistsError(f"{path} holds other things than PNGs; it is not replaced.")


class Sink(AbstractContextManager["Sink"], ABC):
    r"""Takes blocks of rows; what it wrote appears under its name when the context ends well."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.staged = None if path is None else path.with_name(f".{path.name}.{os.getpid()}.tmp")
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def write(self, X: Any, y: Any) -> None:
        r"""Write a block of rows, and their labels or None."""

    def finish(self) -> None:
        r"""Complete what was written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.finish()
            if kind is None and self.path is not None and self.staged is not None:
                if self.path.is_dir():
                    shutil.rmtree(self.path)
                os.replace(self.staged, self.path)
        finally:
            if self.staged is not None and self.staged.exists():
                shutil.rmtree(self.staged) if self.staged.is_dir() else self.staged.unlink()


class _Csv(Sink):
    def __init__(self, path: Path | None) -> None:
        super().__init__(path)
        if sys.stdout is None and path is None:  # the caller closed it: >&-
            raise OSError(errno.EBADF, "Standard output is closed; name a file with --out.")
        self.file: IO[str] = sys.stdout
        if self.staged is not None:
            self.file = self.staged.open("w", newline="", encoding="utf-8")
        self.started = False
        self.days: list[bool] = []  # columns that are days, as far as the first block tells

    def write(self, X: Any, y: Any) -> None:
        names, columns = _columns(X, y)
        writer = csv.writer(self.file, lineterminator="\n")
        if not self.started:
            self.days = [_are_days(column) for column in columns]
            writer.writerow(names)
            self.started = True
        dated = zip(columns, self.days, strict=True)
        writer.writerows(zip(*(_days(c) if days else c for c, days in dated), strict=True))

    def finish(self) -> None:
        if self.path is not None:
            self.file.close()
        else:
            self.file.flush()


class _Npy(Sink):
    def __init__(self, path: Path, n_rows: int) -> None:
        super().__init__(path)
        self.file = (self.staged or path).open("wb")
        self.n_rows, self.started = n_rows, False

    def write(self, X: Any, y: Any) -> None:
        array = np.ascontiguousarray(X.array if isinstance(X, ImageArray) else np.asarray(X))
        if not self.started:
            header = {
                "descr": np.lib.format.dtype_to_descr(array.dtype),
                "fortran_order": False,
                "shape": (self.n_rows, *array.shape[1:]),
            }
            np.lib.format.write_array_header_1_0(self.file, header)
            self.started = True
            if y is not None:
                logger.info("A .npy file has no room for labels; they are left out.")
        self.file.write(array.tobytes())

    def finish(self) -> None:
        self.file.close()


class _Parquet(Sink):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise DataError("Parquet needs pyarrow: pip install 'fromnoise[table]'.") from error
        self.arrow, self.writer = pyarrow, None  # type: Any, Any

    def write(self, X: Any, y: Any) -> None:
        names, columns = _columns(X, y, plain=False)
        table = self.arrow.table([self.arrow.array(c) for c in columns], names=names)
        if self.writer is None:
            self.writer = self.arrow.parquet.ParquetWriter(self.staged, table.schema)
        self.writer.write_table(table)

    def finish(self) -> None:
        if self.writer is not None:
            self.writer.close()


class _Pngs(Sink):
    def __init__(self, path: Path, layout: str, limits: tuple[float, float]) -> None:
        super().__init__(path)
        self.count, self.layout, self.limits = 0, layout, limits
        (self.staged or path).mkdir(parents=True)

    def write(self, X: Any, y: Any) -> None:
        from PIL import Image

        labels = None if y is None else np.asarray(y).tolist()
        for i, pixels in enumerate(_as_uint8(X, self.layout, self.limits)):
            folder = self.staged or Path()
            if labels is not None:
                folder = folder / _folder_name(str(labels[i]))
                folder.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{self.count:06d}.png")
            self.count += 1


def _as_uint8(X: Any, layout: str, limits: tuple[float, float]) -> np.ndarray:
    r"""Return images as Pillow wants them: (n, H, W) or (n, H, W, C), uint8."""
    array = X.array if isinstance(X, ImageArray) else np.asarray(X)
    if array.dtype != np.uint8:
        low, high = limits
        shares = (array.astype(np.float64) - low) / ((high - low) or 1.0)
        array = (255 * shares.clip(0, 1)).round().astype(np.uint8)
    if array.ndim == 3:
        return array
    array = np.moveaxis(array, 1, -1) if layout == "first" else array
    if array.shape[3] > 4:
        raise DataError(f"A PNG has at most 4 channels, got {array.shape[3]}; write a .npy file.")
    return array[..., 0] if array.shape[3] == 1 else np.ascontiguousarray(array)


def _folder_name(label: str) -> str:
    r"""Return a label as the name of a folder; marks that a file system may refuse are %XX."""
    marks = '%/\\:*?"<>|'
    plain = [
        # A label that was the name of a folder need not be UTF-8.
        c if c.isprintable() and c not in marks else quote(c, "", errors="backslashreplace")
        for c in label
    ]
    name = "".join(plain)
    # A leading dot would hide the folder, an empty name be none.
    return "%2E" + name[1:] if name.startswith(".") else name or "%"


def _columns(X: Any, y: Any, plain: bool = True) -> tuple[list[str], list[Any]]:
    r"""Return names and values of the columns, the label last."""
    if hasattr(X, "columns"):
        names = [str(name) for name in X.columns]
        columns = [_plain(X[name]) if plain else X[name] for name in X.columns]
    else:
        array = np.asarray(X)
        names = [f"x{i}" for i in range(array.shape[1])]
        columns = [column.tolist() if plain else column for column in array.T]
    if y is None:
        return names, columns
    if getattr(y, "ndim", 1) == 2:
        more, parts = _columns(y, None, plain)
        given = hasattr(y, "columns")
        return names + (more if given else [f"y{i}" for i in range(len(more))]), columns + parts
    names.append(str(getattr(y, "name", None) or "label"))
    columns.append(_plain(y) if plain else y)
    return names, columns


def _are_days(values: list[Any]) -> bool:
    r"""Return whether a column holds points in time, and all of them are midnight."""
    present = [value for value in values if value != ""]
    return bool(present) and all(_day(value) is not value for value in present)


def _days(values: list[Any]) -> list[Any]:
    return [_day(value) for value in values]


def _day(value: Any) -> Any:
    r"""Return a midnight as the day that begins with it; everything else as it is."""
    if not isinstance(value, datetime):
        return value
    return str(value).removesuffix(_MIDNIGHT) if str(value).endswith(_MIDNIGHT) else value


def _plain(column: Any) -> list[Any]:
    r"""Return a column's values as text would hold them; missing ones are empty."""
    import pandas as pd

    values = column.to_list() if hasattr(column, "to_list") else np.asarray(column).tolist()
    missing = pd.isna(np.fromiter(values, dtype=object, count=len(values)))
    return ["" if gone else value for value, gone in zip(values, missing, strict=True)]
