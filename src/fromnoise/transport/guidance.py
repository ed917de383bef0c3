r"""Classifier-free guidance: turn up the condition when sampling (Ho & Salimans 2022, eq. 6).

A conditional network that was also trained without its label gives two velocities, v_∅ and
v_y. Sampling follows

    v = v_∅ + g (v_y − v_∅),

g = 0 without the label, g = 1 the plain conditional model, g > 1 samples that are more typical
of the label and less diverse: no longer draws of p(x | y), so no density is computed from it.
"""

__all__ = ["guided"]

import torch
from torch import Tensor

from fromnoise.transport.solvers import Field


def guided(conditional: Field, unconditional: Field, strength: float) -> Field:
    r"""Return the field v_∅ + g (v_y − v_∅).

    Args:
        conditional: v_y.
        unconditional: v_∅.
        strength: g; 1 gives ``conditional`` itself, without a second evaluation.

    Returns:
        The guided field.

    Example:
        >>> field = guided(lambda x, t: x + 1, lambda x, t: x, 3.0)
        >>> field(torch.zeros(1), torch.zeros(1))
        tensor([3.])
    """
    if strength == 1:
        return conditional

    def field(x: Tensor, t: Tensor) -> Tensor:
        return torch.lerp(unconditional(x, t), conditional(x, t), strength)

    return field
