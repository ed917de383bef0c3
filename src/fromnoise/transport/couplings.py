r"""Couplings: which noise goes with which data point.

Flow matching learns from pairs (x_0, x_1). Any joint law of noise and data with the right
marginals will do. Independent pairs cross; pairs that minimise Σ ‖x_0 − x_1‖² within a batch
(Tong 2024, section 3.2; Pooladian 2023) give straighter paths, which fewer steps can follow.

The plan is a permutation, so every point is used exactly once and both marginals stay exact.
It is solved in blocks of 64: the gain levels off there, and the cost of an assignment grows
with the cube of the block.

A plan that knew x_1 but not its condition y would make the noise depend on y, and sampling
p(x | y) from noise would be wrong (Cheng & Schwing 2025). So each x_0 is first given to a row, and
with it that row's y. It may go to another row of the same class; with numbers, to any row, but

    cost_ij = ½ ‖x_0i − x_1j‖² + w ‖y_i − y_j‖²,

with a w so large that only about 5 % of the rows of the block are near enough in y to trade.
"""

__all__ = ["BLOCK", "optimal_transport"]

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

BLOCK = 64
_NEAR = 0.05  # share of the pairs of rows whose conditions count as near


def optimal_transport(
    x_0: Tensor, x_1: Tensor, y: Tensor | None = None, block: int = BLOCK
) -> Tensor:
    r"""Return x_0 in the order that pairs it with x_1 at least total squared distance.

    Args:
        x_0: Noise, ``(n, *)``.
        x_1: Data, ``(n, *)``.
        y: Condition of each data point: classes ``(n,)``, within which noise stays, or numbers
            ``(n, k)``, near which it stays.
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
    classes, numbers = (y, None) if y is not None and y.ndim == 1 else (None, y)
    for group in _groups(len(x_1), classes):
        for rows in group.split(block):
            given = None if numbers is None else numbers[rows]
            order[rows] = rows[_assignment(x_0[rows], x_1[rows], given)]
    return x_0[order.to(x_0.device)]


def _groups(n: int, classes: Tensor | None) -> list[Tensor]:
    if classes is None:
        return [torch.arange(n)]
    return [(classes == label).nonzero().squeeze(1).cpu() for label in classes.unique()]


def _assignment(x_0: Tensor, x_1: Tensor, numbers: Tensor | None) -> Tensor:
    # Σ ½ ‖x_0 − x_1‖² over a permutation is a constant less Σ x_0·x_1. NumPy, because this runs
    # beside the training step: torch's threads would fight over the cores for a tiny product.
    a, b = (x.flatten(1).double().cpu().numpy() for x in (x_1, x_0))
    with np.errstate(invalid="ignore", over="ignore"):  # checked in the next line
        gain = a @ b.T
    if not np.isfinite(gain).all():
        raise ValueError("The cost of the coupling is not finite: noise or data holds NaN or Inf.")
    if numbers is not None:
        gain -= (a.var(0).sum() + b.var(0).sum()) / 2 * _distances(numbers)
    _, columns = linear_sum_assignment(gain, maximize=True)
    return torch.from_numpy(columns)


def _distances(numbers: Tensor) -> NDArray[np.float64]:
    r"""Return squared distances of conditions, ``(n, n)``; 5 % of those between rows are below 1.

    So w turns the 5 % nearest into less, and all others into more, than ½ ‖x_0 − x_1‖² is on
    average. Where that many conditions are equal, they are a class, and others infinitely far.
    """
    y = numbers.double().cpu().numpy()
    squares = np.square(y[:, None] - y).sum(2)
    others = squares[~np.eye(len(y), dtype=bool)]
    if not others.any():
        return np.zeros_like(squares)
    return squares / max(np.quantile(others, _NEAR), 1e-9 * others.mean())
