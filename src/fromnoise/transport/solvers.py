r"""Solvers of dx/dt = v(x, t): Runge–Kutta tableaux, a multistep method, an adaptive one.

An explicit Runge–Kutta method is its tableau (Butcher 1963):

    k_i = v(x + h Σ_j a_ij k_j, t + c_i h),     x ← x + h Σ_i b_i k_i.

Euler, x ← x + h v(x, t), is the textbook scheme and the shortest tableau. A method of Adams and
Bashforth takes one slope a step and remembers the last ones. The loop over steps exists once, in
:func:`integrate`; what a method does in a step is its ``step``. The methods that know that the
field moves noise to data, and those that add fresh noise, are in ``samplers.py``; they take
their steps in the same loop.
"""

__all__ = [
    "RUNGE_KUTTA",
    "AdamsBashforth",
    "DormandPrince",
    "Field",
    "MeanStep",
    "Method",
    "Tableau",
    "Walk",
    "advance",
    "integrate",
]

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from fromnoise.transport.paths import LINEAR, Path

Field = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Walk:
    r"""One integration: the field, and what a method may ask for or remember on the way.

    Args:
        velocity: The field.
        path: The path whose velocity it is.
        draw: Returns fresh noise in the shape of its argument; torch's own if not given.
        past: What a multistep method remembers of earlier steps, newest first.
    """

    velocity: Field
    path: Path = LINEAR
    draw: Callable[[Tensor], Tensor] = field(default_factory=lambda: torch.randn_like)
    past: list[tuple[float, Tensor]] = field(default_factory=list)

    def slope(self, x: Tensor, t: float) -> Tensor:
        r"""Return v(x, t), t the same for all rows."""
        return self.velocity(x, torch.full((len(x),), t, dtype=x.dtype, device=x.device))

    def remember(self, where: float, value: Tensor, most: int) -> list[tuple[float, Tensor]]:
        r"""Add to the past, keep the newest ``most``, and return them."""
        self.past = [(where, value), *self.past][:most]
        return self.past


class Method(Protocol):
    r"""How one step is taken."""

    def step(self, walk: Walk, x: Tensor, t: float, s: float) -> Tensor:
        r"""Return the state at time s, given the state x at time t."""
        ...

    def evaluations(self, steps: int) -> int:
        r"""Return how often ``steps`` steps ask for the velocity."""
        ...


@dataclass(frozen=True)
class Tableau:
    r"""An explicit Runge–Kutta method.

    Args:
        a: Row i holds the weights of the slopes before slope i.
        b: The weights of the slopes in the step.
        c: The times of the slopes, in steps.
        order: The order of convergence.

    Raises:
        ValueError: If the rows do not fit each other: Σ b = 1, Σ_j a_ij = c_i.
    """

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]
    order: int

    def __post_init__(self) -> None:
        explicit = all(len(row) == i for i, row in enumerate(self.a))
        rows = all(
            math.isclose(sum(r), c, abs_tol=1e-12) for r, c in zip(self.a, self.c, strict=True)
        )
        if not (explicit and rows and math.isclose(sum(self.b), 1.0)):
            raise ValueError(f"This is no consistent explicit Runge–Kutta tableau: {self}")

    def step(self, walk: Walk, x: Tensor, t: float, s: float) -> Tensor:
        r"""Return x + h Σ b_i k_i."""
        slopes: list[Tensor] = []
        for row, c in zip(self.a, self.c, strict=True):
            slopes.append(walk.slope(advance(x, slopes, row, s - t), t + c * (s - t)))
        return advance(x, slopes, self.b, s - t)

    def evaluations(self, steps: int) -> int:
        r"""Return one evaluation a slope."""
        return steps * len(self.b)


RUNGE_KUTTA: dict[str, Tableau] = {
    "euler": Tableau(a=((),), b=(1.0,), c=(0.0,), order=1),
    "midpoint": Tableau(a=((), (0.5,)), b=(0.0, 1.0), c=(0.0, 0.5), order=2),
    "heun": Tableau(a=((), (1.0,)), b=(0.5, 0.5), c=(0.0, 1.0), order=2),
    "rk4": Tableau(
        a=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
        b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
        c=(0.0, 0.5, 0.5, 1.0),
        order=4,
    ),
}


@dataclass(frozen=True)
class AdamsBashforth:
    r"""The explicit multistep method: one evaluation a step, order 1 to 4.

    x ← x + ∫ p(t) dt over the step, where the polynomial p runs through the last slopes. Steps
    may be unequal; the first ones have fewer slopes to lean on. With equal steps the weights are
    those of iPNDM (Zhang & Chen 2023): 3/2, −1/2 for order 2; 55, −59, 37, −9 over 24 for order 4.

    Args:
        order: Number of slopes.

    Example:
        >>> walk = Walk(lambda x, t: t[:, None] ** 2)  # degree 2, which three slopes integrate
        >>> walk.past = [(1.0, torch.tensor([[1.0]])), (0.0, torch.tensor([[0.0]]))]
        >>> AdamsBashforth(3).step(walk, torch.tensor([[8 / 3]]), 2.0, 3.0)  # 2³/3 to 3³/3
        tensor([[9.]])
    """

    order: int

    def step(self, walk: Walk, x: Tensor, t: float, s: float) -> Tensor:
        r"""Return x + h Σ w_i v_i over the last slopes."""
        past = walk.remember(t, walk.slope(x, t), self.order)
        weights = _adams_weights(tuple((when - t) / (s - t) for when, _ in past))
        return advance(x, [slope for _, slope in past], weights, s - t)

    def evaluations(self, steps: int) -> int:
        r"""Return one evaluation a step."""
        return steps


@lru_cache(maxsize=10_000)  # every block of rows takes the same steps
def _adams_weights(nodes: tuple[float, ...]) -> tuple[float, ...]:
    r"""Return w with Σ w_i p(node_i) = ∫_0^1 p for polynomials p of degree below len(nodes)."""
    powers = torch.arange(len(nodes), dtype=torch.float64)[:, None]
    table = torch.tensor(nodes, dtype=torch.float64) ** powers
    return tuple(torch.linalg.solve(table, 1 / (powers[:, 0] + 1)).tolist())


@dataclass(frozen=True)
class MeanStep:
    r"""One evaluation a step of a mean velocity, u(x, t, s) = (x_s − x_t) / (s − t) (Geng 2025).

    The field is called with times t and s, ``(n, 2)``. What it says holds for steps of any
    length, so a single one may lead from noise to data.

    Example:
        >>> field = lambda x, ts: x * (ts[:, 1:] - ts[:, :1]).expm1()  # over a step of length 1
        >>> x = integrate(field, torch.ones(1, 1), torch.tensor([0.0, 1.0]), MeanStep())
        >>> round(x.item(), 4)
        2.7183
    """

    def step(self, walk: Walk, x: Tensor, t: float, s: float) -> Tensor:
        r"""Return x + (s − t) u(x, t, s)."""
        times = torch.tensor([[t, s]], dtype=x.dtype, device=x.device).expand(len(x), 2)
        return x.add(walk.velocity(x, times), alpha=s - t)

    def evaluations(self, steps: int) -> int:
        r"""Return one evaluation a step."""
        return steps


@dataclass(frozen=True)
class DormandPrince:
    r"""The adaptive pair of orders 5 and 4 (Dormand & Prince 1980), time and step of every row.

    A row takes the step that its own error allows, so that its result does not depend on the
    rows beside it. It is accepted where the root mean square of error / (atol + rtol abs(x)) is
    at most 1; the next step is 0.9 times what would have met that, within a fifth and tenfold.

    Args:
        rtol: Relative tolerance.
        atol: Absolute tolerance.

    Example:
        >>> x = integrate(lambda x, t: x, torch.ones(1, 1), torch.tensor([0.0, 1.0]),
        ...               DormandPrince(1e-6, 1e-6))
        >>> round(x.item(), 4)
        2.7183
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    order: int = 5

    _A = (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    )
    _C = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
    # What the fifth order has less of than the fourth: an estimate of the step's error.
    _E = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
    _FIRST, _SMALLEST = 0.02, 1e-4  # of the way; so no field is too hard to end

    def step(self, walk: Walk, x: Tensor, t: float, s: float) -> Tensor:
        r"""Return the state at s, in as many steps as each row needs."""
        now = torch.full((len(x),), t, dtype=x.dtype, device=x.device)
        h = torch.full_like(now, self._FIRST * (s - t))
        least, slope = self._SMALLEST * abs(s - t), walk.velocity(x, now)
        while bool((now != s).any()):
            last = (s - now).abs() <= h.abs() * (1 + 1e-9)
            h = torch.where(last, s - now, h)
            ahead, after, error = self._try(walk.velocity, x, now, h, slope)
            size = self._size(error, x, ahead)
            taken = (size <= 1) | (h.abs() <= least)
            x, slope = _where(taken, ahead, x), _where(taken, after, slope)
            now = torch.where(taken, torch.where(last, torch.full_like(now, s), now + h), now)
            factor = (0.9 * size.clamp_min(1e-10) ** -0.2).clamp(0.2, 10)
            h = torch.where(h == 0, h, h * factor)
            h = torch.where(h.abs() < least, math.copysign(least, s - t), h)
        return x

    def evaluations(self, steps: int) -> int:
        r"""Return the least number: it depends on the field, and is met by the easiest one."""
        return 6 * steps + 1

    def _try(
        self, velocity: Field, x: Tensor, t: Tensor, h: Tensor, first: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        slopes, wide = [first], h.reshape(-1, *[1] * (x.ndim - 1))
        for row, c in zip(self._A[1:], self._C[1:], strict=True):
            ahead = x + wide * _weighted(slopes, row)
            slopes.append(velocity(ahead, t + c * h))
        return ahead, slopes[-1], wide * _weighted(slopes, self._E)

    def _size(self, error: Tensor, x: Tensor, ahead: Tensor) -> Tensor:
        allowed = self.atol + self.rtol * torch.maximum(x.abs(), ahead.abs())
        size = (error / allowed).flatten(1).square().mean(1).sqrt()
        return size.nan_to_num(nan=torch.inf)  # a step into NaN is a step too far


def integrate(
    velocity: Field,
    x: Tensor,
    times: Tensor,
    method: Method,
    *,
    path: Path = LINEAR,
    draw: Callable[[Tensor], Tensor] = torch.randn_like,
) -> Tensor:
    r"""Solve dx/dt = velocity(x, t) along ``times`` and return x at the last of them.

    Args:
        velocity: Called with x ``(n, *)`` and t ``(n,)``; returns the velocity ``(n, *)``.
        x: The state at ``times[0]``, ``(n, *)``.
        times: Increasing or decreasing times, ``(steps + 1,)``.
        method: For instance ``RUNGE_KUTTA["euler"]``.
        path: The path whose velocity it is, for methods that ask.
        draw: Source of fresh noise, for methods that add some.

    Returns:
        The state at ``times[-1]``, ``(n, *)``.

    Example:
        >>> times = torch.linspace(0, 1, 101, dtype=torch.float64)
        >>> x = integrate(lambda x, t: x, times[-1:], times, RUNGE_KUTTA["rk4"])
        >>> round(x.item(), 6)
        2.718282
    """
    walk = Walk(velocity, path, draw)
    for t, s in pairwise(times.tolist()):
        if s != t:
            x = method.step(walk, x, t, s)
    return x


def advance(x: Tensor, slopes: list[Tensor], weights: tuple[float, ...], h: float) -> Tensor:
    r"""Return x + h Σ w_i v_i.

    Example:
        >>> advance(torch.ones(1), [torch.ones(1), torch.ones(1)], (0.5, 0.25), 2.0)
        tensor([2.5000])
    """
    for slope, weight in zip(slopes, weights, strict=True):
        if weight:
            x = x.add(slope, alpha=h * weight)
    return x


def _weighted(slopes: list[Tensor], weights: tuple[float, ...]) -> Tensor:
    return torch.stack([w * k for w, k in zip(weights, slopes, strict=True) if w]).sum(0)


def _where(rows: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(rows.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)
