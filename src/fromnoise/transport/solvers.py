r"""Solvers of dx/dt = v(x, t), and the density that such a flow carries.

An explicit Runge–Kutta method is its tableau (Butcher 1963):

    k_i = v(x + h Σ_j a_ij k_j, t + c_i h),     x ← x + h Σ_i b_i k_i.

Euler, x ← x + h v(x, t), is the textbook scheme and the shortest tableau. The loop over steps
exists once, in :func:`integrate`; a new method is a new row of ``SOLVERS``.

Along the flow the log-density changes by the divergence of the field (Chen 2018, eq. 8),

    log p_1(x_1) = log p_0(x_0) − ∫ div v(x_t, t) dt,

so one integration backwards, of x and the divergence together, gives log p of a data point.
"""

__all__ = ["SOLVERS", "Field", "Tableau", "divergence", "integrate", "log_density"]

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Field = Callable[[Tensor, Tensor], Tensor]


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
        rows = all(math.isclose(sum(r), c) for r, c in zip(self.a, self.c, strict=True))
        if not (explicit and rows and math.isclose(sum(self.b), 1.0)):
            raise ValueError(f"This is no consistent explicit Runge–Kutta tableau: {self}")


SOLVERS: dict[str, Tableau] = {
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


def integrate(field: Field, x: Tensor, times: Tensor, tableau: Tableau) -> Tensor:
    r"""Solve dx/dt = field(x, t) along ``times`` and return x at the last of them.

    Args:
        field: Called with x ``(n, *)`` and t ``(n,)``; returns the velocity ``(n, *)``.
        x: The state at ``times[0]``, ``(n, *)``.
        times: Increasing or decreasing times, ``(steps + 1,)``.
        tableau: The method, for instance ``SOLVERS["euler"]``.

    Returns:
        The state at ``times[-1]``, ``(n, *)``.

    Example:
        >>> times = torch.linspace(0, 1, 101, dtype=torch.float64)
        >>> x = integrate(lambda x, t: x, times[-1:], times, SOLVERS["rk4"])
        >>> round(x.item(), 6)
        2.718282
    """
    for t, t_next in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        h = t_next - t
        slopes: list[Tensor] = []
        for row, c in zip(tableau.a, tableau.c, strict=True):
            now = torch.full((len(x),), t + c * h, dtype=x.dtype, device=x.device)
            slopes.append(field(_advance(x, slopes, row, h), now))
        x = _advance(x, slopes, tableau.b, h)
    return x


def _advance(x: Tensor, slopes: list[Tensor], weights: tuple[float, ...], h: float) -> Tensor:
    for slope, weight in zip(slopes, weights, strict=True):
        if weight:
            x = x.add(slope, alpha=h * weight)
    return x


def divergence(field: Field, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the velocity and its exact divergence, Σ_i ∂v_i/∂x_i.

    One backward pass a dimension: meant for few dimensions.

    Args:
        field: As in :func:`integrate`; row i of its result may depend on row i of x alone.
        x: Points, ``(n, *)``.
        t: Times, ``(n,)``.

    Returns:
        Velocity ``(n, *)`` and divergence ``(n,)``.

    Example:
        >>> v, div = divergence(lambda x, t: x**2, torch.tensor([[1.0, 2.0]]), torch.zeros(1))
        >>> div
        tensor([6.])
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        velocity = field(x, t)
        flat = velocity.flatten(1)  # (n, d)
        total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for i in range(flat.shape[1]):
            last = i + 1 == flat.shape[1]
            (slope,) = torch.autograd.grad(
                flat[:, i].sum(), x, retain_graph=not last, materialize_grads=True
            )
            total += slope.flatten(1)[:, i]
    return velocity.detach(), total


def log_density(field: Field, x: Tensor, times: Tensor, tableau: Tableau) -> Tensor:
    r"""Return log p of data points under the flow that starts from N(0, I) at t = 0.

    Args:
        field: The velocity, as in :func:`divergence`.
        x: Data points at ``times[0]``, ``(n, *)``.
        times: Times that run back from 1 to 0, ``(steps + 1,)``.
        tableau: The method.

    Returns:
        Nats, ``(n,)``.

    Example:
        >>> times = torch.linspace(1, 0, 65, dtype=torch.float64)
        >>> x = torch.tensor([[0.3]], dtype=torch.float64)
        >>> log_p = log_density(lambda x, t: x, x, times, SOLVERS["rk4"])  # x_1 = e x_0
        >>> exact = torch.distributions.Normal(0, torch.tensor(1.0).exp()).log_prob(x)
        >>> bool(torch.allclose(log_p, exact.squeeze(1)))
        True
    """
    shape = x.shape

    def augmented(state: Tensor, t: Tensor) -> Tensor:
        velocity, div = divergence(field, state[:, :-1].reshape(shape), t)
        return torch.cat([velocity.flatten(1), div[:, None]], dim=1)  # (n, d + 1)

    start = torch.cat([x.flatten(1), x.new_zeros(len(x), 1)], dim=1)
    end = integrate(augmented, start, times, tableau)
    x_0, change = end[:, :-1], end[:, -1]  # change = ∫_1^0 div dt = −∫_0^1 div dt
    prior = torch.distributions.Normal(torch.zeros_like(x_0), torch.ones_like(x_0))
    return prior.log_prob(x_0).sum(1) + change
