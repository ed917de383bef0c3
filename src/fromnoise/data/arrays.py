r"""Arrays of numbers: what is taken for one, and the way back to a dtype and a container.

Data may come as lists, torch tensors, or arrays of any real dtype, and leave as they came. In
between all is float64, so two limits hold everywhere: squares of numbers beyond `LARGEST` would
overflow, and integers beyond `EXACT` would run into one another.
"""

__all__ = [
    "EXACT",
    "LARGEST",
    "check_array_like",
    "is_dataset",
    "is_torch",
    "put",
    "refuse_path",
    "restore",
    "spread",
    "spreads",
    "to_dtype",
]

import sys
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from os import PathLike, fspath
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_array

from fromnoise.errors import DataError, shown

Array = NDArray[Any]

LARGEST = 1e150  # squares and sums of squares of anything larger overflow float64
EXACT = 2**53  # float64 holds every integer up to here


def check_array_like(X: Any, *, at_least: int, nd: bool = False) -> tuple[str, Array]:
    r"""Return (container, array of numbers) without copying where that is possible.

    Args:
        X: An array, a torch tensor, a list of rows, or a DataFrame of numbers.
        at_least: Fewest rows allowed.
        nd: Whether more than two axes are allowed.

    Returns:
        ``"numpy"`` or ``"torch"``, and the array.

    Raises:
        DataError: If it is empty, has too few rows, or does not hold real numbers.
        TypeError: If it is sparse or masked, or holds objects other than numbers and text.

    Example:
        >>> check_array_like([[1, 2], [3, 4]], at_least=2)[1].shape
        (2, 2)
    """
    if is_dataset(X):
        raise DataError(
            f"{type(X).__name__} is a data set, which only fit, load and compare take: hand in its"
            " rows, fromnoise.data.load(dataset).X."
        )
    refuse_path(X)
    container = "torch" if type(X).__module__.partition(".")[0] == "torch" else "numpy"
    if container == "torch":
        X = _from_torch(X)
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError("Masked arrays are not supported: use X.filled(numpy.nan).")
    if getattr(getattr(X, "dtype", None), "kind", "") == "O" and X.ndim == 2:
        _refuse_objects(np.asarray(X))
    try:
        array = check_array(
            X,
            dtype="numeric",
            ensure_all_finite=False,
            ensure_min_samples=at_least,
            allow_nd=nd,
        )
    except ValueError as error:
        raise DataError(str(error)) from error
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"Expected numbers, got an array of dtype {array.dtype}: convert it, or pass a "
            "DataFrame, which takes dates and durations."
        )
    return container, np.asarray(array)


def refuse_path(X: Any) -> None:
    r"""Refuse the name of data where rows are wanted.

    Raises:
        DataError: If ``X`` is text or a path.

    Example:
        >>> refuse_path("rows.npy")
        Traceback (most recent call last):
        fromnoise.errors.DataError: X must be rows, got the name 'rows.npy'. Load it first: ...
    """
    if isinstance(X, str | PathLike):
        name = shown(fspath(X), 120)
        raise DataError(
            f"X must be rows, got the name {name}. Load it first: fromnoise.data.load({name}).X"
        )


def is_dataset(X: Any) -> bool:
    r"""Return whether ``X`` is a data set to be read item by item, or a stream of PyTorch's.

    Example:
        >>> class Squares:
        ...     def __len__(self):
        ...         return 3
        ...
        ...     def __getitem__(self, i):
        ...         return np.array([i, i * i])
        >>> is_dataset(Squares()), is_dataset(np.eye(2)), is_dataset([[1, 2]])
        (True, False, False)
    """
    if is_torch(X, "Dataset", "DataLoader"):  # first: it may have attributes such as columns
        return True
    names = ("shape", "__array__", "__dataframe__", "columns")
    if isinstance(X, Sequence | Mapping) or any(hasattr(X, name) for name in names):
        return False
    return hasattr(X, "__len__") and hasattr(X, "__getitem__")


def is_torch(X: Any, *names: str) -> bool:
    r"""Return whether ``X`` is of one of the classes of ``torch.utils.data``; torch is not loaded.

    Example:
        >>> is_torch(np.eye(2), "Dataset")
        False
    """
    module = sys.modules.get("torch.utils.data")  # without it nobody has an object of its classes
    return any(module is not None and isinstance(X, getattr(module, name)) for name in names)


def restore(x: Array, dtype: str, container: str) -> Any:
    r"""Return float64 ``x`` in a dtype (integers rounded, nothing wraps) and container.

    Args:
        x: Numbers of any shape.
        dtype: Name of a NumPy dtype.
        container: ``"numpy"`` or ``"torch"``.

    Returns:
        An array or a tensor.

    Example:
        >>> restore(np.array([-1.2, 3.6]), "uint8", "numpy")
        array([0, 4], dtype=uint8)
    """
    array = to_dtype(x, np.dtype(dtype))
    if container == "numpy":
        return array
    import torch

    return torch.from_numpy(np.ascontiguousarray(array))


def put(X: Any, mask: Array, values: Array) -> Any:
    r"""Return a copy of an array or tensor with other numbers where it is masked.

    Args:
        X: An array, a torch tensor, or a list of rows.
        mask: bool, shaped like ``X``.
        values: One number for each True of the mask, in its order.

    Returns:
        An array or tensor of the dtype of ``X``.

    Example:
        >>> put([[1.0, 2.0]], np.array([[False, True]]), np.array([7.0]))
        array([[1., 7.]])
    """
    if type(X).__module__.partition(".")[0] != "torch":
        result = np.array(X)
        numbers = result.dtype.kind in "biuf"
        result[mask] = to_dtype(values, result.dtype) if numbers else values
        return result
    import torch

    held = torch.as_tensor(mask, device=X.device)
    tensor = X.detach().clone()
    dtype = np.dtype(np.float32) if "bfloat16" in str(X.dtype) else tensor.cpu().numpy().dtype
    tensor[held] = torch.from_numpy(to_dtype(values, dtype)).to(tensor)
    return tensor


def to_dtype(x: Array, dtype: np.dtype[Any]) -> Array:
    r"""Return ``x`` in ``dtype``: integers rounded, values beyond its range at its ends.

    Args:
        x: Numbers of any shape.
        dtype: A dtype of numbers.

    Returns:
        The array.

    Example:
        >>> to_dtype(np.array([0.4, 300.0]), np.dtype("uint8"))
        array([  0, 255], dtype=uint8)
    """
    if dtype.kind == "b":
        return x > 0.5
    if dtype.kind == "f":
        return np.clip(x, np.finfo(dtype).min, np.finfo(dtype).max).astype(dtype)
    info = np.iinfo(dtype)
    # The largest int64 is no float64: the next one down is.
    top = float(info.max) if info.max < EXACT else float(np.nextafter(float(info.max), 0))
    return np.clip(np.rint(x), float(info.min), top).astype(dtype)


def spread(x: Array) -> tuple[float, float]:
    r"""Return mean and standard deviation of finite ``x``, safe from over- and underflow.

    Args:
        x: At least one number, ``(n,)``.

    Returns:
        The two numbers; the second is 0 only if all of ``x`` are equal.

    Example:
        >>> spread(np.array([1e-300, 3e-300]))
        (2e-300, 1e-300)
    """
    mean, deviation = spreads([x[:, None]])
    return float(mean[0]), float(deviation[0])


def spreads(blocks: Iterable[Array]) -> tuple[Array, Array]:
    r"""Return mean and standard deviation of columns whose rows come in blocks; NaN do not count.

    Each block is measured on its own, from the least entry of each column and in units of its
    range, then joined with those before it (Chan, Golub & LeVeque 1983): of n and m rows whose
    means are δ apart, with p = m / (n + m),

        mean += p δ,    std² = (1 - p) std² + p std_block² + p (1 - p) δ²

    Means are held as distances from the first least entry, so that an offset that dwarfs the
    spread costs no digit of it.

    Args:
        blocks: Arrays of numbers ``(n, d)``, finite or NaN, in any layout.

    Returns:
        Both ``(d,)``. The second is 0 only if a column is constant, and the first is then that
        constant; or NaN for a column of NaN.

    Example:
        >>> X = np.arange(12.0).reshape(6, 2)
        >>> [x.tolist() for x in spreads([X[:1], X[1:]])] == [[5, 6], [X[:, 0].std()] * 2]
        True
    """
    n: Any = 0.0
    origin: Any = np.nan
    low, high, mean, deviation = origin, origin, n, n
    for block in blocks:
        m, least, most, step, width = _measured(block)
        origin = np.where(n == 0, least, origin)
        low, high = np.fmin(low, least), np.fmax(high, most)
        p = m / np.maximum(n + m, 1)
        delta = np.where(m > 0, least - origin + step - mean, 0.0)
        apart = delta * np.sqrt(p * (1 - p))
        deviation = np.hypot(np.hypot(deviation * np.sqrt(1 - p), width * np.sqrt(p)), apart)
        mean = mean + p * delta
        n = n + m
    still = (low == high) | (n == 0)
    return np.where(still, low, origin + mean), np.where(still, 0.0, deviation)


def _measured(block: Array) -> tuple[Array, Array, Array, Array, Array]:
    r"""Return, column by column: number, least, most, mean less the least, and deviation."""
    x = np.array(block.T, np.float64, order="C")  # sums must not depend on the layout
    gaps = np.isnan(x)
    n = x.shape[1] - gaps.sum(1)
    low, high = np.fmin.reduce(x, 1), np.fmax.reduce(x, 1)
    width = np.where(high > low, high - low, 1.0)
    x -= low[:, None]  # in place: a block is large
    x /= width[:, None]
    holed = bool(gaps.any())
    if holed:
        x[gaps] = 0.0
    mean = x.sum(1) / np.maximum(n, 1)
    x -= mean[:, None]
    x *= x
    if holed:
        x[gaps] = 0.0
    return n, low, high, width * mean, width * np.sqrt(x.sum(1) / np.maximum(n, 1))


def _from_torch(X: Any) -> Array:
    X = X.detach().cpu()
    numbers: Array = (X.float() if "bfloat16" in str(X.dtype) else X).numpy()
    return numbers


def _refuse_objects(X: Array) -> None:
    numbers = (Real, Decimal, np.bool_, NoneType)
    bad = np.array([[not isinstance(entry, numbers) for entry in row] for row in X], bool)
    if bad.any():
        rows = np.flatnonzero(bad.any(1))[:3]
        listed = "; ".join(
            f"row {row}: {', '.join(shown(entry) for entry in X[row][bad[row]][:3])}"
            for row in rows
        )
        text = all(isinstance(entry, str | bytes) for entry in X[bad])
        message = (
            f"Expected numbers, got {'text' if text else 'other objects'} in "
            f"{int(bad.any(1).sum())} rows ({listed}). Convert the columns to numbers, or pass a "
            "DataFrame, where text is a category and dates are dates."
        )
        # scikit-learn wants a TypeError, and these words, of objects that are no text.
        words = "float()'s argument must be a string or a real number"
        raise DataError(message) if text else TypeError(f"{message} ({words})")
