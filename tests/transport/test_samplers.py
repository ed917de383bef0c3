r"""Samplers against closed forms of a Gaussian, other people's schedulers, and one another."""

import itertools
import math

import numpy as np
import pytest
import torch

from fromnoise.transport.paths import LINEAR, PATHS, VP_COSINE, angle, convert, time_at
from fromnoise.transport.samplers import (
    DDIM,
    EDM,
    SOLVERS,
    Ancestral,
    DPMSolver,
    Marks,
    churned,
)
from fromnoise.transport.solvers import Walk, integrate
from fromnoise.transport.times import grid

MEAN, SCALE = 1.3, 0.5
HO = PATHS["vp-linear"]
BETA = np.linspace(1e-4, 0.02, 1000)
ALPHA_BAR = np.cumprod(1 - BETA)


def even(steps):
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


def noise(n, d, seed=0):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gaussian(path):
    r"""The velocity along a path of the exact denoiser of N(MEAN, SCALE²)."""

    def velocity(x, t):
        alpha, sigma = (f(t)[:, None] for f in (path.alpha, path.sigma))
        gain = alpha * SCALE**2 / (alpha**2 * SCALE**2 + sigma**2)
        return convert(path, x, t, MEAN + gain * (x - alpha * MEAN), "data", "velocity")

    return velocity


def curved(path):
    r"""The velocity of a denoiser that is not linear: data at ±1 with some width."""

    def velocity(x, t):
        alpha, sigma = (f(t)[:, None] for f in (path.alpha, path.sigma))
        v = alpha**2 * 0.04 + sigma**2
        sign = torch.tanh(alpha * x / v)
        data = sign + alpha * 0.04 / v * (x - alpha * sign)
        return convert(path, x, t, data, "data", "velocity")

    return velocity


def law(method, times, path=HO):
    r"""Mean and standard deviation of what a sampler makes of z ~ N(0, 1), exactly.

    With a linear denoiser a sample is affine in z and in the fresh noise of each step, so the
    answers to unit impulses, one a row, say everything.
    """
    x = torch.zeros(len(times) + 1, 1, dtype=torch.float64)
    x[0] = 1
    drawn = []

    def impulse(x):
        drawn.append(None)
        z = torch.zeros_like(x)
        z[len(drawn)] = 1
        return z

    end = integrate(gaussian(path), x, times, method, path=path, draw=impulse)
    return end[-1].item(), (end[:-1] - end[-1]).norm().item()


def recursion(times, variance):
    r"""Mean and variance of the ancestral chain, in the letters of Ho 2020, eq. 7."""
    mean, var = 0.0, 1.0
    k = np.rint(1000 * (1 - times.numpy())).astype(int)
    bars = np.concatenate([[1.0], ALPHA_BAR])[k]
    for bar, after in itertools.pairwise(bars):
        beta = 1 - bar / after
        to_data = math.sqrt(after) * beta / (1 - bar)
        to_x = math.sqrt(1 - beta) * (1 - after) / (1 - bar)
        v = bar * SCALE**2 + 1 - bar
        gain = math.sqrt(bar) * SCALE**2 / v
        slope = to_data * gain + to_x
        mean = slope * mean + to_data * (MEAN - gain * math.sqrt(bar) * MEAN)
        fresh = {
            "small": (1 - after) / (1 - bar) * beta,
            "large": beta if after < 1 else 0.0,
            "exact": (1 - after) / (1 - bar) * beta + to_data**2 * SCALE**2 * (1 - bar) / v,
            "none": 0.0,
        }[variance]
        var = slope**2 * var + fresh
    return mean, math.sqrt(var)


# --- rows 12, 16 and 17 -----------------------------------------------------------------------


@pytest.mark.parametrize(("k", "value"), [(487, 0.009792), (999, 0.0199999835)])
def test_row_12_constants_of_ho(k, value):
    # Counted from 0 in the table: β̃ between the levels k and k − 1.
    after, here = (Marks.at(HO, 1 - step / 1000) for step in (k, k + 1))
    found = after.sigma**2 * (1 - (after.ratio / here.ratio) ** 2)
    assert found == pytest.approx(value, rel=1e-4 if k == 487 else 3e-9)
    exact = (1 - ALPHA_BAR[k - 1]) / (1 - ALPHA_BAR[k]) * BETA[k]
    assert found == pytest.approx(exact, abs=1e-13)


@pytest.mark.parametrize("path", [LINEAR, VP_COSINE, HO, PATHS["edm"]])
@pytest.mark.parametrize("variance", ["small", "large"])
def test_row_12_a_step_is_gaussian_conditioning(path, variance):
    # x_s = α_s x_1 + σ_s e and x_t = (α_t/α_s) x_s + more: condition x_s on x_t and x_1.
    t, s, x_1 = 0.4, 0.55, 0.7
    here, after = Marks.at(path, t), Marks.at(path, s)
    scale = here.alpha / after.alpha
    forwards = here.sigma**2 - (scale * after.sigma) ** 2
    assert forwards > 0
    precision = 1 / after.sigma**2 + scale**2 / forwards
    x = torch.tensor([[-0.3]], dtype=torch.float64)
    mean = (after.alpha * x_1 / after.sigma**2 + scale * x.item() / forwards) / precision
    velocity = lambda x, t: convert(  # noqa: E731
        path, x, t, torch.full_like(x, x_1), "data", "velocity"
    )
    std = math.sqrt(1 / precision if variance == "small" else forwards)
    for z in (0.0, 1.0):
        walk = Walk(velocity, path, lambda x, z=z: torch.full_like(x, z))
        found = Ancestral(variance).step(walk, x, t, s).item()
        assert found == pytest.approx(mean + z * std, rel=1e-9)


@pytest.mark.parametrize(("variance", "std"), [("small", 0.496110), ("large", 0.500752)])
def test_row_16_the_ancestral_sampler_is_the_recursion(variance, std):
    mean, found = law(Ancestral(variance), even(1000))
    exact_mean, exact = recursion(even(1000), variance)
    assert found == pytest.approx(exact, abs=1e-10)
    assert mean == pytest.approx(exact_mean, abs=1e-10)
    assert found == pytest.approx(std, abs=5e-7)
    assert abs(recursion(even(1000), "exact")[1] - 0.5) == pytest.approx(1e-10, abs=1e-10)


def test_row_16_eta_one_is_ancestral():
    for steps in (7, 100):
        assert law(DDIM(1.0), even(steps)) == pytest.approx(
            law(Ancestral("small"), even(steps)), rel=1e-12
        )


@pytest.mark.parametrize(
    ("steps", "std"), [(10, 0.3616), (20, 0.4305), (50, 0.4719), (100, 0.4858), (1000, 0.4985)]
)
def test_row_17_ddim(steps, std):
    k = np.linspace(0, 999, steps).round()[::-1] + 1
    times = torch.tensor([*(1 - k / 1000), 1.0])
    mean, found = law(DDIM(), times)
    assert found == pytest.approx(std, abs=5e-5)
    # One step of DDIM in the letters of Song 2021, eq. 12.
    bars = np.concatenate([ALPHA_BAR[k.astype(int) - 1], [1.0]])
    spread, centre = 1.0, 0.0
    for bar, after in itertools.pairwise(bars):
        gain = math.sqrt(bar) * SCALE**2 / (bar * SCALE**2 + 1 - bar)
        share = math.sqrt((1 - after) / (1 - bar))
        slope = math.sqrt(after) * gain + share * (1 - math.sqrt(bar) * gain)
        spread *= slope
        offset = MEAN * (1 - gain * math.sqrt(bar))
        centre = slope * centre + offset * (math.sqrt(after) - share * math.sqrt(bar))
    assert found == pytest.approx(spread, abs=1e-10)
    assert mean == pytest.approx(centre, abs=1e-10)


def test_row_16_drawn_samples_have_the_spread_of_the_recursion():
    n, generator = 40_000, torch.Generator().manual_seed(0)
    draw = lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)  # noqa: E731
    end = integrate(gaussian(HO), noise(n, 1), even(50), Ancestral("large"), path=HO, draw=draw)
    mean, std = law(Ancestral("large"), even(50))
    assert abs(end.mean().item() - mean) < 5 * std / n**0.5
    assert abs(end.std().item() - std) < 5 * std / (2 * n) ** 0.5


# --- orders -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "order"),
    [(DDIM(), 1), (DPMSolver(1), 1), (DPMSolver(2), 2), (DPMSolver(3), 3), (EDM(), 2)],
)
@pytest.mark.parametrize("path", [VP_COSINE, PATHS["edm"]])
def test_row_21_observed_order(method, order, path):
    # Between two levels of noise, evenly in ln α/σ. The first steps of a multistep method are of
    # low order, so the grid begins finely.
    ends = torch.tensor([0.5, 4.0], dtype=torch.float64).log()
    fine = integrate(curved(path), start(path), levels(path, ends, 400), SOLVERS["rk4"], path=path)
    errors, steps = [], np.array([64, 128, 256])
    for n in steps:
        found = integrate(curved(path), start(path), levels(path, ends, n), method, path=path)
        errors.append((found - fine).abs().mean().item())
    assert -np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(order, abs=0.2)


def levels(path, ends, n):
    u = torch.linspace(0, 1, n + 1, dtype=torch.float64) ** 2
    return time_at(path, torch.atan(torch.lerp(ends[0], ends[1], u).exp()))


def start(path):
    t = levels(path, torch.tensor([0.5, 4.0], dtype=torch.float64).log(), 1)[0]
    return noise(20, 1) * (path.alpha(t) ** 2 + path.sigma(t) ** 2).sqrt()


@pytest.mark.parametrize("name", ["ddim", "dpm++2m", "dpm++3m", "edm"])
def test_the_path_is_clothing(name):
    # At the same levels of noise, a sampler does the same along every path.
    theta = grid(PATHS["edm"], "rho", 12, math.pi / 2)
    ends = []
    for path in (PATHS["edm"], VP_COSINE, LINEAR):
        times = time_at(path, theta)
        if path is not PATHS["edm"]:
            times[-1] = 1.0
        else:
            theta_end = angle(path, times[-1:])
            assert theta_end < math.pi / 2
            times = times[:-1]
        x = noise(8, 1) * (path.alpha(times[0]) ** 2 + path.sigma(times[0]) ** 2).sqrt()
        x = integrate(curved(path), x, times[:12], SOLVERS[name], path=path)
        ends.append(x / path.alpha(times[11]))
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(ends[2], ends[0], rtol=1e-8, atol=1e-8)


def test_ddim_is_eulers_method_in_the_ratio_of_noise():
    path, times = VP_COSINE, even(9)[1:-1]
    found = integrate(curved(path), noise(5, 1), times, DDIM(), path=path)
    x = noise(5, 1) / path.alpha(times[0])
    ratios = path.sigma(times) / path.alpha(times)
    for t, r, after in zip(times[:-1], ratios[:-1], ratios[1:], strict=True):
        t = t.expand(5)
        eps = convert(
            path,
            x * path.alpha(t[0]),
            t,
            curved(path)(x * path.alpha(t[0]), t),
            "velocity",
            "noise",
        )
        x = x + (after - r) * eps
    torch.testing.assert_close(found, x * path.alpha(times[-1]), rtol=1e-10, atol=1e-10)


# --- Karras -----------------------------------------------------------------------------------


def karras(denoise, x, sigmas, churn, draw):
    r"""Algorithm 2 of Karras 2022, letter by letter, for scalar states."""
    steps = len(sigmas) - 1
    for i, (now, after) in enumerate(itertools.pairwise(sigmas)):
        gamma = min(churn / steps, math.sqrt(2) - 1)
        raised = now * (1 + gamma)
        if gamma:
            x = x + math.sqrt(raised**2 - now**2) * draw(x)
        slope = (x - denoise(x, raised)) / raised
        ahead = x + (after - raised) * slope
        if i < steps - 1:
            other = (ahead - denoise(ahead, after)) / after
            ahead = x + (after - raised) * (slope + other) / 2
        x = ahead
    return x


@pytest.mark.parametrize("churn", [0.0, 3.0, 100.0])
@pytest.mark.parametrize("path", [VP_COSINE, LINEAR])
def test_the_sampler_of_karras(churn, path):
    def denoise(x, sigma):
        v = 0.04 + sigma**2
        sign = torch.tanh(x / v)
        return sign + 0.04 / v * (x - sign)

    theta = grid(PATHS["edm"], "uniform", 18, math.pi / 2)
    sigmas = [*(1 / theta[:-1].tan()).tolist(), 0.0]
    draws = [torch.Generator().manual_seed(3) for _ in range(2)]
    fresh = [lambda x, g=g: torch.randn(x.shape, generator=g, dtype=torch.float64) for g in draws]
    theirs = karras(denoise, 80 * noise(50, 1), sigmas, churn, fresh[0])
    times = time_at(path, theta)
    times[-1] = 1.0
    method = churned(EDM(), churn, 18)
    x = noise(50, 1) * 80 * path.alpha(times[0])
    ours = integrate(curved(path), x, times, method, path=path, draw=fresh[1])
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)


# --- diffusers --------------------------------------------------------------------------------


def theirs(scheduler, steps, x, denoiser=curved, **arguments):
    r"""Drive one of diffusers' schedulers with the same denoiser, which answers with the noise."""
    scheduler.set_timesteps(steps)
    for k in scheduler.timesteps:
        t = torch.full((len(x),), 1 - (int(k) + 1) / 1000, dtype=torch.float64)
        v = denoiser(HO)(x, t)
        eps = convert(HO, x, t, v, "velocity", "noise")
        x = scheduler.step(eps, k, x, **arguments).prev_sample
    return x


@pytest.mark.parametrize("steps", [10, 50])
@pytest.mark.parametrize("eta", [0.0, 0.6])
def test_ddim_is_that_of_diffusers(steps, eta):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(
        clip_sample=False, timestep_spacing="trailing", set_alpha_to_one=True
    )
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    other = theirs(scheduler, steps, noise(40, 1), eta=eta, generator=generators[0])
    draw = lambda x: torch.randn(x.shape, generator=generators[1], dtype=x.dtype)  # noqa: E731
    ours = integrate(curved(HO), noise(40, 1), even(steps), DDIM(eta), path=HO, draw=draw)
    torch.testing.assert_close(ours, other, rtol=0, atol=1e-4)


# Theirs adds noise after the last of fewer steps than 1,000 where the variance is the large one.
@pytest.mark.parametrize(
    ("variance", "name", "steps"),
    [("small", "fixed_small", 20), ("small", "fixed_small", 200), ("large", "fixed_large", 1000)],
)
def test_ancestral_is_the_ddpm_of_diffusers(variance, name, steps):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(
        clip_sample=False, variance_type=name, timestep_spacing="trailing"
    )
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    other = theirs(scheduler, steps, noise(40, 1), gaussian, generator=generators[0])
    draw = lambda x: torch.randn(x.shape, generator=generators[1], dtype=x.dtype)  # noqa: E731
    ours = integrate(
        gaussian(HO), noise(40, 1), even(steps), Ancestral(variance), path=HO, draw=draw
    )
    torch.testing.assert_close(ours, other, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of NumPy, in theirs
@pytest.mark.parametrize("order", [1, 2])  # theirs of order 3 halves the quadratic term
@pytest.mark.parametrize("steps", [10, 40])
def test_dpm_solver_is_that_of_diffusers(order, steps):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DPMSolverMultistepScheduler(
        solver_order=order, timestep_spacing="trailing", lower_order_final=False
    )
    other = theirs(scheduler, steps, noise(40, 1))
    ours = integrate(curved(HO), noise(40, 1), even(steps), DPMSolver(order), path=HO)
    torch.testing.assert_close(ours, other, rtol=0, atol=1e-4)


# --- the registry -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_says_how_often_it_asks_and_lands_near_the_data(name):
    calls = []

    def field(x, t):
        calls.append(t)
        return curved(VP_COSINE)(x, t.clamp_max(1 - 1e-6))

    times = time_at(VP_COSINE, grid(PATHS["edm"], "rho", 40, math.pi / 2))
    times[-1] = 1.0
    end = integrate(field, noise(60, 1), times, SOLVERS[name], path=VP_COSINE)
    asked = SOLVERS[name].evaluations(40)
    assert len(calls) == asked if name != "dopri5" else len(calls) >= 41
    assert ((end.abs() - 1).abs() < 1).all()
    assert (end.sign() == noise(60, 1).sign()).float().mean() > 0.9 or "ancestral" in name


@pytest.mark.parametrize("name", ["ddim", "dpm++2m", "dpm++3m", "ancestral", "ancestral-large"])
def test_a_path_may_begin_in_pure_noise(name):
    end = integrate(gaussian_from_zero, noise(50, 1), even(20), SOLVERS[name], path=LINEAR)
    assert torch.isfinite(end).all()
    assert abs(end.mean().item() - MEAN) < 0.5


def gaussian_from_zero(x, t):
    v = (1 - t) ** 2 + t**2 * SCALE**2
    return MEAN + ((t * SCALE**2 - (1 - t)) / v)[:, None] * (x - t[:, None] * MEAN)


def test_churn_is_for_those_that_take_it():
    assert churned(DDIM(), 0.4, 9) == DDIM(0.4)
    assert churned(EDM(), 0.9, 9).raise_by == pytest.approx(0.1)
    assert churned(EDM(), 100.0, 9).raise_by == pytest.approx(2**0.5 - 1)
    assert churned(SOLVERS["heun"], 0.4, 9) is SOLVERS["heun"]
