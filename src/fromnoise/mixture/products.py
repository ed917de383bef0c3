r"""Both steps of EM as matrix products, for components that are not too narrow.

The exponent of a Gaussian is linear in the columns of x and in their products,

    log π_k + log N(x; μ_k, Σ_k) = c_k + b_k · x − ½ Σ_{i ≤ j} p_kij x_i x_j,
        b_k = Σ_k⁻¹ μ_k,  p_kij = (Σ_k⁻¹)_ij, twice that for i < j,

and so are the moments that the M step wants, Σ_n r_nk x_i x_j. With the products of a block of
rows written once, each step is one product of matrices for all components together.

The sum cancels where a component is narrow for where it lies: its error is about
ε (1 + ‖μ_k‖²) / λ_min(Σ_k). Components above 1e5 ε are solved for with their Cholesky factors.
"""

__all__ = ["Products"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fromnoise.mixture.components import Mixture

MOST_LOSS = 1e5  # of ε; in standardised columns, roughly the largest condition number
_BLOCK_NUMBERS, _FEWEST_ROWS = 1_000_000, 64  # products in one block: 8 MB


@dataclass(frozen=True)
class Products:
    r"""One set of components as linear functions of a row's columns and their products.

    Args:
        constant: c_k, ``(K, 1)``.
        linear: b_k, ``(K, d)``.
        square: −½ p_k, ``(K, F)``; F is d for diagonal components, else d (d + 1) / 2.
        narrow: Whether a component is too narrow for this, ``(K,)``.
        buffer: Room for the products of a block, reused.

    Example:
        >>> mixture = Mixture.empty("full", 1, 2)
        >>> x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
        >>> products = Products.of(mixture)
        >>> columns, pairs = products.expand(x)
        >>> products.log_joint(columns, pairs) + math.log(2 * math.pi)
        tensor([[  0.0000, -12.5000]], dtype=torch.float64)
    """

    constant: Tensor
    linear: Tensor
    square: Tensor
    narrow: Tensor
    buffer: Tensor

    @classmethod
    def of(cls, mixture: Mixture) -> "Products | None":
        r"""Return the products of the components; None if all of them are too narrow."""
        width = mixture.scale if mixture.is_diagonal else torch.linalg.svdvals(mixture.scale)
        narrow = (1 + mixture.means.square().sum(1)) / width.amin(1).square() >= MOST_LOSS
        if bool(narrow.all()):
            return None
        if mixture.is_diagonal:
            precision = mixture.scale**-2  # (K, d)
            linear, log_det = precision * mixture.means, mixture.scale.log().sum(1)
            square = precision
        else:
            full = torch.cholesky_inverse(mixture.scale).expand(len(mixture.means), -1, -1)
            linear = (full @ mixture.means[:, :, None]).squeeze(2)
            log_det = mixture.scale.diagonal(dim1=1, dim2=2).log().sum(1)
            square = _upper(2 * full - torch.diag_embed(full.diagonal(dim1=1, dim2=2)))
        d = mixture.means.shape[1]
        bent = 0.5 * (linear * mixture.means).sum(1) + log_det + 0.5 * d * math.log(2 * math.pi)
        n = max(_FEWEST_ROWS, _BLOCK_NUMBERS // max(1, square.shape[1]))
        return cls(
            (mixture.log_weights - bent)[:, None],
            linear,
            -0.5 * square,
            narrow,
            torch.empty(d + square.shape[1], n, dtype=torch.float64),
        )

    @property
    def rows(self) -> int:
        r"""The most rows of a block."""
        return self.buffer.shape[1]

    def part(self, components: slice) -> "Products":
        r"""Return some of the components; they share the buffer."""
        constant, linear = self.constant[components], self.linear[components]
        square, narrow = self.square[components], self.narrow[components]
        return Products(constant, linear, square, narrow, self.buffer)

    def expand(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return columns ``(d, n)`` and products ``(F, n)`` of rows x, until called again."""
        n, d = x.shape
        columns = self.buffer[:d, :n].copy_(x.T)
        products = self.buffer[d:, :n]
        if len(products) == d:
            return columns, torch.mul(columns, columns, out=products)
        start = 0
        for i in range(d):
            torch.mul(columns[i], columns[i:], out=products[start : start + d - i])
            start += d - i
        return columns, products

    def log_joint(self, columns: Tensor, products: Tensor) -> Tensor:
        r"""Return log π_k p_k(x), ``(K, n)``."""
        return torch.addmm(self.constant, self.linear, columns).addmm_(self.square, products)


def _upper(square: Tensor) -> Tensor:
    r"""Return the entries on and above the diagonal, row by row: ``(K, d, d)`` to ``(K, F)``."""
    i, j = torch.triu_indices(*square.shape[1:])
    return square[:, i, j]


def symmetric(upper: Tensor, d: int) -> Tensor:
    r"""Return matrices ``(K, d, d)`` from their entries on and above the diagonal ``(K, F)``."""
    i, j = torch.triu_indices(d, d)
    full = upper.new_zeros(len(upper), d, d)
    full[:, i, j] = upper
    full[:, j, i] = upper
    return full
