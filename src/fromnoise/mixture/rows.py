r"""Training rows of a mixture, by class and by which values they have.

A *cell* is a class and a pattern: which of its values a row has. Rows come chunk by chunk; within
a chunk, those of a class go together. Rows that are kept in memory are one chunk, sorted by cell.
"""

__all__ = ["Block", "Cell", "Chunks", "Rows", "checked_weight"]

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fromnoise.errors import DataError
from fromnoise.mixture.components import NUMBERS, Mixture, patterns_of

Chunks = Callable[[], Iterator[tuple[Tensor, Tensor]]]  # values (m, d), codes (m, parts)
_ALL = slice(None)


@dataclass(frozen=True)
class Cell:
    r"""Rows of one class that have the same values; ``observed`` is None where that is all."""

    group: int
    observed: Tensor | None = None


@dataclass(frozen=True)
class Block:
    r"""Some rows of one class; they last until the next ones are read.

    Args:
        values: ``(n, d)``.
        codes: ``(n, parts)``.
        weight: ``(n,)``, or None if all weigh 1.
        components: Those of their class.
    """

    values: Tensor
    codes: Tensor
    weight: Tensor | None
    components: slice


@dataclass(frozen=True)
class Batch:
    r"""Rows of P patterns of one class, m of each; what there are too few of weighs nothing.

    Args:
        values: ``(P, m, d)``.
        observed: ``(P, d)``.
        codes: ``(P m, parts)``.
        weight: ``(P m,)``.
        components: Those of their class.
    """

    values: Tensor
    observed: Tensor
    codes: Tensor
    weight: Tensor
    components: slice


@dataclass(frozen=True)
class Rows:
    r"""Training rows; those that weigh nothing are left out.

    Args:
        chunks: Reads all rows, from the first to the last.
        weight: ``(n,)``, or None if all weigh 1.
        cell: Cell of each row, or -1 if it is left out, ``(n,)``; None if there is one cell.
        cells: The cells.
        sizes: Number of rows of each class.
        kind: Type of covariance.
        units: Units of the data that one unit of each column stands for, ``(d,)``.
        variance: Variances of the columns, ``(d,)``.
        cardinalities: Number of codes of each categorical part.
    """

    chunks: Chunks
    weight: Tensor | None
    cell: np.ndarray | None
    cells: tuple[Cell, ...]
    sizes: tuple[int, ...]
    kind: str
    units: Tensor
    variance: Tensor
    cardinalities: tuple[int, ...]

    @classmethod
    def read(
        cls, chunks: Chunks, n: int, classes: np.ndarray | None, weight: Tensor | None, **more: Any
    ) -> "Rows":
        r"""Return rows that have all their values, to be read whenever they are wanted."""
        if classes is None and (weight is None or bool((weight > 0).all())):
            return cls(chunks, weight, None, (Cell(0),), (n,), **more)
        cell = np.zeros(n, np.int64) if classes is None else classes.copy()
        cells = tuple(Cell(group) for group in range(int(cell.max()) + 1))
        if weight is not None:
            cell[weight.numpy() == 0] = -1
        sizes = np.bincount(cell[cell >= 0], minlength=len(cells))
        return cls(chunks, weight, cell, cells, tuple(sizes.tolist()), **more)

    @classmethod
    def keep(
        cls,
        values: Tensor,
        codes: Tensor,
        observed: np.ndarray,
        classes: np.ndarray | None,
        weight: Tensor | None,
        **more: Any,
    ) -> "Rows":
        r"""Return rows that are kept in memory, sorted by cell."""
        n = len(values)
        classes = np.zeros(n, np.int64) if classes is None else classes
        keep = np.arange(n) if weight is None else np.flatnonzero(weight.numpy() > 0)
        patterns, which = patterns_of(observed[keep])
        key = classes[keep] * len(patterns) + which
        order = np.argsort(key, kind="stable")
        found, cell = np.unique(key[order], return_inverse=True)
        cells = tuple(
            Cell(int(group), None if patterns[p].all() else torch.from_numpy(patterns[p]))
            for group, p in zip(*np.divmod(found, len(patterns)), strict=True)
        )
        sizes = np.bincount(classes[keep], minlength=int(classes.max()) + 1)
        index = torch.from_numpy(keep[order])
        held, heavy = (values[index], codes[index]), None if weight is None else weight[index]
        return cls(lambda: iter([held]), heavy, cell, cells, tuple(sizes.tolist()), **more)

    @property
    def count(self) -> int:
        r"""Number of rows."""
        return sum(self.sizes)

    @property
    def width(self) -> int:
        r"""Number of columns, d."""
        return len(self.units)

    @property
    def total(self) -> float:
        r"""Sum of the weights."""
        return float(self.count if self.weight is None else self.weight.sum())

    def fits(self, mixture: Mixture, count: int) -> bool:
        r"""Return whether ``mixture`` has the columns and classes of these rows."""
        same = mixture.means.shape == (count * self.n_groups(), self.width)
        cards = tuple(table.shape[1] for table in mixture.tables)
        return same and mixture.kind == self.kind and cards == self.cardinalities

    def n_groups(self) -> int:
        r"""Return the number of classes."""
        return len(self.sizes)

    def component_class(self, mixture: Mixture) -> np.ndarray:
        r"""Return the class of each component, ``(K,)``."""
        return np.repeat(np.arange(self.n_groups()), len(mixture.means) // self.n_groups())

    def blocks(self, count: int, size: int, *, gaps: bool = True) -> Iterator[Block]:
        r"""Yield up to ``size`` rows of a class at a time, with ``gaps`` or only those without."""
        start = 0
        for values, codes in self.chunks():
            stop = start + len(values)
            weight = None if self.weight is None else self.weight[start:stop]
            for group, mine in self._runs(start, stop, self._groups(gaps)):
                own, parts = values[mine], codes[mine]
                heavy = None if weight is None else weight[mine]
                components = slice(group * count, (group + 1) * count)
                for first in range(0, len(own), size):
                    some = slice(first, first + size)
                    of = None if heavy is None else heavy[some]
                    yield Block(own[some], parts[some], of, components)
            start = stop

    def batches(self, count: int) -> Iterator[Batch]:
        r"""Yield the rows that lack values, patterns of about as many rows together."""
        if all(cell.observed is None for cell in self.cells):
            return
        values, codes = next(self.chunks())
        of = torch.ones(len(values), dtype=torch.float64) if self.weight is None else self.weight
        for pieces in self._pieces(count):
            group, length, start, number = torch.tensor(pieces).T[:, :, None]
            place = torch.arange(int(length.max()))
            index = start + place.minimum(length - 1)  # (P, m)
            weight = of[index].where(place < length, 0.0)
            observed = torch.stack([self._observed(int(i)) for i in number])
            first = int(group[0]) * count
            components = slice(first, first + count)
            yield Batch(
                values[index], observed, codes[index.flatten()], weight.flatten(), components
            )

    def _pieces(self, count: int) -> Iterator[list[tuple[int, int, int, int]]]:
        r"""Yield batches of (class, number of rows, the first one, cell) that lack values."""
        batch: list[tuple[int, int, int, int]] = []
        for piece in sorted(self._gaps(max(1, NUMBERS // (count * self.width)))):
            size = count * self.width * (len(batch) + 1) * (piece[1] + self.width)
            if batch and (
                size > NUMBERS or piece[1] > 2 * batch[0][1] + 8 or piece[0] != batch[0][0]
            ):
                yield batch
                batch = []
            batch.append(piece)
        if batch:
            yield batch

    def _gaps(self, most: int) -> Iterator[tuple[int, int, int, int]]:
        for number, run in enumerate(runs(np.asarray(self.cell))):  # one each, as they are sorted
            cell = self.cells[number]
            for start in range(run.start, run.stop, most) if cell.observed is not None else ():
                yield cell.group, min(most, run.stop - start), start, number

    def _observed(self, number: int) -> Tensor:
        r"""Return what the rows of a cell have, bool ``(d,)``."""
        seen = self.cells[number].observed
        return torch.ones(self.width, dtype=torch.bool) if seen is None else seen

    def sample(self, most: int, rng: np.random.Generator) -> list[Block]:
        r"""Return up to ``most`` rows of each class, drawn without replacement, in order."""
        chosen = [self._chosen(group, most, rng) for group in range(self.n_groups())]
        index = np.unique(np.concatenate(chosen))
        start, parts = 0, []
        for values, codes in self.chunks():
            low, high = np.searchsorted(index, [start, start + len(values)])
            mine = torch.from_numpy(index[low:high] - start)
            parts.append((values[mine], codes[mine]))
            start += len(values)
        values, codes = (torch.cat(part) for part in zip(*parts, strict=True))
        blocks = []
        for group, rows in enumerate(chosen):
            mine = torch.from_numpy(np.searchsorted(index, rows))
            weight = None if self.weight is None else self.weight[torch.from_numpy(rows)]
            blocks.append(Block(values[mine], codes[mine], weight, slice(group, group + 1)))
        return blocks

    def _chosen(self, group: int, most: int, rng: np.random.Generator) -> np.ndarray:
        size = self.sizes[group]
        if size > most:
            few = np.sort(rng.choice(size, most, replace=False, shuffle=False))
        else:
            few = np.arange(size)
        if self.cell is None:
            return few
        return np.flatnonzero(self._groups()[self.cell] == group)[few]

    def _groups(self, gaps: bool = True) -> np.ndarray:
        r"""Return the class of each cell, or -1 if it is left out, and -1 for what has none."""
        groups = [cell.group if gaps or cell.observed is None else -1 for cell in self.cells]
        return np.array([*groups, -1])

    def _runs(self, start: int, stop: int, groups: np.ndarray) -> Iterator[tuple[int, Any]]:
        r"""Yield classes and which rows of a chunk are theirs."""
        if self.cell is None:
            yield 0, _ALL
            return
        cell = self.cell[start:stop]
        group, together = groups[cell], bool((cell[1:] >= cell[:-1]).all())
        order = np.arange(len(cell)) if together else np.argsort(group, kind="stable")
        for run in runs(group[order]):
            if (number := int(group[order[run.start]])) >= 0:
                rows = slice(run.start, run.stop)
                yield number, rows if together else torch.from_numpy(order[rows])


def runs(keys: np.ndarray) -> tuple[range, ...]:
    r"""Return the runs of equal entries of a sorted array.

    Example:
        >>> runs(np.array([4, 4, 7]))
        (range(0, 2), range(2, 3))
    """
    edges = [0, *(np.flatnonzero(np.diff(keys)) + 1).tolist(), len(keys)]
    return tuple(range(a, b) for a, b in pairwise(edges) if b > a)


def checked_weight(weight: Any, n: int) -> Tensor | None:
    r"""Return sample weights of mean 1, ``(n,)``; None if None.

    Raises:
        DataError: If they are not n finite numbers of which one is positive and none negative, or
            their sum is not finite.

    Example:
        >>> checked_weight([1.0, 3.0], 2)
        tensor([0.5000, 1.5000], dtype=torch.float64)
    """
    if weight is None:
        return None
    try:
        value = torch.from_numpy(np.array(weight, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise DataError(f"sample_weight must be {n} numbers: {error}") from error
    if value.shape != (n,) or not bool(torch.isfinite(value).all()) or bool((value < 0).any()):
        raise DataError(f"sample_weight must be {n} finite numbers that are not negative.")
    total = float(value.sum())
    if total == 0:
        raise DataError("sample_weight is zero for every row.")
    if not math.isfinite(total):
        raise DataError(
            "The sum of sample_weight is not finite; divide all weights by the largest: only their"
            " ratios matter."
        )
    return value / value[value > 0].mean()
