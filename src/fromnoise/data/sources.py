r"""Where data come from, and the containers they come in.

`load` turns a name or a path into `Data`. The same few containers then travel everywhere: a
NumPy array, a torch tensor, a pandas or polars DataFrame, an `ImageArray`. `take`, `n_rows`,
`to_state` and `from_state` are all that others need to know of them.
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

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fromnoise.data import toy
from fromnoise.data.images import ImageArray, ImageEncoding
from fromnoise.data.transforms import Encoding, Missing, VectorEncoding
from fromnoise.errors import DataError, did_you_mean, shown

Array = NDArray[Any]
Kind = Literal["vectors", "table", "images"]


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
    """

    X: Any
    y: Any = None
    kind: Kind = "vectors"
    name: str = ""
    label: str | None = None
    note: tuple[str, ...] = ()


def load(source: Any, *, label: str | None = None, image_size: Any = None,
         encoding: str = "utf-8") -> Data:
    r"""Load."""
    if isinstance(source, Data):
        return source
    if isinstance(source, str) and source in _BUILT_IN:
        return _BUILT_IN[source](source)
    if isinstance(source, str | Path):
        raise DataError(f"No built-in data or file {shown(source)}.")
    return Data(source, kind=_kind(source), name="data")


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
    r"""Return the encoding that ``Encoding.to_state`` described."""
    return _ENCODINGS[state["kind"]].from_state(state)


def n_rows(X: Any) -> int:
    r"""Return the number of rows of a container."""
    return len(X)


def take(X: Any, index: Array) -> Any:
    r"""Return the rows of ``X`` at ``index``, in the same container."""
    if isinstance(X, ImageArray):
        return ImageArray(take(X.array, index), X.channels)
    if hasattr(X, "iloc"):
        return X.iloc[index].reset_index(drop=True)
    return X[index]


def to_state(X: Any) -> dict[str, Any]:
    r"""Freeze."""
    return {"container": "numpy", "values": np.asarray(X)}


def from_state(state: dict[str, Any]) -> Any:
    r"""Thaw."""
    return state["values"]


def _kind(X: Any) -> Kind:
    if isinstance(X, ImageArray):
        return "images"
    return "images" if getattr(X, "ndim", 2) in (3, 4) else "vectors"


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


_BUILT_IN: dict[str, Callable[[str], Data]] = {
    "digits": _digits,
    **dict.fromkeys(("wine", "breast-cancer", "diabetes"), _vectors),
    **dict.fromkeys(toy.NAMES, _toy),
}
_ENCODINGS: dict[str, type[VectorEncoding] | type[ImageEncoding]] = {
    "vectors": VectorEncoding,
    "images": ImageEncoding,
}
