r"""Map-style data sets, as PyTorch's: objects with a length and items, each x or (x, y).

They are read into one array in memory, each item once, so what an item draws anew whenever it is
asked for, such as an augmentation, is drawn once. Items must be alike: what does not fit is
refused with its number. Tensors give a tensor, arrays and pictures of Pillow an array.
"""

__all__ = ["read_dataset", "rows_of"]

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fromnoise.data.arrays import is_dataset, is_torch
from fromnoise.data.containers import take
from fromnoise.data.folders import pixels_of
from fromnoise.data.memory import refuse_too_large
from fromnoise.errors import DataError, shown

Array = NDArray[Any]


def rows_of(X: Any, y: Any) -> tuple[Any, Any]:
    r"""Return X and y as they are; or, where X is a data set, the arrays that it holds.

    Args:
        X: Anything.
        y: Labels, or None.

    Raises:
        DataError: If the data set cannot be read, or holds labels where others are given.

    Example:
        >>> rows_of([[1.0]], None)
        ([[1.0]], None)
    """
    if not is_dataset(X):
        return X, y
    rows, labels = read_dataset(X)
    if labels is not None and y is not None:
        raise DataError(
            f"{_name(X)} holds (x, y), and y was given as well: leave y out, or hand in the rows"
            " alone, fromnoise.data.load(dataset).X."
        )
    return rows, labels if y is None else y


def read_dataset(dataset: Any) -> tuple[Any, Any]:
    r"""Read a map-style data set.

    Args:
        dataset: Has ``__len__`` and ``__getitem__``. Items are x, or a tuple (x, y): tensors,
            arrays, numbers or pictures of Pillow, all of one shape and dtype; y may be a string.

    Returns:
        The rows ``(n, ...)``, and labels ``(n, ...)`` or None.

    Raises:
        DataError: If it has no length or no items, or an item cannot be read or is unlike the
            first; the message says which.
        MemoryError: If the rows would not fit.

    Example:
        >>> import torch
        >>> from torch.utils.data import Subset, TensorDataset
        >>> pairs = TensorDataset(torch.eye(4), torch.arange(4))
        >>> X, y = read_dataset(Subset(pairs, [2, 0]))
        >>> X.shape, y.tolist()
        (torch.Size([2, 4]), [2, 0])
    """
    _refuse_streams(dataset)
    tensors = _tensors(dataset)
    if tensors is None:
        return _read_items(dataset)
    if len(tensors) not in (1, 2):
        raise DataError(f"{_name(dataset)} holds {len(tensors)} tensors: expected x, or x and y.")
    return tensors[0], tensors[1] if len(tensors) == 2 else None


def _name(dataset: Any) -> str:
    return shown(type(dataset).__name__).strip("'")


def _refuse_streams(dataset: Any) -> None:
    if is_torch(dataset, "DataLoader"):
        raise DataError("A DataLoader gives batches: hand in its data set, loader.dataset.")
    if is_torch(dataset, "IterableDataset"):
        raise DataError(
            f"{_name(dataset)} is an IterableDataset, a stream whose rows cannot be drawn in"
            " another order: write them to a .npy file, or collect them in an array."
        )
    try:
        n = len(dataset)
    except Exception as error:  # it is the user's code, and may raise anything
        raise DataError(
            f"{_name(dataset)} has no length: expected a map-style data set, with __len__ and"
            " __getitem__."
        ) from error
    if n == 0:
        raise DataError(f"{_name(dataset)} holds no items.")


def _tensors(dataset: Any) -> tuple[Any, ...] | None:
    r"""Return the tensors that a data set, or a subset of one, is made of; None for others.

    A class made of these may do more to an item, such as augment it, so it is one of the others.
    """
    if is_torch(dataset, "TensorDataset") and _is_bare(dataset):
        return tuple(dataset.tensors)
    if not (is_torch(dataset, "Subset") and _is_bare(dataset)):
        return None
    whole = _tensors(dataset.dataset)
    index = np.asarray(dataset.indices)
    return None if whole is None else tuple(take(part, index) for part in whole)


def _is_bare(dataset: Any) -> bool:
    return type(dataset).__module__.startswith("torch.utils.data.")


def _read_items(dataset: Any) -> tuple[Any, Any]:
    parts = _parts(dataset, 0)
    rows = _Rows(_name(dataset), "", parts[0], len(dataset))
    labels = _Rows(_name(dataset), "y of ", parts[1], len(dataset)) if len(parts) == 2 else None
    for i in range(1, len(dataset)):
        other = _parts(dataset, i)
        if len(other) != len(parts):
            raise DataError(
                f"{_name(dataset)}: item {i} has {len(other)} parts, item 0 has {len(parts)}."
            )
        rows.put(i, other[0])
        if labels is not None:
            labels.put(i, other[1])
    return rows.joined(), None if labels is None else labels.joined()


def _parts(dataset: Any, i: int) -> tuple[Any, ...]:
    try:
        item = dataset[i]
    except Exception as error:
        raise DataError(
            f"{_name(dataset)}: item {i} cannot be read: {type(error).__name__}: {error}"
        ) from error
    parts = item if isinstance(item, tuple) else (item,)
    if len(parts) not in (1, 2):
        raise DataError(
            f"{_name(dataset)}: item {i} has {len(parts)} parts: expected x or (x, y)."
        )
    x, *y = parts
    if y and isinstance(y[0], str):
        return _plain(dataset, i, x), y[0]
    return tuple(_plain(dataset, i, part) for part in parts)


def _plain(dataset: Any, i: int, part: Any) -> Any:
    r"""Return a tensor or an array of numbers."""
    if hasattr(part, "detach"):
        return part.detach().cpu()
    try:
        array = pixels_of(part) if hasattr(part, "getbands") else np.asarray(part)
    except (ValueError, TypeError, RuntimeError) as error:  # the last from lists of tensors
        raise DataError(f"{_name(dataset)}: item {i} cannot be used: {error}") from error
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{_name(dataset)}: item {i} holds {type(part).__name__}: expected tensors, arrays,"
            " numbers or pictures, as x or (x, y)."
        )
    return array


class _Rows:
    r"""The array that items are put into, one after another."""

    def __init__(self, name: str, what: str, first: Any, n: int) -> None:
        self.name, self.what, self.first = name, what, _kind(first)
        self.values: Any = np.empty(n, object)
        if not isinstance(first, str):
            advice = "write them to a .npy file, of which fromnoise.data.load makes a map."
            refuse_too_large(n * first.nbytes, f"{name}, read whole,", advice)
            shape = (n, *first.shape)
            tensor = not isinstance(first, np.ndarray)
            self.values = first.new_empty(shape) if tensor else np.empty(shape, first.dtype)
        self.put(0, first)

    def put(self, i: int, part: Any) -> None:
        if _kind(part) != self.first:
            raise DataError(
                f"{self.name}: {self.what}item {i} is {_kind(part)}, item 0 {self.first}: items"
                " must be alike."
            )
        self.values[i] = part

    def joined(self) -> Any:
        return self.values.astype(str) if self.first == "text" else self.values


def _kind(part: Any) -> str:
    if isinstance(part, str):
        return "text"
    return f"of {str(part.dtype).removeprefix('torch.')} and shape {tuple(part.shape)}"
