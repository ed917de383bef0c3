r"""Where drawn rows go: a CSV, a ``.npy``, a Parquet file, or a folder of PNGs.

Rows are written block by block, so a million rows need no more memory than a thousand. A file
grows under a name of its own and is renamed when it is whole; an existing one is never touched
unless that was asked for. Values are written verbatim, numbers with every digit they have.
"""

__all__ = ["open_sink"]

import csv
import os
import shutil
import sys
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from fromnoise.data.images import ImageArray
from fromnoise.errors import DataError

_ENDINGS = (".csv", ".npy", ".parquet")


def open_sink(
    path: str | Path | None, *, kind: str, n_rows: int, overwrite: bool = False
) -> "Sink":
    r"""Return a context whose ``write(X, y)`` takes blocks of rows and their labels.

    Args:
        path: A name that ends in .csv, .npy or .parquet; a folder for images; None for CSV on
            standard output.
        kind: ``"vectors"``, ``"table"`` or ``"images"``.
        n_rows: How many rows will come.
        overwrite: Whether an existing file or folder may be replaced.

    Returns:
        The sink.

    Raises:
        DataError: If rows of this kind cannot be written there.
        FileExistsError: If it exists and ``overwrite`` is False.

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
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists. Choose another name, or overwrite it (--force).")
    ending = path.suffix.lower()
    if ending not in _ENDINGS:
        if kind == "images" and not ending:
            return _Pngs(path)
        listed = ", ".join(_ENDINGS)
        raise DataError(f"{path} must end in one of {listed} (images: or be a folder's name).")
    if (kind == "images" and ending != ".npy") or (kind == "table" and ending == ".npy"):
        raise DataError(f"Rows of kind {kind!r} cannot be written as {ending}.")
    made = {".csv": _Csv, ".parquet": _Parquet}.get(ending)
    return made(path) if made else _Npy(path, n_rows)


class Sink(AbstractContextManager["Sink"], ABC):
    r"""Takes blocks of rows; what it wrote appears under its name when the context ends well."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.staged = None if path is None else path.with_name(f".{path.name}.{os.getpid()}.tmp")

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
        self.file: IO[str] = sys.stdout
        if self.staged is not None:
            self.file = self.staged.open("w", newline="", encoding="utf-8")
        self.started = False

    def write(self, X: Any, y: Any) -> None:
        names, columns = _columns(X, y)
        writer = csv.writer(self.file, lineterminator="\n")
        if not self.started:
            writer.writerow(names)
            self.started = True
        writer.writerows(zip(*columns, strict=True))

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
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.count = 0
        (self.staged or path).mkdir(parents=True)

    def write(self, X: Any, y: Any) -> None:
        from PIL import Image

        for i, pixels in enumerate(_as_uint8(X)):
            folder = self.staged or Path()
            if y is not None:
                folder = folder / _safe(str(y[i] if not hasattr(y, "iloc") else y.iloc[i]))
                folder.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{self.count:06d}.png")
            self.count += 1


def _as_uint8(X: Any) -> np.ndarray:
    r"""Return images as Pillow wants them: (n, H, W) or (n, H, W, C), uint8."""
    array = X.array if isinstance(X, ImageArray) else np.asarray(X)
    if array.dtype != np.uint8:
        low, high = float(array.min()), float(array.max())
        array = ((array - low) / max(high - low, 1e-12) * 255).round().astype(np.uint8)
    if array.ndim == 4 and array.shape[1] <= 4 < array.shape[3]:
        array = array.transpose(0, 2, 3, 1)
    return array[..., 0] if array.ndim == 4 and array.shape[3] == 1 else array


def _safe(label: str) -> str:
    plain = "".join(c if c.isalnum() or c in "-_. " else "_" for c in label).strip(". ")
    return plain or "_"


def _columns(X: Any, y: Any, plain: bool = True) -> tuple[list[str], list[Any]]:
    r"""Return names and values of the columns, the label last."""
    if hasattr(X, "columns"):
        names = [str(name) for name in X.columns]
        columns = [_plain(X[name]) if plain else X[name] for name in X.columns]
    else:
        array = np.asarray(X)
        names = [f"x{i}" for i in range(array.shape[1])]
        columns = [column.tolist() if plain else column for column in array.T]
    if y is not None:
        names.append(str(getattr(y, "name", None) or "label"))
        columns.append(_plain(y) if plain else y)
    return names, columns


def _plain(column: Any) -> list[Any]:
    r"""Return a column's values as text would hold them; missing ones are empty."""
    values = column.to_list() if hasattr(column, "to_list") else list(np.asarray(column).tolist())
    return ["" if v is None or v != v else v for v in values]
