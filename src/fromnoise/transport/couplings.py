r"""Couplings: which noise goes with which data point.

Flow matching learns from pairs (x_0, x_1). Any joint law of noise and data with the right
marginals will do. Independent pairs cross; pairs that minimise Σ ‖x_0 − x_1‖² within a batch
(Tong 2024, section 3.2; Pooladian 2023) give straighter paths, which fewer steps can follow.

The plan is a permutation, so every point is used exactly once and both marginals stay exact.
It is solved in blocks of 64: the gain levels off there, and the cost of an assignment grows
with the cube of the block. With classes, noise is only exchanged within a class; otherwise the
coupling would make the noise depend on the label, and sampling p(x | y) from N(0, I) would be
biased (Cheng 2025).
"""

__all__ = ["BLOCK", "optimal_transport"]

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

BLOCK = 64


def optimal_transport(
    x_0: Tensor, x_1: Tensor, classes: Tensor | None = None, block: int = BLOCK
) -> Tensor:
    r"""Return x_0 in the order that pairs it with x_1 at least total squared distance.

    Args:
        x_0: Noise, ``(n, *)``.
        x_1: Data, ``(n, *)``.
        classes: Class of each data point, ``(n,)``; noise stays within its class.
        block: Rows that are assigned together.

    Returns:
        The rows of ``x_0``, permuted, ``(n, *)``.

    Raises:
        ValueError: If a distance is not finite.

    Example:
        >>> noise = torch.tensor([[3.0], [1.0], [2.0]])
        >>> optimal_transport(noise, torch.tensor([[10.0], [30.0], [20.0]])).squeeze(1)
        tensor([1., 3., 2.])
    """
    order = torch.arange(len(x_1))
    for group in _groups(len(x_1), classes):
        for rows in group.split(block):
            order[rows] = rows[_assignment(x_0[rows], x_1[rows])]
    return x_0[order.to(x_0.device)]


def _groups(n: int, classes: Tensor | None) -> list[Tensor]:
    if classes is None:
        return [torch.arange(n)]
    return [(classes == label).nonzero().squeeze(1).cpu() for label in classes.unique()]


def _assignment(x_0: Tensor, x_1: Tensor) -> Tensor:
    # Σ ‖x_0 − x_1‖² over a permutation is a constant less 2 Σ x_0·x_1. NumPy, because this runs
    # beside the training step: torch's threads would fight over the cores for a tiny product.
    a, b = (x.flatten(1).double().cpu().numpy() for x in (x_1, x_0))
    with np.errstate(invalid="ignore", over="ignore"):  # checked in the next line
        similarity = a @ b.T
    if not np.isfinite(similarity).all():
        raise ValueError("The cost of the coupling is not finite: noise or data holds NaN or Inf.")
    _, columns = linear_sum_assignment(similarity, maximize=True)
    return torch.from_numpy(columns)
