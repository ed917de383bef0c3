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
"""

__all__ = ["Encoded", "Encoding", "FlatEncoding", "Missing", "Partial", "full_mask"]

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from fromnoise.errors import DataError

Array = NDArray[Any]
Missing = Literal["auto", "error", "model"]


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
        whole = self.observed.shape == self.values.shape
        observed = self.observed[index] if whole else self.observed
        return Encoded(self.values[index], self.codes[index], observed)


@dataclass(frozen=True)
class Partial:
    r"""Rows in model space of which some entries are to be drawn.

    Attributes:
        encoded: The rows. Where an entry is to be drawn the value is 0 and not observed, or the
            code is 0.
        values: Which values are to be drawn, bool, shaped like ``encoded.values``.
        codes: Which codes are to be drawn, bool ``(n, k)``.
        mask: Which entries of the data as given are to be drawn, bool, a row first.

    Example:
        >>> rows = Encoded(np.zeros((1, 2)), np.zeros((1, 0), int), np.array([[True, False]]))
        >>> gone = np.array([[False, True]])
        >>> Partial(rows, gone, np.zeros((1, 0), bool), gone).incomplete.tolist()
        [True]
    """

    encoded: Encoded
    values: Array
    codes: Array
    mask: Array

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def incomplete(self) -> Array:
        r"""Which rows have an entry that is to be drawn, bool ``(n,)``."""
        return np.asarray(self.mask.reshape(len(self), -1).any(1))

    def rows(self, index: Array) -> "Partial":
        r"""Return the rows at ``index``."""
        return Partial(
            self.encoded.rows(index), self.values[index], self.codes[index], self.mask[index]
        )


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

    @property
    def missing_codes(self) -> tuple[int, ...]:
        r"""Per categorical part, the code that says "missing", or -1."""
        return ()

    @abstractmethod
    def partial(self, X: Any, mask: Any = None) -> Partial:
        r"""Map rows that lack entries to model space; what is not masked is checked.

        Args:
            X: Data of the kind, with the columns, that ``fit`` saw. It may hold anything where
                it is masked.
            mask: True where an entry is to be drawn, bool, shaped like ``X``; default where
                entries are missing. What is missing elsewhere is taken for a fact, where fit
                has learnt that entries may be missing.

        Raises:
            DataError: If an entry that is seen, or the mask, does not fit.
        """

    @abstractmethod
    def filled(self, X: Any, mask: Array, encoded: Encoded | None) -> Any:
        r"""Return a copy of ``X`` with decoded entries where it is masked.

        Args:
            X: As given to `partial`.
            mask: That of `Partial`.
            encoded: The rows that are masked somewhere, drawn; None if there are none.

        Returns:
            The container, dtypes, columns and index of ``X``.
        """

    def off_support(self, X: Any) -> Array:
        r"""Return which checked rows break what was constant in fit, bool ``(n,)``.

        Such rows have probability zero: a column that never varied is a point mass.
        """
        return np.zeros(len(X), dtype=bool)

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


def full_mask(mask: Any, shape: tuple[int, ...]) -> Array:
    r"""Return a mask as a bool array.

    Args:
        mask: Of bools, an array, a tensor or a DataFrame.
        shape: That it must have.

    Raises:
        DataError: If it has another dtype or shape.

    Example:
        >>> full_mask([[True, False]], (1, 2)).dtype
        dtype('bool')
    """
    array = np.asarray(mask)
    if array.dtype.kind != "b" or array.shape != shape:
        raise DataError(
            f"mask must be of bools, True where an entry is missing, and shaped like X, {shape};"
            f" got {array.dtype.name} of shape {array.shape}."
        )
    return array


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

    def _opened(self, encoded: Encoded, values: Array, codes: Array, mask: Array) -> Partial:
        r"""Take out of rows what is to be drawn."""
        filled = Encoded(
            np.where(values, 0.0, encoded.values),
            np.where(codes, 0, encoded.codes),
            encoded.observed & ~values,
        )
        return Partial(filled, values, codes, mask)

    def pack(self, encoded: Encoded, rng: np.random.Generator | None = None) -> Array:
        r"""Return float32 ``(n, d + sum(cardinalities))``; see `Encoding.pack`."""
        if rng is not None:
            encoded = self.dequantise(encoded, rng)
        values = encoded.values
        if not encoded.observed.all():
            filler = 0.0 if rng is None else rng.standard_normal(values.shape)
            values = np.where(encoded.observed, values, filler)
        one = np.float32(1)
        groups = [
            np.where(encoded.codes[:, [part]] == np.arange(size), one, -one)
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
