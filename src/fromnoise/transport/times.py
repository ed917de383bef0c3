r"""At which times a path is learnt, and at which it is walked.

Training draws times; a law of times is also a weight in the loss, so losses under two laws are
not comparable. Those that speak of the noise itself, and not of a path's own clock, are given as
times of the straight path, where t / (1 − t) = α/σ is the ratio of signal to noise:

    logit-normal   ln α/σ ~ N(0, 1)              Esser 2024, section 3.1
    log-normal     ln α/σ ~ N(0.507, 1.2²)       Karras 2022, table 1

(Karras' ln σ ~ N(−1.2, 1.2²) is at σ_data = 0.5; here data are standardised.)

Sampling walks a grid from noise to data: uniform in a path's time, or uniform in (σ/α)^(1/7)
(Karras 2022, eq. 5), or uniform in ln α/σ (Lu 2022, section 3.4), the last two between ratios
80 and 0.002 and then in one step to the data.
"""

__all__ = ["GRIDS", "TIME_SAMPLERS", "grid", "uniform_times"]

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from fromnoise.transport.paths import RHO, SIGMA_MAX, SIGMA_MIN, Path, angle

GRIDS = ("uniform", "rho", "log-snr")
HO_STEPS = 1000


def uniform_times(n: int, generator: torch.Generator) -> Tensor:
    r"""Return n times from U(0, 1), spread evenly: one shift, n equal steps (Kingma 2021, I.1).

    Each time alone is uniform; together they cover [0, 1], so the loss is less noisy.

    Example:
        >>> uniform_times(4, torch.Generator().manual_seed(0)).sort().values.diff()
        tensor([0.2500, 0.2500, 0.2500])
    """
    shift = torch.rand(1, generator=generator, device=generator.device)
    return (shift + torch.arange(n, device=generator.device) / n) % 1


def _step_times(n: int, generator: torch.Generator) -> Tensor:
    r"""Return t = 1 − k/1000 with k uniform on 1, …, 1000 (Ho 2020, algorithm 1)."""
    return (uniform_times(n, generator) * HO_STEPS).floor().clamp_max(HO_STEPS - 1) / HO_STEPS


def _logistic_times(mean: float, std: float) -> Callable[[int, torch.Generator], Tensor]:
    def draw(n: int, generator: torch.Generator) -> Tensor:
        u = uniform_times(n, generator).clamp(1e-6, 1 - 1e-6)
        return torch.sigmoid(mean + std * torch.special.ndtri(u))

    return draw


TIME_SAMPLERS: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "uniform": uniform_times,
    "steps": _step_times,
    "logit-normal": _logistic_times(0.0, 1.0),
    "log-normal": _logistic_times(1.2 + math.log(0.5), 1.2),
}


def grid(
    path: Path, spacing: Literal["uniform", "rho", "log-snr"], steps: int, end: float | None = None
) -> Tensor:
    r"""Return the angles on the arc that a sampler visits, from noise to data.

    Args:
        path: Begins the grid; its time is what ``"uniform"`` cuts evenly.
        spacing: One of ``GRIDS``.
        steps: Number of steps.
        end: The last angle; None for the end of the path. Where it is another one, the last step
            goes there from the end of the path, as Karras' goes from σ = 0.002 to 0.

    Returns:
        Increasing angles, ``(steps + 1,)``, float64.

    Example:
        >>> from fromnoise.transport.paths import LINEAR
        >>> grid(LINEAR, "uniform", 2).tan().round(decimals=6)[:2]  # α/σ
        tensor([0., 1.], dtype=torch.float64)
        >>> 1 / grid(LINEAR, "rho", 18)[1:3].tan()  # σ of Karras' 18 steps, after 80
        tensor([57.5860, 40.7856], dtype=torch.float64)
    """
    first, last = angle(path, torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    end = last if end is None else end
    whole = spacing == "uniform" and math.isclose(last, end)
    u = torch.linspace(0, 1, steps + 1 if whole else steps, dtype=torch.float64)
    if spacing == "uniform":
        theta = angle(path, u)
    else:
        low = max(SIGMA_MIN, 2 / math.tan(end))  # a path may end with some noise left
        theta = torch.atan2(torch.ones_like(u), _ratios(spacing, SIGMA_MAX, low, u))
    theta = theta if whole else torch.cat([theta, torch.tensor([end], dtype=torch.float64)])
    theta[0] = first
    return theta


def _ratios(spacing: str, high: float, low: float, u: Tensor) -> Tensor:
    if spacing == "rho":
        return (high ** (1 / RHO) + u * (low ** (1 / RHO) - high ** (1 / RHO))) ** RHO
    return (math.log(high) + u * (math.log(low) - math.log(high))).exp()
