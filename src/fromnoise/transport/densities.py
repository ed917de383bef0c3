r"""The density that a flow carries.

Along dx/dt = v(x, t) the log-density changes by the divergence of the field (Chen 2018, eq. 8),

    log p_1(x_1) = log p_0(x_0) − ∫ div v(x_t, t) dt,

so one integration backwards, of x and the divergence together, gives log p of a data point. The
divergence is the trace of the Jacobian J. Exactly, it costs one backward pass a dimension. With
probes e whose entries are ±1 at random, e·J e has the mean tr J (Hutchinson 1990); one probe costs
one backward pass, whatever the dimension. The probes stay the same along the way, so log p is
that of an unbiased estimate (Grathwohl 2019, section 3.1).
"""

__all__ = ["divergence", "load_forward_mode", "log_densities", "log_density"]

import warnings

import torch
from torch import Tensor

from fromnoise.transport.solvers import Field, Method, integrate


def divergence(
    field: Field, x: Tensor, t: Tensor, probes: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Return the velocity and its divergence, Σ_i ∂v_i/∂x_i.

    Args:
        field: As in :func:`fromnoise.transport.solvers.integrate`; row i of its result may
            depend on row i of x alone.
        x: Points, ``(n, *)``.
        t: Times, ``(n,)``.
        probes: Vectors of ±1, ``(n, k, d)``, for k estimates; None for the exact divergence, one
            backward pass a dimension.

    Returns:
        Velocity ``(n, *)`` and divergence, exact ``(n, 1)`` or estimated ``(n, k)``.

    Example:
        >>> v, div = divergence(lambda x, t: x**2, torch.tensor([[1.0, 2.0]]), torch.zeros(1))
        >>> div
        tensor([[6.]])
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        velocity = field(x, t)
        flat = velocity.flatten(1)  # (n, d)
        if probes is None:
            directions = torch.eye(flat.shape[1], dtype=flat.dtype, device=flat.device)
        else:
            directions = probes.to(flat.dtype).transpose(0, 1)  # (k, n, d)
        each = []
        for i, e in enumerate(directions):
            last = i + 1 == len(directions)
            (slope,) = torch.autograd.grad(
                flat, x, e.expand_as(flat), retain_graph=not last, materialize_grads=True
            )
            each.append((slope.flatten(1) * e).sum(1))
    found = torch.stack(each, 1)  # (n, d or k)
    return velocity.detach(), found.sum(1, keepdim=True) if probes is None else found


def log_densities(
    field: Field, x: Tensor, times: Tensor, method: Method, probes: Tensor | None = None
) -> Tensor:
    r"""Return log p of data points under the flow that starts from N(0, I) at t = 0.

    Args:
        field: The velocity, as in :func:`divergence`.
        x: Data points at ``times[0]``, ``(n, *)``.
        times: Times that run back from 1 to 0, ``(steps + 1,)``.
        method: The solver.
        probes: As in :func:`divergence`.

    Returns:
        Nats, exact ``(n, 1)``, or an estimate for each probe ``(n, k)``.

    Example:
        >>> from fromnoise.transport.solvers import RUNGE_KUTTA
        >>> x, times, signs = torch.zeros(1, 2), torch.linspace(1, 0, 17), torch.ones(1, 3, 2)
        >>> log_densities(lambda x, t: x, x, times, RUNGE_KUTTA["rk4"], signs).shape
        torch.Size([1, 3])
    """
    shape, d = x.shape, x.flatten(1).shape[1]
    k = 1 if probes is None else probes.shape[1]

    def augmented(state: Tensor, t: Tensor) -> Tensor:
        velocity, div = divergence(field, state[:, :d].reshape(shape), t, probes)
        return torch.cat([velocity.flatten(1), div], dim=1)  # (n, d + k)

    start = torch.cat([x.flatten(1), x.new_zeros(len(x), k)], dim=1)
    end = integrate(augmented, start, times, method)
    x_0, change = end[:, :d], end[:, d:]  # change = ∫_1^0 div dt = −∫_0^1 div dt
    prior = torch.distributions.Normal(torch.zeros_like(x_0), torch.ones_like(x_0))
    return prior.log_prob(x_0).sum(1, keepdim=True) + change


def log_density(
    field: Field, x: Tensor, times: Tensor, method: Method, probes: Tensor | None = None
) -> Tensor:
    r"""Return :func:`log_densities`, the mean over probes.

    Args:
        field: As there.
        x: As there.
        times: As there.
        method: As there.
        probes: As there.

    Returns:
        Nats, ``(n,)``.

    Example:
        >>> from fromnoise.transport.solvers import RUNGE_KUTTA
        >>> times = torch.linspace(1, 0, 65, dtype=torch.float64)
        >>> x = torch.tensor([[0.3]], dtype=torch.float64)
        >>> log_p = log_density(lambda x, t: x, x, times, RUNGE_KUTTA["rk4"])  # x_1 = e x_0
        >>> exact = torch.distributions.Normal(0, torch.tensor(1.0).exp()).log_prob(x)
        >>> bool(torch.allclose(log_p, exact.squeeze(1)))
        True
    """
    return log_densities(field, x, times, method, probes).mean(1)


def load_forward_mode() -> None:
    r"""Load torch's forward mode of differentiation, without a warning.

    It is loaded at the first derivative, by way of ``torch.jit``, which warns of its end; nobody
    who fits a model could do anything about that.

    Example:
        >>> load_forward_mode()
        >>> torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))[1]
        tensor([1.])
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))
