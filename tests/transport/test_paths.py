r"""Paths: closed forms, Ho's constants, conversions, the marginal field, and loss floors."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from fromnoise.transport.paths import (
    LINEAR,
    PATHS,
    VP_COSINE,
    angle,
    bridge,
    convert,
    detour,
    gaussian_flow,
    linear,
    time_at,
)
from fromnoise.transport.solvers import RUNGE_KUTTA, integrate

MEAN, SCALE = 1.3, 0.5


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def marginal_field(x, t):
    r"""Row 19, in closed form: the velocity that carries N(0, 1) to N(MEAN, SCALE²)."""
    variance = (1 - t) ** 2 + t**2 * SCALE**2
    return MEAN + (t * SCALE**2 - (1 - t)) / variance * (x - t * MEAN)


def pairs(n, t, seed=0):
    rng = np.random.default_rng(seed)
    x_0, x_1 = torch.from_numpy(rng.normal(size=(2, n, 1)))
    times = torch.full((n,), t, dtype=torch.float64)
    return bridge(LINEAR, x_0, MEAN + SCALE * x_1, times)


ALL = {**PATHS, "sigma-min": linear(0.1)}
BETA = np.linspace(1e-4, 0.02, 1000)
ALPHA_BAR = np.cumprod(1 - BETA)


def parts(path, t):
    return [f(t) for f in (path.alpha, path.sigma, path.d_alpha, path.d_sigma)]


def middle(n=41):
    return torch.linspace(0.02, 0.98, n, dtype=torch.float64)


@pytest.mark.parametrize("name", ["linear", "vp-cosine"])
def test_the_path_runs_from_noise_to_data(name):
    x_0, x_1 = torch.randn(2, 5, 2, 3, generator=seeded(0), dtype=torch.float64)
    for t, end in ((0.0, x_0), (1.0, x_1)):
        x_t, u_t = bridge(PATHS[name], x_0, x_1, torch.full((5,), t, dtype=torch.float64))
        torch.testing.assert_close(x_t, end, rtol=0, atol=1e-15)
        if name == "linear":
            assert torch.equal(x_t, end) and torch.equal(u_t, x_1 - x_0)


@pytest.mark.parametrize("name", PATHS)
def test_every_path_ends_in_data_and_walks_the_arc_one_way(name):
    one = torch.ones((), dtype=torch.float64)
    end = 0.002 if name == "edm" else 0
    assert PATHS[name].alpha(one) == 1
    assert abs(PATHS[name].sigma(one) - end) < 1e-15
    theta = angle(PATHS[name], torch.linspace(0, 1, 500, dtype=torch.float64))
    assert (theta.diff() > 0).all()
    assert theta[-1] == pytest.approx(math.pi / 2 - math.atan(end), abs=1e-15)
    first = {"linear": 0, "vp-cosine": 0, "edm": math.atan(1 / 80)}
    first["vp-linear"] = math.asin(ALPHA_BAR[-1] ** 0.5)
    assert theta[0] == pytest.approx(first[name], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("name", ["vp-linear", "vp-cosine"])
def test_a_variance_preserving_path_does(name):
    alpha, sigma, *_ = parts(PATHS[name], middle())
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(41).double(), rtol=0, atol=1e-14)


def test_vp_linear_is_the_schedule_of_ho_at_every_step():
    k = torch.arange(1, 1001, dtype=torch.float64)
    alpha, sigma, *_ = parts(PATHS["vp-linear"], 1 - k / 1000)
    np.testing.assert_allclose(alpha.numpy() ** 2, ALPHA_BAR, rtol=1e-12)
    np.testing.assert_allclose(sigma.numpy() ** 2, 1 - ALPHA_BAR, rtol=2e-11)
    # Networks see float32 times; the path must not lose its digits there.
    low = PATHS["vp-linear"].sigma((1 - k / 1000).float())
    np.testing.assert_allclose(low.numpy() ** 2, 1 - ALPHA_BAR, rtol=2e-3)


def test_row_18_terminal_signal_to_noise_ratio():
    alpha, sigma, *_ = parts(PATHS["vp-linear"], torch.zeros((), dtype=torch.float64))
    assert alpha.item() == pytest.approx(6.35e-3, rel=1e-3)
    assert (alpha / sigma).item() ** 2 == pytest.approx(4.0e-5, rel=1e-2)


def test_row_11_product_of_single_steps():
    # One step keeps √(1 − β) of the past and adds β of noise; t of them are the path.
    keep, noise = 1.0, 0.0
    for k, beta in enumerate(BETA, start=1):
        keep, noise = keep * math.sqrt(1 - beta), (1 - beta) * noise + beta
        if k in (1, 2, 10, 500, 1000):
            alpha, sigma, *_ = parts(
                PATHS["vp-linear"], torch.tensor(1 - k / 1000, dtype=torch.float64)
            )
            assert alpha.item() == pytest.approx(keep, rel=1e-12)
            assert sigma.item() ** 2 == pytest.approx(noise, abs=1e-12)


def test_edm_falls_evenly_in_the_seventh_root():
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    assert PATHS["edm"].sigma(t).tolist() == pytest.approx(
        [80, ((80 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7, 0.002], rel=1e-12
    )


def test_lipman_leaves_sigma_min():
    x_0, x_1, t = torch.tensor([[2.0]]), torch.tensor([[3.0]]), torch.tensor([0.25])
    x_t, u_t = bridge(linear(0.1), x_0, x_1, t)
    assert x_t.item() == pytest.approx((1 - 0.9 * 0.25) * 2 + 0.25 * 3)
    assert u_t.item() == pytest.approx(3 - 0.9 * 2)


def test_every_row_has_its_own_time():
    x_0, x_1 = torch.zeros(3, 1, 2, 2), torch.ones(3, 1, 2, 2)
    t = torch.tensor([0.0, 0.25, 1.0])
    x_t, _ = bridge(LINEAR, x_0, x_1, t)
    assert torch.equal(x_t, t.reshape(3, 1, 1, 1).expand(3, 1, 2, 2))


@pytest.mark.parametrize("name", ALL)
def test_the_velocity_is_the_derivative_of_the_path(name):
    t = middle().requires_grad_(True)
    path = ALL[name]
    for value, slope in ((path.alpha, path.d_alpha), (path.sigma, path.d_sigma)):
        (exact,) = torch.autograd.grad(value(t).sum() + 0 * t.sum(), t)
        torch.testing.assert_close(slope(t), exact, rtol=1e-11, atol=1e-12)


def test_row_19_marginal_field_is_the_conditional_mean_of_the_velocity():
    # x_t and u_t are jointly Gaussian, so E[u_t | x_t] follows from their two moments.
    t = torch.linspace(0, 1, 41, dtype=torch.float64)
    x = torch.linspace(-3, 3, 41, dtype=torch.float64).flip(0)
    alpha, sigma, d_alpha, d_sigma = (
        part(t) for part in (LINEAR.alpha, LINEAR.sigma, LINEAR.d_alpha, LINEAR.d_sigma)
    )
    slope = (alpha * d_alpha * SCALE**2 + sigma * d_sigma) / (alpha**2 * SCALE**2 + sigma**2)
    mean = d_alpha * MEAN + slope * (x - alpha * MEAN)
    torch.testing.assert_close(mean, marginal_field(x, t), rtol=0, atol=1e-12)


@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 0.8, 0.95])
def test_row_19_no_field_beats_the_floor(t):
    x_t, u_t = pairs(400_000, t)
    error = u_t - marginal_field(x_t, t)
    floor = SCALE**2 / ((1 - t) ** 2 + t**2 * SCALE**2)
    assert error.square().mean().item() == pytest.approx(floor, rel=1e-2)
    # What is left over is uncorrelated with everything that x_t tells.
    for feature in (torch.ones_like(x_t), x_t, x_t.square(), x_t.sin()):
        product = error * feature
        assert abs(product.mean() / product.std()) * 400_000**0.5 < 5


# --- conversions ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_row_14_every_prediction_gives_every_other(name):
    path, t = ALL[name], middle()
    x_0, x_1 = torch.randn(2, 41, 3, generator=seeded(1), dtype=torch.float64)
    x_t, u_t = bridge(path, x_0, x_1, t)
    sigma = path.sigma(t)[:, None]
    truth = {"noise": x_0, "data": x_1, "velocity": u_t, "score": -x_0 / sigma}
    for given, wanted in product(truth, truth):
        found = convert(path, x_t, t, truth[given], given, wanted)
        size = truth[wanted].abs().max() + 1 / sigma.min() + 1 / path.alpha(t).min()
        assert (found - truth[wanted]).abs().max() < 1e-12 * size, (given, wanted)


def test_row_14_round_trips_in_float32():
    t = torch.linspace(0.2, 0.8, 41)
    x, value = torch.randn(2, 41, 3, generator=seeded(2))
    for given, wanted in product(("noise", "data", "velocity", "score"), repeat=2):
        there = convert(LINEAR, x, t, value, given, wanted)
        back = convert(LINEAR, x, t, there, wanted, given)
        torch.testing.assert_close(back, value, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_rows_13_and_14_score_and_tweedie_of_a_gaussian(name):
    path, t = ALL[name], middle()
    alpha, sigma, *_ = (part[:, None] for part in parts(path, t))
    x = torch.randn(41, 1, generator=seeded(3), dtype=torch.float64, requires_grad=True)
    law = torch.distributions.Normal(alpha * MEAN, (alpha**2 * SCALE**2 + sigma**2).sqrt())
    (score,) = torch.autograd.grad(law.log_prob(x).sum(), x)
    mean = MEAN + alpha * SCALE**2 / law.variance * (x - alpha * MEAN)  # E[x_1 | x_t]
    found = convert(path, x.detach(), t, mean.detach(), "data", "score")
    torch.testing.assert_close(found, score, rtol=1e-10, atol=1e-11)
    tweedie = (x + sigma**2 * score) / alpha
    torch.testing.assert_close(
        convert(path, x.detach(), t, score, "score", "data"), tweedie.detach(), rtol=0, atol=1e-11
    )


def test_row_15_no_guess_of_the_noise_beats_the_floor():
    t = torch.full((400_000,), 0.3, dtype=torch.float64)
    rng = np.random.default_rng(0)
    x_0, x_1 = torch.from_numpy(rng.normal(size=(2, len(t), 1)))
    x_1 = MEAN + SCALE * x_1
    alpha, sigma, *_ = (part.item() for part in parts(VP_COSINE, t[0]))
    x_t, _ = bridge(VP_COSINE, x_0, x_1, t)
    v = alpha**2 * SCALE**2 + sigma**2
    best = sigma / v * (x_t - alpha * MEAN)
    floor = alpha**2 * SCALE**2 / v
    assert (x_0 - best).square().mean().item() == pytest.approx(floor, abs=1e-3)


# --- one arc ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_what_is_left_for_the_network_is_the_velocity_on_the_arc_for_every_path(name):
    path, t = ALL[name], middle()
    x_0, x_1 = torch.randn(2, 41, 3, generator=seeded(4), dtype=torch.float64)
    x_t, u_t = bridge(path, x_0, x_1, t)
    u, spread, inner = gaussian_flow(path, x_t, t)
    theta = angle(path, t)[:, None]
    torch.testing.assert_close(
        inner, theta.sin() * x_1 + theta.cos() * x_0, rtol=1e-11, atol=1e-11
    )
    arc = theta.cos() * x_1 - theta.sin() * x_0
    torch.testing.assert_close(u + spread * arc, u_t, rtol=1e-10, atol=1e-10)


def test_it_is_the_preconditioning_of_karras():
    path, t = PATHS["edm"], middle()
    x = torch.randn(41, 2, generator=seeded(5), dtype=torch.float64)
    output = torch.randn(41, 2, generator=seeded(6), dtype=torch.float64)
    u, spread, inner = gaussian_flow(path, x, t)
    found = convert(path, x, t, u + spread * output, "velocity", "data")
    sigma = path.sigma(t)[:, None]
    c_skip, c_out, c_in = 1 / (sigma**2 + 1), sigma / (sigma**2 + 1) ** 0.5, (sigma**2 + 1) ** -0.5
    torch.testing.assert_close(inner, c_in * x, rtol=1e-12, atol=0)
    torch.testing.assert_close(found, c_skip * x + c_out * output, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_time_at_inverts_angle(name):
    t = middle()
    torch.testing.assert_close(time_at(ALL[name], angle(ALL[name], t)), t, rtol=0, atol=1e-12)
    ends = angle(ALL[name], torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(
        time_at(ALL[name], ends), torch.tensor([0.0, 1.0]).double(), rtol=0, atol=1e-6
    )


# --- other starts, and noise on the way -------------------------------------------------------

STARTS = {
    **{name: path for name, path in ALL.items() if name in ("linear", "vp-cosine", "sigma-min")},
    "detour": detour(LINEAR, 0.7),
    "vp-detour": detour(VP_COSINE, 0.4),
}
FROM, SPREAD = torch.tensor([3.0, -1.0]).double(), torch.tensor([0.3, 2.0]).double()


def moments(path, t):
    r"""Mean and standard deviation of x_t, from N(FROM, SPREAD²) to N(0, 1)."""
    alpha, sigma, gamma = (part(t)[:, None] for part in (path.alpha, path.sigma, path.gamma))
    return sigma * FROM, (alpha**2 + sigma**2 * SPREAD**2 + gamma**2).sqrt()


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("until", [0.3, 0.75, 1.0])
def test_the_exact_field_has_the_marginals_of_the_path(name, until):
    path = STARTS[name]

    def field(x, t):
        return gaussian_flow(path, x, t, mean=FROM, std=SPREAD)[0]

    z = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None].expand(9, 2)
    times = torch.linspace(0, until, 401, dtype=torch.float64)
    end = integrate(field, FROM + SPREAD * z, times, RUNGE_KUTTA["rk4"])
    mean, std = moments(path, torch.tensor([until]).double())
    torch.testing.assert_close(end, mean + std * z, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("time", [0.0, 0.3, 0.8])
def test_it_is_the_regression_of_the_velocity_on_the_point(name, time):
    path, rng = STARTS[name], np.random.default_rng(0)
    x_0, x_1, z = torch.from_numpy(rng.normal(size=(3, 200_000, 2)))
    t = torch.full((len(x_0),), time, dtype=torch.float64)
    x_t, u_t = bridge(path, FROM + SPREAD * x_0, x_1, t, z)
    u, spread, inner = gaussian_flow(path, x_t, t, mean=FROM, std=SPREAD)
    rest = (u_t - u) / spread
    for part in (rest, inner):
        assert part.mean(0).abs().max() < 0.01
        assert (part.var(0) - 1).abs().max() < 0.015
    assert (rest * inner).mean(0).abs().max() < 0.01  # nothing linear is left


@pytest.mark.parametrize("sigma_min", [0.0, 0.1])
def test_the_mean_velocity_is_that_of_the_exact_flow(sigma_min):
    path = linear(sigma_min)
    t, s = torch.tensor([0.0, 0.2, 0.5, 0.7]).double(), torch.tensor([1.0, 0.9, 0.5, 0.8]).double()
    z = torch.tensor([[-1.0, 2.0]]).double()
    (mean, std), (mean_s, std_s) = moments(path, t), moments(path, s)
    x_t, x_s = mean + std * z, mean_s + std_s * z
    found, _, _ = gaussian_flow(path, x_t, t, mean=FROM, std=SPREAD, until=s)
    torch.testing.assert_close((s - t)[:, None] * found, x_s - x_t, rtol=1e-12, atol=1e-12)
    now, _, _ = gaussian_flow(path, x_t, t, mean=FROM, std=SPREAD)
    torch.testing.assert_close(found[2], now[2], rtol=1e-12, atol=1e-12)


def test_noise_on_the_way_is_gone_at_both_ends():
    path = detour(LINEAR, 0.7)
    ends = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(path.gamma(ends), torch.tensor([0, 0.7, 0]).double())
    t = middle().requires_grad_(True)
    (slope,) = torch.autograd.grad(path.gamma(t).sum(), t)
    torch.testing.assert_close(path.d_gamma(t), slope, rtol=1e-10, atol=1e-12)
    assert detour(LINEAR, 0.7) is path  # paths are told apart by identity
