r"""Levels: a column of few distinct values as one categorical part.

Text, booleans, categories and numbers with few distinct values are coded 0 to K - 1 in sorted
order, and "missing", where it occurs, as K. The values come back exactly, with their dtype.
"""

__all__ = ["Levels"]

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fromnoise.data.columns import Column, Label
from fromnoise.errors import DataError, shown

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Levels:
    r"""A column of few distinct values: one code each, and one for "missing".

    Attributes:
        label: Name of the column.
        levels: The distinct values, without a missing one.
        holes: Whether entries may be missing; their code is the last.

    Example:
        >>> import pandas as pd
        >>> from fromnoise.data.frames import column_of
        >>> column = column_of(pd.Series(["b", "a", None, "b"]), "x")
        >>> role = Levels.fit("x", column)
        >>> role.encode(column).tolist(), role.cardinality
        ([1, 0, 2, 1], 3)
    """

    label: Label
    levels: Column
    holes: bool

    has_value: ClassVar[bool] = False
    is_continuous: ClassVar[bool] = False

    @classmethod
    def fit(cls, label: Label, column: Column) -> Self:
        r"""Collect the distinct values of a column."""
        values = column.distinct()
        levels = Column(values, np.zeros(len(values), bool), column.kind, column.spec)
        return cls(label, levels, bool(column.gaps.any()))

    @property
    def cardinality(self) -> int:
        r"""Number of codes."""
        return len(self.levels) + self.holes

    @property
    def missing_code(self) -> int:
        r"""The code that says "missing", or -1."""
        return len(self.levels) if self.holes else -1

    def encode(self, column: Column) -> Array:
        r"""Return codes int64 ``(n,)``; -1 for what has none."""
        if self.levels.kind == "text":
            position = {text: code for code, text in enumerate(self.levels.values)}
            codes = np.array([position.get(text, -1) for text in column.values], np.int64)
        else:
            known = self.levels.values
            codes = np.searchsorted(known, column.values).astype(np.int64)
            codes = np.minimum(codes, len(known) - 1)
            codes[(known[codes] != column.values) if len(known) else slice(None)] = -1
        codes[column.gaps] = len(self.levels) if self.holes else -1
        return codes

    def decode(self, codes: Array) -> Column:
        r"""Invert ``encode``."""
        missing = codes >= len(self.levels)
        if not len(self.levels):
            blank = np.full(len(codes), "" if self.levels.kind == "text" else 0)
            values = blank.astype(self.levels.values.dtype)
            return Column(values, missing, self.levels.kind, self.levels.spec)
        values = self.levels.values[np.where(missing, 0, codes)]
        if self.levels.kind == "real":
            values = np.where(missing, np.nan, values)
        return Column(values, missing, self.levels.kind, self.levels.spec)

    def check(self, column: Column) -> None:
        r"""Refuse values that have no code."""
        unseen = column.values[(self.encode(column) < 0) & ~column.gaps]
        if len(unseen):
            known = ", ".join(shown(value) for value in self.levels.values[:10].tolist())
            raise DataError(
                f"Column {shown(self.label)} holds {shown(unseen[:1].tolist()[0])}, which was "
                f"not in fit. Known: {known}{', …' if len(self.levels) > 10 else ''}."
            )

    def to_state(self) -> dict[str, Any]:
        r"""Return a tree."""
        levels = self.levels.to_state()
        return {"role": "levels", "label": self.label, "levels": levels, "holes": self.holes}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        r"""Invert ``to_state``."""
        return cls(state["label"], Column.from_state(state["levels"]), bool(state["holes"]))
