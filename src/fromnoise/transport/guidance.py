r"""Classifier-free guidance: turn up the condition when sampling (Ho & Salimans 2022, eq. 6).

A conditional network that was also trained without its label gives two velocities, v_∅ and
v_y. Sampling follows

    v = v_∅ + g (v_y − v_∅),

g = 0 without the label, g = 1 the plain conditional model, g > 1 samples that are more typical
of the label and less diverse: no longer draws of p(x | y), so no density is computed from it.

Guidance hurts at the noisy end and does nothing at the clean one, so it may be kept to an interval
of times (Kynkäänniemi 2024). Strong guidance blows the guess of the data up; rescaling brings its
size back to that of the conditional guess (Lin 2024, section 3.4).
"""

__all__ = ["guided"]

import torch
from torch import Tensor

from fromnoise.transport.paths import LINEAR, Path, convert
from fromnoise.transport.solvers import Field


def guided(
    conditional: Field,
    unconditional: Field,
    strength: float,
    *,
    interval: tuple[float, float] = (0.0, 1.0),
    rescale: float = 0.0,
    path: Path = LINEAR,
) -> Field:
    r"""Return the field v_∅ + g (v_y − v_∅).

    Args:
        conditional: v_y.
        unconditional: v_∅.
        strength: g; 1 gives ``conditional`` itself, without a second evaluation.
        interval: Times at which to guide; where no row is within, one evaluation is saved.
        rescale: φ; the guess D of the data is multiplied by φ ‖D_y‖ / ‖D‖ + 1 − φ, row by row.
        path: Whose velocities they are.

    Returns:
        The guided field.

    Example:
        >>> field = guided(lambda x, t: x + 1, lambda x, t: x, 3.0)
        >>> field(torch.zeros(1), torch.zeros(1))
        tensor([3.])
    """
    if strength == 1:
        return conditional
    always = interval[0] <= 0 and interval[1] >= 1

    def field(x: Tensor, t: Tensor) -> Tensor:
        v_y = conditional(x, t)
        within = (t >= interval[0]) & (t <= interval[1])
        if not always and not bool(within.any()):
            return v_y
        v = torch.lerp(unconditional(x, t), v_y, strength)
        if rescale:
            v = _rescaled(path, x, t, v, v_y, rescale)
        return v if always else torch.where(_beside(within, x), v, v_y)

    return field


def _rescaled(path: Path, x: Tensor, t: Tensor, v: Tensor, v_y: Tensor, share: float) -> Tensor:
    data, own = (convert(path, x, t, u, "velocity", "data") for u in (v, v_y))
    size, aim = (guess.flatten(1).norm(dim=1) for guess in (data, own))
    change = _beside(share * (aim / size.clamp_min(1e-12) - 1), x) * data
    # x is fixed, so a change of the guess D is −α/σ times as much in the noise.
    t = _beside(t, x)
    alpha, sigma = path.alpha(t), path.sigma(t)
    per_data = path.d_alpha(t) - path.d_sigma(t) * alpha / sigma.clamp_min(1e-3)
    return torch.where(sigma > 1e-3, v + per_data * change, v)  # at the end D is x itself


def _beside(t: Tensor, x: Tensor) -> Tensor:
    return t.reshape(-1, *[1] * (x.ndim - 1))
