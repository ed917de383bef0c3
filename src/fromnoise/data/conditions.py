r"""What y is: classes, or continuous numbers, and how it is coded for a model p(x | y).

Integers, booleans, strings and categories are classes, coded 0 to K - 1 in sorted order. Floats
are continuous, one or several columns, and standardised. Labels decode to the container, dtype
and name in which they were given.
"""

__all__ = ["Condition"]

from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from fromnoise.data.arrays import restore, spread
from fromnoise.data.columns import Column
from fromnoise.data.frames import column_of, frame_of, is_frame, is_series, native
from fromnoise.errors import DataError, shown

Array = NDArray[Any]
MOST_CLASSES = 1000


@dataclass(frozen=True, eq=False)
class Condition:
    r"""The fitted coding of y.

    Attributes:
        kind: ``"classes"`` or ``"continuous"``.
        n_classes: Number of classes; 0 when continuous.
        width: Number of columns; 0 for classes.
        classes_: The labels, sorted, in their dtype; None when continuous.
        shift: Means, ``(width,)``.
        scale: Standard deviations, ``(width,)``.
        form: Container, dtype and names of y as given.

    Example:
        >>> condition = Condition.fit(np.array(["b", "a", "b"]), 3)
        >>> condition.check_encode("b", 2).tolist()
        [1, 1]
        >>> condition.decode(np.array([0, 1])).tolist()
        ['a', 'b']
    """

    kind: Literal["classes", "continuous"]
    n_classes: int = 0
    width: int = 0
    classes_: Array | None = None
    shift: Array = field(default_factory=lambda: np.zeros(0))
    scale: Array = field(default_factory=lambda: np.ones(0))
    form: dict[str, Any] = field(default_factory=lambda: {"container": "numpy"})

    @classmethod
    def fit(cls, y: Any, n_rows: int) -> Self:
        r"""Learn what ``y`` is.

        Args:
            y: One label or one or several floats a row: a list, array, tensor or Series, or a
                DataFrame of floats.
            n_rows: Number of rows that X has.

        Returns:
            The condition.

        Raises:
            DataError: If lengths differ, entries are missing or not finite, or there are more
                than 1,000 distinct labels.
        """
        values, form = _read(y)
        if values.ndim > 1 and values.shape[1] == 0:
            raise DataError("y has no column; leave it out for a model without labels.")
        if values.ndim == 0 or len(values) != n_rows:
            length = "a single value" if values.ndim == 0 else f"{len(values)} rows"
            raise DataError(f"y must have one entry for each of {n_rows} rows, got {length}.")
        if values.dtype.kind == "f":
            return cls._fit_continuous(values, form)
        labels = np.unique(_one_column(values))
        if len(labels) > MOST_CLASSES:
            raise DataError(
                f"y has {len(labels)} distinct labels, more than {MOST_CLASSES}: if they measure "
                "something, pass them as float."
            )
        return cls("classes", n_classes=len(labels), classes_=labels, form=form)

    @classmethod
    def _fit_continuous(cls, values: Array, form: dict[str, Any]) -> Self:
        table = values.reshape(len(values), -1).astype(np.float64)
        _refuse_holes(table, form)
        moments = np.array([spread(column) for column in table.T])
        scale = np.where(moments[:, 1] > 0, moments[:, 1], 1.0)
        form = form | {"one_axis": values.ndim == 1}
        return cls("continuous", width=table.shape[1], shift=moments[:, 0], scale=scale, form=form)

    def check_encode(self, y: Any, n: int) -> Array:
        r"""Code ``y`` for ``n`` rows.

        Args:
            y: A scalar (or one vector of ``width`` entries) for all rows, or one entry a row.
            n: Number of rows.

        Returns:
            Classes int64 ``(n,)``; continuous float64 ``(n, width)``, standardised.

        Raises:
            DataError: If the number of rows or columns is wrong, or a class was not in fit.
        """
        values, form = _read(y)
        if self.kind == "classes":
            return self._codes(_rows(_one_column(values), n))
        if values.dtype.kind not in "fiu":
            raise DataError(f"y is continuous: expected numbers, got {shown(y)}.")
        if values.size == 1 or (values.ndim == 1 and self.width > 1):
            values = values.reshape(1, -1)
        table = values.astype(np.float64).reshape(len(values), -1)
        if table.shape[1] != self.width:
            raise DataError(f"y has {table.shape[1]} columns, expected {self.width} as in fit.")
        _refuse_holes(table, form)
        table = _rows(table[0] if len(table) == 1 else table, n, self.width)
        return (table - self.shift) / self.scale

    def _codes(self, labels: Array) -> Array:
        known = self.classes_ if self.classes_ is not None else np.zeros(0)
        comparable = (labels.dtype.kind in "OUT") == (known.dtype.kind in "OUT")
        if comparable:
            codes = np.searchsorted(known, labels)
            codes = np.minimum(codes, self.n_classes - 1).astype(np.int64)
            unseen = labels[known[codes] != labels]
        else:
            codes, unseen = np.zeros(len(labels), np.int64), labels
        if len(unseen):
            listed = ", ".join(shown(label) for label in known[:10].tolist())
            more = ", …" if self.n_classes > 10 else ""
            raise DataError(
                f"y holds class {shown(unseen[:1].tolist()[0])}, which was not in fit. "
                f"Known: {listed}{more}."
            )
        return codes

    def decode(self, codes: Array) -> Any:
        r"""Return labels or numbers for coded ``y``, in the container and dtype given to fit."""
        if self.classes_ is not None:
            return _write(self.classes_[np.asarray(codes)], self.form)
        values = self.shift + self.scale * np.asarray(codes, np.float64)
        return _write(values[:, 0] if self.form["one_axis"] else values, self.form)

    def to_state(self) -> dict[str, Any]:
        r"""Return a tree of arrays, strings and numbers."""
        classes: Any = self.classes_
        if classes is not None and classes.dtype.kind in "OUT":
            classes = [str(label) for label in classes]
        return {
            "kind": self.kind,
            "width": self.width,
            "classes": classes,
            "shift": self.shift,
            "scale": self.scale,
            "form": self.form,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        r"""Invert ``to_state``."""
        classes, form = state["classes"], dict(state["form"])
        if isinstance(classes, list):
            classes = np.array(classes, np.dtype(form.get("dtype", object)))
        return cls(
            state["kind"],
            n_classes=0 if classes is None else len(classes),
            width=int(state["width"]),
            classes_=classes,
            shift=np.asarray(state["shift"], np.float64),
            scale=np.asarray(state["scale"], np.float64),
            form=form,
        )


def _read(y: Any) -> tuple[Array, dict[str, Any]]:
    if is_series(y):
        return _read_series(y)
    if is_frame(y):
        return _read_frame(y)
    container = "torch" if type(y).__module__.partition(".")[0] == "torch" else "numpy"
    values = np.asarray(y.detach().cpu() if container == "torch" else y)
    if values.dtype == object:
        values = _from_objects(values)
    if values.dtype.kind not in "biufOUT":
        raise DataError(f"y must be labels or real numbers, got dtype {values.dtype}.")
    return values, {"container": container, "dtype": values.dtype.str}


def _read_series(y: Any) -> tuple[Array, dict[str, Any]]:
    column = column_of(y, y.name)
    _refuse_missing(column, y.name or None)  # polars calls what has no name ""
    name = None if y.name is None else str(y.name)
    form = {"container": "series", "name": name, "kind": column.kind, "spec": column.spec}
    return column.values, form


def _read_frame(y: Any) -> tuple[Array, dict[str, Any]]:
    if len(y.columns) == 1:
        values, form = _read_series(y[y.columns[0]])
        return values, form | {"container": "frame"}
    columns = [column_of(y[label], label) for label in y.columns]
    for label, column in zip(y.columns, columns, strict=True):
        _refuse_missing(column, label)
        if column.kind != "real":
            raise DataError(
                f"Column {shown(label)} of y is not float: y is one column of labels, or one or "
                "several columns of floats."
            )
    form = {
        "container": "frame",
        "names": [str(label) for label in y.columns],
        "specs": [column.spec for column in columns],
    }
    return np.stack([column.values for column in columns], 1), form


def _write(values: Array, form: dict[str, Any]) -> Any:
    if form["container"] in ("numpy", "torch"):
        if values.dtype.kind in "OUT":
            return values
        return restore(values, np.dtype(form["dtype"]).name, form["container"])
    present = np.zeros(len(values), bool)
    if "specs" in form:
        columns = [
            Column(column, present, "real", spec)
            for column, spec in zip(values.T, form["specs"], strict=True)
        ]
        return frame_of(form["names"], columns)
    column = Column(values, present, form["kind"], form["spec"])
    if form["container"] == "frame":
        return frame_of([form["name"]], [column])
    return native(column, form["name"])


def _from_objects(values: Array) -> Array:
    kinds = {type(entry) for entry in values.flat}
    if all(issubclass(kind, str) for kind in kinds):
        return values
    if all(issubclass(kind, bool | np.bool_) for kind in kinds):
        return values.astype(bool)
    if all(issubclass(kind, int | np.integer) for kind in kinds):
        return values.astype(np.int64)
    if all(issubclass(kind, int | float | np.integer | np.floating) for kind in kinds):
        return values.astype(np.float64)
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise DataError(f"y mixes types ({names}): use all strings, all integers or all floats.")


def _one_column(values: Array) -> Array:
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0]
    if values.ndim > 1:
        raise DataError(
            f"y has shape {values.shape}: labels are one column; several columns must be float."
        )
    return values


def _rows(values: Array, n: int, width: int = 0) -> Array:
    if values.ndim == (1 if width else 0):
        return np.tile(values, (n, 1)) if width else np.repeat(values, n)
    if len(values) != n:
        raise DataError(f"y has {len(values)} rows, expected {n}, or one value for all rows.")
    return values


def _refuse_holes(table: Array, form: dict[str, Any]) -> None:
    bad: Array = ~np.isfinite(table)
    if bad.any():
        names = form.get("names") or [form.get("name")] * table.shape[1]
        column = int(np.flatnonzero(bad.any(axis=0))[0])
        _refuse_rows(np.asarray(bad.any(axis=1)), "NaN or inf", names[column])


def _refuse_missing(column: Column, name: Any) -> None:
    if column.missing.any():
        _refuse_rows(column.missing, "missing", name)


def _refuse_rows(bad: Array, what: str, name: Any) -> None:
    who = "y" if name is None else f"y, column {shown(name)},"
    rows = ", ".join(map(str, np.flatnonzero(bad)[:3]))
    raise DataError(f"{who} is {what} in {int(bad.sum())} rows (first {rows}).")
