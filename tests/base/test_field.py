r"""Codes, intervals and bits of velocity fields, against Gaussians in closed form."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm

import fromnoise as fn
from fromnoise.base import field
from transport_fields import Silent

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def coarse_odes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field, "EXACT_STEPS", 8)


def silent(X: Any, y: Any = None, **arguments: Any) -> fn.FlowMatching:
    given = {"random_state": 0, "budget": "1 steps", "learning_rate": 1e-9, **arguments}
    return fn.FlowMatching(network=Silent(), **given).fit(X, y)


def law(model: Any) -> tuple[np.ndarray, np.ndarray]:
    r"""Return mean and standard deviation, in data units, of what a silent model learnt."""
    shift, scale, _ = model.encoding_.linear()
    mean, std = (part.numpy().ravel() for part in (model.moments.mean, model.moments.std))
    return shift + scale * mean, scale * std


# --- intervals --------------------------------------------------------------------------------


def test_the_interval_of_an_exact_score_is_the_score() -> None:
    X = RNG.normal(size=(200, 3)) * [1, 5, 0.2]
    model = silent(X)
    interval = model.score_interval(X[:20])
    assert interval.shape == (20, 2)
    assert (interval == model.score_samples(X[:20])[:, None]).all()


def test_intervals_hold_the_exact_score_as_often_as_they_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Estimates follow the same steps as what is exact, whose number plays no part.
    monkeypatch.setattr(field, "EXACT_STEPS", 4)
    # With few columns, or one that rules the others, an estimate is not nearly normal.
    mixed = np.linalg.qr(RNG.normal(size=(16, 16)))[0] * np.linspace(0.3, 1.7, 16)
    X = RNG.normal(size=(600, 16)) @ mixed.T
    model = fn.FlowMatching(network="small", budget="60 steps", random_state=0).fit(X)
    exact = model.score_samples(X)
    monkeypatch.setattr(field, "EXACT_COLUMNS", 1)
    assert model.score_kind_ == "estimate"
    wide = model.score_interval(X)
    np.testing.assert_allclose(wide.mean(1), model.score_samples(X), rtol=1e-6, atol=1e-6)
    for level, low, high in ((0.95, 0.91, 0.98), (0.5, 0.42, 0.58)):
        ends = model.score_interval(X, level=level)
        covered = ((ends[:, 0] <= exact) & (exact <= ends[:, 1])).mean()
        assert low < covered < high
    assert (model.score_interval(X[7:8]) == wide[7]).all()


def test_intervals_of_classes_are_around_the_sum_over_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X, y = RNG.normal(size=(300, 2)), np.arange(300) % 3 // 2
    model = fn.FlowMatching(network="small", budget="50 steps", random_state=0).fit(X, y)
    exact = model.score_samples(X[:40])
    each = np.stack([model.score_samples(X[:40], c) for c in (0, 1)])
    np.testing.assert_allclose(exact, np.logaddexp(*(each + np.log([[2 / 3], [1 / 3]]))))
    monkeypatch.setattr(field, "EXACT_COLUMNS", 1)
    for label in (None, 1):
        ends = model.score_interval(X[:40], label)
        np.testing.assert_allclose(ends.mean(1), model.score_samples(X[:40], label), rtol=1e-6)
        assert (ends[:, 0] <= ends[:, 1]).all() and (ends[:, 0] < ends[:, 1]).mean() > 0.9


@pytest.mark.parametrize("level", [0, 1, 95, "high"])
def test_a_level_is_a_share(level: Any) -> None:
    with pytest.raises(ValueError, match="level"):
        silent(RNG.normal(size=(20, 2))).score_interval(np.zeros((1, 2)), level=level)


def test_a_constant_column_has_no_interval_elsewhere() -> None:
    X = np.hstack([RNG.normal(size=(50, 1)), np.ones((50, 1))])
    assert (silent(X).score_interval([[0.0, 2.0]]) == -np.inf).all()


# --- bits -------------------------------------------------------------------------------------


def test_bits_are_those_of_the_box_and_the_bound_tightens() -> None:
    X = np.rint(RNG.normal([3, -20], [0.6, 4.0], (4000, 2))).astype(int)
    model = silent(X)
    mean, std = law(model)
    rows = X[:60]
    box = norm.cdf((rows + 0.5 - mean) / std) - norm.cdf((rows - 0.5 - mean) / std)
    exact = -np.log2(box).sum(1) / 2
    once, often = (model.bits_per_dim(rows, draws=k) for k in (1, 100))
    np.testing.assert_allclose(often, exact, atol=0.15)
    assert often.mean() == pytest.approx(exact.mean(), abs=0.01)
    # One draw: the mean of −log₂ p over the box, here by E (x + u − μ)² = (x − μ)² + 1/12.
    squares = ((rows - mean) ** 2 + 1 / 12) / std**2
    loose = (0.5 * squares + np.log(std) + 0.5 * np.log(2 * np.pi)).sum(1) / 2 / np.log(2)
    assert once.mean() == pytest.approx(loose.mean(), abs=0.08)
    assert loose.mean() > exact.mean() + 0.02


def test_bits_of_images_count_every_pixel() -> None:
    X = RNG.normal([[100, 30], [200, 90]], 5, (500, 2, 2)).clip(0, 255).astype(np.uint8)
    model = silent(X)
    mean, std = law(model)
    rows = X[:40].reshape(40, 4)
    exact = -np.log2(norm.pdf(rows, mean, std)).mean(1)  # boxes are narrow here
    found = model.bits_per_dim(X[:40], draws=20)
    np.testing.assert_allclose(found, exact, atol=0.15)
    assert found.mean() == pytest.approx(exact.mean(), abs=0.02)
    assert not hasattr(model, "score_samples")


def test_images_are_estimated_beyond_sixteen_pixels() -> None:
    for side, kind in ((4, "exact"), (5, "estimate")):
        assert silent(RNG.random((20, side, side)).astype(np.float32)).score_kind_ == kind


def test_bits_belong_to_the_row_and_probes_to_all_its_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X = np.rint(RNG.multivariate_normal([0, 0], [[25, 20], [20, 25]], 600)).astype(int)
    model = fn.FlowMatching(network="small", budget="40 steps", random_state=0).fit(X)
    bits = model.bits_per_dim(X[:30], draws=3)
    assert (model.bits_per_dim(X[11:12], draws=3) == bits[11]).all()
    assert not (model.set_params(random_state=1).bits_per_dim(X[:30], draws=3) == bits).all()
    assert np.isfinite(model.set_params(random_state=2**130).bits_per_dim(X[:2])).all()
    model.set_params(random_state=0)
    monkeypatch.setattr(field, "EXACT_COLUMNS", 1)
    keys = []
    plain = model._probes
    monkeypatch.setattr(model, "_probes", lambda x: (keys.append(x.clone()), plain(x))[1])
    model.bits_per_dim(X[:30], draws=3)
    assert len(keys) == 3
    assert torch.equal(keys[0], keys[2])


def test_bits_of_classes() -> None:
    X = np.rint(RNG.normal(0, 9, (400, 2))).astype(int)
    y = np.arange(400) % 2
    model = fn.FlowMatching(network="small", budget="30 steps", random_state=0).fit(X, y)
    each = np.stack([model.bits_per_dim(X[:20], c) for c in (0, 1)])
    total = -np.log2(np.exp2(-2 * each).mean(0)) / 2
    np.testing.assert_allclose(model.bits_per_dim(X[:20]), total)
    with pytest.raises(fn.DataError, match="Pass y"):
        fn.FlowMatching(network="small", budget="2 steps").fit(X, y + 0.5).bits_per_dim(X[:2])


def test_a_row_off_the_support_takes_infinitely_many_bits() -> None:
    X = np.stack([np.arange(50), np.full(50, 3)], 1)
    bits = silent(X).bits_per_dim([[7, 3], [7, 4]])
    assert np.isfinite(bits[0])
    assert bits[1] == np.inf


@pytest.mark.parametrize("X", [RNG.normal(size=(40, 2)), RNG.random((40, 3, 3))])
def test_floats_have_scores_and_no_bits(X: np.ndarray) -> None:
    model = silent(X)
    assert hasattr(model, "score_samples")
    with pytest.raises(AttributeError, match=r"no bits_per_dim here.*score_samples"):
        model.bits_per_dim(X)


@pytest.mark.parametrize("draws", [0, 1.5, True])
def test_draws_are_counted(draws: Any) -> None:
    with pytest.raises(ValueError, match="draws"):
        silent(np.arange(40)[:, None]).bits_per_dim([[1]], draws=draws)


def test_sampling_arguments_touch_no_score() -> None:
    X, y = RNG.normal(size=(300, 2)), np.arange(300) % 2
    model = fn.FlowMatching(network="small", budget="30 steps", random_state=0).fit(X, y)
    kept = model.score_samples(X, y), model.score_interval(X, y), model.encode(X, y)
    model.set_params(
        guidance=3.0,
        guidance_rescale=0.7,
        guidance_interval=(0.2, 0.8),
        temperature=0.5,
        solver="euler",
        steps=1,
        grid="rho",
    )
    assert (model.score_samples(X, y) == kept[0]).all()
    assert (model.score_interval(X, y) == kept[1]).all()
    assert (model.encode(X, y) == kept[2]).all()
