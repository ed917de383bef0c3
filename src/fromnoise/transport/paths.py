r"""Probability paths between noise and data.

**Time runs from noise (t = 0) to data (t = 1).** A path mixes the two,

    x_t = α_t x_1 + σ_t x_0,        x_0 noise, x_1 data,
    u_t = α'_t x_1 + σ'_t x_0       its velocity, the target of flow matching,

with α_1 = 1, and σ_1 = 0 or little. A stochastic interpolant (Albergo 2023) adds γ_t z, fresh
noise z that is there on the way only (:func:`detour`). Where the papers run the other way:

    name         here: (α_t, σ_t)              there
    linear       (t, 1 − t)                    Liu 2022, Lipman 2023: the same
    vp-linear    (√ᾱ_k, √(1 − ᾱ_k))            Ho 2020: step k = 1000 (1 − t)
    vp-cosine    (sin πt/2, cos πt/2)          Nichol & Dhariwal 2021, without their offset
    edm          (1, σ), σ from 80 to 0.002    Karras 2022, eq. 5: σ^(1/7) falls evenly in t

**One arc.** Divided by √(α_t² + σ_t²), every path is the same quarter of a circle, walked at
another speed: x = sin θ x_1 + cos θ x_0 with tan θ = α_t / σ_t. Its velocity, that is
cos θ x_1 − sin θ x_0, has unit size and nothing linear in common with x when the data are
standardised. It is what Salimans & Ho 2022 call v, what Karras' network learns, and what is left
of the velocity of any path when a Gaussian's is taken out: :func:`gaussian_flow`.
"""

__all__ = [
    "LINEAR",
    "PATHS",
    "VP_COSINE",
    "Path",
    "angle",
    "bridge",
    "convert",
    "detour",
    "gaussian_flow",
    "linear",
    "time_at",
]

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

Quantity = Literal["noise", "data", "velocity", "score"]


def nought(t: Tensor) -> Tensor:
    r"""Return zeros like t: what a path lacks."""
    return torch.zeros_like(t)


@dataclass(frozen=True)
class Path:
    r"""A path x_t = α_t x_1 + σ_t x_0 + γ_t z.

    Args:
        alpha: α_t, the share of the data, as a function of t.
        sigma: σ_t, the share of the noise.
        d_alpha: dα_t/dt.
        d_sigma: dσ_t/dt.
        gamma: γ_t, the size of the noise on the way; 0 unless :func:`detour` says otherwise.
        d_gamma: dγ_t/dt.

    Example:
        >>> x_t, u_t = bridge(LINEAR, torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([0.25]))
        >>> x_t, u_t
        (tensor([[0.2500, 0.2500]]), tensor([[1., 1.]]))
    """

    alpha: Callable[[Tensor], Tensor]
    sigma: Callable[[Tensor], Tensor]
    d_alpha: Callable[[Tensor], Tensor]
    d_sigma: Callable[[Tensor], Tensor]
    gamma: Callable[[Tensor], Tensor] = nought
    d_gamma: Callable[[Tensor], Tensor] = nought


@cache
def linear(sigma_min: float = 0.0) -> Path:
    r"""Return the straight path, α_t = t and σ_t = 1 − (1 − σ_min) t (Lipman 2023, eq. 20).

    Args:
        sigma_min: Noise that is left on the data at t = 1.

    Example:
        >>> linear(0.1).sigma(torch.tensor([0.0, 1.0]))
        tensor([1.0000, 0.1000])
    """
    fall = 1 - sigma_min
    return Path(
        alpha=lambda t: t,
        sigma=lambda t: 1 - fall * t,
        d_alpha=torch.ones_like,
        d_sigma=lambda t: torch.full_like(t, -fall),
    )


LINEAR = linear(0.0)

_QUARTER = math.pi / 2
VP_COSINE = Path(
    alpha=lambda t: torch.sin(_QUARTER * t),
    sigma=lambda t: torch.cos(_QUARTER * t),
    d_alpha=lambda t: _QUARTER * torch.cos(_QUARTER * t),
    d_sigma=lambda t: -_QUARTER * torch.sin(_QUARTER * t),
)

SIGMA_MAX, SIGMA_MIN, RHO = 80.0, 0.002, 7.0
_ROOT, _FALL = SIGMA_MAX ** (1 / RHO), SIGMA_MAX ** (1 / RHO) - SIGMA_MIN ** (1 / RHO)
_EDM = Path(
    alpha=torch.ones_like,
    sigma=lambda t: (_ROOT - _FALL * t) ** RHO,
    d_alpha=nought,
    d_sigma=lambda t: -RHO * _FALL * (_ROOT - _FALL * t) ** (RHO - 1),
)

# Ho 2020, section 4: β_k rises from 1e-4 at k = 1 to 0.02 at k = 1000.
_STEPS, _FIRST, _LAST = 1000, 1e-4, 0.02
_RISE = (_LAST - _FIRST) / (_STEPS - 1)


def _beta(t: Tensor) -> Tensor:
    r"""Return β at k + 1/2, in float64."""
    return _FIRST + (_STEPS * (1 - t.double()) - 0.5) * _RISE


def _log_alpha_bar(t: Tensor) -> Tensor:
    r"""Return ln ᾱ = Σ_{j ≤ k} ln(1 − β_j), for steps k = 1000 (1 − t) that need not be whole.

    By the formula of Euler and Maclaurin, which for a sum as smooth as this is exact to 1e-15:
    ∫ ln(1 − β) from 1/2 to k + 1/2, less a 24th of the difference of the slopes there.
    """

    def primitive(beta: Tensor) -> Tensor:
        return -((1 - beta) * torch.log1p(-beta) + beta) / _RISE + _RISE / (1 - beta) / 24

    return primitive(_beta(t)) - primitive(_beta(torch.ones((), dtype=torch.float64)))


def _d_log_alpha_bar(t: Tensor) -> Tensor:
    beta = _beta(t)
    return -_STEPS * (torch.log1p(-beta) + (_RISE / (1 - beta)) ** 2 / 24)


def _vp_alpha(t: Tensor) -> Tensor:
    return (0.5 * _log_alpha_bar(t)).exp().to(t.dtype)


def _vp_sigma(t: Tensor) -> Tensor:
    return (-torch.expm1(_log_alpha_bar(t))).sqrt().to(t.dtype)


def _vp_d_alpha(t: Tensor) -> Tensor:
    return (0.5 * _d_log_alpha_bar(t) * (0.5 * _log_alpha_bar(t)).exp()).to(t.dtype)


def _vp_d_sigma(t: Tensor) -> Tensor:
    share = _log_alpha_bar(t)
    return (-0.5 * _d_log_alpha_bar(t) * share.exp() / (-torch.expm1(share)).sqrt()).to(t.dtype)


PATHS: dict[str, Path] = {
    "linear": LINEAR,
    "vp-linear": Path(_vp_alpha, _vp_sigma, _vp_d_alpha, _vp_d_sigma),
    "vp-cosine": VP_COSINE,
    "edm": _EDM,
}


@cache
def detour(path: Path, size: float) -> Path:
    r"""Return the path with noise of the size γ_t = size · sin² πt on the way (Albergo 2023).

    Between two sets of rows, x_0 and x_1, it spreads the points x_t out, so that their density
    and the field are smooth. Where x_0 is N(0, I) it only makes another σ_t. (With Albergo's
    √(2t (1 − t)) the target of the regression would have an infinite variance at both ends.)

    Args:
        path: The path without.
        size: γ half way.

    Example:
        >>> detour(LINEAR, 0.2).gamma(torch.tensor([0.0, 0.5]))
        tensor([0.0000, 0.2000])
    """
    return replace(
        path,
        gamma=lambda t: size * torch.sin(math.pi * t) ** 2,
        d_gamma=lambda t: size * math.pi * torch.sin(2 * math.pi * t),
    )


def bridge(
    path: Path, x_0: Tensor, x_1: Tensor, t: Tensor, z: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Return the point x_t between noise and data, and the velocity there.

    Args:
        path: The path.
        x_0: Noise, ``(n, *)``.
        x_1: Data, ``(n, *)``.
        t: Times in [0, 1], ``(n,)``.
        z: Noise on the way, ``(n, *)``; None for a path that has none.

    Returns:
        x_t and u_t, both ``(n, *)``.

    Example:
        >>> x_t, _ = bridge(LINEAR, torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([1.0]))
        >>> x_t.item()
        1.0
    """
    t = _beside(t, x_1)
    x_t = path.alpha(t) * x_1 + path.sigma(t) * x_0
    u_t = path.d_alpha(t) * x_1 + path.d_sigma(t) * x_0
    return (x_t, u_t) if z is None else (x_t + path.gamma(t) * z, u_t + path.d_gamma(t) * z)


def gaussian_flow(
    path: Path,
    x: Tensor,
    t: Tensor,
    *,
    mean: Tensor | float = 0.0,
    std: Tensor | float = 1.0,
    until: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return what the velocity would be if the data were N(0, I), and how far it spreads.

    With V_t = α_t² + σ_t², the variance of x_t, the velocity that all pairs have on average is

        u_t(x) = (α'_t α_t + σ'_t σ_t) / V_t · x,

    and that of a single pair spreads around it by s_t = abs(α'_t σ_t − σ'_t α_t) / √V_t. A network
    that learns only the rest, u = u_t + s_t F(x / √V_t, t), has an input and a target of unit
    size at every time. The target is the velocity on the arc, F* = cos θ x_1 − sin θ x_0, for
    every path. In the letters of Karras 2022, table 1, with σ_data = 1 and path edm:

        c_in = 1/√V_t,   D = c_skip x + c_out F,   c_skip = 1/V_t,   c_out = σ_t/√V_t.

    Where x_0 comes from N(m, S²) instead, x − σ_t m stands for x and σ_t S for σ_t, and σ'_t m is
    added to the velocity. Noise on the way adds γ_t² to V_t.

    Args:
        path: The path.
        x: Points x_t, ``(n, *)``.
        t: Times, ``(n,)``.
        mean: m, of a row of x_0.
        std: S, of a row of x_0.
        until: Later times s, ``(n,)``: the mean velocity from t to s, (x_s − x_t) / (s − t) along
            the flow, takes the place of the one at t. On straight paths only.

    Returns:
        u_t(x) ``(n, *)``, the spread ``(n, 1, …)``, and x / √V_t ``(n, *)``.

    Example:
        >>> u, spread, _ = gaussian_flow(LINEAR, torch.tensor([[2.0]]), torch.tensor([0.5]))
        >>> u, spread  # half way there are equal parts of noise and data
        (tensor([[0.]]), tensor([[1.4142]]))
    """
    t = _beside(t, x)
    shares, slopes = _shares(path, t, std), _slopes(path, t, std)
    size = _norm(shares)
    if until is None:
        slope = _dot(slopes, shares) / size**2  # d√V/dt over √V
    else:  # (√V_s − √V_t) / (s − t) over √V_t, but nothing is divided by s − t
        later = _shares(path, _beside(until, x), std)
        both = [a + b for a, b in zip(shares, later, strict=True)]
        slope = _dot(slopes, both) / (size * (size + _norm(later)))
    # Var(u) V − Cov(u, x)² is a sum of squares (Lagrange).
    pairs = combinations(zip(shares, slopes, strict=True), 2)
    spread = _norm([d_a * b - d_b * a for (a, d_a), (b, d_b) in pairs]) / size
    centred = x - path.sigma(t) * mean
    return path.d_sigma(t) * mean + slope * centred, spread, centred / size


def _shares(path: Path, t: Tensor, std: Tensor | float) -> list[Tensor]:
    way = [] if path.gamma is nought else [path.gamma(t)]
    return [path.alpha(t), path.sigma(t) * std, *way]


def _slopes(path: Path, t: Tensor, std: Tensor | float) -> list[Tensor]:
    way = [] if path.gamma is nought else [path.d_gamma(t)]
    return [path.d_alpha(t), path.d_sigma(t) * std, *way]


def _dot(a: list[Tensor], b: list[Tensor]) -> Tensor:
    total = a[0] * b[0]
    for one, other in zip(a[1:], b[1:], strict=True):
        total = torch.addcmul(total, one, other)
    return total


def _norm(parts: list[Tensor]) -> Tensor:
    return parts[0].abs() if len(parts) == 1 else _dot(parts, parts).sqrt()


def convert(
    path: Path, x: Tensor, t: Tensor, value: Tensor, given: Quantity, wanted: Quantity
) -> Tensor:
    r"""Turn one prediction at x_t into another.

    Noise x_0 and data x_1, velocity u = α' x_1 + σ' x_0 and score s = −x_0 / σ say the same of a
    point x_t = α x_1 + σ x_0, as long as σ (noise to data: α) is not zero.

    Args:
        path: The path.
        x: Points x_t, ``(n, *)``.
        t: Times, ``(n,)``.
        value: The prediction, ``(n, *)``.
        given: What it is.
        wanted: What to turn it into.

    Returns:
        The same prediction, ``(n, *)``.

    Example:
        >>> x, t = torch.tensor([[0.5]]), torch.tensor([0.5])
        >>> convert(LINEAR, x, t, torch.tensor([[2.0]]), "velocity", "data")
        tensor([[1.5000]])
    """
    if given == wanted:
        return value
    t = _beside(t, x)
    alpha, sigma, slope_a, slope_s = (
        f(t) for f in (path.alpha, path.sigma, path.d_alpha, path.d_sigma)
    )
    if given == "velocity":
        turn = slope_a * sigma - slope_s * alpha
        data, noise = (sigma * value - slope_s * x) / turn, (slope_a * x - alpha * value) / turn
    elif given == "data":
        data, noise = value, (x - alpha * value) / sigma
    else:
        noise = value if given == "noise" else -sigma * value
        data = (x - sigma * noise) / alpha
    if wanted == "velocity":
        return slope_a * data + slope_s * noise
    return data if wanted == "data" else noise if wanted == "noise" else -noise / sigma


def angle(path: Path, t: Tensor) -> Tensor:
    r"""Return the place on the arc, θ = arctan(α_t / σ_t): 0 is noise, π/2 is data.

    Example:
        >>> angle(LINEAR, torch.tensor([0.0, 0.5, 1.0]))
        tensor([0.0000, 0.7854, 1.5708])
    """
    return torch.atan2(path.alpha(t), path.sigma(t))


def time_at(path: Path, theta: Tensor) -> Tensor:
    r"""Return the times at which a path passes angles; the inverse of :func:`angle`.

    Found by halving [0, 1] fifty times, in float64, but for the arc itself at even speed.

    Example:
        >>> time_at(LINEAR, torch.tensor([0.0, math.pi / 4])).round(decimals=6)
        tensor([0.0000, 0.5000], dtype=torch.float64)
    """
    theta = theta.double()
    if path is VP_COSINE:
        return theta / _QUARTER
    low, high = torch.zeros_like(theta), torch.ones_like(theta)
    for _ in range(50):
        middle = (low + high) / 2
        before = angle(path, middle) < theta
        low, high = torch.where(before, middle, low), torch.where(before, high, middle)
    return torch.where(theta <= angle(path, torch.zeros_like(theta)), 0.0, high)


def _beside(t: Tensor, x: Tensor) -> Tensor:
    return t.reshape(-1, *[1] * (x.ndim - 1))  # (n, 1, ...)
