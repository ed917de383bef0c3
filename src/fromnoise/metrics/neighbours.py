r"""What lies in the balls around real rows that reach to their k-th real neighbours?

With r_i the distance of real row x_i to its k-th nearest other real row, and y_j the fakes,

    coverage = 1/n Σ_i 1{ some |y_j - x_i| ≤ r_i }           is every real row met by a fake?
    density  = 1/(k m) Σ_i Σ_j 1{ |y_j - x_i| ≤ r_i }        how many real rows is a fake near to?

A fake of the real rows' distribution is as likely the k-th nearest of x_i, or nearer, as any of
the n - 1 other rows, so P(|y_j - x_i| ≤ r_i) = k/n and density is 1 in the mean at any n and m,
if ties have probability 0. A fake among real rows is in about k balls whichever rows those are, so
density does not see a lost mode, which coverage does. In many columns, rows near the centre are
in far more balls, and density far above 1 says that the fakes are too close to it.
Naeem et al. (2020), "Reliable fidelity and diversity metrics for generative models".
"""

__all__ = ["coverage", "density"]

from typing import Any

import numpy as np

from fromnoise.errors import DataError
from fromnoise.metrics.pairs import checked, count_within, group_of, kth, nearest_by_group
from fromnoise.metrics.result import (
    Result,
    from_halves,
    half_count,
    half_masks,
    halved,
    share_interval,
    summarise,
)


def coverage(real: Any, fake: Any, *, k: int = 5) -> Result:
    r"""Return the share of real rows that have a fake no farther than their k-th real neighbour.

    Args:
        real: Rows, (n, d).
        fake: Rows, (m, d).
        k: Number of neighbours.

    Returns:
        The share; higher is better. The target is its mean when both sets have one continuous
        distribution, 1 - Π_{i<k} (n - 1 - i)/(n - 1 + m - i), about 1 - 1/2^k for n = m.

    Raises:
        DataError: If a set is not (n, d), finite, of at least 2 k + 2 rows and of the same
            columns; if k is below 1.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> real, fake = rng.normal(0, 1, (200, 2)), rng.normal(0, 0.2, (200, 2))
        >>> round(coverage(real, fake).value, 2) < 0.5
        True
    """
    real, fake, groups = _checked_neighbours(real, fake, k)
    n, m = len(real), len(fake)
    to_real = nearest_by_group(real, real, k, groups, same=True)
    to_fake = nearest_by_group(real, fake, 1, groups)
    group = group_of(n, groups)

    def share(kept: np.ndarray) -> float:
        rows = kept[group]
        return float((kth(to_fake[rows], 1, kept) <= kth(to_real[rows], k, kept)).mean())

    shares = halved(share, groups)
    order = np.arange(k)
    target = 1 - float(np.prod((n - 1 - order) / (n - 1 + m - order)))
    interval = share_interval(shares, n)
    return summarise(shares, n=min(n, m), better="higher", target=target, interval=interval)


def density(real: Any, fake: Any, *, k: int = 5) -> Result:
    r"""Return how many balls of real rows a fake is in, over the number k that is expected.

    Args:
        real: Rows, (n, d).
        fake: Rows, (m, d).
        k: Number of neighbours, to which a ball reaches.

    Returns:
        The number, 0 when no fake is near to any real row; nearer to the target 1 is better.

    Raises:
        DataError: If a set is not (n, d), finite, of at least 2 k + 2 rows and of the same
            columns; if k is below 1.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> real, wide = rng.normal(0, 1, (200, 2)), rng.normal(0, 3, (200, 2))
        >>> density(real, wide).value < 0.5
        True
    """
    real, fake, groups = _checked_neighbours(real, fake, k)
    to_real = nearest_by_group(real, real, k, groups, same=True)
    masks = half_masks(groups)
    radii = np.column_stack([kth(to_real, k, kept) for kept in masks])
    of_real, of_fake = (masks[:, group_of(len(rows), groups)].T for rows in (real, fake))
    # A radius of -1 is a ball that holds nothing.
    within = count_within(real, fake, np.where(of_real, radii, -1.0), of_fake)
    values = from_halves(within / (k * of_fake.sum(axis=0)))
    smaller = min(len(real), len(fake))
    return summarise(values, n=smaller, better="target", target=1.0, bounds=(0.0, np.inf))


def _checked_neighbours(real: Any, fake: Any, k: int) -> tuple[np.ndarray, np.ndarray, int]:
    if k < 1:
        raise DataError(f"expected k of at least 1, got {k}; 5 is usual")
    real, fake = checked({"real": real, "fake": fake}, minimum=2 * k + 2)
    return real, fake, half_count(real, fake)
