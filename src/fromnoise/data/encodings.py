r"""The encoding of each kind of data: fitted to rows, or read from a tree.

This is the one place that knows all of them. `fit_encoding` validates every row, but estimates
from the training rows alone.
"""

__all__ = ["encoding_from_state", "fit_encoding"]

from typing import Any

from numpy.typing import NDArray

from fromnoise.data.containers import kind_of
from fromnoise.data.images import ImageEncoding
from fromnoise.data.tables import TableEncoding
from fromnoise.data.transforms import Encoding, Missing
from fromnoise.data.vectors import VectorEncoding
from fromnoise.errors import DataError, did_you_mean

Array = NDArray[Any]

_ENCODINGS: dict[str, type[VectorEncoding] | type[TableEncoding] | type[ImageEncoding]] = {
    "vectors": VectorEncoding,
    "table": TableEncoding,
    "images": ImageEncoding,
}


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
        >>> import numpy as np
        >>> fit_encoding(np.eye(3)).shape
        (3,)
    """
    if missing not in ("auto", "error", "model"):
        names = ["auto", "error", "model"]
        raise DataError(f"Unknown missing={missing!r}.{did_you_mean(str(missing), names)}")
    return _ENCODINGS[kind_of(X)].fit(X, missing=missing, index=index)


def encoding_from_state(state: dict[str, Any]) -> Encoding:
    r"""Return the encoding that ``Encoding.to_state`` described.

    Args:
        state: The tree.

    Returns:
        The encoding.

    Example:
        >>> import numpy as np
        >>> encoding_from_state(fit_encoding(np.eye(3)).to_state()).kind
        'vectors'
    """
    return _ENCODINGS[state["kind"]].from_state(state)
