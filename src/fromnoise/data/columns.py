r"""A column of a table as plain values, whatever library and dtype it had.

Values are what NumPy holds exactly: integers of 64 bits, float64, booleans, strings; dates and
durations are counts of their unit. A mask says what is missing, and a description of strings,
numbers and lists says how the Series looked. So a column can be stored in files, compared and
counted without pandas or polars, and still return with its dtype; see `fromnoise.data.frames`.
"""

__all__ = ["Column", "Kind", "Label", "storage", "unsupported"]

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from fromnoise.errors import DataError, shown

Array = NDArray[Any]
Kind = Literal["integer", "real", "boolean", "text", "date", "duration"]
Label = str | int


@dataclass(frozen=True, eq=False)
class Column:
    r"""One column of a table as plain values, with what it takes to make it a Series again.

    Attributes:
        values: int64 or uint64, float64, bool, or objects that are all str, ``(n,)``; dates and
            durations are int64 counts of their unit. Fillers stand where entries are missing.
        missing: bool ``(n,)``.
        kind: What the values mean.
        spec: The library and dtype of the Series; strings, numbers and lists only.

    Example:
        >>> spec = {"library": "pandas", "dtype": "float64"}
        >>> column = Column(np.array([2.5, np.nan]), np.array([False, False]), "real", spec)
        >>> column.gaps.tolist(), column.distinct().tolist()
        ([False, True], [2.5])
    """

    values: Array
    missing: Array
    kind: Kind
    spec: dict[str, Any]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_category(self) -> bool:
        r"""Whether the dtype is one of categories."""
        return "levels" in self.spec or self.spec["dtype"] == "Categorical"

    @property
    def gaps(self) -> Array:
        r"""Where there is no value, bool ``(n,)``: entries that are missing or NaN."""
        return self.missing | np.isnan(self.values) if self.kind == "real" else self.missing

    def distinct(self) -> Array:
        r"""Return the values that occur, each once, sorted."""
        present = self.values[~self.gaps]
        if present.dtype.kind == "O":
            return np.array(sorted(set(present.tolist())), object)
        return np.unique(present)

    def to_state(self) -> dict[str, Any]:
        r"""Return a tree; text is stored as distinct strings and codes."""
        if self.kind != "text":
            stored: dict[str, Any] = {"values": self.values}
        else:
            codes = {text: code for code, text in enumerate(dict.fromkeys(self.values))}
            stored = {
                "strings": [str(text) for text in codes],
                "codes": np.array([codes[text] for text in self.values], np.int64),
            }
        return {"kind": self.kind, "missing": self.missing, "spec": self.spec, **stored}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        r"""Invert ``to_state``."""
        if state["kind"] == "text":
            values = np.array(state["strings"], object)[np.asarray(state["codes"], np.int64)]
        else:
            values = np.asarray(state["values"])
        return cls(values, np.asarray(state["missing"], bool), state["kind"], state["spec"])


def storage(spec: dict[str, Any]) -> np.dtype[Any]:
    r"""Return the NumPy dtype in which a dtype such as ``Int64`` keeps its numbers.

    Args:
        spec: Of a `Column` of integers, floats or booleans, or of dtype object.

    Returns:
        The dtype.

    Example:
        >>> storage({"library": "pandas", "dtype": "Int64"})
        dtype('int64')
    """
    name = spec["dtype"].lower().partition("[")[0]
    plain = {"object": "O", "boolean": "bool", "double": "float64", "float": "float32"}
    dtype: np.dtype[Any] = np.dtype(plain.get(name, name))
    return dtype


def unsupported(label: Any, dtype: Any) -> DataError:
    r"""Return the error for a dtype that has no meaning here.

    Args:
        label: Name of the column.
        dtype: Its dtype.

    Returns:
        The error, to be raised.

    Example:
        >>> raise unsupported("when", "period[M]")
        Traceback (most recent call last):
        fromnoise.errors.DataError: Column 'when' has dtype period[M], which is not supported: ...
    """
    return DataError(
        f"Column {shown(label)} has dtype {dtype}, which is not supported: convert it to "
        "numbers, strings, booleans, categories or datetimes, or drop it."
    )
