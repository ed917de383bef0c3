r"""Gaussians of which each row has some of the values: a batch of patterns at a time.

    log p(x_o) = log N(x_o; μ_o, Σ_oo)
    E[x_g | x_o] = μ_g + Σ_go Σ_oo⁻¹ (x_o − μ_o),    Cov[x_g | x_o] = Σ_gg − Σ_go Σ_oo⁻¹ Σ_og

(Ghahramani & Jordan 1994; Bishop 2006, 2.3.1). Patterns are of one size if what a row lacks is
put down as independent and standard: with a mask, diag(Σ_oo, I) has the factor diag(L_oo, I) and
the same determinant, and differences that are 0 there add nothing. So many patterns, each of few
rows, are factored together.
"""

__all__ = ["completed"]

import math

import torch
from torch import Tensor

from fromnoise.mixture.components import Mixture, cholesky


def completed(mixture: Mixture, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return what the E step wants of rows that lack values.

    Args:
        mixture: K components.
        x: m rows of each of P patterns, ``(P, m, d)``; finite where nothing is observed.
        observed: The patterns, bool ``(P, d)``.

    Returns:
        log N of what the rows have, ``(P, K, m)``; x − μ_k with the rest at its conditional mean,
        ``(P, K, m, d)``; the rest's covariance, ``(P, K, d, d)``, ``(P, 1, d, d)`` where it is
        tied, or variance, ``(P, K, d)``.

    Example:
        >>> mixture = Mixture.empty("full", 1, 2)
        >>> x, seen = torch.tensor([[[3.0, 0.0]]]).double(), torch.tensor([[True, False]])
        >>> log_p, full, rest = completed(mixture, x, seen)
        >>> full.tolist(), rest.tolist()
        ([[[[3.0, 0.0]]]], [[[[0.0, 0.0], [0.0, 1.0]]]])
    """
    own = (x[:, None] - mixture.means[:, None]) * observed[:, None, None]  # (P, K, m, d)
    if mixture.is_diagonal:
        seen = observed[:, None]
        diagonal = mixture.scale.where(seen, 1.0)  # (P, K, d)
        white, full = own / diagonal[:, :, None], own
        rest = mixture.scale.square().where(~seen, 0.0)
    else:
        seen, square = observed[:, None, :, None], mixture.scale @ mixture.scale.mT
        both, gone = seen & seen.mT, ~seen
        inner = torch.where(both, square, torch.diag_embed((~observed).to(square))[:, None])
        factor = cholesky(inner.flatten(0, 1)).view_as(inner)  # (P, K, d, d)
        across = square.where(gone & seen.mT, 0.0)
        gain = torch.cholesky_solve(across.mT, factor).mT  # Σ_go Σ_oo⁻¹
        full = own + own @ gain.mT
        rest = square.where(gone & gone.mT, 0.0) - gain @ across.mT
        white = torch.linalg.solve_triangular(factor, own.mT, upper=False).mT
        diagonal = factor.diagonal(dim1=2, dim2=3)
    count = observed.to(white).sum(1, keepdim=True)
    constant = diagonal.log().sum(2) + 0.5 * count * math.log(2 * math.pi)
    return -0.5 * white.square().sum(3) - constant[:, :, None], full, rest
