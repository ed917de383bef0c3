r"""Training rows in model space, read chunk by chunk.

Arrays of numbers and images are encoded anew in each pass, a chunk at a time, so that neither a
copy of an array nor a map of a file is ever held whole. The noise that spreads integers is drawn
for each chunk, and is the same in every pass. Tables, whose encoding is slow, and rows that may
lack values, which are sorted by what they have, are encoded once and kept.
"""

__all__ = ["Reader"]

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from fromnoise.data import Encoded, Encoding
from fromnoise.data.memory import let_go
from fromnoise.errors import DataError
from fromnoise.training import numpy_rng

_CHUNK = 2**17  # entries read together: 1 MB


@dataclass(eq=False)
class Reader:
    r"""Rows in model space, without the columns that are constant there.

    Args:
        X: Checked rows.
        encoding: Their encoding.
        y: Columns to be put behind those of X, ``(n, w)``, or None.
        key: Seed of the noise that spreads integers.

    Attributes:
        kept: All rows, where they are kept.
        constant: The first row of values, ``(D,)``.
        varying: Which of the D values differ from it in some row.
        variance: Variances of the columns that are read, ``(d,)``.

    Example:
        >>> from fromnoise.data import fit_encoding
        >>> X = np.array([[1.0, 5.0], [2.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
        >>> reader = Reader(X, fit_encoding(X), None, (0,))
        >>> [values[:, 0].tolist() for values, codes in reader.chunks()]
        [[-1.414213562373095, 0.0, 0.0, 1.414213562373095]]
    """

    X: Any
    encoding: Encoding
    y: np.ndarray | None
    key: tuple[int, ...]
    kept: Encoded | None = field(init=False, default=None)
    constant: np.ndarray = field(init=False)
    varying: np.ndarray = field(init=False)
    variance: Tensor = field(init=False)

    def __post_init__(self) -> None:
        if self.encoding.kind == "table" or self.encoding.cardinalities:
            self.kept = self._encoded(self.X, 0)
        self._measure()

    def __len__(self) -> int:
        return len(self.X)

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        r"""Yield values ``(m, d)`` and codes ``(m, parts)``; the next ones may take their room."""
        columns, start = np.flatnonzero(self.varying), 0
        for values, codes in self._parts():
            if len(columns) < len(self.varying):
                values = np.take(values, columns, axis=1)
            if self.y is not None:
                values = np.concatenate([values, self.y[start : start + len(values)]], axis=1)
            yield torch.from_numpy(values).double(), torch.from_numpy(codes)
            start += len(values)

    def _measure(self) -> None:
        r"""Find which columns vary, and their variances from differences to the first row."""
        first = next(self._parts())[0][0].astype(np.float64)
        varying, total, squares = np.zeros((3, len(first)))
        for values, _ in self._parts():
            difference = values - first
            varying += difference.any(0)
            total += difference.sum(0)
            squares += np.einsum("ij,ij->j", difference, difference)
        self.constant, self.varying = first, varying > 0
        variance = (squares / len(self) - (total / len(self)) ** 2).clip(0)[self.varying]
        more = np.empty(0) if self.y is None else self.y.var(0)
        self.variance = torch.from_numpy(np.concatenate([variance, more]))

    def _parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        r"""Yield values ``(m, D)`` and codes of each chunk."""
        if self.kept is not None:
            yield self.kept.values, self.kept.codes
            return
        width = math.prod(self.encoding.shape)
        step = max(1, _CHUNK // max(1, width))
        straight = self.encoding.kind == "vectors" and self.X.dtype.kind == "f"
        buffer = np.empty((step, width)) if straight else None
        for number, start in enumerate(range(0, len(self), step)):
            x = self.X[start : start + step]
            if buffer is None:
                _refuse_changed(x, start)
                encoded = self._encoded(x, number)
                yield encoded.values.reshape(len(x), -1), encoded.codes
            else:
                values = self._standardised(x, buffer[: len(x)])
                _refuse_changed(values, start)
                yield values, np.empty((len(x), 0), np.int64)
            let_go(x)

    def _encoded(self, x: Any, number: int) -> Encoded:
        encoded = self.encoding.encode(x)
        return self.encoding.dequantise(encoded, numpy_rng(*self.key, number))

    def _standardised(self, x: np.ndarray, out: np.ndarray) -> np.ndarray:
        r"""Return what the encoding makes of floats, a few times as fast, in ``out``."""
        shift, scale, active = self._linear
        if not active.all():
            x = x[:, active]
        np.subtract(x, shift[active], out=out, dtype=np.float64)
        return np.divide(out, scale[active], out=out)

    @cached_property
    def _linear(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return cast(tuple[np.ndarray, np.ndarray, np.ndarray], self.encoding.linear())


def _refuse_changed(x: np.ndarray, start: int) -> None:
    r"""Refuse rows that were finite when checked; ``start`` is the number of the first."""
    with np.errstate(all="ignore"):
        total = x.sum(dtype=np.float64)  # finite only if all entries are, and quick
    if not math.isfinite(total):
        row = start + int(np.abs(x).reshape(len(x), -1).max(1).argmax())
        raise DataError(
            f"Row {row} of X holds NaN or infinity, which was not there when fit began: the array,"
            " or the file that it maps, was changed meanwhile. Fit when nobody writes to it."
        )
