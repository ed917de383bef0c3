r"""Numbers of the eigenvalues of second moments: two Gaussians' distance, one set's diversity.

With means μ and covariances S of the real and the fake rows (Fréchet 1957; Dowson & Landau 1982;
on features of images Heusel et al. 2017), the squared 2-Wasserstein distance of two Gaussians:

    frechet_distance = |μ₁ - μ₂|² + tr S₁ + tr S₂ - 2 Σ_i √λ_i,   λ_i of S₁^½ S₂ S₁^½, at least 0

No matrix root is taken: with any B for which B Bᵀ = S₁, Bᵀ S₂ B has the same eigenvalues.

With the cosines K_ij = x_i·x_j/|x_i||x_j| of n rows (Friedman & Dieng 2023):

    vendi = exp(-Σ_i λ_i ln λ_i),   λ_i of K/n, which sum to 1

the number of rows that, were they orthogonal, would be as diverse. With X the rows divided by
their lengths, K = X Xᵀ and Xᵀ X have the same eigenvalues but for zeros: the smaller is used.

Both depend on n in the mean: compare models at equal n only. The jackknife leaves out the groups
of rows by subtracting what they contribute to the moments.
"""

__all__ = ["frechet_distance", "vendi"]

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from fromnoise.metrics.pairs import checked, group_count, group_of
from fromnoise.metrics.result import Result, summarise

_Moments = tuple[np.ndarray, np.ndarray]  # mean (d,), covariance (d, d)


def frechet_distance(real: Any, fake: Any) -> Result:
    r"""Return the Fréchet distance of two Gaussians with the sets' means and covariances, squared.

    Args:
        real: Rows, (n, d).
        fake: Rows, (m, d).

    Returns:
        The distance in the squared units of the rows; lower is better, target 0, though at finite
        n it is positive in the mean for equal distributions, about d (d + 5)/2n for n = m rows of
        N(0, I) with d far below n. Sets of equal mean and covariance have distance 0, whatever
        else differs.

    Raises:
        DataError: If a set is not (n, d), finite, of at least 3 rows and of the same columns.

    Warns:
        UserWarning: If a set has no more rows than columns: most of the value is bias then.

    Example:
        >>> real = np.array([[0.0], [1.0], [2.0]])
        >>> frechet_distance(real, 3 * real + 10).value  # 12² + (1 - 3)²
        148.0
    """
    real, fake = checked({"real": real, "fake": fake})
    smaller, d = min(len(real), len(fake)), real.shape[1]
    if smaller <= d:
        warnings.warn(
            f"frechet_distance of {smaller} rows in {d} columns is mostly bias, and the bias "
            "differs between models. Use more rows, or fewer columns, for example PixelPCA.",
            UserWarning,
            stacklevel=2,
        )
    groups = group_count(real, fake)
    pairs = zip(_moments(real, groups), _moments(fake, groups), strict=True)
    values = np.array([_frechet(*pair) for pair in pairs])
    return summarise(values, n=smaller, better="lower", target=0.0, bounds=(0.0, np.inf))


def _moments(rows: np.ndarray, groups: int) -> Iterator[_Moments]:
    centre = rows.mean(axis=0)
    rows = rows - centre
    product, group = rows.T @ rows, group_of(len(rows), groups)
    yield centre, product / (len(rows) - 1)
    for left_out in range(groups):
        some = rows[group == left_out]
        n, total = len(rows) - len(some), -some.sum(axis=0)
        scatter = product - some.T @ some - np.outer(total, total) / n
        yield centre + total / n, scatter / (n - 1)


def _frechet(real: _Moments, fake: _Moments) -> float:
    root = _root(real[1])
    eigenvalues = np.linalg.eigvalsh(root.T @ fake[1] @ root)
    cross = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    shift = np.square(real[0] - fake[0]).sum()
    return float(shift + np.trace(real[1]) + np.trace(fake[1]) - 2 * cross)


def _root(covariance: np.ndarray) -> np.ndarray:
    try:  # eight times as fast
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:  # constant columns, or fewer rows than columns
        variances, axes = np.linalg.eigh(covariance)
        return np.asarray(axes * np.sqrt(np.maximum(variances, 0)))


def vendi(fake: Any) -> Result:
    r"""Return the Vendi score of rows by their cosine similarity: how many differ in direction.

    It needs no real rows, so noise scores highest: compare it with that of as many real rows.
    Rows of zeros have no direction; they are similar to each other and to no other row.

    Args:
        fake: Rows, (n, d), in features whose directions mean something: many of them, and centred.

    Returns:
        The score, 1 for rows of one direction; higher is better. The target is the largest score
        that n rows in d columns can have, the smaller of n and d.

    Raises:
        DataError: If the set is not (n, d), finite and of at least 3 rows.

    Example:
        >>> vendi(np.eye(7)).value, vendi(np.ones((7, 7))).value
        (7.0, 1.0)
    """
    (rows,) = checked({"fake": fake})
    rows = _unit(rows)
    groups, most = group_count(rows), float(min(rows.shape))
    values = np.array([_exp_entropy(gram) for gram in _grams(rows, groups)])
    return summarise(values, n=len(rows), better="higher", target=most, bounds=(1.0, most))


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-300)  # no overflow
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if (length == 0).any():  # their direction is a column of their own
        rows, length = np.hstack([rows, length == 0]), np.where(length == 0, 1.0, length)
    return np.asarray(rows / length)


def _grams(rows: np.ndarray, groups: int) -> Iterator[np.ndarray]:
    n, d = rows.shape
    group = group_of(n, groups)
    others = [group != left_out for left_out in range(groups)]
    gram = rows.T @ rows if d < n else rows @ rows.T
    yield gram
    for kept in others:
        yield gram - rows[~kept].T @ rows[~kept] if d < n else gram[kept][:, kept]


def _exp_entropy(gram: np.ndarray) -> float:
    # The trace is the number of rows.
    share = np.linalg.eigvalsh(gram) / np.trace(gram)
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))
