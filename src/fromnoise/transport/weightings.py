r"""How much the loss of a diffusion model weighs each noise level.

On the arc x = sin θ x_1 + cos θ x_0, a network that guesses the velocity v with the error e has
the errors −sin θ e in the noise and cos θ e in the data, so one weight serves every prediction:

    weight of e²      at tan θ = α/σ, the signal-to-noise ratio is tan² θ
    simple            sin² θ                   e² of the noise, unweighted: Ho 2020, eq. 14
    min-snr           min(tan² θ, 5) cos² θ    of the data, by the clipped ratio: Hang 2023
    edm               1                        λ(σ) ‖D − x_1‖² = e²: Karras 2022, table 1
    uncertainty       e^(−w(θ)), plus w(θ)     w learnt, ln E e² at its best: Karras 2024, eq. 14
"""

__all__ = ["WEIGHTINGS", "error_share"]

from collections.abc import Callable

import torch
from torch import Tensor

_CLIP = 5.0

WEIGHTINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "simple": lambda theta: theta.sin().square(),
    "min-snr": lambda theta: torch.minimum(theta.sin() ** 2, _CLIP * theta.cos() ** 2),
    "edm": torch.ones_like,
    "uncertainty": torch.ones_like,
}


def error_share(prediction: str, theta: Tensor) -> Tensor:
    r"""Return by what e² is multiplied in the error of a prediction.

    Args:
        prediction: ``"noise"``, ``"data"`` or ``"velocity"``.
        theta: Angles, ``(n,)``.

    Returns:
        sin² θ, cos² θ or 1, ``(n,)``.

    Example:
        >>> error_share("noise", torch.tensor([0.5])) + error_share("data", torch.tensor([0.5]))
        tensor([1.])
    """
    if prediction == "velocity":
        return torch.ones_like(theta)
    return (theta.sin() if prediction == "noise" else theta.cos()).square()
