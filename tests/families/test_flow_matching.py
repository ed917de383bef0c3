r"""Flow matching against what is known of Gaussians, and against the reference of its rival."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import fromnoise as fn
from fromnoise.base import field
from fromnoise.metrics import energy_distance
from fromnoise.networks import ResidualMLP
from fromnoise.transport.paths import LINEAR, bridge, gaussian_flow
from transport_fields import Silent


def small(**arguments: Any) -> fn.FlowMatching:
    given = {"network": "small", "random_state": 0, "budget": "20 steps", **arguments}
    return fn.FlowMatching(**given)


def gaussian(n: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.multivariate_normal([2.0, -1.0], [[1.0, 0.8], [0.8, 1.0]], n)


@pytest.fixture
def coarse_odes(monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Let codes and densities take 16 steps, not 64: far below what is asserted of them."""
    monkeypatch.setattr(field, "EXACT_STEPS", 16)


# --- the Gaussian part ------------------------------------------------------------------------


def test_row_19_the_gaussian_flow_is_the_conditional_mean() -> None:
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    x = torch.linspace(-2, 3, 11, dtype=torch.float64)[:, None]
    u, spread, one = gaussian_flow(LINEAR, x, t)
    v = ((1 - t) ** 2 + t**2)[:, None]
    expected = (t - (1 - t))[:, None] / v * x
    torch.testing.assert_close(u, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(spread, 1 / v.sqrt(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(one, x / v.sqrt(), rtol=1e-12, atol=1e-12)


def test_row_19_what_is_left_for_the_network_has_unit_size() -> None:
    generator = torch.Generator().manual_seed(0)
    x_1 = torch.randn(200_000, 2, generator=generator)
    x_0 = torch.randn(200_000, 2, generator=generator)
    for time in (0.0, 0.3, 0.9):
        t = torch.full((200_000,), time)
        x_t, u_t = bridge(LINEAR, x_0, x_1, t)
        u, spread, one = gaussian_flow(LINEAR, x_t, t)
        rest = (u_t - u) / spread
        assert (rest.var(0) - 1).abs().max() < 0.02
        assert (one.var(0) - 1).abs().max() < 0.02
        assert (rest * one).mean(0).abs().max() < 0.02  # nothing linear is left


def test_a_silent_network_is_the_gaussian_with_independent_columns() -> None:
    X = gaussian() * [1.0, 100.0]
    model = small(network=Silent(), learning_rate=1e-9, missing="error").fit(X)
    drawn = model.sample(20_000, random_state=0)
    error = (drawn.mean(0) - X.mean(0)) / X.std(0)
    assert np.abs(error).max() < 0.05
    np.testing.assert_allclose(drawn.std(0), X.std(0), rtol=0.05)
    z = (X[:100] - X.mean(0)) / X.std(0)
    exact = -0.5 * (z**2).sum(1) - np.log(X.std(0)).sum() - np.log(2 * np.pi)
    np.testing.assert_allclose(model.score_samples(X[:100]), exact, atol=0.1)


# --- learning ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("coarse_odes")
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
    z = model.encode(X[:2000])
    np.testing.assert_allclose(np.cov(z.T), np.eye(2), atol=0.15)


@pytest.mark.parametrize("name", ["moons", "8gaussians"])
def test_it_beats_a_single_gaussian(name: str) -> None:
    X = fn.data.load(name).X
    train, test = X[:4000], X[4000:6000]
    drawn = small(budget="400 steps").fit(train).sample(2000, random_state=0)
    rival = fn.GaussianMixture(n_components=1).fit(train).sample(2000, random_state=0)
    ours, theirs = energy_distance(test, drawn), energy_distance(test, rival)
    assert ours.high < theirs.low


@pytest.mark.usefixtures("coarse_odes")
def test_densities_integrate_to_one() -> None:
    X = np.random.default_rng(0).normal(size=(500, 1)) ** 3
    model = small(budget="100 steps").fit(X)
    grid = np.linspace(-40, 40, 1601)
    density = np.exp(model.score_samples(grid[:, None]))
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=5e-3)


def test_the_loss_is_the_textbook_one() -> None:
    model = small(coupling="independent").fit(gaussian())
    generator = torch.Generator().manual_seed(3)
    x_0, x_1 = torch.randn(64, 2, generator=generator), torch.randn(64, 2, generator=generator)
    loss = model.loss((x_0, x_1), None, 1.0, torch.Generator().manual_seed(5))
    t = fn.transport.times.uniform_times(64, torch.Generator().manual_seed(5))
    x_t = (1 - t[:, None]) * x_0 + t[:, None] * x_1
    v = model.velocity(x_t, t, None)
    torch.testing.assert_close(loss, ((v - (x_1 - x_0)) ** 2).mean())


def test_lipman_leaves_sigma_min_in_the_loss() -> None:
    model = small(coupling="independent", sigma_min=0.2).fit(gaussian(200))
    x_0, x_1 = torch.randn(2, 64, 2, generator=torch.Generator().manual_seed(3))
    loss = model.loss((x_0, x_1), None, 1.0, torch.Generator().manual_seed(5))
    t = fn.transport.times.uniform_times(64, torch.Generator().manual_seed(5))
    v = model.velocity((1 - 0.8 * t[:, None]) * x_0 + t[:, None] * x_1, t, None)
    torch.testing.assert_close(loss, ((v - (x_1 - 0.8 * x_0)) ** 2).mean())


@pytest.mark.parametrize("arguments", [{"path": "vp-cosine"}, {"sigma_min": 0.1}])
def test_other_paths_lead_to_the_same_place(arguments: dict[str, Any]) -> None:
    X = gaussian() * [1.0, 100.0]
    model = small(network=Silent(), learning_rate=1e-9, **arguments).fit(X)
    drawn = model.sample(20_000, random_state=0)
    assert (np.abs(drawn.mean(0) - X.mean(0)) / X.std(0)).max() < 0.05
    np.testing.assert_allclose(drawn.std(0), X.std(0), rtol=0.05)
    np.testing.assert_allclose(model.decode(model.encode(X[:50])), X[:50], rtol=1e-3, atol=1e-3)


def test_the_coupling_is_the_assignment_of_least_cost() -> None:
    model = small(coupling="optimal-transport").fit(gaussian())
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(1))
    x_0, x_1 = model.prepare(x, None, torch.Generator().manual_seed(2))
    noise = torch.randn(64, 2, generator=torch.Generator().manual_seed(2))
    cost = torch.cdist(noise, x).square().double().numpy()
    rows, columns = linear_sum_assignment(cost)
    assert (x_0 - x_1).square().sum().item() == pytest.approx(cost[rows, columns].sum(), rel=1e-5)
    free = small(coupling="independent").fit(gaussian())
    assert torch.equal(free.prepare(x, None, torch.Generator().manual_seed(2))[0], noise)


@pytest.mark.parametrize(
    ("X", "y", "from_rows", "coupled"),
    [
        (np.ones((40, 2)), None, True, True),
        (np.ones((40, 2)), None, False, False),
        (np.ones((40, 101)), None, True, False),
        (np.ones((40, 2)), np.arange(40) % 2, True, False),
        (np.ones((40, 5, 5)), None, True, False),
    ],
)
def test_the_automatic_coupling(X: np.ndarray, y: Any, from_rows: bool, coupled: bool) -> None:
    X = X + np.random.default_rng(0).normal(size=X.shape)
    model = small(budget="1 steps", source=X if from_rows else None).fit(X, y)
    assert model._coupled() is coupled


def test_the_coupling_does_not_tie_the_noise_to_a_number() -> None:
    # With a plan that did not know y, noise would be high where y is, and y = −1.5 would be
    # drawn from noise that it never met.
    rng = np.random.default_rng(0)
    y = rng.uniform(-2, 2, 4000)
    X = np.stack([y + 0.2 * rng.normal(size=4000), rng.choice([-1, 1], 4000)], 1)
    X += 0.1 * rng.normal(size=X.shape)
    model = small(coupling="optimal-transport", budget="300 steps").fit(X, y)
    for at in (-1.5, 0.0, 1.5):
        drawn = model.sample(1000, y=at, random_state=0)
        assert drawn[:, 0].mean() == pytest.approx(at, abs=0.1)
        assert 0.15 < drawn[:, 0].std() < 0.35
        assert drawn[:, 1].mean() == pytest.approx(0, abs=0.15)


# --- sampling ---------------------------------------------------------------------------------


def test_more_steps_converge_to_decode() -> None:
    model = small(budget="100 steps").fit(gaussian())
    z = model.encode(model.sample(50, random_state=0))
    exact = model.decode(z)
    errors = []
    for steps in (5, 20, 80):
        model.set_params(solver="heun", steps=steps)
        errors.append(np.abs(model.sample(50, random_state=0) - exact).max())
    assert errors[2] < errors[1] < errors[0] or errors[0] < 1e-3


@pytest.mark.parametrize(("solver", "steps"), [("adams", 60), ("dopri5", 1)])
def test_every_solver_goes_where_decode_goes(solver: Any, steps: int) -> None:
    model = small(budget="100 steps").fit(gaussian())
    exact = model.set_params(solver="rk4", steps=64).sample(300, random_state=0)
    drawn = model.set_params(solver=solver, steps=steps).sample(300, random_state=0)
    np.testing.assert_allclose(drawn, exact, atol=0.03)  # 64 steps of RK4 err by 0.003
    assert model.n_evaluations == 60 or solver == "dopri5"
    few = model.sample(3, random_state=0)
    assert (few == drawn[:3]).all()


@pytest.mark.usefixtures("coarse_odes")
def test_solver_and_steps_touch_sampling_only() -> None:
    model = small().fit(gaussian())
    X = gaussian(50)
    before, coarse = model.score_samples(X), model.sample(50, random_state=0)
    model.set_params(solver="euler", steps=1, temperature=0.5)
    assert (model.score_samples(X) == before).all()
    assert not np.allclose(model.sample(50, random_state=0), coarse)
    assert model.n_evaluations == 1
    assert model.set_params(solver="rk4", steps=5).n_evaluations == 20


def test_temperature_zero_has_no_spread() -> None:
    model = small(budget="50 steps", temperature=0.0).fit(gaussian())
    drawn = model.sample(10, random_state=0)
    assert np.ptp(drawn, axis=0).max() < 1e-5


def test_guidance_moves_away_from_the_unconditional_model() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 2000)
    X = rng.normal(size=(2000, 1)) + np.where(y, 1.0, -1.0)[:, None]
    model = small(budget="300 steps").fit(X, y)
    plain = model.sample(2000, y=1, random_state=0).mean()
    strong = model.set_params(guidance=3.0).sample(2000, y=1, random_state=0).mean()
    none = model.set_params(guidance=0.0).sample(2000, y=1, random_state=0).mean()
    assert strong > plain + 0.3 > none + 0.6
    assert model.set_params(guidance=3.0).n_evaluations == 2 * 2 * model.steps


# --- densities of many columns ----------------------------------------------------------------


def test_beyond_64_columns_the_density_is_an_estimate() -> None:
    X = np.random.default_rng(0).normal(size=(300, 65)) * 3
    model = small(network=Silent(), learning_rate=1e-9).fit(X)
    assert model.score_kind_ == "estimate"
    found = model.score_samples(X[:20])
    # The Jacobian of the silent network is diagonal, so that probes of ±1 are exact.
    z = (X - X.mean(0)) / X.std(0)
    exact = -0.5 * (z[:20] ** 2).sum(1) - np.log(X.std(0)).sum() - 32.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(found, exact, atol=6)
    assert np.corrcoef(found, exact)[0, 1] > 0.99
    assert model.score_samples(X[7:8]) == found[7]


def test_probes_belong_to_the_row_and_the_random_state() -> None:
    model = small(budget="1 steps").fit(np.random.default_rng(0).normal(size=(100, 70)))
    x = torch.randn(5, 70, generator=torch.Generator().manual_seed(0))
    probes = model._probes(x)
    assert probes.shape == (5, 8, 70)
    assert (probes.abs() == 1).all()
    assert abs(probes.mean().item()) < 5 / probes.numel() ** 0.5
    assert torch.equal(model._probes(x.flip(0)).flip(0), probes)
    assert not torch.equal(probes[0], probes[1])
    assert not torch.equal(probes[0, 0], probes[0, 1])
    assert not torch.equal(model.set_params(random_state=1)._probes(x), probes)


@pytest.mark.usefixtures("coarse_odes")
def test_the_estimate_is_near_the_exact_density(monkeypatch: pytest.MonkeyPatch) -> None:
    X = gaussian()
    model = small(budget="200 steps").fit(X)
    exact = model.score_samples(X[:200])
    monkeypatch.setattr("fromnoise.base.field.EXACT_COLUMNS", 1)
    found = model.score_samples(X[:200])
    error = found - exact
    assert model.score_kind_ == "estimate"
    assert 0.01 < error.std() < 1
    assert abs(error.mean()) < 5 * error.std() / 200**0.5


# --- networks of one's own --------------------------------------------------------------------


def test_a_module_of_ones_own_is_copied_trained_and_asked_for_again(tmp_path: Any) -> None:
    X, y = gaussian(200), np.arange(200) % 3
    own = ResidualMLP(2, 2, width=16, depth=1, timed=True)
    before = {k: v.clone() for k, v in own.state_dict().items()}
    model = small(network=own).fit(X)
    assert all(torch.equal(v, before[k]) for k, v in own.state_dict().items())
    model.save(tmp_path / "run")
    with pytest.raises(fn.ArtifactError, match="network=module"):
        fn.load(tmp_path / "run")
    loaded = fn.load(tmp_path / "run", network=own)
    assert (loaded.sample(5, random_state=0) == model.sample(5, random_state=0)).all()
    with pytest.raises(fn.ArtifactError):
        fn.load(tmp_path / "run", network=ResidualMLP(2, 2, width=8, depth=1, timed=True))
    small(network=Silent()).fit(X, y)
    with pytest.raises(fn.DataError, match=r"must return the shape \(2, 2\), got \(2, 3\)"):
        small(network=ResidualMLP(2, 3, width=8, depth=1, timed=True)).fit(X)


# --- capabilities, statuses, arguments --------------------------------------------------------


@pytest.mark.parametrize(
    "X",
    [
        pd.DataFrame({"a": np.arange(40), "b": ["x", "y"] * 20}),
        np.random.default_rng(0).poisson(50, (40, 2)),
    ],
)
def test_no_density_where_there_is_none(X: Any) -> None:
    model = small(budget="2 steps").fit(X)
    assert not hasattr(model, "score_samples")
    with pytest.raises(AttributeError, match="GaussianMixture has one"):
        model.score_samples(X)


def test_a_diverged_fit_says_so_and_stays_usable() -> None:
    class Exploding(Silent):
        def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
            return self.weight * x + (torch.inf if self.training else 0.0)

    model = small(network=Exploding(), budget="100 steps").fit(gaussian(100))
    assert model.status_ == "diverged"
    assert "not finite" in model.status_reason_
    assert model.n_steps_ == 10
    assert np.isfinite(model.sample(5)).all()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"network": "smal"}, "Did you mean 'small'"),
        ({"network": 3}, "network"),
        ({"solver": "huen"}, "Did you mean 'heun'"),
        ({"coupling": "optimal"}, "Did you mean 'optimal-transport'"),
        ({"steps": 0}, "steps"),
        ({"sigma_min": 1.0}, "sigma_min"),
        ({"path": "liner"}, "Did you mean 'linear'"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": "big"}, "batch_size"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"ema": 1.5}, "ema"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"condition_dropout": 1.0}, "condition_dropout"),
        ({"temperature": -1.0}, "temperature"),
        ({"budget": "0 steps"}, "budget"),
        ({"sigma_min": 0.1, "path": "vp-cosine"}, "leave it at 0"),
        ({"objective": "mean-flow", "time_sampling": "log-normal"}, "leave time_sampling at"),
        ({"condition_dropout": 1.0}, r"in \[0, 1\)"),
        ({"guidance": "a"}, "guidance must be a finite number, got 'a'"),
        ({"callbacks": print}, "callbacks must be a list of functions"),
        ({"callbacks": [1]}, "callbacks must be a list of functions"),
        ({"learning_rate": np.ones(2)}, "learning_rate takes no array"),
    ],
)
def test_bad_arguments_get_clear_errors(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**bad).fit(gaussian(100))


def test_callbacks_see_the_history() -> None:
    seen: list[Any] = []
    model = small(callbacks=(seen.append,)).fit(gaussian(200))
    assert [record.to_dict() for record in seen] == model.history_
    assert model.history_[-1]["step"] == 20
    assert model.history_[-1]["validation"] is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"temperature": -1.0}, "temperature"),
        ({"solver": "foo"}, "solver"),
    ],
)
def test_arguments_changed_after_fit_are_checked_too(change: dict[str, Any], message: str) -> None:
    model = small().fit(gaussian(100)).set_params(**change)
    with pytest.raises(ValueError, match=message):
        model.sample(2)


@pytest.mark.parametrize(
    "change",
    [
        {"objective": "mean-flow"},
        {"objective": "mean-flow", "solver": "mean"},
        {"path": "vp-cosine"},
        {"sigma_min": 0.3},
        {"bridge_noise": 1.0},
    ],
)
def test_what_the_network_has_learnt_cannot_be_changed_after_the_fit(
    change: dict[str, Any],
) -> None:
    model = small(budget="2 steps").fit(gaussian(100)).set_params(**change)
    with pytest.raises(ValueError, match="set it back, or fit again"):
        model.sample(2)


def test_codes_check_arguments_changed_after_the_fit_too() -> None:
    model = small(budget="2 steps").fit(gaussian(100)).set_params(sigma_min=np.zeros(2))
    for use in (model.encode, model.decode, model.score_samples, model.score_interval):
        with pytest.raises(ValueError, match="sigma_min takes no array"):
            use(gaussian(2))


def test_what_was_never_learnt_is_refused(tmp_path: Any) -> None:
    X, y = gaussian(100), np.arange(100) % 2
    model = small(condition_dropout=0.0).fit(X, y).set_params(condition_dropout=0.1)
    loaded = fn.load(model.save(tmp_path / "run"))
    with pytest.raises(ValueError, match="condition_dropout"):
        loaded.set_params(guidance=3.0).sample(2, y=1)
    with pytest.raises(fn.DataError, match="Pass y"):
        model.encode(X[:2])
    with pytest.raises(ValueError, match="condition_dropout"):
        model.set_params(guidance=3.0).sample(2, y=1)
    assert model.fit(X, y).sample(2, y=1).shape == (2, 2)  # now it was learnt
    with pytest.raises(ValueError, match="this fit has no y"):
        small(guidance=3.0).fit(X)
    with pytest.raises(fn.DataError, match="constant"):
        small().fit(np.zeros((20, 2)))
