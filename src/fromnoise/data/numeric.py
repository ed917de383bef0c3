r"""Numbers and dates: a column of many distinct values as one value and, if need be, a code.

The value is the normal score of the entry (`Curve`). Entries without a density get a categorical
part {value, missing, spike, spike, …}, where a spike is one value that many rows share.

Integers, dates and decimals of fixed length come back exact: they are counted from an origin in
units of a quantum, as Python's floats hold only 53 bits. Unsigned differences wrap around and so
are exact over the whole range of int64.
"""

__all__ = ["Numbers", "is_whole", "refuse_huge"]

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fromnoise.data.arrays import EXACT, LARGEST, to_dtype
from fromnoise.data.columns import Column, Kind, Label, storage
from fromnoise.data.curves import Curve
from fromnoise.errors import DataError, shown

Array = NDArray[Any]

SPIKE = 0.05  # share of rows that one value must hold, and
STANDOUT = 10  # how many times the rows of any ordinary value
DECIMALS = 6
_UNIT_NS = {"D": 86_400_000_000_000, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_DATE_STEPS = [86_400 * 10**9, 3600 * 10**9, 60 * 10**9, 10**9, 10**6, 10**3, 1]


@dataclass(frozen=True, eq=False)
class Numbers:
    r"""A column of many distinct numbers or dates: a value, and a code where there is none.

    Attributes:
        label: Name of the column.
        kind: Kind of its values.
        spec: Its dtype.
        curve: Map from units to model space.
        holes: Whether entries may be missing; their code is 1.
        spikes: Values with codes of their own, as stored in a `Column`.
        origin: Where counting starts, for integers and dates; one entry.
        step: Width of one unit, for integers and dates.
        decimals: Digits after the point that all rows keep to, or -1.

    Example:
        >>> import pandas as pd
        >>> from fromnoise.data.frames import column_of
        >>> column = column_of(pd.Series(np.arange(100.0) ** 2 / 7), "x")
        >>> role = Numbers.fit("x", column, np.arange(100))
        >>> values, codes = role.encode(column)
        >>> bool(np.allclose(role.decode(values, codes).values, column.values, rtol=1e-12))
        True
    """

    label: Label
    kind: Kind
    spec: dict[str, Any]
    curve: Curve
    holes: bool
    spikes: Array
    origin: Array
    step: int = 1
    decimals: int = -1

    has_value: ClassVar[bool] = True

    @classmethod
    def fit(cls, label: Label, column: Column, rows: Array) -> Self:
        r"""Measure a column on the training ``rows``."""
        gone = column.gaps
        present = column.values[~gone]
        origin = np.zeros(1) if column.kind == "real" else present.min(keepdims=True)
        step, decimals = _quantum(column, present, origin)
        train = column.values[rows][~gone[rows]]
        spikes = _spikes(train)
        blank = cls(label, column.kind, column.spec, Curve(np.arange(2.0), np.arange(2.0)),
                    bool(gone.any()), spikes, origin, step, decimals)  # fmt: skip
        curve = Curve.fit(blank._units(train[~np.isin(train, spikes)]))
        return cls(label, column.kind, column.spec, curve, blank.holes, spikes, origin, step,
                   decimals)  # fmt: skip

    @property
    def cardinality(self) -> int:
        r"""Number of codes: value, missing, spikes; 1 if all entries are values."""
        return 1 + self.holes + len(self.spikes)

    @property
    def missing_code(self) -> int:
        r"""The code that says "missing", or -1."""
        return 1 if self.holes else -1

    @property
    def quantum(self) -> float:
        r"""Distance of neighbouring values in units; 0 if they are continuous."""
        if self.kind != "real":
            return 1.0
        return 10.0**-self.decimals if self.decimals >= 0 else 0.0

    @property
    def is_continuous(self) -> bool:
        r"""Whether a density exists: floats, not all whole, none missing or in a spike."""
        return self.kind == "real" and self.decimals != 0 and self.cardinality == 1

    def encode(self, column: Column) -> tuple[Array, Array]:
        r"""Return values ``(n,)`` and codes ``(n,)``."""
        gone = column.gaps
        codes = np.zeros(len(column), np.int64)
        for code, spike in enumerate(self.spikes, start=1 + self.holes):
            codes[column.values == spike] = code
        codes[gone] = 1 if self.holes else -1
        values = self.curve.forward(self._units(column.values))
        return np.where(codes == 0, values, 0.0), codes

    def decode(self, values: Array, codes: Array) -> Column:
        r"""Invert ``encode``."""
        data = self._from_units(self.curve.inverse(values))
        for code, spike in enumerate(self.spikes, start=1 + self.holes):
            data[codes == code] = spike
        missing = codes == 1 if self.holes else np.zeros(len(codes), bool)
        if self.kind == "real":
            data[missing] = np.nan
        return Column(data, missing, self.kind, self.spec)

    def dequantise(self, values: Array, rng: np.random.Generator) -> Array:
        r"""Spread values that lie on a lattice over its cells."""
        if not self.quantum:
            return values
        noise = rng.uniform(-self.quantum / 2, self.quantum / 2, len(values))
        return self.curve.forward(self.curve.inverse(values) + noise)

    def log_slope(self, values: Array) -> Array:
        r"""Return log |dv/dx| in the units of the data."""
        slope: Array = self.curve.log_slope(values) - np.log(float(self.step))
        return slope

    def check(self, column: Column) -> None:
        r"""Refuse fractions where fit saw integers, and what is not finite."""
        refuse_huge(self.label, column)
        if self.kind == "integer" and column.kind == "real":
            seen = column.values[~column.gaps]
            if not is_whole(seen):
                raise DataError(
                    f"Column {shown(self.label)} held integers in fit, now "
                    f"{shown(float(seen[seen != np.rint(seen)][0]))}."
                )

    def _units(self, values: Array) -> Array:
        if values.dtype.kind in "bf":
            return (values - np.float64(self.origin[0])) / self.step
        # Unsigned differences are exact, though int64 ones may overflow.
        wide, origin = values.astype(np.uint64), self.origin.astype(np.uint64)
        above = values >= self.origin
        distance = np.where(above, wide - origin, origin - wide)
        whole, rest = np.divmod(distance, np.uint64(self.step))
        units = whole.astype(np.float64) + rest.astype(np.float64) / self.step
        return np.where(above, units, -units)

    def _from_units(self, units: Array) -> Array:
        if self.kind == "real":
            data = units if self.decimals < 0 else np.round(units, self.decimals)
            return to_dtype(data, _real_dtype(self.spec)).astype(np.float64)
        steps = to_dtype(np.clip(units, *self._ends()), np.dtype(np.int64))
        moved = self.origin.astype(np.uint64) + steps.astype(np.uint64) * np.uint64(self.step)
        return moved.astype(self.origin.dtype)

    def _ends(self) -> tuple[float, float]:
        r"""Return the first and last unit that the dtype of the column can hold."""
        plain = self.kind == "integer" and self.spec["dtype"] != "object"
        info = np.iinfo(storage(self.spec) if plain else np.int64)
        # pandas reads the smallest int64 as a missing date.
        low = int(info.min) + (self.kind != "integer") - int(self.origin[0])
        high = int(info.max) - int(self.origin[0])
        ends = (float(-(-low // self.step)), float(high // self.step))
        # A float beyond 2**53 may have been rounded away from zero.
        inner = [float(np.nextafter(end, 0)) if abs(end) > EXACT else end for end in ends]
        return inner[0], inner[1]

    def to_state(self) -> dict[str, Any]:
        r"""Return a tree."""
        return {
            "role": "numbers",
            "label": self.label,
            "kind": self.kind,
            "spec": self.spec,
            "x": self.curve.x,
            "v": self.curve.v,
            "holes": self.holes,
            "spikes": self.spikes,
            "origin": self.origin,
            "step": self.step,
            "decimals": self.decimals,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        r"""Invert ``to_state``."""
        curve = Curve(np.asarray(state["x"], np.float64), np.asarray(state["v"], np.float64))
        return cls(
            state["label"],
            state["kind"],
            state["spec"],
            curve,
            bool(state["holes"]),
            np.asarray(state["spikes"]),
            np.asarray(state["origin"]),
            int(state["step"]),
            int(state["decimals"]),
        )


def is_whole(values: Array) -> bool:
    r"""Return whether all values are whole numbers.

    Args:
        values: Numbers, ``(n,)``.

    Example:
        >>> is_whole(np.array([1.0, 2.5]))
        False
    """
    return bool((values == np.rint(values)).all())


def refuse_huge(label: Label, column: Column) -> None:
    r"""Refuse what is not finite, and what is too large to be squared.

    Args:
        label: Name of the column.
        column: The column.

    Raises:
        DataError: Naming the column and its first such rows.

    Example:
        >>> column = Column(np.ones(2), np.zeros(2, bool), "real", {})
        >>> refuse_huge("fine", column)
    """
    if column.kind != "real":
        return
    rows = np.flatnonzero(np.abs(column.values) > LARGEST)
    if len(rows):
        raise DataError(
            f"Column {shown(label)} holds inf, or a number beyond 1e150, in {len(rows)} rows "
            f"(first {', '.join(map(str, rows[:3]))}): expected finite numbers."
        )


def _real_dtype(spec: dict[str, Any]) -> np.dtype[Any]:
    dtype = storage(spec)
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


def _quantum(column: Column, present: Array, origin: Array) -> tuple[int, int]:
    r"""Return the step that integers or dates keep to, and the decimals that floats keep to."""
    if column.kind == "real":
        return 1, _decimals(present, _real_dtype(column.spec))
    if column.kind == "integer":
        return 1, -1
    unit = _UNIT_NS[column.spec["unit"]]
    steps = [step // unit for step in _DATE_STEPS if step >= unit]
    return next(step for step in steps if not ((present - origin) % step).any()), -1


def _decimals(x: Array, dtype: np.dtype[Any]) -> int:
    largest = np.abs(x).max()
    for decimals in range(DECIMALS + 1):
        if largest * 10.0**decimals >= EXACT:
            break
        # A look at the first rows settles most columns.
        if all((np.round(y, decimals).astype(dtype) == y).all() for y in (x[:50], x)):
            return decimals
    return -1


def _spikes(x: Array) -> Array:
    values, counts = np.unique(x, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    sizes = counts[order]
    least = max(SPIKE * len(x), STANDOUT + 1)
    high = (sizes[:-1] >= least) & (sizes[:-1] > STANDOUT * sizes[1:])
    many = int(np.flatnonzero(high)[-1]) + 1 if high.any() else 0
    spikes: Array = np.sort(values[order[:many]])
    return spikes
