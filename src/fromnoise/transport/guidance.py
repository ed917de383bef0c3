r"""Guidance: when sampling, away from what a worse field would do.

Each of the other fields v_i pushes with a strength w_i of its own,

    v + Σ_i (w_i − 1) (v − v_i),

w_i = 1 not at all. **Classifier-free** (Ho & Salimans 2022, eq. 6): v = v_y, and v_∅ of the same
network without its label, so v_∅ + g (v_y − v_∅); g = 0 without the label, g > 1 more typical of
it. **Autoguidance** (Karras 2024, eq. 3): the same network as it was earlier in the fit, with the
same label if there is one; w > 1 leads away from what it got wrong. Guided samples are no draws of
p(x | y), and less diverse where guidance is strong, so no density is computed from them.

Guidance hurts at the noisy end and does nothing at the clean one, so it may be kept to an interval
of times (Kynkäänniemi 2024). Strong guidance blows the guess of the data up; rescaling brings its
size back to that of the field itself (Lin 2024, section 3.4).
"""

__all__ = ["guided"]

from collections.abc import Sequence

import torch
from torch import Tensor

from fromnoise.transport.paths import LINEAR, Path, convert
from fromnoise.transport.solvers import Field


def guided(
    own: Field,
    others: Sequence[tuple[Field, float]],
    *,
    interval: tuple[float, float] = (0.0, 1.0),
    rescale: float = 0.0,
    path: Path = LINEAR,
) -> Field:
    r"""Return the field v + Σ_i (w_i − 1) (v − v_i).

    Args:
        own: v.
        others: Each v_i and its w_i; those of strength 1 are not evaluated.
        interval: Times at which to guide; where no row is within, only v is evaluated.
        rescale: φ; the guess D of the data is multiplied by φ ‖D_own‖ / ‖D‖ + 1 − φ, row by row.
        path: Whose velocities they are.

    Returns:
        The guided field; v itself where nothing guides.

    Example:
        >>> field = guided(lambda x, t: x + 1, [(lambda x, t: x, 3.0), (lambda x, t: x - 1, 1.5)])
        >>> field(torch.zeros(1), torch.zeros(1))
        tensor([4.])
    """
    others = [(other, strength) for other, strength in others if strength != 1]
    if not others:
        return own
    always = interval[0] <= 0 and interval[1] >= 1

    def field(x: Tensor, t: Tensor) -> Tensor:
        plain = own(x, t)
        within = (t >= interval[0]) & (t <= interval[1])
        if not always and not bool(within.any()):
            return plain
        v = plain + sum((w - 1) * (plain - other(x, t)) for other, w in others)
        if rescale:
            v = _rescaled(path, x, t, v, plain, rescale)
        return v if always else torch.where(_beside(within, x), v, plain)

    return field


def _rescaled(path: Path, x: Tensor, t: Tensor, v: Tensor, plain: Tensor, share: float) -> Tensor:
    data, own = (convert(path, x, t, u, "velocity", "data") for u in (v, plain))
    size, aim = (guess.flatten(1).norm(dim=1) for guess in (data, own))
    change = _beside(share * (aim / size.clamp_min(1e-12) - 1), x) * data
    # x is fixed, so a change of the guess D is −α/σ times as much in the noise.
    t = _beside(t, x)
    alpha, sigma = path.alpha(t), path.sigma(t)
    per_data = path.d_alpha(t) - path.d_sigma(t) * alpha / sigma.clamp_min(1e-3)
    return torch.where(sigma > 1e-3, v + per_data * change, v)  # at the end D is x itself


def _beside(t: Tensor, x: Tensor) -> Tensor:
    return t.reshape(-1, *[1] * (x.ndim - 1))
