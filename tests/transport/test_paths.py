r"""The straight path and the times: closed forms, the marginal field, and its loss floor."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from fromnoise.transport.paths import LINEAR, TIME_SAMPLERS, bridge, uniform_times

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


def test_the_path_runs_from_noise_to_data():
    x_0, x_1 = torch.randn(2, 5, 2, 3, generator=seeded(0), dtype=torch.float64)
    for t, end in ((0.0, x_0), (1.0, x_1)):
        x_t, u_t = bridge(LINEAR, x_0, x_1, torch.full((5,), t, dtype=torch.float64))
        assert torch.equal(x_t, end)
        assert torch.equal(u_t, x_1 - x_0)


def test_every_row_has_its_own_time():
    x_0, x_1 = torch.zeros(3, 1, 2, 2), torch.ones(3, 1, 2, 2)
    t = torch.tensor([0.0, 0.25, 1.0])
    x_t, _ = bridge(LINEAR, x_0, x_1, t)
    assert torch.equal(x_t, t.reshape(3, 1, 1, 1).expand(3, 1, 2, 2))


def test_the_velocity_is_the_derivative_of_the_path():
    t = torch.linspace(0, 1, 11, dtype=torch.float64, requires_grad=True)
    for value, slope in ((LINEAR.alpha, LINEAR.d_alpha), (LINEAR.sigma, LINEAR.d_sigma)):
        (exact,) = torch.autograd.grad(value(t).sum(), t)
        torch.testing.assert_close(slope(t), exact, rtol=0, atol=1e-12)


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


@pytest.mark.parametrize("name", TIME_SAMPLERS)
def test_times_are_a_function_of_the_generator_alone(name):
    before = torch.get_rng_state()
    draw = [TIME_SAMPLERS[name](100, seeded(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draw[0], draw[1]) and not torch.equal(draw[0], draw[2])
    assert torch.equal(before, torch.get_rng_state())
    assert draw[0].shape == (100,) and draw[0].dtype == torch.float32
    assert ((draw[0] >= 0) & (draw[0] <= 1)).all()


QUANTILES = {"uniform": lambda q: q, "logit-normal": lambda q: special.expit(special.ndtri(q))}
CDFS = {"uniform": lambda t: t, "logit-normal": lambda t: special.ndtr(special.logit(t))}


@pytest.mark.parametrize("name", TIME_SAMPLERS)
def test_a_batch_of_times_has_the_quantiles_of_its_law(name):
    t = TIME_SAMPLERS[name](20_000, seeded(3)).double().sort().values.numpy()
    levels = np.array([0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99])
    np.testing.assert_allclose(np.quantile(t, levels), QUANTILES[name](levels), atol=2e-4)
    assert stats.kstest(t, CDFS[name]).statistic < 2 / 20_000


@pytest.mark.parametrize("name", TIME_SAMPLERS)
@pytest.mark.parametrize("position", [0, 6])
def test_each_time_alone_has_the_law(name, position):
    t = [TIME_SAMPLERS[name](7, seeded(k))[position].item() for k in range(2000)]
    assert stats.kstest(t, CDFS[name]).pvalue > 1e-3


def test_uniform_times_cover_the_interval_evenly():
    t = uniform_times(64, seeded(1)).double().sort().values
    assert (t.diff() - 1 / 64).abs().max() < 2e-7


def test_logit_normal_times_have_the_moments_of_the_logistic_normal():
    t = TIME_SAMPLERS["logit-normal"](50_000, seeded(0)).double()
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    exact = (weights * (special.expit(nodes) - 0.5) ** 2).sum() / weights.sum()
    assert t.mean().item() == pytest.approx(0.5, abs=1e-4)
    assert t.var().item() == pytest.approx(exact, rel=1e-3)
