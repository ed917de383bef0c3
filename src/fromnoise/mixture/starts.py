r"""Where expectation–maximisation begins: at the clusters of k-means, or of its seeding."""

__all__ = ["clustered", "regularisation"]

import warnings
from dataclasses import replace

import numpy as np
import torch
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from fromnoise.mixture.components import NUMBERS, Mixture
from fromnoise.mixture.em import Moments, maximisation
from fromnoise.mixture.rows import Block, Rows

_START_ROWS = 50_000  # of a class, drawn at random
_FLOOR = 1e-10  # least regularisation, as a share of a column's variance


def regularisation(rows: Rows, reg_covar: float) -> Tensor:
    r"""Return what is added to each variance in model space, ``(d,)``.

    ``reg_covar`` is in the units of the data, as in scikit-learn; where that is less than 1e-10
    of a column's variance, which rounding would swallow, it is 1e-10 of it.
    """
    if reg_covar == 0:
        return torch.zeros_like(rows.units)
    return torch.maximum(reg_covar / rows.units**2, _FLOOR * rows.variance)


def clustered(rows: Rows, count: int, how: str, reg: Tensor, rng: np.random.Generator) -> Mixture:
    r"""Return the mixture whose components are the clusters of k-means or of its seeding.

    The centres are those of up to 50,000 rows of a class; all rows go to the nearest.
    """
    centres = [_centres(rows, block, count, how, rng) for block in rows.sample(_START_ROWS, rng)]
    features, d = torch.from_numpy(np.concatenate(centres)), rows.width
    start = Mixture.empty(rows.kind, len(features), d)
    start = replace(start, means=features[:, :d].contiguous())
    moments = Moments.zero(start, rows.cardinalities)
    for block in rows.blocks(count, max(1, NUMBERS // max(count, d))):
        first = block.components.start
        nearest = torch.cdist(_features(rows, block), features[block.components]).argmin(1)
        weight = torch.ones(len(nearest)).double() if block.weight is None else block.weight
        for k in nearest.unique():
            mine, own = nearest == k, slice(first + int(k), first + int(k) + 1)
            r = weight[mine][None]
            moments.add(own, r, (block.values[mine] - start.means[own])[None])
            moments.count(own, r, block.codes[mine])
    return maximisation(start, moments, reg, rows.units)


def _features(rows: Rows, block: Block) -> Tensor:
    r"""Return values and one-hot codes, ``(n, d + sum of cardinalities)``."""
    one_hot = [
        torch.nn.functional.one_hot(block.codes[:, i], size).double()
        for i, size in enumerate(rows.cardinalities)
    ]
    return torch.cat([block.values, *one_hot], dim=1)


def _centres(
    rows: Rows, block: Block, count: int, how: str, rng: np.random.Generator
) -> np.ndarray:
    features, seed = _features(rows, block).numpy(), int(rng.integers(2**31))
    weight = None if block.weight is None else block.weight.numpy()
    if how == "k-means++":
        return kmeans_plusplus(features, count, sample_weight=weight, random_state=seed)[0]
    k_means = KMeans(count, n_init=1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters
        return k_means.fit(features, sample_weight=weight).cluster_centers_
