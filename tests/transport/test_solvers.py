r"""Solvers: observed orders, exact flow maps, a second solver, and densities that are exact."""

import math

import numpy as np
import pytest
import torch
import torchdiffeq
from torch import nn

from fromnoise.transport.solvers import SOLVERS, Tableau, divergence, integrate, log_density

MEAN = torch.tensor([1.3, -0.4, 0.0], dtype=torch.float64)
# The logarithms must not sum to 0: a density of the wrong sign of div would pass then.
SCALE = torch.tensor([0.5, 1.6, 0.8], dtype=torch.float64)


def grid(start, end, steps):
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


def noise(n, d, seed=0):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gaussian(x, t):
    r"""The velocity that carries N(0, I) to N(MEAN, diag SCALE²) along the straight path."""
    d, t = x.shape[1], t[:, None]
    mean, scale = MEAN[:d], SCALE[:d]
    variance = (1 - t) ** 2 + t**2 * scale**2
    return mean + (t * scale**2 - (1 - t)) / variance * (x - t * mean)


def swirl(x, t):
    r"""A nonlinear field on the plane whose divergence is not zero."""
    a, b = x.unbind(1)
    return torch.stack([0.5 * (a + b).sin() - b * t, 0.4 * b * a.cos() + 0.3 * t * a], dim=1)


def network(d, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(d, 8), nn.Tanh(), nn.Linear(8, d)).double()
    return lambda x, t: (net(x.flatten(1)) * (1 + t[:, None])).reshape(x.shape)


# --- integrate --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("direction", [1, -1])
def test_row_21_observed_order_is_the_claimed_one(name, direction):
    # x' = x (1 − x) cos 2t is solved by logit x(t) = logit x(0) + sin(2t) / 2.
    errors, steps = [], np.array([64, 128, 256])
    tableau = SOLVERS[name]
    for n in steps:
        times = grid(0, 1.5, n) if direction == 1 else grid(1.5, 0, n)
        logit = torch.tensor([[-1.0]], dtype=torch.float64)
        start, end = (torch.sigmoid(logit + (2 * t).sin() / 2) for t in (times[0], times[-1]))
        found = integrate(lambda x, t: x * (1 - x) * (2 * t[:, None]).cos(), start, times, tableau)
        errors.append((found - end).abs().item())
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert -slope == pytest.approx(tableau.order, abs=0.15)


def test_the_registered_methods_claim_their_textbook_orders():
    orders = {name: SOLVERS[name].order for name in ("euler", "midpoint", "heun", "rk4")}
    assert orders == {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}


@pytest.mark.parametrize(("name", "tolerance"), [("rk4", 1e-8), ("euler", 5e-2)])
def test_row_20_flow_map_of_a_gaussian(name, tolerance):
    x_0 = noise(200, 1).clamp(-3, 3)
    exact = MEAN[0] + SCALE[0] * x_0
    x_1 = integrate(gaussian, x_0, grid(0, 1, 64), SOLVERS[name])
    assert (x_1 - exact).abs().max() < tolerance
    back = integrate(gaussian, exact, grid(1, 0, 64), SOLVERS[name])
    assert (back - x_0).abs().max() < 2 * tolerance  # the way back stretches by 1 / scale


def test_rk4_inverts_itself_on_a_nonlinear_field():
    x_0 = noise(50, 2)
    x_1 = integrate(swirl, x_0, grid(0, 1, 64), SOLVERS["rk4"])
    back = integrate(swirl, x_1, grid(1, 0, 64), SOLVERS["rk4"])
    assert (x_1 - x_0).abs().max() > 0.1
    torch.testing.assert_close(back, x_0, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "theirs"), [("euler", "euler"), ("midpoint", "midpoint"), ("heun", "heun2")]
)
def test_steps_are_those_of_torchdiffeq(name, theirs):
    x_0, times = noise(10, 2), grid(0, 1, 12) ** 1.5  # unequal steps
    other = torchdiffeq.odeint(lambda t, x: swirl(x, t.expand(len(x))), x_0, times, method=theirs)
    ours = integrate(swirl, x_0, times, SOLVERS[name])
    torch.testing.assert_close(ours, other[-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("ends", [(0, 1), (1, 0)])
def test_rk4_agrees_with_an_adaptive_solver(ends):
    x_0, times = noise(10, 2), grid(*ends, 1)
    other = torchdiffeq.odeint(
        lambda t, x: swirl(x, t.expand(len(x))), x_0, times, rtol=1e-11, atol=1e-12
    )
    ours = integrate(swirl, x_0, grid(*ends, 100), SOLVERS["rk4"])
    torch.testing.assert_close(ours, other[-1], rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", SOLVERS)
def test_the_field_is_asked_at_the_times_of_the_tableau(name):
    tableau, asked = SOLVERS[name], []

    def field(x, t):
        assert t.shape == (len(x),) and t.dtype == x.dtype and (t == t[0]).all()
        asked.append(t[0].item())
        return torch.zeros_like(x)

    integrate(field, torch.zeros(3, 2, 2, dtype=torch.float32), grid(0, 1, 4).float(), tableau)
    assert asked == pytest.approx([(k + c) / 4 for k in range(4) for c in tableau.c], abs=1e-6)


def test_the_start_is_not_written_to():
    x_0 = noise(4, 2)
    kept = x_0.clone()
    integrate(swirl, x_0, grid(0, 1, 3), SOLVERS["heun"])
    assert torch.equal(x_0, kept)


@pytest.mark.parametrize(
    "parts",
    [
        {"a": ((), (0.5,)), "b": (0.0, 0.9), "c": (0.0, 0.5)},
        {"a": ((), (0.5,)), "b": (0.0, 1.0), "c": (0.0, 0.6)},
        {"a": ((0.0,), (0.5,)), "b": (0.0, 1.0), "c": (0.0, 0.5)},
        {"a": ((), (0.5,)), "b": (0.0, 1.0), "c": (0.0,)},
    ],
)
def test_an_inconsistent_tableau_is_refused(parts):
    with pytest.raises(ValueError):
        Tableau(**parts, order=2)


# --- divergence and density -------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), (4,), (2, 3, 2)])
def test_divergence_is_the_trace_of_the_jacobian(shape):
    field = network(math.prod(shape))
    x = noise(5, math.prod(shape)).reshape(5, *shape)
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    velocity, div = divergence(field, x, t)
    assert torch.equal(velocity, field(x, t).detach()) and not velocity.requires_grad
    for i in range(5):
        jacobian = torch.autograd.functional.jacobian(
            lambda row, i=i: field(row[None], t[i : i + 1])[0].flatten(), x[i]
        )
        exact = jacobian.reshape(math.prod(shape), -1).trace()
        torch.testing.assert_close(div[i], exact, rtol=1e-12, atol=1e-12)


def test_divergence_works_where_gradients_are_off_and_leaves_none_behind():
    x = noise(3, 2)
    with torch.no_grad():
        _, div = divergence(swirl, x, torch.zeros(3, dtype=torch.float64))
    assert div.abs().min() > 0 and not div.requires_grad and x.grad is None


def test_row_22_log_density_of_a_gaussian():
    x = MEAN + SCALE * noise(100, 3).clamp(-3, 3)
    exact = torch.distributions.Normal(MEAN, SCALE).log_prob(x).sum(1)
    found = log_density(gaussian, x, grid(1, 0, 64), SOLVERS["rk4"])
    # Column 1 needs finer steps for 1e-6: its scale makes the field stiffer than row 22's.
    fine = log_density(gaussian, x, grid(1, 0, 256), SOLVERS["rk4"])
    torch.testing.assert_close(fine, exact, rtol=0, atol=1e-6)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-4)


def test_row_22_log_density_of_the_gaussian_of_the_table():
    x = MEAN[0] + SCALE[0] * noise(100, 1)
    exact = torch.distributions.Normal(MEAN[0], SCALE[0]).log_prob(x).squeeze(1)
    found = log_density(gaussian, x, grid(1, 0, 64), SOLVERS["rk4"])
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-6)


def test_log_density_is_that_of_the_change_of_variables():
    x_0 = noise(6, 2)
    solve = lambda row: integrate(swirl, row[None], grid(0, 1, 64), SOLVERS["rk4"])[0]  # noqa: E731
    x_1 = torch.stack([solve(row) for row in x_0])
    jacobians = torch.stack([torch.autograd.functional.jacobian(solve, row) for row in x_0])
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(x_0).sum(1)
    exact = prior - torch.linalg.slogdet(jacobians).logabsdet
    found = log_density(swirl, x_1, grid(1, 0, 64), SOLVERS["rk4"])
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-7)


def test_images_have_the_density_of_their_pixels():
    field, x = network(8), noise(3, 8)
    flat = log_density(field, x, grid(1, 0, 8), SOLVERS["heun"])
    shaped = log_density(field, x.reshape(3, 2, 2, 2), grid(1, 0, 8), SOLVERS["heun"])
    torch.testing.assert_close(flat, shaped, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "field", [gaussian, lambda x, t: (2 * x).sin() * (1 + t[:, None]) + 0.2 * x]
)
def test_row_23_density_integrates_to_one_on_the_line(field):
    x = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    p = log_density(field, x[:, None], grid(1, 0, 64), SOLVERS["rk4"]).exp()
    assert torch.trapezoid(p, x).item() == pytest.approx(1, abs=1e-6)


def test_row_23_density_integrates_to_one_on_the_plane():
    axis = torch.linspace(-9, 9, 301, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    p = log_density(swirl, points, grid(1, 0, 16), SOLVERS["rk4"]).exp().reshape(301, 301)
    assert torch.trapezoid(torch.trapezoid(p, axis), axis).item() == pytest.approx(1, abs=1e-4)
