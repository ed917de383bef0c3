r"""Curves: a monotone map from the values of a column to normal scores, learned from its rows.

A column goes to v = Φ⁻¹(F(x)), F being its distribution over the training rows. The curve is
linear between knots at quantiles, on a grid uniform in v and merged until enough rows lie between
neighbours; beyond the last knots it goes on with the last slope, so draws may leave the range of
the data. It is exact to invert, and log dv/dx is the log slope of a piece.
"""

__all__ = ["Curve"]

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from fromnoise.data.arrays import spread

Array = NDArray[Any]

KNOTS = 64
ROWS_PER_KNOT = 8  # fewer overfit the slopes of 100 rows, more blur the tails of 400


@dataclass(frozen=True, eq=False)
class Curve:
    r"""A monotone, piecewise linear map; its first and last pieces go on for ever.

    Attributes:
        x: Knots in data, increasing, ``(k,)`` with k >= 2.
        v: Knots in model space, increasing, ``(k,)``.

    Example:
        >>> curve = Curve(np.array([0.0, 1.0, 3.0]), np.array([-1.0, 0.0, 1.0]))
        >>> curve.forward(np.array([-1.0, 2.0, 5.0])).tolist()
        [-2.0, 0.5, 2.0]
    """

    x: Array
    v: Array

    @classmethod
    def fit(cls, x: Array) -> Self:
        r"""Map ``x`` to its normal scores; few rows, or few distinct ones, are standardised.

        Args:
            x: Finite numbers, ``(n,)``.

        Returns:
            The curve.
        """
        distinct, counts = np.unique(x, return_counts=True)
        rank = np.cumsum(counts) - counts / 2
        kept = _knots(rank, ndtri(rank / max(1, len(x)))) if len(x) else []
        if len(kept) > 2:
            return cls(distinct[kept], ndtri(rank[kept] / len(x)))
        mean, deviation = spread(x) if len(x) else (0.0, 1.0)
        # Where x never varies, any slope will do; less than a few ulps would be no interval.
        half = max(deviation or 1.0, 4 * float(np.spacing(abs(mean))))
        ends = mean + half * np.array([-1.0, 1.0])
        return cls(ends, np.array([-1.0, 1.0]))

    @cached_property
    def _sides(self) -> tuple[Array, Array]:
        return np.diff(self.x), np.diff(self.v)

    def forward(self, x: Array) -> Array:
        r"""Return v at ``x``."""
        piece, (width, height) = _piece(self.x, x), self._sides
        # The slope itself would overflow where knots are 1e-310 apart; the share does not.
        v: Array = self.v[piece] + (x - self.x[piece]) / width[piece] * height[piece]
        return v

    def inverse(self, v: Array) -> Array:
        r"""Return x at ``v``."""
        piece, (width, height) = _piece(self.v, v), self._sides
        x: Array = self.x[piece] + (v - self.v[piece]) / height[piece] * width[piece]
        return x

    def log_slope(self, v: Array) -> Array:
        r"""Return log dv/dx at ``v``."""
        width, height = self._sides
        logs: Array = (np.log(height) - np.log(width))[_piece(self.v, v)]
        return logs


def _piece(knots: Array, at: Array) -> Array:
    return np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)


def _knots(rank: Array, score: Array) -> list[int]:
    r"""Return positions near a uniform grid of scores, with enough rows between neighbours."""
    grid = np.linspace(score[0], score[-1], KNOTS + 1)
    near = np.unique(np.clip(np.searchsorted(score, grid), 0, len(score) - 1))
    kept = [int(near[0])]
    for position in near[1:]:
        if rank[position] - rank[kept[-1]] >= ROWS_PER_KNOT:
            kept.append(int(position))
    if kept[-1] != len(rank) - 1 and len(kept) > 1:
        kept[-1] = len(rank) - 1
    return kept
