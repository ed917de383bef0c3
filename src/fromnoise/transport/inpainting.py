r"""Drawing what is missing of x_1 given what is seen, with the velocity of p(x).

The seen part s is noised once, forwards along the path, to a chain y_1 = s, …, y_0. What is
missing, m, goes the other way, from noise to data, as a cloud of K particles whose law at each
time is p_t(m | y_t). A step from t to the time u nearer to the data (Trippe 2023, algorithm 1):

    weigh       by p(y_u | x_t) ≈ N(y_u; mean of x_u given x_t, c² I): who foresaw what is seen
    move        m_u ~ N(mean, c² I), the ancestral step of ``transport.samplers``
    resample    systematically, where the weights have halved the effective number of particles
    correct     m ← m + h ∇_m log p_u(m, y_u) + √(2h) ξ, Langevin's step (Song 2021, algorithm 4)

and at the end one particle is drawn by its weight. Langevin's step keeps p_u(m | y_u), heals the
error of the step before and sets copies apart. It is exact for many steps and particles.
Without weights (K = 1: Song 2021, appendix I; Lugmayr 2022) the law is wrong whatever the number
of steps: far from the data y_t tells m little, and what it decides there, such as in which of two
modes to be, is never taken back. A mode of m that has less than about 1/K of the mass of p(m) can
still be missed. The steps are short near the data, where narrow conditionals are settled.

It needs p_t to be data blurred by Gaussian noise, x_t = α_t x_1 + σ_t x_0 with x_0 independent of
x_1; only then does the velocity tell the score.
"""

__all__ = ["inpaint", "inpainting_times"]

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from fromnoise.transport.paths import Path, angle, time_at
from fromnoise.transport.samplers import Marks
from fromnoise.transport.solvers import Field

STRETCH = 1.5  # how much shorter steps get towards the data
LANGEVIN = 0.3  # h in units of σ², the variance of the narrowest thing there can be


def inpainting_times(path: Path, steps: int, start: float = 0.0) -> Tensor:
    r"""Return times that begin evenly on the arc and get closer towards the data.

    Args:
        path: The path.
        steps: Number of steps.
        start: The first time.

    Returns:
        Increasing times from ``start`` to 1, ``(steps + 1,)``.

    Example:
        >>> from fromnoise.transport.paths import VP_COSINE
        >>> inpainting_times(VP_COSINE, 4).round(decimals=2)
        tensor([0.0000, 0.3500, 0.6500, 0.8800, 1.0000], dtype=torch.float64)
    """
    ends = angle(path, torch.tensor([start, 1.0], dtype=torch.float64))
    u = torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** STRETCH
    times = time_at(path, torch.lerp(ends[1], ends[0], u))
    times[0], times[-1] = start, 1.0
    return times


def inpaint(
    velocity: Field,
    x: Tensor,
    known: Tensor,
    times: Tensor,
    *,
    path: Path,
    particles: int,
    normal: Callable[..., Tensor],
    uniform: Callable[..., Tensor],
) -> Tensor:
    r"""Return rows whose unknown entries are draws given the known ones.

    Args:
        velocity: The field of p(x), called with ``(n · particles, *)``, the particles of a row
            side by side, and times of that number.
        x: Rows, ``(n, *)``; what is not known may be anything.
        known: Which entries are known, bool ``(n, *)``.
        times: Increasing, from noise to data.
        path: Whose velocity it is.
        particles: How many a row, K.
        normal: Called with a shape; returns N(0, I) noise ``(n, *shape)``.
        uniform: Likewise, U(0, 1).

    Returns:
        The rows, ``(n, *)``.

    Example:
        >>> from fromnoise.transport.paths import LINEAR
        >>> def flow(x, t):  # of N(0, I)
        ...     return (2 * t - 1)[:, None] / (t**2 + (1 - t) ** 2)[:, None] * x
        >>> g = torch.Generator().manual_seed(0)
        >>> x, known = torch.ones(500, 2), torch.tensor([[True, False]]).expand(500, -1)
        >>> times = inpainting_times(LINEAR, 20)
        >>> drawn = inpaint(
        ...     flow, x, known, times, path=LINEAR, particles=4,
        ...     normal=lambda *s: torch.randn(500, *s, generator=g),
        ...     uniform=lambda *s: torch.rand(500, *s, generator=g),
        ... )
        >>> bool((drawn[:, 0] == 1).all()), bool(abs(drawn[:, 1].mean()) < 0.2)
        (True, True)
    """
    shape = x.shape[1:]
    x, known = x.flatten(1), known.flatten(1)[:, None]
    marks = [Marks.at(path, t) for t in times.tolist()]
    seen = _noised(x, marks, normal)
    cloud = _Cloud(velocity, shape, known)
    m = torch.where(known, seen[0][:, None], marks[0].sigma * normal(particles, x.shape[1]))
    log_weight = m.new_zeros(m.shape[:2])
    for i, (t, u) in enumerate(pairwise(times.tolist())):
        mean, c = cloud.foreseen(m, t, marks[i], marks[i + 1])
        y = seen[i + 1][:, None]
        if not c:
            m = torch.where(known, y, mean)
            break
        miss = torch.where(known, y - mean, 0.0).square().sum(2)
        log_weight = log_weight - 0.5 * miss / c**2
        m = torch.where(known, y, mean + c * normal(*mean.shape[1:]))
        m, log_weight = _resampled(m, log_weight, uniform(1))
        if u < 1:
            m = cloud.corrected(m, u, marks[i + 1], normal(*mean.shape[1:]))
    chosen = _pick(log_weight.softmax(1), uniform(1))
    return torch.where(known[:, 0], x, _rows(m, chosen)[:, 0]).unflatten(1, shape)


class _Cloud:
    r"""Particles ``(n, K, d)`` and the field that they are in."""

    def __init__(self, velocity: Field, shape: torch.Size, known: Tensor) -> None:
        self.velocity, self.shape, self.known = velocity, shape, known

    def blend(self, m: Tensor, t: float, here: Marks, data: float, noise: float) -> Tensor:
        r"""Return data · D + noise · ε, of the guesses of data and noise."""
        flat = m.flatten(0, 1).unflatten(1, self.shape)
        time = torch.full((len(flat),), t, dtype=m.dtype, device=m.device)
        return here.blend(flat, self.velocity(flat, time), data, noise).reshape(m.shape)

    def foreseen(self, m: Tensor, t: float, here: Marks, there: Marks) -> tuple[Tensor, float]:
        r"""Return mean and deviation of x at the next time, given the particles."""
        shrink = (there.ratio / here.ratio) ** 2
        mean = self.blend(m, t, here, there.alpha, there.sigma * math.sqrt(shrink))
        return mean, there.sigma * math.sqrt(1 - shrink)

    def corrected(self, m: Tensor, t: float, here: Marks, z: Tensor) -> Tensor:
        r"""Return particles after a step of Langevin's; the score is −noise / σ."""
        h = LANGEVIN * here.sigma**2
        drift = self.blend(m, t, here, 0, -h / here.sigma)
        return torch.where(self.known, m, m + drift + math.sqrt(2 * h) * z)


def _noised(x: Tensor, marks: list[Marks], normal: Callable[..., Tensor]) -> list[Tensor]:
    r"""Return y at each time: a chain from the data to noise."""
    chain = [x]
    for here, there in pairwise(reversed(marks)):
        keep = there.alpha / here.alpha
        fresh = math.sqrt(max(there.sigma**2 - (keep * here.sigma) ** 2, 0.0))
        chain.append(keep * chain[-1] + fresh * normal(x.shape[1]))
    return chain[::-1]


def _resampled(m: Tensor, log_weight: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    r"""Draw particles by their weights, in the rows where few would carry them all."""
    weight = log_weight.softmax(1)
    k = weight.shape[1]
    poor = 1 / weight.square().sum(1) < k / 2
    places = (u + torch.arange(k, dtype=u.dtype, device=u.device)) / k
    chosen = torch.where(poor[:, None], _pick(weight, places), torch.arange(k, device=m.device))
    return _rows(m, chosen), torch.where(poor[:, None], 0.0, log_weight)


def _pick(weight: Tensor, u: Tensor) -> Tensor:
    r"""Return the particles into whose weights u ~ U(0, 1) falls, row by row."""
    edges = weight.cumsum(1)
    index = torch.searchsorted(edges, (u * edges[:, -1:]).contiguous(), right=True)
    return index.clamp_max(weight.shape[1] - 1)


def _rows(m: Tensor, chosen: Tensor) -> Tensor:
    return m.gather(1, chosen[:, :, None].expand(-1, -1, m.shape[2]))
