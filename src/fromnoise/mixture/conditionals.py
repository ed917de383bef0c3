r"""Draws of the unknown columns of a mixture given the known ones, exactly.

    p(k | o) ∝ π_k N(x_o; μ_k,o, Σ_k,oo) Π_known table_i,k[c_i] Π_unknown Σ_allowed table_i,k[c]
    x_m = x̃_m + Σ_k,mo Σ_k,oo⁻¹ (x_o − x̃_o),    x̃ ~ N(μ_k, Σ_k)

The second line (Journel & Huijbregts 1978; Wilson 2020, eq. 8: Matheron's rule) moves a draw of
the component to where it agrees with what is known. Its mean is the conditional mean and its
covariance Σ_mm − Σ_mo Σ_oo⁻¹ Σ_om (Bishop 2006, 2.3.1), which never has to be factored. Where
nothing is known it is x̃, a draw of the mixture.
"""

__all__ = ["component_weights", "moved"]

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fromnoise.mixture.components import NUMBERS, Mixture, log_components, patterns_of


def component_weights(
    mixture: Mixture, x: Tensor, known: Tensor, codes: Tensor, allowed: list[Tensor]
) -> Tensor:
    r"""Return log π_k p_k(what is known), ``(n, K)``.

    Args:
        mixture: The mixture.
        x: Rows ``(n, d)``.
        known: Which of their columns are known, bool ``(n, d)``.
        codes: Codes ``(n, parts)``, looked at where only one is allowed.
        allowed: Of each part, which codes a row may have, bool ``(n, cardinality)``.

    Example:
        >>> mixture = Mixture.empty("full", 2, 1)
        >>> x, known = torch.zeros(1, 1), torch.tensor([[False]])
        >>> component_weights(mixture, x, known, torch.zeros(1, 0), []).exp()
        tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    bare = replace(mixture, tables=())
    none = np.zeros((len(x), 0), np.int64)
    joint = torch.from_numpy(log_components(bare, x.numpy(), none, known.numpy()))
    joint = joint + mixture.log_weights
    for table, may in zip(mixture.tables, allowed, strict=True):
        joint = joint + table.where(may[:, None], -torch.inf).logsumexp(2)  # (n, K, cardinality)
    return joint


def moved(mixture: Mixture, k: Tensor, draw: Tensor, x: Tensor, known: Tensor) -> Tensor:
    r"""Return draws of components, moved to agree with what is known.

    Args:
        mixture: The mixture.
        k: Component of each row, ``(n,)``.
        draw: A draw of that component, ``(n, d)``.
        x: Rows ``(n, d)``.
        known: Which of their columns are known, bool ``(n, d)``.

    Returns:
        Rows ``(n, d)``; x itself where it is known.

    Example:
        >>> mixture = Mixture.empty("full", 1, 2)
        >>> x, known = torch.ones(1, 2).double(), torch.tensor([[True, False]])
        >>> moved(mixture, torch.tensor([0]), 3 * x, x, known)
        tensor([[1., 3.]], dtype=torch.float64)
    """
    result = torch.where(known, x, draw)
    if mixture.is_diagonal:
        return result
    patterns, which = patterns_of(known.numpy())
    for i, pattern in enumerate(patterns):
        if pattern.all() or not pattern.any():
            continue
        mine = torch.from_numpy(np.flatnonzero(which == i))
        seen, gone = (torch.from_numpy(np.flatnonzero(part)) for part in (pattern, ~pattern))
        factor = mixture.columns(seen).scale.expand(len(mixture.means), -1, -1)
        square = (mixture.scale @ mixture.scale.mT).expand(len(mixture.means), -1, -1)
        cross = square[:, gone][:, :, seen]  # Σ_mo, (K, gone, seen)
        for some in mine.split(max(1, NUMBERS // x.shape[1] ** 2)):
            miss = (x[some] - draw[some])[:, seen, None]
            # Row by row in one batch, so that a row does not depend on the others.
            move = cross[k[some]] @ torch.cholesky_solve(miss, factor[k[some]])
            result[some[:, None], gone] += move.squeeze(2)
    return result
