r"""A mixture of Gaussians in model space: densities, marginals, conditionals, draws.

    log p(x) = logsumexp_k [log π_k + log N(x; μ_k, L_k L_kᵀ) + Σ_i log table_i,k[c_i]]

A component is a Gaussian over the continuous values times a probability table for each
categorical part. Densities solve with the Cholesky factor L_k, which stays exact for covariances
whose inverse could not be written down.
"""

__all__ = [
    "Mixture",
    "cholesky",
    "choose",
    "conditional_draw",
    "log_components",
    "log_sum",
    "patterns_of",
]

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from fromnoise.errors import DataError
from fromnoise.persistence import Tree

BLOCK_ROWS = 1024
NUMBERS = 1_000_000  # rows × components × columns in one block: 8 MB


@dataclass(frozen=True)
class Mixture:
    r"""Parameters in model space.

    ``scale`` holds standard deviations ``(K, d)`` for diagonal and spherical components, else
    Cholesky factors L, ``(K, d, d)``, or ``(1, d, d)`` where they are tied.
    """

    TENSORS: ClassVar = ("log_weights", "means", "scale")

    kind: str
    log_weights: Tensor  # (K,)
    means: Tensor  # (K, d)
    scale: Tensor
    tables: tuple[Tensor, ...] = ()  # log-probabilities, (K, cardinality) each

    @classmethod
    def empty(cls, kind: str, k: int, d: int) -> "Mixture":
        r"""Return k equal components N(0, I) of d columns, without tables."""
        one = torch.ones(k, dtype=torch.float64)
        scale = torch.eye(d, dtype=torch.float64).expand(k, d, d)
        return cls(kind, one.div(k).log(), torch.zeros(k, d, dtype=torch.float64), scale)

    def to_tree(self) -> Tree:
        r"""Return the parameters as a tree."""
        tensors = {name: getattr(self, name).numpy() for name in self.TENSORS}
        return {"kind": self.kind, **tensors, "tables": [table.numpy() for table in self.tables]}

    @classmethod
    def from_tree(cls, tree: Tree) -> "Mixture":
        r"""Return the mixture that :meth:`to_tree` was asked of."""
        tensors = {name: torch.from_numpy(tree[name]) for name in cls.TENSORS}
        tables = tuple(torch.from_numpy(table) for table in tree["tables"])
        return cls(kind=tree["kind"], tables=tables, **tensors)

    @property
    def is_diagonal(self) -> bool:
        r"""Whether columns are independent within a component."""
        return self.scale.ndim == 2

    def part(self, components: slice | Tensor) -> "Mixture":
        r"""Return some of the components."""
        return replace(
            self,
            log_weights=self.log_weights[components],
            means=self.means[components],
            scale=self.scale if len(self.scale) == 1 < len(self.means) else self.scale[components],
            tables=tuple(table[components] for table in self.tables),
        )

    def columns(self, keep: Tensor) -> "Mixture":
        r"""Return the marginal over some of the columns."""
        if self.is_diagonal:
            return replace(self, means=self.means[:, keep], scale=self.scale[:, keep])
        square = (self.scale @ self.scale.mT)[:, keep][:, :, keep]
        return replace(self, means=self.means[:, keep], scale=cholesky(square))

    def whitened(self, difference: Tensor) -> Tensor:
        r"""Return L_k⁻¹ (x − μ_k) for differences ``(K, n, d)``, as ``(K, d, n)``."""
        if self.is_diagonal:
            return (difference / self.scale[:, None]).mT
        scale = self.scale.expand(len(difference), -1, -1)
        return torch.linalg.solve_triangular(scale, difference.mT, upper=False)

    def log_prob(self, difference: Tensor, codes: Tensor) -> Tensor:
        r"""Return log p_k(x) for differences x − μ_k ``(K, n, d)`` and codes, ``(K, n)``."""
        diagonal = self.scale if self.is_diagonal else self.scale.diagonal(dim1=1, dim2=2)
        constant = diagonal.log().sum(1) + 0.5 * difference.shape[2] * math.log(2 * math.pi)
        result = -0.5 * self.whitened(difference).square().sum(1) - constant[:, None]
        for i, table in enumerate(self.tables):
            result += table[:, codes[:, i]]
        return result

    def spread(self, k: Tensor, z: Tensor) -> Tensor:
        r"""Return L_k z for a component and noise a row, ``(n, d)``."""
        if self.is_diagonal:
            return self.scale[k] * z
        scale = self.scale.expand(len(self.means), -1, -1)
        result = torch.empty_like(z)
        for component in k.unique():
            mine = (k == component).nonzero().squeeze(1)
            # One row at a time would be slow, all at once in one shape is what keeps rows alike.
            full = torch.zeros_like(z)
            full[: len(mine)] = z[mine]
            result[mine] = (full @ scale[component].mT)[: len(mine)]
        return result

    def n_parameters(self, n_groups: int) -> int:
        r"""Return the number of free parameters, given the number of classes."""
        k, d = self.means.shape
        spread = {"full": k * d * (d + 1) / 2, "tied": d * (d + 1) / 2, "diag": k * d}
        tables = sum(k * (table.shape[1] - 1) for table in self.tables)
        return int(spread.get(self.kind, k) + k * d + k - 1 + tables)


def patterns_of(observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the different rows of a bool array ``(n, d)``, and which of them each row is.

    Example:
        >>> patterns, which = patterns_of(np.array([[True, True], [True, False], [True, True]]))
        >>> patterns[which].tolist()
        [[True, True], [True, False], [True, True]]
    """
    if observed.all():
        return np.ones((1, observed.shape[1]), bool), np.zeros(len(observed), np.int64)
    packed = np.packbits(observed, axis=1)  # eight columns a byte: less to sort
    _, first, which = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    return observed[first], which.reshape(-1)


def log_components(
    mixture: Mixture, values: np.ndarray, codes: np.ndarray, observed: np.ndarray
) -> np.ndarray:
    r"""Return log p_k of the observed columns of each row, ``(n, K)``."""
    result = np.empty((len(values), len(mixture.means)))
    patterns, which = patterns_of(observed)
    for i, pattern in enumerate(patterns):
        mine = np.flatnonzero(which == i)
        keep = np.flatnonzero(pattern)
        part = mixture if pattern.all() else mixture.columns(torch.from_numpy(keep))
        x = torch.from_numpy(values[np.ix_(mine, keep)]).double()
        # Rows that lack something come in small groups; what a row lacks is its own affair.
        size = (
            max(8, min(BLOCK_ROWS, NUMBERS // max(1, part.means.numel()))) if pattern.all() else 8
        )
        result[mine] = _in_padded_blocks(part, x, torch.from_numpy(codes[mine]), size)
    return result


def _in_padded_blocks(mixture: Mixture, x: Tensor, codes: Tensor, size: int) -> np.ndarray:
    r"""Evaluate in blocks of one size, so that no row's result depends on the others."""
    results = []
    for start in range(0, len(x), size):
        short = max(0, start + size - len(x))
        block = torch.nn.functional.pad(x[start : start + size], (0, 0, 0, short))
        labels = torch.nn.functional.pad(codes[start : start + size], (0, 0, 0, short))
        log_p = mixture.log_prob(block - mixture.means[:, None], labels)
        results.append(log_p.T[: size - short].numpy())
    return np.concatenate(results)


def conditional_draw(mixture: Mixture, u: Tensor, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    r"""Draw k and x given a continuous y, the last columns of the joint; returns [x | y]."""
    width, d = y.shape[1], mixture.means.shape[1]
    inner, outer = torch.arange(d - width), torch.arange(d - width, d)
    marginal = replace(mixture.columns(outer), tables=())
    difference = y - marginal.means[:, None]  # (K, n, w)
    none = torch.empty(len(y), 0, dtype=torch.int64)
    weights = (marginal.log_prob(difference, none) + mixture.log_weights[:, None]).softmax(0).T
    k = choose(weights, u)
    if mixture.is_diagonal:
        x = mixture.means[k] + mixture.scale[k] * z
        return k, torch.cat([x[:, inner], y], dim=1)
    square = (mixture.scale @ mixture.scale.mT).expand(len(mixture.means), -1, -1)
    cross, own = square[:, : d - width, d - width :], square[:, d - width :, d - width :]
    gain = torch.linalg.solve(own, cross, left=False)  # Σ_xy Σ_yy⁻¹, (K, d − w, w)
    rest = square[:, : d - width, : d - width] - gain @ cross.mT
    conditional = replace(mixture, means=mixture.means[:, inner], scale=cholesky(rest))
    moved = (gain[k] @ difference[k, torch.arange(len(y))][:, :, None]).squeeze(2)
    x = conditional.means[k] + moved + conditional.spread(k, z[:, inner])
    return k, torch.cat([x, y], dim=1)


def choose(weights: Tensor, u: Tensor) -> Tensor:
    r"""Return the category that u ~ U(0, 1) falls into, by row of ``weights`` ``(n, K)``."""
    edges = weights.cumsum(1)
    index = torch.searchsorted(edges.contiguous(), (u * edges[:, -1])[:, None], right=True)
    return index.squeeze(1).clamp_max(weights.shape[1] - 1)


def cholesky(square: Tensor) -> Tensor:
    r"""Return lower factors of covariances ``(K, d, d)``.

    Raises:
        DataError: If one is not positive definite.

    Example:
        >>> cholesky(4 * torch.eye(1)[None])
        tensor([[[2.]]])
    """
    factor, info = torch.linalg.cholesky_ex(square)
    if int(info.max()) > 0:
        raise DataError(
            "A covariance is not positive definite: some columns are constant or collinear within"
            " a component. Raise reg_covar, lower n_components, or use"
            ' covariance_type="diag".'
        )
    # LAPACK's order of columns; a loaded model must have the same to the bit.
    return factor.contiguous()


def log_sum(joint: np.ndarray) -> np.ndarray:
    r"""Return log Σ_k exp of each row, ``(n, K)`` to ``(n,)``.

    Example:
        >>> log_sum(np.log([[1.0, 3.0]])).round(3)
        array([1.386])
    """
    total: np.ndarray = torch.from_numpy(joint).logsumexp(1).numpy()
    return total
