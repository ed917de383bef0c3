r"""Distributions in the plane that are drawn, not stored: as many fresh rows as one likes.

| name | what is hard about it |
|---|---|
| ``moons`` | two curved modes that interlock |
| ``8gaussians`` | modes on a ring, far apart: is one dropped? |
| ``25gaussians`` | many narrow modes on a grid |
| ``checkerboard`` | sharp edges, mass in separate squares |
| ``swissroll`` | one thin curve that winds |
| ``scurve`` | one thin curve with turning curvature |

All have two columns and a scale of a few units. A sampler is exact: rows are independent draws
from the distribution, so held-out data are one call with another seed.
"""

__all__ = ["NAMES", "sample"]

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fromnoise.errors import DataError, did_you_mean

Array = NDArray[Any]


def sample(name: str, n: int, seed: int) -> Array:
    r"""Draw ``n`` rows of a toy distribution.

    Args:
        name: One of ``NAMES``.
        n: Number of rows.
        seed: Seed of the draw; the same seed gives the same rows.

    Returns:
        Float64 array ``(n, 2)``.

    Raises:
        DataError: If there is no such distribution.

    Example:
        >>> sample("moons", 5, seed=0).shape
        (5, 2)
    """
    if name not in _SAMPLERS:
        raise DataError(f"No toy distribution {name!r}.{did_you_mean(name, NAMES)}")
    return _SAMPLERS[name](n, np.random.default_rng(seed))


def _moons(n: int, rng: np.random.Generator) -> Array:
    angle = rng.uniform(0, np.pi, n)
    arc = np.stack([np.cos(angle), np.sin(angle)], 1)
    # The lower moon is the upper one, turned by half a circle about (1/2, 1/4).
    lower = rng.random(n) < 0.5
    arc[lower] = [1.0, 0.5] - arc[lower]
    return arc + 0.05 * rng.standard_normal((n, 2))


def _eight_gaussians(n: int, rng: np.random.Generator) -> Array:
    angle = rng.integers(0, 8, n) * np.pi / 4
    centre = 2.0 * np.stack([np.cos(angle), np.sin(angle)], 1)
    return centre + 0.1 * rng.standard_normal((n, 2))


def _twenty_five_gaussians(n: int, rng: np.random.Generator) -> Array:
    centre = 2.0 * rng.integers(-2, 3, (n, 2)).astype(np.float64)
    return centre + 0.05 * rng.standard_normal((n, 2))


def _checkerboard(n: int, rng: np.random.Generator) -> Array:
    column = rng.integers(0, 4, n)
    row = 2 * rng.integers(0, 2, n) + column % 2
    corner = np.stack([column, row], 1).astype(np.float64)
    inside: Array = corner + rng.random((n, 2))
    return 2.0 * inside - 4.0


def _swissroll(n: int, rng: np.random.Generator) -> Array:
    angle = 1.5 * np.pi * (1 + 2 * rng.random(n))
    spiral: Array = angle[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1) / 5
    return spiral + 0.05 * rng.standard_normal((n, 2))


def _scurve(n: int, rng: np.random.Generator) -> Array:
    angle = 3 * np.pi * (rng.random(n) - 0.5)
    curve = np.stack([np.sin(angle), np.sign(angle) * (np.cos(angle) - 1)], 1)
    return curve + 0.05 * rng.standard_normal((n, 2))


_SAMPLERS: dict[str, Callable[[int, np.random.Generator], Array]] = {
    "moons": _moons,
    "8gaussians": _eight_gaussians,
    "25gaussians": _twenty_five_gaussians,
    "checkerboard": _checkerboard,
    "swissroll": _swissroll,
    "scurve": _scurve,
}
NAMES = tuple(_SAMPLERS)
