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
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from fromnoise.errors import DataError
from fromnoise.mixture.components import NUMBERS, Mixture, cholesky
from fromnoise.mixture.gaps import completed
from fromnoise.mixture.products import Products, add_sums, symmetric, wide
from fromnoise.mixture.rows import Block, Rows
from fromnoise.persistence import Tree
from fromnoise.training import Budget, Clock, Interrupts

_LEAST = {torch.float64: -300.0, torch.float32: -40.0}  # logarithm of the least responsibility


@dataclass
class Run:
    r"""One start, as far as it got."""

    mixture: Mixture
    bound: float = -math.inf
    converged: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)

    def bic(self, rows: Rows) -> float:
        r"""Return the Bayesian information criterion."""
        n = rows.count
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

    def spread(self, components: slice, mass: Tensor, covariance: Tensor) -> None:
        r"""Add Σ r ``(P, K)`` times the covariance of what rows of P patterns do not have."""
        mass = mass.reshape(*mass.shape, *[1] * (covariance.ndim - 2))
        self.second[components] += (mass * covariance).sum(0)

    def count(self, components: slice, r: Tensor, codes: Tensor) -> None:
        r"""Add the categories of rows."""
        for i, count in enumerate(self.counts):
            count[components] = count[components].index_add(1, codes[:, i], r.to(count))

    def add(self, components: slice | Tensor, r: Tensor, difference: Tensor) -> None:
        r"""Add rows with responsibilities r ``(K, n)`` and differences ``(K, n, d)``."""
        weighted = difference * r[:, :, None]
        self.mass[components] += r.sum(1)
        self.first[components] += weighted.sum(1)
        if self.second.ndim == 2:
            self.second[components] += (weighted * difference).sum(1)
        else:
            self.second[components] += weighted.mT @ difference

    def add_products(self, mass: Tensor, sums: Tensor, means: Tensor) -> None:
        r"""Add Σ r, and Σ r x and Σ r x_i x_j ``(K, d + F)`` of rows, moved to the means."""
        first, second = sums.split([means.shape[1], sums.shape[1] - means.shape[1]], dim=1)
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
    dtype: torch.dtype = torch.float64,
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
        dtype: Of the products of rows that have all their values; float32 only in iterations that
            begin and end with components wide enough for it.
    """
    total = rows.total
    while len(run.history) < max_iter and not run.converged and not limit.over():
        try:
            run.mixture, log_p = _iterated(rows, run.mixture, reg, limit, dtype)
        except _OutOfTime:
            break
        limit.iterations += 1
        gain, run.bound = log_p / total - run.bound, log_p / total
        run.history.append(
            {"step": limit.iterations, "seconds": limit.clock.elapsed(), "loss": -run.bound}
        )
        run.converged = abs(gain) < tol
        tell()


def _iterated(
    rows: Rows, mixture: Mixture, reg: Tensor, limit: Limit, dtype: torch.dtype
) -> tuple[Mixture, float]:
    r"""Return the mixture after one iteration, and Σ log p(x) before it."""
    if dtype != torch.float64 and rows.width and bool(wide(mixture, dtype).all()):
        moments, log_p = _expectation(rows, mixture, limit, dtype)
        with suppress(DataError):  # rounding may leave a covariance that is not one
            moved = maximisation(mixture, moments, reg, rows.units)
            if bool(wide(moved, dtype).all()):
                return moved, log_p
    moments, log_p = _expectation(rows, mixture, limit)
    return maximisation(mixture, moments, reg, rows.units), log_p


def _expectation(
    rows: Rows, mixture: Mixture, limit: Limit, dtype: torch.dtype = torch.float64
) -> tuple[Moments, float]:
    r"""Return the moments under the responsibilities, and Σ log p(x)."""
    moments = Moments.zero(mixture, rows.cardinalities)
    products = Products.of(mixture, dtype) if rows.width else None
    if products is None:
        log_p = _by_factors(rows, mixture, moments, limit)
    else:
        log_p = _by_products(rows, mixture, products, moments, limit)
    return moments, log_p + _with_gaps(rows, mixture, moments, limit)


def _by_products(
    rows: Rows, mixture: Mixture, products: Products, moments: Moments, limit: Limit
) -> float:
    r"""Add the moments of rows that have all their values; return their Σ log p(x)."""
    log_p, count = 0.0, len(mixture.means) // rows.n_groups()
    mass, sums = torch.zeros_like(moments.mass), products.no_sums()
    narrow = products.narrow if bool(products.narrow.any()) else None
    for block in rows.blocks(count, products.rows, gaps=False):
        limit.check()
        components = block.components
        part = products.part(components)
        expanded = part.expand(block.values)
        joint = part.log_joint(expanded)
        few = None if narrow is None else _Few.of(mixture, narrow, block)
        if few is not None:
            joint[few.index] = few.log_joint()
        for i, table in enumerate(mixture.tables):
            joint += table[components][:, block.codes[:, i]]
        r, total = _responsibilities(joint, block.weight)
        log_p += total
        moments.count(components, r, block.codes)
        if few is not None:
            moments.add(few.index + components.start, r[few.index], few.difference)
            r[few.index] = 0
        mass[components] += r.sum(1)
        add_sums(sums[components], r, expanded)
    moments.add_products(mass, sums, mixture.means)
    return log_p


@dataclass
class _Few:
    r"""The components that are too narrow for products, and a block of rows."""

    mixture: Mixture
    index: Tensor  # among the components of the block's class
    difference: Tensor  # x − μ_k, (narrow, n, d)

    @classmethod
    def of(cls, mixture: Mixture, narrow: Tensor, block: Block) -> Self:
        r"""Return those that are ``narrow``."""
        index = narrow[block.components].nonzero().squeeze(1)
        few = replace(mixture, tables=()).part(index + block.components.start)
        return cls(few, index, block.values - few.means[:, None])

    def log_joint(self) -> Tensor:
        r"""Return log π_k N(x; μ_k, Σ_k), ``(narrow, n)``."""
        none = torch.empty(self.difference.shape[1], 0, dtype=torch.int64)
        return self.mixture.log_prob(self.difference, none) + self.mixture.log_weights[:, None]


def _by_factors(rows: Rows, mixture: Mixture, moments: Moments, limit: Limit) -> float:
    r"""Do what :func:`_by_products` does where all components are narrow."""
    log_p, count = 0.0, len(mixture.means) // rows.n_groups()
    size = max(1, NUMBERS // (count * max(rows.width, 1)))
    for block in rows.blocks(count, size, gaps=False):
        limit.check()
        part = mixture.part(block.components)
        difference = block.values - part.means[:, None]  # (K, n, d)
        joint = part.log_prob(difference, block.codes) + part.log_weights[:, None]
        r, total = _responsibilities(joint, block.weight)
        log_p += total
        moments.add(block.components, r, difference)
        moments.count(block.components, r, block.codes)
    return log_p


def _responsibilities(joint: Tensor, weight: Tensor | None) -> tuple[Tensor, float]:
    r"""Return r ``(K, n)`` times the rows' weights, and Σ log p(x); ``joint`` is used up."""
    most = joint.amax(0)
    # Numbers too small to be held in full, and products of them, take a hundred times as long.
    share = torch.threshold_(joint.sub_(most), _LEAST[joint.dtype], -math.inf).exp_()
    total = share.sum(0)
    norm = most.double() + total.log()
    if weight is None:
        return share.mul_(total.reciprocal_()), float(norm.sum())
    return share.mul_((weight / total).to(share.dtype)), float(norm @ weight)


def _with_gaps(rows: Rows, mixture: Mixture, moments: Moments, limit: Limit) -> float:
    r"""Add the moments of rows that lack values; return their Σ log p(x)."""
    log_p, count = 0.0, len(mixture.means) // rows.n_groups()
    for batch in rows.batches(count):
        limit.check()
        part, components = mixture.part(batch.components), batch.components
        density, full, spread = completed(part, batch.values, batch.observed)
        joint = density.transpose(0, 1).flatten(1) + part.log_weights[:, None]  # (K, P m)
        for i, table in enumerate(part.tables):
            joint += table[:, batch.codes[:, i]]
        r, total = _responsibilities(joint, batch.weight)
        log_p += total
        moments.add(components, r, full.transpose(0, 1).flatten(1, 2))
        moments.count(components, r, batch.codes)
        moments.spread(components, r.unflatten(1, full.shape[::2]).sum(2).T, spread)
    return log_p


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
