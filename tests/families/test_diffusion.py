r"""Diffusion against what is known of Gaussians, the recipe of Ho, and its own limits."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fromnoise as fn
from fromnoise.base import field
from fromnoise.metrics import energy_distance
from fromnoise.networks import defaults
from fromnoise.transport.paths import PATHS, angle
from fromnoise.transport.samplers import SOLVERS, Ancestral
from fromnoise.transport.solvers import integrate

PREDICTIONS = ("noise", "data", "velocity")
WEIGHTINGS = ("simple", "min-snr", "edm", "uncertainty")


def small(**arguments: Any) -> fn.Diffusion:
    given = {"network": "small", "random_state": 0, "budget": "20 steps", **arguments}
    return fn.Diffusion(**given)


def gaussian(n: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.multivariate_normal([2.0, -1.0], [[1.0, 0.8], [0.8, 1.0]], n)


class Knowing(nn.Module):
    r"""The best guess where standardised columns are N(0, 1): v = 0, ε = cos θ x, D = sin θ x."""

    def __init__(self, prediction: str) -> None:
        super().__init__()
        self.prediction, self.weight = prediction, nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        theta = (t * math.pi / 2).reshape(-1, *[1] * (x.ndim - 1))
        share = {"noise": theta.cos(), "data": theta.sin(), "velocity": 0 * theta}
        return share[self.prediction] * x + self.weight * x


def knowing(X: np.ndarray, prediction: str = "velocity", **arguments: Any) -> fn.Diffusion:
    return small(
        network=Knowing(prediction), prediction=prediction, learning_rate=1e-9, **arguments
    ).fit(X)


# --- the loss ---------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_the_loss_is_the_formula(prediction: str, weighting: str) -> None:
    model = small(prediction=prediction, weighting=weighting, budget="5 steps").fit(gaussian(200))
    x_0, x_1 = torch.randn(2, 64, 2, generator=torch.Generator().manual_seed(3))
    loss = model.loss((x_0, x_1), None, 1.0, torch.Generator().manual_seed(5))
    t = fn.transport.times.TIME_SAMPLERS["log-normal"](64, torch.Generator().manual_seed(5))
    snr = (t / (1 - t)).square()[:, None]  # of the straight path
    alpha, sigma = (snr / (1 + snr)).sqrt(), (1 / (1 + snr)).sqrt()
    network = model.networks_["network"]
    time = 2 / math.pi * torch.atan2(alpha, sigma)[:, 0]
    out = network(alpha * x_1 + sigma * x_0, time)
    target = {"noise": x_0, "data": x_1, "velocity": sigma * x_1 - alpha * x_0}[prediction]
    of_noise = {"noise": 1, "data": snr, "velocity": snr / (1 + snr)}[prediction]
    error = of_noise * (out - target).square()  # as an error in the noise
    if weighting == "uncertainty":
        w = model.networks_["log_variance"](time)
        expected = (error * (1 + snr) / snr * (-w).exp() + w).mean()
    else:
        # Ho 2020, eq. 14; Hang 2023; Karras 2022: λ ‖D − x‖², λ = (σ² + 1)/σ², σ² = 1/SNR.
        weight = {
            "simple": torch.ones_like(snr),
            "min-snr": snr.clamp_max(5) / snr,
            "edm": (1 / snr + 1) / (1 / snr) / snr,
        }[weighting]
        expected = (weight * error).mean()
    torch.testing.assert_close(loss, expected, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_row_15_a_network_that_knows_reaches_the_floor_and_none_is_below(prediction: str) -> None:
    model = knowing(gaussian(), prediction, weighting="simple", path="vp-cosine")
    model.time_sampling = "uniform"
    x_0, x_1 = torch.randn(2, 200_000, 1, generator=torch.Generator().manual_seed(0))
    loss = model.loss((x_0, x_1), None, 1.0, torch.Generator().manual_seed(1))
    # E sin² θ Var(v given x) with unit data: the variance is 1, and θ is uniform.
    assert loss.item() == pytest.approx(0.5, abs=0.01)


def test_the_uncertainty_learns_the_logarithm_of_the_error() -> None:
    model = small(weighting="uncertainty", budget="300 steps").fit(gaussian())
    t = torch.tensor([0.05, 0.5, 0.9])
    w = model.networks_["log_variance"](t).squeeze(1)
    assert w[0].abs() < 0.2  # at the noisy end nothing can be told: E e² = 1
    assert w[1] < w[0] - 0.1  # in the middle the correlation can be


def test_ddpm_is_the_recipe_of_ho() -> None:
    model = fn.families.make("ddpm")
    kept = {"path", "prediction", "weighting", "time_sampling", "solver", "steps", "grid"}
    assert {name: model.get_params()[name] for name in kept} == {
        "path": "vp-linear",
        "prediction": "noise",
        "weighting": "simple",
        "time_sampling": "steps",
        "solver": "ancestral",
        "steps": 1000,
        "grid": "uniform",
    }
    model.set_params(budget="2 steps", network="small").fit(gaussian(100))
    bars = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    times = model._times()
    levels = np.sin(times.numpy() * np.pi / 2) ** 2
    np.testing.assert_allclose(levels[:-1], bars[::-1], rtol=1e-9)
    assert times[-1] == 1
    assert model.n_evaluations == 1000
    # Algorithm 1, letter by letter.
    x_0, x_1 = torch.randn(2, 64, 2, generator=torch.Generator().manual_seed(3))
    loss = model.loss((x_0, x_1), None, 1.0, torch.Generator().manual_seed(5))
    k = 1000 - 1000 * fn.transport.times.TIME_SAMPLERS["steps"](
        64, torch.Generator().manual_seed(5)
    )
    bar = torch.from_numpy(bars)[k.round().long() - 1][:, None]
    x = (bar.sqrt() * x_1 + (1 - bar).sqrt() * x_0).float()
    time = 2 / math.pi * torch.asin(bar.sqrt()).squeeze(1).float()
    expected = (model.networks_["network"](x, time) - x_0).square().mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=0)


# --- sampling ---------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("solver", [name for name in SOLVERS if name != "rk4"])
def test_every_solver_and_prediction_draws_from_a_known_gaussian(
    prediction: str, solver: Any
) -> None:
    X = gaussian()
    model = knowing(X, prediction, solver=solver, steps=40)
    drawn = model.sample(4000, random_state=0)
    loose = 0.06 if prediction != "data" else 0.1
    assert (np.abs(drawn.mean(0) - X.mean(0)) / X.std(0)).max() < 0.06
    np.testing.assert_allclose(drawn.std(0), X.std(0), rtol=loose)


@pytest.mark.parametrize("solver", ["ancestral", "ddim", "edm"])
def test_fresh_noise_belongs_to_the_row_and_the_seed(solver: Any) -> None:
    churn = 0.0 if solver == "ancestral" else 0.7
    model = small(solver=solver, steps=4, churn=churn).fit(gaussian(200))
    many = model.sample(1100, random_state=0)
    for n in (1, 255, 257, 1030):
        assert (model.sample(n, random_state=0) == many[:n]).all()
    assert not (model.sample(5, random_state=1) == many[:5]).any()
    # Rows of different blocks do not share their noise.
    same_z = np.abs(many[:256] - many[256:512]).min()
    assert same_z > 0
    model.set_params(churn=0.0)
    assert (model.sample(5, random_state=0) != many[:5]).any() or solver == "ancestral"


def test_fresh_noise_of_images_belongs_to_the_row_too() -> None:
    X = np.random.default_rng(0).random((30, 4, 4)).astype(np.float32)
    model = small(solver="ancestral", steps=3, budget="2 steps").fit(X)
    many = model.sample(140, random_state=0)  # a padded block has 128 rows of this size
    for n in (3, 129):
        assert (model.sample(n, random_state=0) == many[:n]).all()


def test_fresh_noise_is_the_same_in_the_larger_blocks_of_another_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X = np.random.default_rng(0).random((30, 8, 8)).astype(np.float32)
    model = small(solver="ancestral", steps=3, budget="2 steps").fit(X)
    drawn = model.sample(300, random_state=0)  # in blocks of 64
    monkeypatch.setattr(model, "_device", lambda: "cpu:0")
    rows = defaults.evaluation_rows

    def larger(shape: tuple[int, ...], device: str = "cpu") -> int:
        return 256 if ":" in device else rows(shape)

    monkeypatch.setattr(defaults, "evaluation_rows", larger)
    np.testing.assert_allclose(model.sample(300, random_state=0), drawn, atol=1e-4)


def test_blocks_of_rows_have_different_fresh_noise() -> None:
    model = knowing(gaussian(300), solver="ddim", churn=1.0, steps=5)
    rows = torch.zeros(256, 2)
    draws = [
        model._generate(rows, None, torch.tensor([first]), seed, block)
        for first, seed, block in ((0, 0, 0), (256, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0))
    ]
    assert torch.equal(draws[0], draws[4])
    for other in draws[1:4]:
        assert not torch.isclose(draws[0], other).any()


def test_the_sampler_is_the_one_of_the_transport_room() -> None:
    model = knowing(gaussian(500), solver="ancestral", steps=7, path="vp-linear")
    model.networks_["moments"].set(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), floor=0.05)
    z = torch.randn(256, 2, generator=torch.Generator().manual_seed(0))
    found = model._generate(z, None, torch.tensor([0]), 5)
    ho = PATHS["vp-linear"]
    times = torch.linspace(0, 1, 8, dtype=torch.float64)
    generator = fn.training.torch_rng(5, 30, 0)

    def draw(x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=generator).double()

    def velocity(x: Tensor, t: Tensor) -> Tensor:  # of N(0, 1), on a variance-preserving path
        return torch.zeros_like(x)

    expected = integrate(velocity, z.double(), times, Ancestral(), path=ho, draw=draw)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_temperature_scales_all_noise() -> None:
    for solver in ("heun", "ancestral"):
        model = small(solver=solver, temperature=0.0, steps=5).fit(gaussian(300))
        assert np.ptp(model.sample(10, random_state=0), axis=0).max() < 1e-5


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("grid", ["uniform", "rho", "log-snr"])
def test_times_begin_where_the_path_does_and_end_in_data(path: Any, grid: Any) -> None:
    model = small(path=path, grid=grid, steps=9)
    times = model._times()
    assert times.shape == (10,)
    assert (times.diff() >= 0).all() and times[-1] == 1
    first = max(angle(PATHS[path], torch.zeros(1).double()).item(), 1 / 160)
    assert times[0].item() == pytest.approx(2 / math.pi * first, rel=1e-9)


def test_evaluations_are_counted() -> None:
    X, y = gaussian(200), np.arange(200) % 2
    model = small(guidance=2.0, steps=10, solver="heun").fit(X, y)
    assert model.n_evaluations == 40
    assert model.set_params(solver="edm").n_evaluations == 38
    assert model.set_params(solver="adams").n_evaluations == 20
    model.set_params(guidance_interval=(0.25, 0.75))
    within = ((model._times()[:-1] >= 0.25) & (model._times()[:-1] <= 0.75)).sum().item()
    assert model.n_evaluations == 10 + within
    assert model.set_params(solver="dopri5", guidance=1.0).n_evaluations > 7


# --- codes and densities ----------------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_scores_and_codes_of_a_known_gaussian(prediction: str) -> None:
    X = gaussian() * [1.0, 100.0]
    model = knowing(X, prediction)
    z = (X[:200] - X.mean(0)) / X.std(0)
    exact = -0.5 * (z**2).sum(1) - np.log(X.std(0)).sum() - np.log(2 * np.pi)
    # The moments are those of the training rows, nine tenths of all.
    loose = 0.1 if prediction != "data" else 0.3
    np.testing.assert_allclose(model.score_samples(X[:200]), exact, atol=loose)
    np.testing.assert_allclose(model.encode(X[:200]), z, atol=loose)
    back = model.decode(model.encode(X[:200]))
    np.testing.assert_allclose(back, X[:200], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_density_of_a_trained_network_has_integral_1_and_codes_come_back(
    prediction: str,
) -> None:
    rng = np.random.default_rng(0)
    X = (np.where(rng.random(300) < 0.5, -2.0, 1.0) + 0.3 * rng.normal(size=300))[:, None]
    model = small(prediction=prediction, budget="150 steps").fit(X)
    places = np.linspace(-8, 8, 1024)[:, None]
    density = np.exp(model.score_samples(places))
    assert density.sum() * (places[1, 0] - places[0, 0]) == pytest.approx(1, abs=2e-4)
    np.testing.assert_allclose(model.decode(model.encode(X[:40])), X[:40], atol=5e-4)


@pytest.mark.parametrize("path", PATHS)
def test_levels_drawn_by_the_noise_are_the_same_on_every_path(path: Any) -> None:
    # Karras' ln σ ~ N(-1.2, 1.2²) where the data have standard deviation 1/2.
    model = small(path=path, time_sampling="log-normal")
    level = model._angles(50_000, torch.Generator().manual_seed(0)).tan().log()  # ln α/σ
    assert level.mean().item() == pytest.approx(1.2 + math.log(0.5), abs=0.02)
    assert level.std().item() == pytest.approx(1.2, abs=0.02)


def test_it_learns_a_correlated_gaussian() -> None:
    X = gaussian()
    model = small(budget="400 steps").fit(X)
    drawn = model.sample(5000, random_state=0)
    np.testing.assert_allclose(drawn.mean(0), [2, -1], atol=0.1)
    np.testing.assert_allclose(np.cov(drawn.T), [[1, 0.8], [0.8, 1]], atol=0.12)
    inverse = np.linalg.inv([[1, 0.8], [0.8, 1]])
    d = X[:100] - [2, -1]
    exact = -0.5 * np.einsum("ni,ij,nj->n", d, inverse, d) - np.log(2 * np.pi * 0.6)
    assert np.abs(model.score_samples(X[:100]) - exact).mean() < 0.1
    z = model.encode(X[:1200])
    np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=0.15)
    np.testing.assert_allclose(model.decode(z[:50]), X[:50], atol=1e-3)


def test_scores_and_codes_of_a_trained_network_hardly_change_with_finer_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X = fn.data.load("moons").X
    model = small(budget="300 steps").fit(X[:1000])
    scores, codes = model.score_samples(X[:50]), model.encode(X[:50])
    monkeypatch.setattr(field, "EXACT_STEPS", 4 * field.EXACT_STEPS)
    np.testing.assert_allclose(scores, model.score_samples(X[:50]), rtol=0, atol=0.06)
    np.testing.assert_allclose(codes, model.encode(X[:50]), rtol=0, atol=0.03)


def test_score_and_codes_know_nothing_of_sampling() -> None:
    model = small(budget="50 steps").fit(gaussian(300))
    X = gaussian(30)
    before, codes = model.score_samples(X), model.encode(X)
    model.set_params(solver="edm", steps=2, temperature=0.3, grid="rho", churn=1.0)
    assert (model.score_samples(X) == before).all()
    assert (model.encode(X) == codes).all()
    assert model.score_kind_ == "exact"


@pytest.mark.parametrize("name", ["moons", "8gaussians"])
def test_it_beats_a_single_gaussian(name: str) -> None:
    X = fn.data.load(name).X
    train, test = X[:4000], X[4000:6000]
    drawn = small(budget="400 steps").fit(train).sample(2000, random_state=0)
    rival = fn.GaussianMixture(n_components=1).fit(train).sample(2000, random_state=0)
    ours, theirs = energy_distance(test, drawn), energy_distance(test, rival)
    assert ours.high < theirs.low


def test_ddpm_beats_a_single_gaussian() -> None:
    X = fn.data.load("8gaussians").X
    train, test = X[:4000], X[4000:6000]
    model = fn.families.make(
        "ddpm", network="small", budget="400 steps", random_state=0, steps=100
    )
    drawn = model.fit(train).sample(1000, random_state=0)
    rival = fn.GaussianMixture(n_components=1).fit(train).sample(1000, random_state=0)
    assert energy_distance(test, drawn).high < energy_distance(test, rival).low


# --- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"path": "cosine"}, "Did you mean 'vp-cosine'"),
        ({"prediction": "x0"}, "prediction"),
        ({"weighting": "min-snt"}, "Did you mean 'min-snr'"),
        ({"solver": "dpm++2n"}, "Did you mean 'dpm\\+\\+2m'"),
        ({"churn": -1.0}, "churn"),
        ({"churn": 2.0, "solver": "ddim"}, "η"),
        ({"churn": 0.5}, 'churn is for solver="ddim" or "edm"; with \'adams\''),
        ({"grid": "karras"}, "grid"),
        ({"guidance_interval": (0.0, 2.0)}, "guidance_interval"),
        ({"guidance_interval": 0.5}, "guidance_interval"),
        ({"guidance_interval": (0.5, 0.1)}, "in order of time"),
        ({"guidance_rescale": 1.5}, "guidance_rescale"),
    ],
)
def test_bad_arguments_get_clear_errors(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**bad).fit(gaussian(100))


@pytest.mark.parametrize("change", [{"prediction": "noise"}, {"path": "edm"}])
def test_what_the_network_has_learnt_cannot_be_changed_after_the_fit(
    change: dict[str, Any],
) -> None:
    X = gaussian(100)
    model = small(budget="2 steps").fit(X)
    before = model.sample(3, random_state=0)
    model.set_params(**change)
    for use in ("score_samples", "score_interval", "encode", "decode", "impute", "interpolate"):
        given = (X[:1], X[1:2]) if use == "interpolate" else (X[:1],)
        with pytest.raises(ValueError, match="set it back, or fit again"):
            getattr(model, use)(*given)
    with pytest.raises(ValueError, match="set it back, or fit again"):
        model.sample(2)
    model.set_params(path="linear", prediction="velocity")
    assert (model.sample(3, random_state=0) == before).all()
    model.set_params(**change).fit(X).sample(3)


def test_guidance_without_what_it_needs_is_refused_before_training() -> None:
    X = gaussian(100)
    with pytest.raises(ValueError, match="this fit has no y"):
        small(guidance=3.0).fit(X)
    with pytest.raises(ValueError, match="condition_dropout above 0"):
        small(guidance=3.0, condition_dropout=0.0).fit(X, np.arange(100) % 2)
    model = small(budget="2 steps").fit(X).set_params(guidance=3.0)
    assert model.score_samples(X[:2]).shape == (2,)  # guidance is for samples
    with pytest.raises(ValueError, match="this fit has no y"):
        model.sample(2)


def test_evaluations_are_counted_where_steps_fall_together() -> None:
    model = small(steps=1000, solver="ddim", budget="2 steps").fit(gaussian(60))
    assert model.n_evaluations == model._counted() < 1000


def test_a_learnt_weighting_is_saved(tmp_path: Any) -> None:
    model = small(weighting="uncertainty").fit(gaussian(100))
    loaded = fn.load(model.save(tmp_path / "run"))
    assert (loaded.sample(5, random_state=0) == model.sample(5, random_state=0)).all()
    t = torch.tensor([0.3])
    head, other = (m.networks_["log_variance"](t) for m in (model, loaded))
    assert torch.equal(head, other)
