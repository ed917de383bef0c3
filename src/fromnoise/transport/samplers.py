r"""Steps that know where they go: from x_t = α_t x_1 + σ_t x_0 towards data.

The velocity at x_t tells a guess D of the data and a guess ε of the noise (``paths.convert``).
With the ratio r = σ/α of noise to signal, and s > t the next time:

    DDIM        x_s = α_s D + √(σ_s² − c²) ε + c z,   c = η σ_s √(1 − r_s²/r_t²)     Song 2021, 12
    ancestral   η = 1: c² is β̃, the variance of x_s given x_t and x_1               Ho 2020, 7
    ancestral-large   the same mean, the variance β of the step forwards
    DPM++       Adams–Bashforth for D in the time ln 1/r, the rest exactly      Lu 2022b, alg. 2
    EDM         raise the noise a little, then Heun's step of d(x/α)/dr = ε     Karras 2022, alg. 2

The formulas hold for every path, not only where α² + σ² = 1. z is fresh noise; with c = 0 a step
is deterministic, and DDIM is Euler's method for x/α in the time r. None asks for the field at
the end, t = 1.
"""

__all__ = ["DDIM", "EDM", "SOLVERS", "Ancestral", "DPMSolver", "Marks", "churned"]

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from fromnoise.transport.paths import Path, time_at
from fromnoise.transport.solvers import (
    RUNGE_KUTTA,
    AdamsBashforth,
    DormandPrince,
    Method,
    Walk,
    advance,
)


class Marks(NamedTuple):
    r"""Where a path stands at a time: α, σ and r = σ/α, and its slopes α' and σ'."""

    alpha: float
    sigma: float
    ratio: float
    d_alpha: float
    d_sigma: float

    @classmethod
    def at(cls, path: Path, t: float) -> "Marks":
        r"""Return the marks of a path at time t; at its end σ and r are exactly 0.

        Example:
            >>> from fromnoise.transport.paths import LINEAR
            >>> Marks.at(LINEAR, 0.8)
            Marks(alpha=0.8, sigma=0.2, ratio=0.25, d_alpha=1.0, d_sigma=-1.0)
        """
        return cls(*_marks(path, t))

    def blend(self, x: Tensor, velocity: Tensor, data: float, noise: float) -> Tensor:
        r"""Return data · D + noise · ε, of the guesses that a velocity at x_t tells of.

        u = α' D + σ' ε and x = α D + σ ε, solved with numbers, so that it takes two operations.

        Example:
            >>> from fromnoise.transport.paths import LINEAR
            >>> here, x, velocity = Marks.at(LINEAR, 0.5), torch.ones(1), torch.tensor([2.0])
            >>> here.blend(x, velocity, 1, 0).item(), here.blend(x, velocity, 0, 1).item()
            (2.0, 0.0)
        """
        turn = self.d_alpha * self.sigma - self.d_sigma * self.alpha
        of_x = (self.d_alpha * noise - self.d_sigma * data) / turn
        of_velocity = (self.sigma * data - self.alpha * noise) / turn
        return torch.add(of_x * x, velocity, alpha=of_velocity)


@lru_cache(maxsize=10_000)  # every block of rows visits the same times
def _marks(path: Path, t: float) -> tuple[float, float, float, float, float]:
    time = torch.tensor(t, dtype=torch.float64)
    alpha, sigma, d_alpha, d_sigma = (
        f(time).item() for f in (path.alpha, path.sigma, path.d_alpha, path.d_sigma)
    )
    sigma = 0.0 if t == 1 and sigma < 1e-12 else sigma  # cos(π/2) is not 0 in floating point
    return alpha, sigma, sigma / alpha if alpha else math.inf, d_alpha, d_sigma


@dataclass(frozen=True)
class DDIM:
    r"""The sampler of Song 2021, from deterministic (η = 0) to ancestral (η = 1).

    Args:
        eta: η, the share of fresh noise.

    Example:
        >>> from fromnoise.transport.solvers import integrate
        >>> x = torch.tensor([[2.0]])  # the data are all at 3: v = (3 − x) / (1 − t)
        >>> times = torch.tensor([0, 0.5, 1])
        >>> integrate(lambda x, t: (3 - x) / (1 - t[:, None]), x, times, DDIM())
        tensor([[3.]])
    """

    eta: float = 0.0

    def step(self, walk: Walk, x: Tensor, t: float, s: float) -> Tensor:
        r"""Return α_s D + √(σ_s² − c²) ε + c z."""
        here, there = Marks.at(walk.path, t), Marks.at(walk.path, s)
        c = self.eta * there.sigma * math.sqrt(1 - (there.ratio / here.ratio) ** 2)
        kept = math.sqrt(there.sigma**2 - c**2)
        mean = here.blend(x, walk.slope(x, t), there.alpha, kept)
        return mean.add_(walk.draw(x), alpha=c) if c else mean

    def evaluations(self, steps: int) -> int:
        r"""Return one evaluation a step."""
        return steps


@dataclass(frozen=True)
class Ancestral:
    r"""The sampler of Ho 2020, algorithm 2.

    Args:
        variance: Of a step: ``"small"`` is β̃, right if the data were one point; ``"large"`` is
            β, right if they were N(0, I).

    Example:
        >>> Ancestral("large").evaluations(1000)
        1000
    """

    variance: str = "small"

    def step(self, walk: Walk, x: Tensor, t: float, s: float) -> Tensor:
        r"""Return the posterior mean of x_s and noise of the variance that was chosen."""
        here, there = Marks.at(walk.path, t), Marks.at(walk.path, s)
        shrink = (there.ratio / here.ratio) ** 2
        kept = there.sigma * math.sqrt(shrink)
        mean = here.blend(x, walk.slope(x, t), there.alpha, kept)
        if not there.sigma:
            return mean
        small = there.sigma**2 * (1 - shrink)
        large = here.sigma**2 - (here.alpha / there.alpha * there.sigma) ** 2
        spread = math.sqrt(small if self.variance == "small" else large)
        return mean.add_(walk.draw(x), alpha=spread)

    def evaluations(self, steps: int) -> int:
        r"""Return one evaluation a step."""
        return steps


@dataclass(frozen=True)
class DPMSolver:
    r"""DPM-Solver++ in its multistep form: one evaluation a step, order 1 to 3.

    With λ = ln α/σ and h = λ_s − λ_t, x_s = σ_s/σ_t x_t + α_s ∫_0^h e^(τ − h) D(τ) dτ is exact; D
    is taken for a polynomial in λ through the last guesses. The first steps, and the last one,
    where h is infinite, are of the first order. (The authors' own code takes half of the quadratic
    term for order 3, and is then of order 2.)

    Args:
        order: Number of guesses.

    Example:
        >>> DPMSolver(2).evaluations(20)
        20
    """

    order: int = 2

    def step(self, walk: Walk, x: Tensor, t: float, s: float) -> Tensor:
        r"""Return σ_s/σ_t x + α_s (φ_1 D + φ_2 D' + φ_3 D'')."""
        here, there = Marks.at(walk.path, t), Marks.at(walk.path, s)
        data = here.blend(x, walk.slope(x, t), 1, 0)
        past = walk.remember(_minus_log(here.ratio), data, self.order)
        if not there.ratio:
            return there.alpha * data
        nodes, h = [when for when, _ in past], _minus_log(there.ratio) - past[0][0]
        weights = _exponential_weights(nodes, h)
        return advance(there.sigma / here.sigma * x, [d for _, d in past], weights, there.alpha)

    def evaluations(self, steps: int) -> int:
        r"""Return one evaluation a step."""
        return steps


def _exponential_weights(nodes: list[float], h: float) -> tuple[float, ...]:
    r"""Return w with Σ w_i D_i = ∫_0^h e^(τ − h) D(τ) dτ for D through (node_i, D_i).

    Newton's divided differences in τ/h, newest node first; order 2 takes half of the slope.
    """
    first = -math.expm1(-h)  # ∫_0^h e^(τ − h) dτ
    if len(nodes) == 1:
        return (first,)
    r_0 = (nodes[0] - nodes[1]) / h
    if len(nodes) == 2:
        slope = 0.5 * first / r_0
        return first + slope, -slope
    r_1 = (nodes[1] - nodes[2]) / h
    second = 1 - first / h  # ∫ τ/h e^(τ − h) dτ, and so on for (τ/h)²
    bend = (1 - 2 * second / h) / (r_0 + r_1)
    share = 0.0 if math.isinf(r_1) else r_0 / (r_0 + r_1)
    newer = (second * (1 + share) + bend) / r_0  # of (D_0 − D_1)
    older = (second * share + bend) / r_1  # of (D_2 − D_1)
    return first + newer, -newer - older, older


def _minus_log(ratio: float) -> float:
    return -math.log(ratio) if ratio else math.inf


@dataclass(frozen=True)
class EDM:
    r"""The sampler of Karras 2022, algorithm 2: Heun's method for x/α in the time r = σ/α.

    Args:
        raise_by: γ; before each step the noise is raised from r to (1 + γ) r. 0 is deterministic.

    Example:
        >>> EDM().evaluations(18)  # no second slope where the noise ends
        35
    """

    raise_by: float = 0.0

    def step(self, walk: Walk, x: Tensor, t: float, s: float) -> Tensor:
        r"""Return α_s times Heun's step of d(x/α)/dr = ε from (1 + γ) r_t to r_s."""
        here, there = Marks.at(walk.path, t), Marks.at(walk.path, s)
        ratio, flat = here.ratio, x / here.alpha
        if self.raise_by:
            ratio *= 1 + self.raise_by
            flat = flat + math.sqrt(ratio**2 - here.ratio**2) * walk.draw(x)
            t = time_at(walk.path, torch.tensor(math.atan2(1, ratio))).item()
            here = Marks.at(walk.path, t)
        h = there.ratio - ratio
        x = flat * here.alpha
        first = here.blend(x, walk.slope(x, t), 0, 1)
        ahead = there.alpha * (flat + h * first)
        if not there.ratio:
            return ahead
        second = there.blend(ahead, walk.slope(ahead, s), 0, 1)
        return there.alpha * (flat + h / 2 * (first + second))

    def evaluations(self, steps: int) -> int:
        r"""Return two evaluations a step, and one for the last."""
        return 2 * steps - 1


SOLVERS: dict[str, Method] = {
    **RUNGE_KUTTA,
    "adams": AdamsBashforth(4),
    "dopri5": DormandPrince(),
    "ddim": DDIM(),
    "ancestral": Ancestral("small"),
    "ancestral-large": Ancestral("large"),
    "dpm++2m": DPMSolver(2),
    "dpm++3m": DPMSolver(3),
    "edm": EDM(),
}


def churned(method: Method, churn: float, steps: int) -> Method:
    r"""Return the method with as much fresh noise as ``churn`` says, where it takes any.

    Args:
        method: Of ``SOLVERS``.
        churn: η of DDIM; S_churn of EDM, so that γ = min(S_churn / steps, √2 − 1).
        steps: Of the sampler.

    Returns:
        The method.

    Example:
        >>> churned(EDM(), 9.0, 18), churned(RUNGE_KUTTA["euler"], 0.0, 18).evaluations(3)
        (EDM(raise_by=0.41421356237309515), 3)
    """
    if isinstance(method, DDIM):
        return replace(method, eta=churn)
    if isinstance(method, EDM):
        return replace(method, raise_by=min(churn / steps, math.sqrt(2) - 1))
    return method
