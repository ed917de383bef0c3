r"""Expectation–maximisation (Dempster, Laird & Rubin 1977), block by block.

    E       r_nk = π_k N(x_n; μ_k, Σ_k) / Σ_j π_j N(x_n; μ_j, Σ_j)
    M       N_k = Σ_n r_nk,  μ_k = Σ_n r_nk x_n / N_k,
            Σ_k = Σ_n r_nk (x_n − μ_k)(x_n − μ_k)ᵀ / N_k + ε I

Values that a row does not have are integrated out: the moments take their conditional mean and
covariance (Ghahramani & Jordan 1994).
"""

__all__ = ["Limit", "Moments", "Run", "expectation_maximisation", "maximisation"]

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from fromnoise.mixture.components import Mixture, cholesky
from fromnoise.mixture.products import Products, symmetric
from fromnoise.mixture.rows import Rows
from fromnoise.persistence import Tree
from fromnoise.training import Budget, Clock, Interrupts


@dataclass
class Run:
    r"""One start, as far as it got."""

    mixture: Mixture
    bound: float = -math.inf
    converged: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)

    def bic(self, rows: Rows) -> float:
        r"""Return the Bayesian information criterion."""
        n = len(rows.values)
        return -2 * n * self.bound + self.mixture.n_parameters(rows.n_groups()) * math.log(n)

    def to_tree(self) -> Tree:
        r"""Return the start as a tree."""
        bound = np.array(self.bound)  # infinite before the first iteration
        told = {"bound": bound, "converged": self.converged, "history": self.history}
        return {"mixture": self.mixture.to_tree(), **told}

    @classmethod
    def from_tree(cls, tree: Tree) -> Self:
        r"""Return the start that :meth:`to_tree` was asked of."""
        told = {**tree, "mixture": Mixture.from_tree(tree["mixture"])}
        return cls(**{**told, "bound": float(tree["bound"])})


class Limit:
    r"""When EM has to end: at a deadline, after some iterations, or at a signal."""

    def __init__(self, budget: Budget | None, interrupts: Interrupts) -> None:
        self.iterations, self.interrupts = 0, interrupts
        seconds = budget is not None and budget.unit == "seconds"
        self.most = math.inf if budget is None or seconds else budget.amount
        self.deadline = budget.amount if budget is not None and seconds else math.inf
        self.clock = Clock(budget or Budget(1, "steps"), 1)

    def resume(self, iterations: int, elapsed: float) -> None:
        r"""Go on after the iterations and seconds of a fit that stopped."""
        self.iterations = iterations
        self.clock.resume(elapsed, first=0.0)

    def over(self) -> bool:
        r"""Return whether no further iteration is to begin."""
        return self.iterations >= self.most or self.now()

    def now(self) -> bool:
        r"""Return whether even the iteration under way has to be given up."""
        return self.interrupts.received is not None or self.clock.elapsed() >= self.deadline

    def check(self) -> None:
        r"""Raise if the iteration under way has to be given up."""
        if self.now():
            raise _OutOfTime


class _OutOfTime(Exception):
    r"""The budget ended within an iteration."""


@dataclass
class Moments:
    r"""Σ r, Σ r (x − μ), Σ r (x − μ)(x − μ)ᵀ and counts, about the means before the step."""

    mass: Tensor
    first: Tensor
    second: Tensor
    counts: list[Tensor]

    @classmethod
    def zero(cls, mixture: Mixture, cardinalities: tuple[int, ...]) -> "Moments":
        r"""Return moments of no rows."""
        k, d = mixture.means.shape
        shape = (k, d) if mixture.kind in ("diag", "spherical") else (k, d, d)
        zeros = [torch.zeros(k, c, dtype=torch.float64) for c in cardinalities]
        empty = torch.zeros(k, dtype=torch.float64)
        return cls(empty, torch.zeros_like(mixture.means), empty.new_zeros(shape), zeros)

    def spread(self, components: slice, r: Tensor, covariance: Tensor) -> None:
        r"""Add Σ r times the covariance of what the rows do not have."""
        mass = r.sum(1).reshape(-1, *[1] * (covariance.ndim - 1))
        self.second[components] += mass * covariance

    def count(self, components: slice, r: Tensor, codes: Tensor) -> None:
        r"""Add the categories of rows."""
        for i, count in enumerate(self.counts):
            count[components] = count[components].index_add(1, codes[:, i], r)

    def add(self, components: slice | Tensor, r: Tensor, difference: Tensor) -> None:
        r"""Add rows with responsibilities r ``(K, n)`` and differences ``(K, n, d)``."""
        weighted = difference * r[:, :, None]
        self.mass[components] += r.sum(1)
        self.first[components] += weighted.sum(1)
        if self.second.ndim == 2:
            self.second[components] += (weighted * difference).sum(1)
        else:
            self.second[components] += weighted.mT @ difference

    def add_products(self, mass: Tensor, first: Tensor, second: Tensor, means: Tensor) -> None:
        r"""Add Σ r, Σ r x ``(K, d)`` and Σ r x_i x_j ``(K, F)`` of rows, moved to the means."""
        self.mass += mass
        self.first += first - mass[:, None] * means
        if self.second.ndim == 2:
            self.second += second - 2 * means * first + mass[:, None] * means**2
        else:
            cross = means[:, :, None] * first[:, None]
            own = mass[:, None, None] * means[:, :, None] * means[:, None]
            self.second += symmetric(second, means.shape[1]) - cross - cross.mT + own


def expectation_maximisation(
    rows: Rows,
    run: Run,
    reg: Tensor,
    tol: float,
    max_iter: int,
    limit: Limit,
    tell: Callable[[], None] = lambda: None,
) -> None:
    r"""Iterate a start, or what is left of it, up to its last complete iteration.

    Args:
        rows: Training rows.
        run: The start; it is moved.
        reg: What is added to each variance, ``(d,)``.
        tol: The iteration ends when the mean log-likelihood gains less.
        max_iter: Most iterations.
        limit: The budget.
        tell: Called after each iteration.
    """
    total = float(rows.weight.sum())
    while len(run.history) < max_iter and not run.converged and not limit.over():
        try:
            moments, log_p = _expectation(rows, run.mixture, limit)
        except _OutOfTime:
            break
        run.mixture = maximisation(run.mixture, moments, reg, rows.units)
        limit.iterations += 1
        gain, run.bound = log_p / total - run.bound, log_p / total
        run.history.append(
            {"step": limit.iterations, "seconds": limit.clock.elapsed(), "loss": -run.bound}
        )
        run.converged = abs(gain) < tol
        tell()


def _expectation(rows: Rows, mixture: Mixture, limit: Limit) -> tuple[Moments, float]:
    r"""Return the moments under the responsibilities, and Σ log p(x)."""
    moments, log_p = Moments.zero(mixture, rows.cardinalities), 0.0
    products = Products.of(mixture) if mixture.means.shape[1] else None
    if products is not None:
        log_p += _by_products(rows, mixture, products, moments, limit)
    count = len(mixture.means) // rows.n_groups()
    for block, components, pattern in rows.blocks(count):
        if pattern is None and products is not None:
            continue
        limit.check()
        part, codes, weight = mixture.part(components), rows.codes[block], rows.weight[block]
        difference = rows.values[block] - part.means[:, None]  # (K, n, d)
        if pattern is None:
            density, spread = part.log_prob(difference, codes), None
        else:
            density, difference, spread = _completed(part, difference, codes, pattern)
        r, total = _responsibilities(density + part.log_weights[:, None], weight)
        log_p += total
        moments.add(components, r, difference)
        moments.count(components, r, codes)
        if spread is not None:
            moments.spread(components, r, spread)
    return moments, log_p


def _by_products(
    rows: Rows, mixture: Mixture, products: Products, moments: Moments, limit: Limit
) -> float:
    r"""Add the moments of rows that have all their values; return their Σ log p(x)."""
    log_p, count = 0.0, len(mixture.means) // rows.n_groups()
    mass, first = torch.zeros_like(moments.mass), torch.zeros_like(moments.first)
    second, without_tables = torch.zeros_like(products.square), replace(mixture, tables=())
    for block, components, pattern in rows.blocks(count, products.rows):
        if pattern is not None:
            continue
        limit.check()
        part, codes = products.part(components), rows.codes[block]
        columns, pairs = part.expand(rows.values[block])
        joint = part.log_joint(columns, pairs)
        narrow = part.narrow.nonzero().squeeze(1)
        few = without_tables.part(narrow + components.start)
        difference = rows.values[block] - few.means[:, None]  # (narrow, n, d)
        joint[narrow] = few.log_prob(difference, codes) + few.log_weights[:, None]
        for i, table in enumerate(mixture.tables):
            joint += table[components][:, codes[:, i]]
        r, total = _responsibilities(joint, rows.weight[block])
        log_p += total
        moments.count(components, r, codes)
        moments.add(narrow + components.start, r[narrow], difference)
        r[narrow] = 0
        mass[components] += r.sum(1)
        first[components].addmm_(r, columns.T)
        second[components].addmm_(r, pairs.T)
    moments.add_products(mass, first, second, mixture.means)
    return log_p


def _responsibilities(joint: Tensor, weight: Tensor) -> tuple[Tensor, float]:
    r"""Return r ``(K, n)`` times the rows' weights, and Σ log p(x); ``joint`` is used up."""
    norm = joint.logsumexp(0)
    return joint.sub_(norm).exp_().mul_(weight), float(norm @ weight)


def _completed(
    part: Mixture, difference: Tensor, codes: Tensor, pattern: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return log p_k of what rows have, x − μ_k with the rest at its mean, and its covariance."""
    seen, gone = pattern.nonzero().squeeze(1), (~pattern).nonzero().squeeze(1)
    marginal, own = part.columns(seen), difference[:, :, seen]
    density, full = marginal.log_prob(own, codes), torch.zeros_like(difference)
    full[:, :, seen] = own
    if part.is_diagonal:
        variance = torch.zeros_like(part.means)
        variance[:, gone] = part.scale[:, gone] ** 2
        return density, full, variance
    square = (part.scale @ part.scale.mT).expand(len(part.means), -1, -1)
    cross = square[:, gone][:, :, seen]
    factor = marginal.scale.expand(len(part.means), -1, -1)
    gain = torch.cholesky_solve(cross.mT, factor).mT  # Σ_go Σ_oo⁻¹, (K, gone, seen)
    full[:, :, gone] = own @ gain.mT
    rest = torch.zeros_like(square)
    rest[:, gone[:, None], gone] = square[:, gone][:, :, gone] - gain @ cross.mT
    return density, full, rest


def maximisation(mixture: Mixture, moments: Moments, reg: Tensor, units: Tensor) -> Mixture:
    r"""Return the M step: weights, means, covariances and tables from the moments."""
    mass = moments.mass + 10 * torch.finfo(torch.float64).eps
    shift = moments.first / mass[:, None]
    if moments.second.ndim == 2:
        scale = _deviations(moments.second / mass[:, None] - shift**2, mixture.kind, reg, units)
    else:
        outer = mass[:, None, None] * shift[:, :, None] * shift[:, None, :]
        scatter = moments.second - outer
        if mixture.kind == "tied":
            square = scatter.sum(0, keepdim=True) / mass.sum()
        else:
            square = scatter / mass[:, None, None]
        scale = cholesky(square + torch.diag(reg))
    return replace(
        mixture,
        log_weights=(mass / mass.sum()).log(),
        means=mixture.means + shift,
        scale=scale,
        # One pseudo-count, spread over the categories: no category gets probability zero.
        tables=tuple(
            ((c + 1 / c.shape[1]) / (c.sum(1, keepdim=True) + 1)).log() for c in moments.counts
        ),
    )


def _deviations(variance: Tensor, kind: str, reg: Tensor, units: Tensor) -> Tensor:
    variance = variance.clamp_min(0) + reg
    if kind == "spherical":
        variance = (variance * units**2).mean(1, keepdim=True) / units**2
    return variance.sqrt()
