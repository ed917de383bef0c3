r"""Where expectation–maximisation begins: at the clusters of k-means, or of its seeding."""

__all__ = ["clustered", "regularisation"]

import warnings
from dataclasses import replace

import numpy as np
import torch
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from fromnoise.mixture.components import Mixture
from fromnoise.mixture.em import Moments, maximisation
from fromnoise.mixture.rows import Rows

_START_ROWS = 50_000
_FLOOR = 1e-10  # least regularisation, as a share of a column's variance


def regularisation(rows: Rows, reg_covar: float) -> Tensor:
    r"""Return what is added to each variance in model space, ``(d,)``.

    ``reg_covar`` is in the units of the data, as in scikit-learn; where that is less than 1e-10
    of a column's variance, which rounding would swallow, it is 1e-10 of it.
    """
    if reg_covar == 0 or not len(rows.units):
        return torch.zeros_like(rows.units)
    floor = _FLOOR * rows.values.var(0, correction=0)
    return torch.maximum(reg_covar / rows.units**2, floor)


def clustered(rows: Rows, count: int, how: str, reg: Tensor, rng: np.random.Generator) -> Mixture:
    r"""Return the mixture whose components are the clusters of k-means or of its seeding."""
    one_hot = [
        torch.nn.functional.one_hot(rows.codes[:, i], c).double()
        for i, c in enumerate(rows.cardinalities)
    ]
    features = torch.cat([rows.values, *one_hot], dim=1).numpy()
    weight = rows.weight.numpy()
    centres = [_centres(features[g], weight[g], count, how, rng) for g in rows.slices()]
    means = torch.from_numpy(np.concatenate(centres))
    d = rows.values.shape[1]
    start = replace(Mixture.empty(rows.kind, len(means), d), means=means[:, :d].contiguous())
    moments = Moments.zero(start, rows.cardinalities)
    for block, components, _ in rows.blocks(count):
        nearest = torch.cdist(torch.from_numpy(features[block]), means[components]).argmin(1)
        r = torch.nn.functional.one_hot(nearest, count).T.double() * rows.weight[block]
        difference = rows.values[block] - start.means[components, None]
        moments.add(components, r, difference)
        moments.count(components, r, rows.codes[block])
    return maximisation(start, moments, reg, rows.units)


def _centres(
    features: np.ndarray, weight: np.ndarray, count: int, how: str, rng: np.random.Generator
) -> np.ndarray:
    if len(features) > _START_ROWS:
        chosen = np.sort(rng.choice(len(features), _START_ROWS, replace=False))
        features, weight = features[chosen], weight[chosen]
    seed = int(rng.integers(2**31))
    if how == "k-means++":
        return kmeans_plusplus(features, count, sample_weight=weight, random_state=seed)[0]
    k_means = KMeans(count, n_init=1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters
        return k_means.fit(features, sample_weight=weight).cluster_centers_
