r"""Both steps of EM as matrix products, for components that are not too narrow.

The exponent of a Gaussian is linear in the columns of x and in their products,

    log π_k + log N(x; μ_k, Σ_k) = c_k + b_k · x − ½ Σ_{i ≤ j} p_kij x_i x_j,
        b_k = Σ_k⁻¹ μ_k,  p_kij = (Σ_k⁻¹)_ij, twice that for i < j,

and so are the moments that the M step wants, Σ_n r_nk x_i x_j. With the products of a block of
rows written once, each step is one product of matrices for all components together.

The sum cancels where a component is narrow for where it lies: its error is at most about
ε (1 + ‖μ_k‖²) tr Σ_k⁻¹. Components above 1e6 ε are solved for with their Cholesky factors.
"""

__all__ = ["Products", "add_sums", "symmetric", "wide"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fromnoise.mixture.components import Mixture

# Of ε, at most; in practice a hundredth of that.
MOST_LOSS = {torch.float64: 1e6, torch.float32: 1e5}
_BLOCK_BYTES, _FEWEST_ROWS = 3_200_000, 64  # of the products in one block: about a core's cache


@dataclass(frozen=True)
class Products:
    r"""One set of components as linear functions of a row's columns and their products.

    Args:
        constant: c_k, ``(K, 1)``.
        coefficients: b_k and −½ p_k, ``(K, d + F)``; F is d for diagonal components, else
            d (d + 1) / 2.
        narrow: Whether a component is too narrow for this, ``(K,)``.
        width: d.
        buffer: Room for what a block is expanded to, reused.

    Example:
        >>> mixture = Mixture.empty("full", 1, 2)
        >>> x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
        >>> products = Products.of(mixture)
        >>> products.log_joint(products.expand(x)) + math.log(2 * math.pi)
        tensor([[  0.0000, -12.5000]], dtype=torch.float64)
    """

    constant: Tensor
    coefficients: Tensor
    narrow: Tensor
    width: int
    buffer: Tensor

    @classmethod
    def of(cls, mixture: Mixture, dtype: torch.dtype = torch.float64) -> "Products | None":
        r"""Return the products of the components; None if all of them are too narrow."""
        narrow = ~wide(mixture, dtype)
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
        (k, d), size = mixture.means.shape, square.shape[1]
        bent = 0.5 * (linear * mixture.means).sum(1) + log_det + 0.5 * d * math.log(2 * math.pi)
        n = max(_FEWEST_ROWS, _BLOCK_BYTES // dtype.itemsize // max(size, k))
        shape = (n, d) if size == d else (d // 2 + d + size, n)
        return cls(
            (mixture.log_weights - bent)[:, None].to(dtype),
            torch.cat([linear, -0.5 * square], dim=1).to(dtype),
            narrow,
            d,
            torch.empty(shape, dtype=dtype),
        )

    @property
    def rows(self) -> int:
        r"""The most rows of a block."""
        return self.buffer.shape[0 if self._diagonal else 1]

    @property
    def _diagonal(self) -> bool:
        return self.coefficients.shape[1] == 2 * self.width  # as are all of one column

    def part(self, components: slice) -> "Products":
        r"""Return some of the components; they share the buffer."""
        constant, coefficients = self.constant[components], self.coefficients[components]
        return Products(constant, coefficients, self.narrow[components], self.width, self.buffer)

    def expand(self, x: Tensor) -> list[Tensor]:
        r"""Return columns and products of rows x, ``(d + F, n)`` in all, until called again."""
        n, d = x.shape
        if self._diagonal:  # nothing to turn round
            columns = x.to(self.buffer)
            return [columns.T, torch.mul(columns, columns, out=self.buffer[:n]).T]
        # The last columns stand before the first ones too, so that a shift comes round.
        half, start = d // 2, d // 2 + d
        columns = self.buffer[half:start, :n].copy_(x.T)
        self.buffer[:half, :n] = columns[d - half :]
        for shift, size in enumerate(_sizes(d)):
            other = self.buffer[half - shift : half - shift + size, :n]
            torch.mul(columns[:size], other, out=self.buffer[start : start + size, :n])
            start += size
        return [self.buffer[half:, :n]]

    def log_joint(self, expanded: list[Tensor]) -> Tensor:
        r"""Return log π_k p_k(x), ``(K, n)``."""
        total, start = self.constant, 0
        for part in expanded:
            total = torch.addmm(total, self.coefficients[:, start : start + len(part)], part)
            start += len(part)
        return total

    def no_sums(self) -> Tensor:
        r"""Return Σ r x and Σ r x_i x_j of no rows, ``(K, d + F)``, in the faster order."""
        shape = self.coefficients.shape
        if self._diagonal:
            return torch.zeros(shape, dtype=torch.float64)
        return torch.zeros(shape[::-1], dtype=torch.float64).T


def wide(mixture: Mixture, dtype: torch.dtype) -> Tensor:
    r"""Return which components are not too narrow for products of a precision, ``(K,)``.

    Example:
        >>> wide(Mixture.empty("full", 2, 3), torch.float32)
        tensor([True, True])
    """
    if mixture.is_diagonal:
        loss = ((1 + mixture.means.square()) / mixture.scale.square()).sum(1)
    else:
        inverse = torch.cholesky_inverse(mixture.scale).diagonal(dim1=1, dim2=2).sum(1)
        loss = (1 + mixture.means.square().sum(1)) * inverse
    return loss < MOST_LOSS[dtype]


def add_sums(sums: Tensor, r: Tensor, expanded: list[Tensor]) -> None:
    r"""Add what rows with responsibilities r ``(K, n)`` have of each column and product."""
    start = 0
    for part in expanded:
        own = sums[:, start : start + len(part)]
        if own.dtype == part.dtype:
            own.addmm_(r, part.T)
        elif own.stride(0) == 1:
            own.T.add_(part @ r.T)
        else:
            own.add_(r @ part.T)
        start += len(part)


def _sizes(d: int) -> list[int]:
    r"""Return the number of products of columns that lie 0, 1, 2, … apart, going round.

    Example:
        >>> _sizes(4)  # 00 11 22 33, 03 10 21 32, 02 13
        [4, 4, 2]
    """
    return [d] * ((d + 1) // 2) + [d // 2] * (d % 2 == 0)


def _pairs(d: int) -> tuple[Tensor, Tensor]:
    r"""Return which columns are multiplied, ``(F,)`` each, in the order of the products."""
    first = torch.cat([torch.arange(size) for size in _sizes(d)])
    shift = torch.cat([torch.full((size,), shift) for shift, size in enumerate(_sizes(d))])
    return first, (first - shift) % d


def _upper(square: Tensor) -> Tensor:
    r"""Return each pair's entry of symmetric matrices: ``(K, d, d)`` to ``(K, F)``."""
    i, j = _pairs(square.shape[1])
    return square[:, i, j]


def symmetric(upper: Tensor, d: int) -> Tensor:
    r"""Return symmetric matrices ``(K, d, d)`` from each pair's entry ``(K, F)``."""
    i, j = _pairs(d)
    full = upper.new_zeros(len(upper), d, d)
    full[:, i, j] = upper
    full[:, j, i] = upper
    return full
