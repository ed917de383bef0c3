r"""Vectors: the columns of an array, standardised.

The map is v = (x - mean) / std, column by column, in float64, so

    log p_x(x) = log p_v(v) - sum_j log std_j

A column that is constant over the training rows carries no information: it is left out of v and
put back. NaN are refused, or become a categorical part {value, missing} of their column.

Arrays may be maps of files larger than memory, so they are checked block by block.
"""

__all__ = ["VectorEncoding"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fromnoise.data.arrays import EXACT, LARGEST, check_array_like, put, restore, spreads, to_dtype
from fromnoise.data.memory import let_go
from fromnoise.data.transforms import Encoded, FlatEncoding, Missing, Partial, full_mask
from fromnoise.errors import DataError

Array = NDArray[Any]

_BLOCK = 2**18  # entries looked at together: fast, and a memory map is never copied whole


@dataclass(frozen=True, eq=False)
class VectorEncoding(FlatEncoding):
    r"""Standardises the columns of an array.

    Attributes:
        shift: Means of the training rows, or the constants, ``(n_features,)``.
        scale: Standard deviations; 0 for constant columns, ``(n_features,)``.
        holes: Whether the column has missing entries to be modelled, bool ``(n_features,)``.
        dtype: Name of the NumPy dtype given.
        container: ``"numpy"`` or ``"torch"``.

    Example:
        >>> X = np.array([[1.0, 7.0], [3.0, 7.0], [5.0, 7.0]])
        >>> encoding = VectorEncoding.fit(X)
        >>> encoding.shape
        (1,)
        >>> encoding.decode(encoding.encode(X))[:, 1].tolist()
        [7.0, 7.0, 7.0]
    """

    kind: ClassVar[str] = "vectors"
    shift: Array
    scale: Array
    holes: Array
    dtype: str
    container: str = "numpy"

    @classmethod
    def fit(cls, X: Any, *, missing: Missing = "auto", index: Array | None = None) -> Self:
        r"""Validate all rows of ``X`` and measure those at ``index``.

        Args:
            X: Numbers, ``(n, n_features)``.
            missing: ``"model"`` gives columns with NaN a categorical part; others refuse NaN.
            index: Training rows; default all.

        Returns:
            The encoding.

        Raises:
            DataError: If ``X`` is not an array of finite numbers with at least two rows.
        """
        container, array = check_array_like(X, at_least=2)
        gaps = _check_numbers(array, missing_ok=missing == "model")
        shift, scale = spreads(_blocks(array, index))
        still = np.flatnonzero(scale == 0)
        if index is not None and len(still):
            # A rare value may lie outside the training rows; the column is not constant for that.
            shift[still], scale[still] = spreads(block[:, still] for block in _blocks(array))
        holes = gaps & ~np.isnan(shift)
        return cls(shift, scale, holes, array.dtype.name, container)

    @cached_property
    def _active(self) -> Array:
        return self.scale > 0

    @cached_property
    def gates(self) -> tuple[int, ...]:
        r"""Per value, its "missing" part, or -1."""
        part = np.where(self.holes, np.cumsum(self.holes) - 1, -1)
        return tuple(int(p) for p in part[self._active])

    @property
    def cardinalities(self) -> tuple[int, ...]:
        r"""One part {value, missing} for each column with holes."""
        return (2,) * int(self.holes.sum())

    @property
    def n_features(self) -> int:
        r"""Number of columns given."""
        return len(self.shift)

    @property
    def feature_names(self) -> list[str] | None:
        r"""Columns of an array have no names."""
        return None

    @property
    def is_continuous(self) -> bool:
        r"""Whether all columns are floats without holes."""
        return not self._integer and not self.holes.any()

    @property
    def _integer(self) -> bool:
        return np.dtype(self.dtype).kind in "iub"

    def check(self, X: Any, *, missing_ok: bool = False) -> Array:
        r"""Return ``X`` as an array ``(n, n_features)``; see `Encoding.check`."""
        _, array = check_array_like(X, at_least=1)
        if array.shape[1] != self.n_features:
            raise DataError(
                f"X has {array.shape[1]} features, but fromnoise is expecting "
                f"{self.n_features} features as input, as in fit."
            )
        gaps = _check_numbers(array, missing_ok=True)
        new = gaps & ~self.holes & ~np.isnan(self.shift)
        if new.any() and not missing_ok:
            raise DataError(
                f"NaN in {_columns(np.flatnonzero(new))}, where fit saw none: fill the missing "
                'values, or fit on data that has them with missing="model".'
            )
        return array

    def encode(self, X: Array) -> Encoded:
        r"""Return the standardised rows."""
        x = np.asarray(X, np.float64)
        values = (x[:, self._active] - self.shift[self._active]) / self.scale[self._active]
        observed = ~np.isnan(values)
        values[~observed] = 0.0
        return Encoded(values, np.isnan(x[:, self.holes]).astype(np.int64), observed)

    def decode(self, encoded: Encoded) -> Any:
        r"""Return rows in the container, dtype and units given to fit."""
        x = np.tile(self.shift, (len(encoded), 1))
        x[:, self._active] += self.scale[self._active] * encoded.values
        holed = x[:, self.holes]
        holed[encoded.codes == 1] = np.nan
        x[:, self.holes] = holed
        return restore(x, self.dtype, self.container)

    def dequantise(self, encoded: Encoded, rng: np.random.Generator) -> Encoded:
        r"""Add U(-1/2, 1/2) in data units if the dtype is integer."""
        if not self._integer:
            return encoded
        noise = rng.uniform(-0.5, 0.5, encoded.values.shape) / self.scale[self._active]
        return Encoded(encoded.values + noise, encoded.codes, encoded.observed)

    @property
    def missing_codes(self) -> tuple[int, ...]:
        r"""1 in every part."""
        return (1,) * len(self.cardinalities)

    def partial(self, X: Any, mask: Any = None) -> Partial:
        r"""Map rows that lack entries to model space; see `Encoding.partial`."""
        _, array = check_array_like(X, at_least=1)
        if mask is None:
            gone = np.isnan(array) if array.dtype.kind == "f" else np.zeros(array.shape, bool)
        else:
            gone = full_mask(mask, array.shape)
        if array.shape[1] == self.n_features:
            # Whatever was under the mask; the mean is beyond reproach.
            array = np.where(gone, to_dtype(np.nan_to_num(self.shift), array.dtype), array)
        encoded = self.encode(self.check(array))
        return self._opened(encoded, gone[:, self._active], gone[:, self.holes], gone)

    def filled(self, X: Any, mask: Array, encoded: Encoded | None) -> Any:
        r"""Return a copy of ``X`` with decoded entries; see `Encoding.filled`."""
        if encoded is None:
            return put(X, mask, np.empty(0))
        return put(X, mask, np.asarray(self.decode(encoded))[mask[mask.any(1)]])

    def off_support(self, X: Array) -> Array:
        r"""Return which rows differ from fit in a column that was constant there."""
        fixed = ~self._active
        other = (X[:, fixed] != self.shift[fixed]) & ~np.isnan(X[:, fixed])
        off: Array = other.any(axis=1)
        return off

    def log_det(self, encoded: Encoded) -> Array:
        r"""Return the sum of -log std over observed entries, ``(n,)``."""
        logs = np.where(encoded.observed, -np.log(self.scale[self._active]), 0.0)
        # In row order: else the order of the sum, and its last bit, depend on the number of rows.
        total: Array = np.ascontiguousarray(logs).sum(1)
        return total

    def linear(self) -> tuple[Array, Array, Array]:
        r"""Return (mean, standard deviation, whether the column varies)."""
        return self.shift.copy(), self.scale.copy(), self._active.copy()

    def to_state(self) -> dict[str, Any]:
        r"""Return a tree of arrays and strings."""
        return {
            "kind": self.kind,
            "shift": self.shift,
            "scale": self.scale,
            "holes": self.holes,
            "dtype": self.dtype,
            "container": self.container,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        r"""Invert ``to_state``."""
        return cls(
            np.asarray(state["shift"], np.float64),
            np.asarray(state["scale"], np.float64),
            np.asarray(state["holes"], bool),
            np.dtype(state["dtype"]).name,
            str(state["container"]),
        )


def _blocks(X: Array, rows: Array | None = None) -> Iterator[Array]:
    step = max(1, _BLOCK // max(1, int(np.prod(X.shape[1:]))))
    for start in range(0, len(X) if rows is None else len(rows), step):
        part = slice(start, start + step)
        yield X[part] if rows is None else X[rows[part]]
        let_go(X)


def _check_numbers(X: Array, *, missing_ok: bool) -> Array:
    gaps = np.zeros(X.shape[1], bool)
    start = 0
    for block in _blocks(X):
        _refuse_huge(block, start)
        if block.dtype.kind == "f":
            gaps |= np.isnan(block).any(0)
        start += len(block)
    if gaps.any() and not missing_ok:
        first = np.flatnonzero(gaps)
        counts = [int(sum(np.isnan(b[:, c]).sum() for b in _blocks(X))) for c in first[:3]]
        raise DataError(
            f"NaN in {_columns(first)} ({', '.join(map(str, counts))} rows"
            f"{', …' if len(first) > 3 else ''}): fill the missing values, or pass "
            'missing="model" to learn where they occur.'
        )
    return gaps


def _refuse_huge(block: Array, start: int) -> None:
    kind = block.dtype.kind
    limit = min(LARGEST, float(np.finfo(block.dtype).max)) if kind == "f" else EXACT
    bad = (block > limit) | (block < -limit) if kind in "fiu" else np.zeros(1, bool)
    if not bad.any():
        return
    column = int(np.flatnonzero(bad.any(0))[0])
    rows = start + np.flatnonzero(bad[:, column])[:3]
    why = (
        "inf, or a number beyond 1e150"
        if kind == "f"
        else "an integer beyond 2**53, which floats cannot tell apart (subtract an offset)"
    )
    raise DataError(
        f"Column {column} holds {why}, in row {', '.join(map(str, rows))}: expected finite "
        "numbers of reasonable size."
    )


def _columns(numbers: Sequence[int] | Array) -> str:
    listed = ", ".join(str(int(number)) for number in numbers[:3])
    return f"column{'s' if len(numbers) > 1 else ''} {listed}{', …' if len(numbers) > 3 else ''}"
