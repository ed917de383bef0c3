r"""Solvers: observed orders, exact flow maps, and other people's solvers."""

import numpy as np
import pytest
import torch
import torchdiffeq

from fromnoise.transport.solvers import (
    RUNGE_KUTTA,
    AdamsBashforth,
    DormandPrince,
    Tableau,
    Walk,
    _adams_weights,
    integrate,
)
from transport_fields import MEAN, SCALE, gaussian, grid, noise, swirl

# --- integrate --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNGE_KUTTA)
@pytest.mark.parametrize("direction", [1, -1])
def test_row_21_observed_order_is_the_claimed_one(name, direction):
    # x' = x (1 − x) cos 2t is solved by logit x(t) = logit x(0) + sin(2t) / 2.
    errors, steps = [], np.array([64, 128, 256])
    tableau = RUNGE_KUTTA[name]
    for n in steps:
        times = grid(0, 1.5, n) if direction == 1 else grid(1.5, 0, n)
        logit = torch.tensor([[-1.0]], dtype=torch.float64)
        start, end = (torch.sigmoid(logit + (2 * t).sin() / 2) for t in (times[0], times[-1]))
        found = integrate(lambda x, t: x * (1 - x) * (2 * t[:, None]).cos(), start, times, tableau)
        errors.append((found - end).abs().item())
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert -slope == pytest.approx(tableau.order, abs=0.15)


def test_the_registered_methods_claim_their_textbook_orders():
    orders = {name: RUNGE_KUTTA[name].order for name in ("euler", "midpoint", "heun", "rk4")}
    assert orders == {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}


@pytest.mark.parametrize(("name", "tolerance"), [("rk4", 1e-8), ("euler", 5e-2)])
def test_row_20_flow_map_of_a_gaussian(name, tolerance):
    x_0 = noise(200, 1).clamp(-3, 3)
    exact = MEAN[0] + SCALE[0] * x_0
    x_1 = integrate(gaussian, x_0, grid(0, 1, 64), RUNGE_KUTTA[name])
    assert (x_1 - exact).abs().max() < tolerance
    back = integrate(gaussian, exact, grid(1, 0, 64), RUNGE_KUTTA[name])
    assert (back - x_0).abs().max() < 2 * tolerance  # the way back stretches by 1 / scale


def test_rk4_inverts_itself_on_a_nonlinear_field():
    x_0 = noise(50, 2)
    x_1 = integrate(swirl, x_0, grid(0, 1, 64), RUNGE_KUTTA["rk4"])
    back = integrate(swirl, x_1, grid(1, 0, 64), RUNGE_KUTTA["rk4"])
    assert (x_1 - x_0).abs().max() > 0.1
    torch.testing.assert_close(back, x_0, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "theirs"), [("euler", "euler"), ("midpoint", "midpoint"), ("heun", "heun2")]
)
def test_steps_are_those_of_torchdiffeq(name, theirs):
    x_0, times = noise(10, 2), grid(0, 1, 12) ** 1.5  # unequal steps
    other = torchdiffeq.odeint(lambda t, x: swirl(x, t.expand(len(x))), x_0, times, method=theirs)
    ours = integrate(swirl, x_0, times, RUNGE_KUTTA[name])
    torch.testing.assert_close(ours, other[-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("ends", [(0, 1), (1, 0)])
def test_rk4_agrees_with_an_adaptive_solver(ends):
    x_0, times = noise(10, 2), grid(*ends, 1)
    other = torchdiffeq.odeint(
        lambda t, x: swirl(x, t.expand(len(x))), x_0, times, rtol=1e-11, atol=1e-12
    )
    ours = integrate(swirl, x_0, grid(*ends, 100), RUNGE_KUTTA["rk4"])
    torch.testing.assert_close(ours, other[-1], rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", RUNGE_KUTTA)
def test_the_field_is_asked_at_the_times_of_the_tableau(name):
    tableau, asked = RUNGE_KUTTA[name], []

    def field(x, t):
        assert t.shape == (len(x),) and t.dtype == x.dtype and (t == t[0]).all()
        asked.append(t[0].item())
        return torch.zeros_like(x)

    integrate(field, torch.zeros(3, 2, 2, dtype=torch.float32), grid(0, 1, 4).float(), tableau)
    assert asked == pytest.approx([(k + c) / 4 for k in range(4) for c in tableau.c], abs=1e-6)


def test_the_start_is_not_written_to():
    x_0 = noise(4, 2)
    kept = x_0.clone()
    integrate(swirl, x_0, grid(0, 1, 3), RUNGE_KUTTA["heun"])
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


# --- Adams and Bashforth ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "weights"),
    [
        (1, [1]),
        (2, [3 / 2, -1 / 2]),
        (3, [23 / 12, -16 / 12, 5 / 12]),
        (4, [55 / 24, -59 / 24, 37 / 24, -9 / 24]),
    ],
)
def test_equal_steps_have_the_textbook_weights(order, weights):
    assert _adams_weights(tuple(-float(i) for i in range(order))) == pytest.approx(
        weights, rel=1e-12
    )


def test_unequal_steps_integrate_polynomials_exactly():
    nodes = (0.0, -0.3, -1.7, -2.1)
    for degree in range(4):
        sum_ = sum(w * n**degree for w, n in zip(_adams_weights(nodes), nodes, strict=True))
        assert sum_ == pytest.approx(1 / (degree + 1), rel=1e-10)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("direction", [1, -1])
def test_row_21_observed_order_of_adams(order, direction):
    # The first steps lean on few slopes; a grid that begins finely keeps them out of the way.
    errors, steps = [], np.array([128, 256, 512])
    for n in steps:
        u = grid(0, 1, n) ** 2 * 1.5
        times = u if direction == 1 else 1.5 - u
        logit = torch.tensor([[-1.0]], dtype=torch.float64)
        start, end = (torch.sigmoid(logit + (2 * t).sin() / 2) for t in (times[0], times[-1]))
        found = integrate(
            lambda x, t: x * (1 - x) * (2 * t[:, None]).cos(), start, times, AdamsBashforth(order)
        )
        errors.append((found - end).abs().item())
    assert -np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(order, abs=0.2)


def test_a_multistep_method_remembers_no_more_than_its_order():
    walk, x = Walk(swirl), noise(3, 2)
    for t in range(6):
        x = AdamsBashforth(3).step(walk, x, t / 6, (t + 1) / 6)
    assert [when for when, _ in walk.past] == pytest.approx([5 / 6, 4 / 6, 3 / 6])


def test_a_step_of_no_length_is_none():
    times = torch.tensor([0.0, 0.0, 0.5, 0.5, 1.0], dtype=torch.float64)
    for method in (RUNGE_KUTTA["euler"], AdamsBashforth(4)):
        once = integrate(swirl, noise(3, 2), times.unique(), method)
        assert torch.equal(integrate(swirl, noise(3, 2), times, method), once)


# --- Dormand and Prince -----------------------------------------------------------------------


@pytest.mark.parametrize("ends", [(0, 1), (1, 0), (0.2, 0.9)])
@pytest.mark.parametrize("tolerance", [1e-4, 1e-7, 1e-10])
def test_the_adaptive_method_meets_its_tolerance(ends, tolerance):
    x_0, times = noise(10, 2), torch.tensor(ends, dtype=torch.float64)
    other = torchdiffeq.odeint(
        lambda t, x: swirl(x, t.expand(len(x))), x_0, times, rtol=1e-11, atol=1e-12
    )
    ours = integrate(swirl, x_0, times, DormandPrince(tolerance, tolerance))
    assert (ours - other[-1]).abs().max() < 5 * tolerance


def test_one_row_takes_about_as_many_evaluations_as_torchdiffeq():
    calls = []

    def field(x, t):
        calls.append(t)
        return gaussian(x, t)

    x_0, times = noise(1, 3), torch.tensor([0.0, 1.0], dtype=torch.float64)
    ours = integrate(field, x_0, times, DormandPrince(1e-6, 1e-6))
    n_ours = len(calls)
    calls.clear()
    other = torchdiffeq.odeint(
        lambda t, x: field(x, t.expand(len(x))), x_0, times, rtol=1e-6, atol=1e-6, method="dopri5"
    )
    torch.testing.assert_close(ours, other[-1], rtol=0, atol=1e-5)
    assert n_ours <= 1.5 * len(calls)


def test_the_fifth_order_is_what_is_kept():
    tableau = Tableau(
        a=DormandPrince._A[:6], b=DormandPrince._A[6], c=DormandPrince._C[:6], order=5
    )
    errors, steps = [], np.array([16, 32, 64])
    for n in steps:
        logit = torch.tensor([[-1.0]], dtype=torch.float64)
        times = grid(0, 1.5, n)
        start, end = (torch.sigmoid(logit + (2 * t).sin() / 2) for t in (times[0], times[-1]))
        found = integrate(lambda x, t: x * (1 - x) * (2 * t[:, None]).cos(), start, times, tableau)
        errors.append((found - end).abs().item())
    assert -np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(5, abs=0.2)
    assert sum(DormandPrince._E) == pytest.approx(0, abs=1e-15)


def test_every_row_has_its_own_time_and_step():
    def stiff(x, t):
        return -x * (1 + 60 * (x > 5)) + t[:, None]

    x_0, times = torch.tensor([[0.5], [10.0], [-1.0]]).double(), grid(0, 1, 1)
    together = integrate(stiff, x_0, times, DormandPrince())
    for i in range(3):
        alone = integrate(stiff, x_0[i : i + 1], times, DormandPrince())
        torch.testing.assert_close(together[i], alone[0], rtol=1e-14, atol=1e-14)


def test_an_easy_field_takes_few_evaluations_and_a_hopeless_one_ends():
    calls = []

    def field(x, t):
        calls.append(t)
        return torch.ones_like(x)

    integrate(field, noise(2, 2), grid(0, 1, 1), DormandPrince())
    assert DormandPrince().evaluations(1) <= len(calls) <= 25
    jump = integrate(
        lambda x, t: torch.where(t[:, None] > 0.5, 1e3, 0.0) * torch.ones_like(x),
        noise(2, 2) * 0,
        grid(0, 1, 1),
        DormandPrince(),
    )
    torch.testing.assert_close(jump, torch.full((2, 2), 500.0).double(), rtol=1e-3, atol=0)
