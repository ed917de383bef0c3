r"""What tells one fit from another: short marks of arguments and data."""

__all__ = ["digest", "fingerprint", "refuse_another"]

import hashlib
from typing import Any

import numpy as np

from fromnoise import data
from fromnoise.data.containers import kind_of
from fromnoise.errors import DataError, shown
from fromnoise.persistence import Tree
from fromnoise.training.seeds import numpy_rng

_ROWS, _SEED = 1024, 0


def fingerprint(X: Any) -> Tree:
    r"""Return what tells rows from others: kind, shape, types, and a digest of 1,024 rows.

    Args:
        X: Any container.

    Returns:
        JSON.

    Example:
        >>> X = np.arange(6.0).reshape(3, 2)
        >>> mark = fingerprint(X)
        >>> mark["kind"], mark["shape"], mark["dtypes"]
        ('vectors', [3, 2], ['float64'])
        >>> mark == fingerprint(X.copy()), mark == fingerprint(X + 1e-9)
        (True, False)
    """
    array = getattr(X, "array", X) if kind_of(X) == "images" else X
    n = data.n_rows(X)
    rows = np.arange(n) if n <= _ROWS else np.unique(numpy_rng(_SEED, n).integers(n, size=_ROWS))
    dtypes = getattr(array, "dtypes", None)
    return {
        "kind": kind_of(X),
        "shape": [int(size) for size in array.shape],
        "dtypes": [str(dtype) for dtype in ([array.dtype] if dtypes is None else dtypes)],
        "rows": digest(data.to_state(data.take(X, rows))),
    }


def digest(tree: Any) -> str:
    r"""Return 16 hexadecimal digits that stand for a tree of JSON and arrays.

    Example:
        >>> digest({"a": np.ones(2)}) == digest({"a": np.ones(2)})
        True
        >>> digest({"a": np.ones(2)}) == digest({"a": np.ones(2, np.float32)})
        False
    """
    found = hashlib.sha256()
    _add(tree, found)
    return found.hexdigest()[:16]


def refuse_another(what: str, was: Tree, now: Tree) -> None:
    r"""Refuse to go on with something that began with other arguments or data.

    Args:
        what: What there is, for the sentence.
        was: What it began with, as JSON.
        now: What it is to go on with.

    Raises:
        DataError: If they differ; it names the first difference.

    Example:
        >>> refuse_another("run/ holds a fit", {"budget": "9s"}, {"budget": "8s"})
        Traceback (most recent call last):
        fromnoise.errors.DataError: run/ holds a fit with another budget: '9s', and now '8s'. ...
    """
    for name in {**was, **now}:
        if was.get(name) != now.get(name):
            raise DataError(
                f"{what} with another {name}: {shown(was.get(name))}, and now"
                f" {shown(now.get(name))}. Continue it with what it began with, or choose another"
                " folder."
            )


def _add(node: Any, found: "hashlib._Hash") -> None:
    if isinstance(node, dict):
        found.update(f"{len(node)} keys;".encode())
        for key in sorted(node):
            _add(key, found)
            _add(node[key], found)
    elif isinstance(node, list | tuple):
        found.update(f"{len(node)} parts;".encode())
        for part in node:
            _add(part, found)
    elif isinstance(node, np.ndarray):
        found.update(f"{node.dtype.str}{node.shape}".encode())
        found.update(np.ascontiguousarray(node).tobytes())
    else:
        found.update(f"{node!r};".encode("utf-8", "backslashreplace"))
