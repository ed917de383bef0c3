r"""Invertible maps between data as given and the space in which models work.

An encoding is fitted once, on the training rows, and stored with the model. It turns a row x
into continuous values v and categorical codes c, and back:

    x  --encode-->  (v, c)  --pack-->  one float32 vector for a network
    x  <--decode--  (v, c)  <--unpack--

The values are about standardised. Whatever has no density of its own goes into the codes: a
category, the fact that an entry is missing. An entry whose code says "missing" has no value;
``observed`` is False there, and a filler stands in its place. Because every continuous map is
monotone and differentiable almost everywhere, densities change units exactly:

    log p_x(x) = log p_v(v) + sum_j log |dv_j / dx_j|

Integers are dequantised for continuous models by uniform noise one quantum wide, so that
rounding gives them back (Theis et al. 2016, section 3.1).

For vectors the map is v = (x - mean) / std, column by column, in float64. A column that is
constant over the training rows carries no information: it is left out of v and put back.
"""

__all__ = [
    "Encoded",
    "Encoding",
    "FlatEncoding",
    "Missing",
    "VectorEncoding",
    "check_array_like",
    "restore",
    "spread",
    "to_dtype",
]

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_array

from fromnoise.errors import DataError, shown

Array = NDArray[Any]
Missing = Literal["auto", "error", "model"]

LARGEST = 1e150  # squares and sums of squares of anything larger overflow float64
EXACT = 2**53  # float64 holds every integer up to here
_BLOCK = 2**21  # entries looked at together, so that a memory map is never copied whole


@dataclass(frozen=True)
class Encoded:
    r"""Rows in model space.

    Attributes:
        values: Continuous entries, float64 ``(n, d)``; images float32 ``(n, C, H, W)``.
        codes: Categorical entries, int64 ``(n, k)``; k may be 0.
        observed: Whether a value is one, bool ``(n, d)``; images ``(1, 1, 1, 1)``, all True.

    Example:
        >>> rows = Encoded(np.zeros((3, 2)), np.zeros((3, 0), int), np.ones((3, 2), bool))
        >>> len(rows), rows.rows(np.array([0, 2])).values.shape
        (3, (2, 2))
    """

    values: Array
    codes: Array
    observed: Array

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, index: Array | slice) -> "Encoded":
        r"""Return the rows at ``index``."""
        observed = self.observed if self.values.ndim > 2 else self.observed[index]
        return Encoded(self.values[index], self.codes[index], observed)


class Encoding(ABC):
    r"""One fitted, invertible map from data to model space; see the module's text.

    ``kind`` is ``"vectors"``, ``"table"`` or ``"images"``.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        r"""Shape of one row of ``Encoded.values``."""

    @property
    @abstractmethod
    def cardinalities(self) -> tuple[int, ...]:
        r"""Number of codes of each categorical part."""

    @property
    @abstractmethod
    def n_features(self) -> int:
        r"""Number of columns of the data as given; for images C·H·W."""

    @property
    @abstractmethod
    def feature_names(self) -> list[str] | None:
        r"""Names of those columns, where they have names."""

    @property
    @abstractmethod
    def is_continuous(self) -> bool:
        r"""Whether all that varies are floats, so that a density in data units exists."""

    @property
    @abstractmethod
    def model_shape(self) -> tuple[int, ...]:
        r"""Shape of one packed row."""

    @abstractmethod
    def check(self, X: Any, *, missing_ok: bool = False) -> Any:
        r"""Hold other data against what was fitted.

        Args:
            X: Data of the kind, with the columns, that ``fit`` saw.
            missing_ok: Whether entries may be missing where none were in fit, for imputation.

        Returns:
            What ``encode`` takes.

        Raises:
            DataError: Naming the column, row or shape that does not fit.
        """

    @abstractmethod
    def encode(self, X: Any) -> Encoded:
        r"""Map checked rows to model space, each by itself, so blocks of rows may be given.

        An entry that is missing without a code for it has ``observed`` False, or code -1.
        """

    @abstractmethod
    def decode(self, encoded: Encoded) -> Any:
        r"""Map back, to the container, dtypes and columns given to fit."""

    @abstractmethod
    def dequantise(self, encoded: Encoded, rng: np.random.Generator) -> Encoded:
        r"""Spread integers over the width of one quantum; ``decode`` rounds that away."""

    @abstractmethod
    def pack(self, encoded: Encoded, rng: np.random.Generator | None = None) -> Array:
        r"""Return float32 ``(n, *model_shape)``: the values, then one-hot groups in {-1, +1}.

        Args:
            encoded: Rows in model space.
            rng: For training: integers are dequantised and fillers drawn from N(0, 1). Without
                it nothing is random and fillers are 0.
        """

    @abstractmethod
    def unpack(self, packed: Array) -> Encoded:
        r"""Invert ``pack``: the largest entry of a one-hot group gives its code."""

    @abstractmethod
    def observed(self, codes: Array) -> Array:
        r"""Return which values exist, given the codes; shaped as ``Encoded.observed``."""

    @abstractmethod
    def log_det(self, encoded: Encoded) -> Array:
        r"""Return log |dv / dx|, summed over the observed values of each row, ``(n,)``."""

    @abstractmethod
    def linear(self) -> tuple[Array, Array, Array] | None:
        r"""Return (shift, scale, active), each ``(n_features,)``, or None if the map is bent.

        ``x[:, active] = shift[active] + scale[active] * values``; elsewhere x is ``shift``.
        """

    @abstractmethod
    def to_state(self) -> dict[str, Any]:
        r"""Return a tree that ``from_state`` and ``persistence`` understand."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        r"""Invert ``to_state``."""


class FlatEncoding(Encoding):
    r"""What vectors and tables share: a row is a list of values and a list of codes."""

    @property
    @abstractmethod
    def gates(self) -> tuple[int, ...]:
        r"""Per value, the categorical part whose code 0 says "here is a value", or -1."""

    @property
    def shape(self) -> tuple[int, ...]:
        r"""Shape of one row of values."""
        return (len(self.gates),)

    @property
    def model_shape(self) -> tuple[int, ...]:
        r"""Shape of one packed row."""
        return (len(self.gates) + sum(self.cardinalities),)

    def observed(self, codes: Array) -> Array:
        r"""Return which values exist, ``(n, d)``, given the codes ``(n, k)``."""
        seen = np.ones((len(codes), len(self.gates)), bool)
        for value, gate in enumerate(self.gates):
            if gate >= 0:
                seen[:, value] = codes[:, gate] == 0
        return seen

    def pack(self, encoded: Encoded, rng: np.random.Generator | None = None) -> Array:
        r"""Return float32 ``(n, d + sum(cardinalities))``; see `Encoding.pack`."""
        if rng is not None:
            encoded = self.dequantise(encoded, rng)
        values = encoded.values
        if not encoded.observed.all():
            filler = 0.0 if rng is None else rng.standard_normal(values.shape)
            values = np.where(encoded.observed, values, filler)
        groups = [
            np.where(encoded.codes[:, [part]] == np.arange(size), 1.0, -1.0)
            for part, size in enumerate(self.cardinalities)
        ]
        return np.concatenate([values, *groups], axis=1, dtype=np.float32, casting="same_kind")

    def unpack(self, packed: Array) -> Encoded:
        r"""Invert ``pack``; see `Encoding.unpack`."""
        d = len(self.gates)
        ends = d + np.cumsum((0, *self.cardinalities))
        parts = [packed[:, a:b].argmax(1) for a, b in pairwise(ends)]
        codes = np.stack(parts, 1) if parts else np.zeros((len(packed), 0))
        codes = codes.astype(np.int64)
        return Encoded(packed[:, :d].astype(np.float64), codes, self.observed(codes))


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
        rows = np.arange(len(array)) if index is None else np.asarray(index)
        shift, scale = _moments(array, rows)
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

    def log_det(self, encoded: Encoded) -> Array:
        r"""Return the sum of -log std over observed entries, ``(n,)``."""
        logs: Array = encoded.observed @ -np.log(self.scale[self._active])
        return logs

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
        TypeError: If it is sparse or masked.

    Example:
        >>> check_array_like([[1, 2], [3, 4]], at_least=2)[1].shape
        (2, 2)
    """
    container = "torch" if type(X).__module__.partition(".")[0] == "torch" else "numpy"
    if container == "torch":
        X = _from_torch(X)
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError("Masked arrays are not supported: use X.filled(numpy.nan).")
    if getattr(getattr(X, "dtype", None), "kind", "") == "O" and X.ndim == 2:
        _refuse_text(np.asarray(X))
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
    return container, np.asarray(array)


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
    low, high = float(x.min()), float(x.max())
    if low == high:
        return low, 0.0
    width = high - low
    relative = (x - low) / width
    return low + width * float(relative.mean()), width * float(relative.std())


def _from_torch(X: Any) -> Array:
    X = X.detach().cpu()
    numbers: Array = (X.float() if "bfloat16" in str(X.dtype) else X).numpy()
    return numbers


def _refuse_text(X: Array) -> None:
    bad = np.array([[isinstance(entry, str | bytes) for entry in row] for row in X], bool)
    if bad.any():
        rows = np.flatnonzero(bad.any(1))[:3]
        listed = "; ".join(
            f"row {row}: {', '.join(shown(entry) for entry in X[row][bad[row]][:3])}"
            for row in rows
        )
        raise DataError(
            f"Expected numbers, got text in {int(bad.any(1).sum())} rows ({listed}). Convert the "
            "columns to numbers, or pass a DataFrame, where text is a category."
        )


def _blocks(X: Array, rows: Array | None = None) -> Iterator[Array]:
    step = max(1, _BLOCK // max(1, int(np.prod(X.shape[1:]))))
    for start in range(0, len(X) if rows is None else len(rows), step):
        part = slice(start, start + step)
        yield X[part] if rows is None else X[rows[part]]


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


def _moments(X: Array, rows: Array) -> tuple[Array, Array]:
    shift = np.full(X.shape[1], np.nan)
    scale = np.zeros(X.shape[1])
    for column in range(X.shape[1]):
        x = np.asarray(X[rows, column], np.float64)
        x = x[~np.isnan(x)]
        if len(x):
            shift[column], scale[column] = spread(x)
    return shift, scale


def _columns(numbers: Sequence[int] | Array) -> str:
    listed = ", ".join(str(int(number)) for number in numbers[:3])
    return f"column{'s' if len(numbers) > 1 else ''} {listed}{', …' if len(numbers) > 3 else ''}"
