r"""Where data come from: a built-in name, a file, a folder, or an object at hand.

`load` turns any of them into `Data`: the rows in their container, labels if there are some, and
remarks on what was left out. Files are read without pickle, and what is damaged, cut off or
ambiguous is refused by its name; see the modules of each format for their rules.
"""

__all__ = ["Data", "load"]

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fromnoise.data import toy
from fromnoise.data.arrays import is_dataset
from fromnoise.data.containers import Kind, kind_of
from fromnoise.data.csv_files import read_csv
from fromnoise.data.datasets import read_dataset
from fromnoise.data.folders import read_folder
from fromnoise.data.frames import is_frame
from fromnoise.data.mnist import holds_mnist, read_mnist
from fromnoise.data.npz_files import read_npz
from fromnoise.data.parquet_files import read_parquet
from fromnoise.errors import DataError, did_you_mean, shown

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # Debian's dataset-fashion-mnist


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
            scurve``); a path to a ``.csv``, ``.tsv``, ``.parquet``, ``.npy`` or ``.npz`` file
            (arrays ``X`` and ``y``) or to a folder of images; an array, tensor or DataFrame; a
            map-style data set such as PyTorch's, which is read into memory; or `Data`.
        label: Column of a table to take out as ``y``.
        image_size: Side, or (height, width), that the images of a folder are resized to.
        encoding: Of a CSV file without a byte order mark.

    Returns:
        The data.

    Raises:
        DataError: If the source is unknown or cannot be read whole; the message says where.
        MemoryError: If a table or a compressed array would not fit in memory; with the estimate.

    Example:
        >>> data = load("digits")
        >>> data.kind, data.X.shape, data.y.shape
        ('images', (1797, 8, 8), (1797,))
    """
    data = _load(source, image_size, encoding)
    if image_size is not None and not (isinstance(source, str | Path) and Path(source).is_dir()):
        raise DataError("image_size resizes folders of image files, and nothing else.")
    return data if label is None else _with_label(data, label)


def _load(source: Any, image_size: int | tuple[int, int] | None, encoding: str) -> Data:
    if isinstance(source, Data):
        return source
    if isinstance(source, str) and source in _BUILT_IN:
        return _BUILT_IN[source](source)
    if isinstance(source, str | Path):
        return _from_path(source, image_size, encoding)
    if is_dataset(source):
        X, y = read_dataset(source)
        return Data(X, y, kind=kind_of(X), name=type(source).__name__)
    X = np.asarray(source) if isinstance(source, list | tuple) else source
    return Data(X, kind=kind_of(X), name="data")


def _from_path(
    source: str | Path, image_size: int | tuple[int, int] | None, encoding: str
) -> Data:
    path = Path(source)
    if "://" in str(source):
        raise DataError(f"{shown(str(source), 80)} is no local file: download it first.")
    if path.is_dir():
        if holds_mnist(path):
            return _mnist(path)
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


def _read_table(path: Path, encoding: str) -> Data:
    X, note = read_csv(path, encoding)
    return Data(X, kind="table", name=path.stem, note=note)


def _read_array(path: Path, encoding: str) -> Data:
    del encoding
    try:
        # A map, so that a header which claims more than the file holds is found out at once.
        X = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        why = "it holds Python objects" if "pickle" in str(error) else str(error)
        raise DataError(f"{_name(path)} is no sound .npy file of numbers: {why}.") from error
    return Data(X, kind=kind_of(X), name=path.stem)


def _read_arrays(path: Path, encoding: str) -> Data:
    del encoding
    try:
        arrays = read_npz(path)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{_name(path)} is no sound .npz file of numbers: {error}") from error
    y = np.array(arrays.pop("y")) if "y" in arrays else None
    if "X" not in arrays and len(arrays) != 1:
        listed = ", ".join(shown(name) for name in arrays)
        raise DataError(f"{_name(path)}: expected an array named X (and y), got {listed}.")
    X = arrays["X"] if "X" in arrays else next(iter(arrays.values()))
    return Data(X, y, kind=kind_of(X), name=path.stem)


def _read_parquet(path: Path, encoding: str) -> Data:
    del encoding
    return Data(read_parquet(path), kind="table", name=path.stem)


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
    return _mnist(FASHION_MNIST)


def _mnist(folder: Path) -> Data:
    X, y, note = read_mnist(folder)
    return Data(X, y, kind="images", name=folder.name, note=note)


_BUILT_IN: dict[str, Callable[[str], Data]] = {
    "digits": _digits,
    **dict.fromkeys(("wine", "breast-cancer", "diabetes"), _vectors),
    **dict.fromkeys(toy.NAMES, _toy),
    "fashion-mnist": _fashion_mnist,
}
_READERS: dict[str, Callable[[Path, str], Data]] = {
    ".csv": _read_table,
    ".tsv": _read_table,
    ".parquet": _read_parquet,
    ".npy": _read_array,
    ".npz": _read_arrays,
}
