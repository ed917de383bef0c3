r"""The containers that data travel in, and how to cut, freeze and thaw them.

There are few: a NumPy array, a torch tensor, a pandas or polars DataFrame or Series, an
`ImageArray`. What others need to know of them is here: their kind, their rows, and a tree of
arrays and strings from which they come back exactly, index apart.
"""

__all__ = ["Kind", "from_state", "kind_of", "n_rows", "take", "to_state"]

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fromnoise.data.columns import Column
from fromnoise.data.frames import column_of, columns_of, frame_of, is_frame, is_series, native
from fromnoise.data.images import ImageArray
from fromnoise.errors import DataError

Array = NDArray[Any]
Kind = Literal["vectors", "table", "images"]


def kind_of(X: Any) -> Kind:
    r"""Return what the rows of a container are.

    Args:
        X: Any container.

    Returns:
        ``"vectors"``, ``"table"`` or ``"images"``.

    Example:
        >>> kind_of(np.zeros((5, 8, 8)))
        'images'
    """
    if is_frame(X):
        return "table"
    if isinstance(X, ImageArray):
        return "images"
    return "images" if getattr(X, "ndim", 2) in (3, 4) else "vectors"


def n_rows(X: Any) -> int:
    r"""Return the number of rows of a container.

    Example:
        >>> n_rows(np.zeros((3, 2)))
        3
    """
    return len(X)


def take(X: Any, index: Array | slice) -> Any:
    r"""Return rows in the same container.

    Args:
        X: Any container, or labels.
        index: Positions, int ``(m,)``, or a slice.

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
    if isinstance(X, list):
        return X[index] if isinstance(index, slice) else [X[i] for i in index]
    return X[index]


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
