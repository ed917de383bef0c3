r"""Times of training and grids of sampling: laws, quantiles, and the published grids."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from fromnoise.transport.paths import LINEAR, PATHS, VP_COSINE, linear
from fromnoise.transport.times import GRIDS, TIME_SAMPLERS, grid, uniform_times


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", TIME_SAMPLERS)
def test_times_are_a_function_of_the_generator_alone(name):
    before = torch.get_rng_state()
    draw = [TIME_SAMPLERS[name](100, seeded(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draw[0], draw[1]) and not torch.equal(draw[0], draw[2])
    assert torch.equal(before, torch.get_rng_state())
    assert draw[0].shape == (100,) and draw[0].dtype == torch.float32
    assert ((draw[0] >= 0) & (draw[0] <= 1)).all()


SHIFT, SPREAD = 1.2 + math.log(0.5), 1.2  # Karras' ln σ at σ_data = 1, as ln α/σ
QUANTILES = {
    "uniform": lambda q: q,
    "steps": lambda q: np.floor(1000 * q) / 1000,
    "logit-normal": lambda q: special.expit(special.ndtri(q)),
    "log-normal": lambda q: special.expit(SHIFT + SPREAD * special.ndtri(q)),
}
CDFS = {
    "uniform": lambda t: t,
    "logit-normal": lambda t: special.ndtr(special.logit(t)),
    "log-normal": lambda t: special.ndtr((special.logit(t) - SHIFT) / SPREAD),
}


@pytest.mark.parametrize("name", TIME_SAMPLERS)
def test_a_batch_of_times_has_the_quantiles_of_its_law(name):
    t = TIME_SAMPLERS[name](20_000, seeded(3)).double().sort().values.numpy()
    levels = np.array([0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99])
    np.testing.assert_allclose(np.quantile(t, levels), QUANTILES[name](levels), atol=1e-3)
    if name in CDFS:
        assert stats.kstest(t, CDFS[name]).statistic < 2 / 20_000


@pytest.mark.parametrize("name", TIME_SAMPLERS)
@pytest.mark.parametrize("position", [0, 6])
def test_each_time_alone_has_the_law(name, position):
    t = [TIME_SAMPLERS[name](7, seeded(k))[position].item() for k in range(2000)]
    law = CDFS.get(name, CDFS["uniform"])  # steps of 1/1000 are fine enough for 2,000 draws
    assert stats.kstest(t, law).pvalue > 1e-3


def test_uniform_times_cover_the_interval_evenly():
    t = uniform_times(64, seeded(1)).double().sort().values
    assert (t.diff() - 1 / 64).abs().max() < 2e-7


def test_logit_normal_times_have_the_moments_of_the_logistic_normal():
    t = TIME_SAMPLERS["logit-normal"](50_000, seeded(0)).double()
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    exact = (weights * (special.expit(nodes) - 0.5) ** 2).sum() / weights.sum()
    assert t.mean().item() == pytest.approx(0.5, abs=1e-4)
    assert t.var().item() == pytest.approx(exact, rel=1e-3)


def test_steps_are_the_thousand_of_ho():
    t = TIME_SAMPLERS["steps"](100_000, seeded(2)).double()
    k = 1000 * (1 - t)
    assert (k - k.round()).abs().max() < 1e-3
    assert sorted(set(k.round().int().tolist())) == list(range(1, 1001))


def test_log_normal_is_the_noise_of_karras_at_his_size_of_data():
    t = TIME_SAMPLERS["log-normal"](50_000, seeded(0)).double()
    log_sigma = (0.5 * (1 - t) / t).log()  # their data have the standard deviation 0.5
    assert log_sigma.mean().item() == pytest.approx(-1.2, abs=1e-3)
    assert log_sigma.std().item() == pytest.approx(1.2, abs=2e-3)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("spacing", GRIDS)
@pytest.mark.parametrize("steps", [1, 2, 3, 18])
def test_grids_run_up_from_the_start_of_the_path_to_the_data(name, spacing, steps):
    theta = grid(PATHS[name], spacing, steps, None if spacing == "uniform" else math.pi / 2)
    assert theta.shape == (steps + 1,) and theta.dtype == torch.float64
    assert (theta.diff() > 0).all()
    end = math.atan(500) if (name, spacing) == ("edm", "uniform") else math.pi / 2
    assert theta[-1].item() == pytest.approx(end, abs=1e-15)
    start = torch.zeros((), dtype=torch.float64)
    assert theta[0] == torch.atan2(PATHS[name].alpha(start), PATHS[name].sigma(start))


def test_the_rho_grid_is_that_of_karras():
    i = np.arange(18)
    sigma = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    for spacing in ("rho", "uniform"):  # the time of the path is made for it
        theta = grid(PATHS["edm"], spacing, 18, math.pi / 2).numpy()
        np.testing.assert_allclose(1 / np.tan(theta[:-1]), sigma, rtol=1e-9)
        assert theta[-1] == math.pi / 2
    np.testing.assert_allclose(  # the same noise on another path, which starts from more
        1 / np.tan(grid(LINEAR, "rho", 18).numpy()[1:-1]), sigma[1:], rtol=1e-9
    )


def test_the_log_snr_grid_is_even_in_its_logarithm():
    ratio = grid(VP_COSINE, "log-snr", 12)[1:-1].tan().log()
    torch.testing.assert_close(ratio.diff(), ratio.diff()[:1].expand(10), rtol=1e-9, atol=0)
    assert ratio[-1].item() == pytest.approx(-math.log(0.002))


def test_a_grid_ends_where_the_path_does():
    theta = grid(linear(0.1), "rho", 10)
    assert (theta.diff() > 0).all()
    assert theta[-1].item() == pytest.approx(math.atan(10))
