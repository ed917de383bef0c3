r"""Probability paths between noise and data, and the times at which they are learnt.

**Time runs from noise (t = 0) to data (t = 1).** A path mixes the two,

    x_t = α_t x_1 + σ_t x_0,        x_0 noise, x_1 data,
    u_t = α'_t x_1 + σ'_t x_0       its velocity, the target of flow matching,

with α_0 = 0, σ_0 = 1 and α_1 = 1, σ_1 = 0. Where the papers run the other way:

    here                    Ho 2020                 Karras 2022      Liu 2022, Lipman 2023
    t = 0 (noise)           step T                  σ = σ_max        t = 0
    t = 1 (data)            step 0                  σ = 0            t = 1
    (α_t, σ_t)              (√ᾱ, √(1 − ᾱ))          (1, σ) scaled    (t, 1 − t)

The straight path, α_t = t and σ_t = 1 − t, is Liu 2022 (eq. 1) and Lipman 2023 (eq. 20) with
σ_min = 0.
"""

__all__ = [
    "LINEAR",
    "TIME_SAMPLERS",
    "Path",
    "bridge",
    "gaussian_flow",
    "logit_normal_times",
    "uniform_times",
]

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Path:
    r"""A path x_t = α_t x_1 + σ_t x_0.

    Args:
        alpha: α_t, the share of the data, as a function of t.
        sigma: σ_t, the share of the noise.
        d_alpha: dα_t/dt.
        d_sigma: dσ_t/dt.

    Example:
        >>> x_t, u_t = bridge(LINEAR, torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([0.25]))
        >>> x_t, u_t
        (tensor([[0.2500, 0.2500]]), tensor([[1., 1.]]))
    """

    alpha: Callable[[Tensor], Tensor]
    sigma: Callable[[Tensor], Tensor]
    d_alpha: Callable[[Tensor], Tensor]
    d_sigma: Callable[[Tensor], Tensor]


LINEAR = Path(
    alpha=lambda t: t,
    sigma=lambda t: 1 - t,
    d_alpha=torch.ones_like,
    d_sigma=lambda t: -torch.ones_like(t),
)


def bridge(path: Path, x_0: Tensor, x_1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the point x_t between noise and data, and the velocity there.

    Args:
        path: The path.
        x_0: Noise, ``(n, *)``.
        x_1: Data, ``(n, *)``.
        t: Times in [0, 1], ``(n,)``.

    Returns:
        x_t and u_t, both ``(n, *)``.

    Example:
        >>> x_t, _ = bridge(LINEAR, torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([1.0]))
        >>> x_t.item()
        1.0
    """
    t = t.reshape(-1, *[1] * (x_1.ndim - 1))  # (n, 1, ...)
    x_t = path.alpha(t) * x_1 + path.sigma(t) * x_0
    return x_t, path.d_alpha(t) * x_1 + path.d_sigma(t) * x_0


def gaussian_flow(path: Path, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return what the velocity would be if the data were N(0, I), and how far it spreads.

    With V_t = α_t² + σ_t², the variance of x_t, the velocity that all pairs have on average is

        u_t(x) = (α'_t α_t + σ'_t σ_t) / V_t · x,

    and that of a single pair spreads around it by s_t = abs(α'_t σ_t − σ'_t α_t) / √V_t. A network
    that learns only the rest, v = u_t + s_t F(x / √V_t, t), has an input and a target of unit
    size at every time: the preconditioning of Karras 2022, table 1, for a velocity and
    standardised data.

    Args:
        path: The path.
        x: Points x_t, ``(n, *)``.
        t: Times, ``(n,)``.

    Returns:
        u_t(x) ``(n, *)``, the spread ``(n, 1, …)``, and x / √V_t ``(n, *)``.

    Example:
        >>> u, spread, _ = gaussian_flow(LINEAR, torch.tensor([[2.0]]), torch.tensor([0.5]))
        >>> u, spread  # half way there are equal parts of noise and data
        (tensor([[0.]]), tensor([[1.4142]]))
    """
    t = t.reshape(-1, *[1] * (x.ndim - 1))
    alpha, sigma = path.alpha(t), path.sigma(t)
    d_alpha, d_sigma = path.d_alpha(t), path.d_sigma(t)
    scale = (alpha**2 + sigma**2).rsqrt()
    slope = (d_alpha * alpha + d_sigma * sigma) * scale**2
    return slope * x, (d_alpha * sigma - d_sigma * alpha).abs() * scale, x * scale


def uniform_times(n: int, generator: torch.Generator) -> Tensor:
    r"""Return n times from U(0, 1), spread evenly: one shift, n equal steps (Kingma 2021, I.1).

    Each time alone is uniform; together they cover [0, 1], so the loss is less noisy.

    Example:
        >>> uniform_times(4, torch.Generator().manual_seed(0)).sort().values.diff()
        tensor([0.2500, 0.2500, 0.2500])
    """
    shift = torch.rand(1, generator=generator, device=generator.device)
    return (shift + torch.arange(n, device=generator.device) / n) % 1


def logit_normal_times(n: int, generator: torch.Generator) -> Tensor:
    r"""Return n times t = sigmoid(s), s ~ N(0, 1), spread evenly (Esser 2024, section 3.1).

    The middle of the path, where the velocity is hardest to tell, is visited most.

    Example:
        >>> t = logit_normal_times(1000, torch.Generator().manual_seed(0))
        >>> bool((t > 0).all() and (t < 1).all()), round(t.mean().item(), 2)
        (True, 0.5)
    """
    u = uniform_times(n, generator).clamp(1e-6, 1 - 1e-6)
    return torch.sigmoid(torch.special.ndtri(u))


TIME_SAMPLERS: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "uniform": uniform_times,
    "logit-normal": logit_normal_times,
}
