r"""Training rows of a mixture, sorted by class and by which values they have."""

__all__ = ["Rows", "checked_weight"]

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fromnoise.errors import DataError
from fromnoise.mixture.components import NUMBERS, Mixture, patterns_of


@dataclass(frozen=True)
class Rows:
    r"""Training rows, sorted by class and by which values they have."""

    values: Tensor  # (n, d)
    codes: Tensor  # (n, parts)
    weight: Tensor  # (n,)
    classes: Tensor  # (n,)
    observed: Tensor  # (n, d)
    kind: str
    units: Tensor  # (d,)
    cardinalities: tuple[int, ...]
    groups: tuple[range, ...] = ()  # rows of one class
    pieces: tuple[tuple[int, range, Tensor | None], ...] = ()  # (group, rows, observed or None)

    def sorted(self) -> "Rows":
        r"""Return the rows that have a weight, sorted, with their groups and pieces."""
        keep = torch.nonzero(self.weight > 0).squeeze(1)
        patterns, which = patterns_of(self.observed[keep].numpy())
        classes = self.classes[keep].numpy()
        order = np.lexsort((which, classes))
        groups = _runs(classes[order])
        pieces = [
            (g, range(group.start + run.start, group.start + run.stop))
            for g, group in enumerate(groups)
            for run in _runs(which[order][group.start : group.stop])
        ]
        seen = [torch.from_numpy(patterns[which[order[rows.start]]]) for _, rows in pieces]
        index = keep[order]
        return replace(
            self,
            values=self.values[index],
            codes=self.codes[index],
            weight=self.weight[index],
            classes=self.classes[index],
            observed=self.observed[index],
            groups=groups,
            pieces=tuple(
                (g, rows, None if bool(pattern.all()) else pattern)
                for (g, rows), pattern in zip(pieces, seen, strict=True)
            ),
        )

    def fits(self, mixture: Mixture, count: int) -> bool:
        r"""Return whether ``mixture`` has the columns and classes of these rows."""
        same = mixture.means.shape == (count * self.n_groups(), self.values.shape[1])
        cards = tuple(table.shape[1] for table in mixture.tables)
        return same and mixture.kind == self.kind and cards == self.cardinalities

    def n_groups(self) -> int:
        r"""Return the number of classes."""
        return len(self.groups)

    def slices(self) -> list[slice]:
        r"""Return the rows of each class."""
        return [slice(group.start, group.stop) for group in self.groups]

    def component_class(self, mixture: Mixture) -> np.ndarray:
        r"""Return the class of each component, ``(K,)``."""
        return np.repeat(np.arange(len(self.groups)), len(mixture.means) // len(self.groups))

    def blocks(
        self, count: int, size: int | None = None
    ) -> Iterator[tuple[slice, slice, Tensor | None]]:
        r"""Yield rows, their components, and what they have (None: everything)."""
        size = size or max(1, NUMBERS // (count * max(self.values.shape[1], 1)))
        for g, rows, pattern in self.pieces:
            for start in range(rows.start, rows.stop, size):
                block = slice(start, min(start + size, rows.stop))
                yield block, slice(g * count, (g + 1) * count), pattern


def _runs(keys: np.ndarray) -> tuple[range, ...]:
    r"""Return the runs of equal entries of a sorted array."""
    edges = [0, *(np.flatnonzero(np.diff(keys)) + 1).tolist(), len(keys)]
    return tuple(range(a, b) for a, b in pairwise(edges) if b > a)


def checked_weight(weight: Any, n: int) -> Tensor:
    r"""Return sample weights of mean 1, ``(n,)``; ones if None.

    Raises:
        DataError: If they are not n finite numbers of which one is positive and none negative.

    Example:
        >>> checked_weight([1.0, 3.0], 2)
        tensor([0.5000, 1.5000], dtype=torch.float64)
    """
    if weight is None:
        return torch.ones(n, dtype=torch.float64)
    value = torch.as_tensor(np.asarray(weight, dtype=np.float64))
    if value.shape != (n,) or not bool(torch.isfinite(value).all()) or bool((value < 0).any()):
        raise DataError(f"sample_weight must be {n} finite numbers that are not negative.")
    if float(value.sum()) == 0:
        raise DataError("sample_weight is zero for every row.")
    return value / value[value > 0].mean()
