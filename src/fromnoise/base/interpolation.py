r"""From one row to another by way of their codes.

Codes that are N(0, I) all have about the length √k, which a straight line between two of them
leaves: its middle is too short to be noise of any row. An arc keeps to it (Shoemake 1985).
"""

__all__ = ["Interpolation", "slerp"]

from typing import Any

import numpy as np

from fromnoise.base.arguments import is_whole
from fromnoise.base.capability import capability
from fromnoise.base.generative import GenerativeModel
from fromnoise.errors import DataError

_FLAT = 1e-3  # an angle at which the formula of the arc divides by zero


def slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    r"""Return points on the arc from ``a`` to ``b``, (sin((1 − t)θ) a + sin(tθ) b) / sin θ.

    Args:
        a: Where t is 0, ``(k,)``.
        b: Where t is 1, ``(k,)``.
        t: Where to stand, ``(n,)``.

    Returns:
        The points, ``(n, k)``. Their length goes from that of a to that of b; where a and b point
        the same way or in opposite ways there is no one arc, and the line is taken.

    Example:
        >>> slerp(np.array([2.0, 0.0]), np.array([0.0, 2.0]), np.array([0.5])).round(3).tolist()
        [[1.414, 1.414]]
    """
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    angle = np.arccos(np.clip(a @ b / lengths, -1, 1)) if lengths else 0.0
    t = t[:, None]
    if not _FLAT < angle < np.pi - _FLAT:
        return np.asarray((1 - t) * a + t * b)
    return np.asarray((np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle))


class Interpolation(GenerativeModel):
    r"""What families have whose codes are N(0, I)."""

    @capability
    def interpolate(self, a: Any, b: Any, n: int = 10, y: Any = None) -> Any:
        r"""Return the rows on the way from ``a`` to ``b``: the arc between their codes, decoded.

        Args:
            a: Where to start, rows like those of ``fit``; often one.
            b: Where to end, as many rows.
            n: Rows a pair, both ends included; at least 2.
            y: Labels for a conditional model, one for all or one a pair.

        Returns:
            Rows of the kind that ``fit`` was given, n a pair, pair after pair. The ends are what
            :meth:`decode` makes of the codes of a and b.

        Raises:
            DataError: If a and b do not have as many rows.

        Example:
            >>> from fromnoise import FlowMatching
            >>> X = np.random.default_rng(0).normal(size=(64, 2))
            >>> model = FlowMatching(budget="2 steps", network="small", random_state=0).fit(X)
            >>> way = model.interpolate(X[:1], X[1:2], 5)
            >>> way.shape, np.allclose(way[[0, -1]], X[:2], atol=1e-3)
            ((5, 2), True)
        """
        self._check_usable()
        if not is_whole(n) or n < 2:
            raise ValueError(f"n must be an int of at least 2, got {n!r}.")
        z_a, z_b = (np.asarray(self.encode(rows, y), np.float64) for rows in (a, b))
        if len(z_a) != len(z_b):
            raise DataError(
                f"a and b must have as many rows, got {len(z_a)} and {len(z_b)}: a way leads from"
                " each row of a to the row of b in its place."
            )
        t = np.linspace(0, 1, n)
        z = np.concatenate([slerp(*ends, t) for ends in zip(z_a, z_b, strict=True)])
        codes = self._needed(self._given(y, len(z_a)), len(z_a))
        codes = None if codes is None else np.repeat(codes, n, axis=0)
        return self.encoding_.decode(self._from_noise(z.astype(np.float32), codes))
