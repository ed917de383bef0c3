r"""The mixture against closed forms, SciPy and scikit-learn."""

import signal
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Reference

import fromnoise as fn
from fromnoise.mixture import em, products, reading, starts
from fromnoise.mixture import rows as blocks_of_rows

KINDS = ("full", "tied", "diag", "spherical")


def clusters(n: int = 3000, d: int = 5, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, d)) * 4
    mixing = rng.normal(size=(d, d))
    return rng.normal(size=(n, d)) @ mixing + centres[rng.integers(0, 3, n)] + 10


def start(X: np.ndarray, kind: str, k: int = 3) -> dict[str, Any]:
    d = X.shape[1]
    precisions = {
        "full": np.tile(np.eye(d), (k, 1, 1)),
        "tied": np.eye(d),
        "diag": np.ones((k, d)),
        "spherical": np.ones(k),
    }
    return {
        "n_components": k,
        "covariance_type": kind,
        "means_init": X[:k].copy(),
        "weights_init": np.array([0.2, 0.3, 0.5]),
        "precisions_init": precisions[kind],
        "max_iter": 200,
        "tol": 1e-4,
    }


def quiet(model: Any, *args: Any, **kwargs: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*args, **kwargs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_equals_scikit_learn_from_the_same_start(kind: str, scale: float) -> None:
    X = clusters() * scale
    given = start(X, kind)
    given["precisions_init"] = given["precisions_init"] / scale**2
    ours, theirs = fn.GaussianMixture(**given).fit(X), Reference(**given).fit(X)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.score(X) == pytest.approx(theirs.score(X), rel=1e-8)
    np.testing.assert_allclose(ours.weights_, theirs.weights_, rtol=1e-8)
    np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-8)
    np.testing.assert_allclose(ours.covariances_, theirs.covariances_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(ours.precisions_, theirs.precisions_, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)
    assert (ours.predict(X) == theirs.predict(X)).all()
    assert ours.bic(X) == pytest.approx(theirs.bic(X), rel=1e-10)
    assert ours.aic(X) == pytest.approx(theirs.aic(X), rel=1e-10)


@pytest.mark.parametrize("stretch", [3.0, 30.0, 100.0])
def test_equals_scikit_learn_where_components_are_long_and_thin(stretch: float) -> None:
    # Condition numbers up to the largest that products are trusted with, and beyond.
    X = clusters(d=4)
    X[:, 3] = X[:, 0] + X[:, 3] / stretch
    given = {**start(X, "full"), "max_iter": 60, "tol": 1e-6, "reg_covar": 0}
    ours, theirs = fn.GaussianMixture(**given).fit(X), Reference(**given).fit(X)
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.weights_, theirs.weights_, rtol=1e-8)
    np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-8)
    np.testing.assert_allclose(ours.covariances_, theirs.covariances_, rtol=1e-7, atol=1e-9)
    assert ours.score(X) == pytest.approx(theirs.score(X), rel=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_row_1_log_density_is_the_formula(kind: str) -> None:
    X = clusters(400, 3)
    model = quiet(fn.GaussianMixture(**start(X, kind)), X)
    covariances = {
        "full": lambda c: c,
        "tied": lambda c: [c] * 3,
        "diag": lambda c: [np.diag(v) for v in c],
        "spherical": lambda c: [v * np.eye(3) for v in c],
    }[kind](model.covariances_)
    parts = [
        multivariate_normal(m, c).logpdf(X) for m, c in zip(model.means_, covariances, strict=True)
    ]
    expected = logsumexp(np.stack(parts, 1) + np.log(model.weights_), axis=1)
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-12)


def test_row_2_the_far_tail_is_finite() -> None:
    X = np.random.default_rng(0).normal(size=(500, 1))
    model = fn.GaussianMixture(n_components=1).fit(X)
    mean, variance = model.means_[0, 0], model.covariances_[0, 0, 0]
    far = mean + 1e4 * np.sqrt(variance)
    expected = -0.5 * 1e8 - 0.5 * np.log(2 * np.pi * variance)
    assert model.score_samples([[far]])[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_row_3_the_likelihood_never_falls(kind: str) -> None:
    X = clusters(500, 3, seed=4)
    given = {**start(X, kind), "reg_covar": 0, "tol": 0.0, "max_iter": 40}
    losses = [line["loss"] for line in quiet(fn.GaussianMixture(**given), X).history_]
    assert len(losses) == 40
    assert np.diff(losses).max() <= 1e-9 * abs(losses[0])


def test_row_3_two_components_are_found() -> None:
    rng = np.random.default_rng(1)
    n = 20_000
    which = rng.random(n) < 0.3
    X = np.where(which, rng.normal(-4, 0.5, n), rng.normal(3, 2, n))[:, None]
    model = fn.GaussianMixture(n_components=2, tol=1e-7, random_state=0).fit(X)
    order = model.means_[:, 0].argsort()
    for k, mean, std, weight in zip(order, (-4, 3), (0.5, 2), (0.3, 0.7), strict=True):
        error = 5 * std / np.sqrt(n * weight)
        assert abs(model.means_[k, 0] - mean) < error
        assert abs(np.sqrt(model.covariances_[k, 0, 0]) - std) < error
        assert abs(model.weights_[k] - weight) < 5 * np.sqrt(0.21 / n)


@pytest.mark.parametrize(
    ("kind", "size"), [("full", 62), ("tied", 32), ("diag", 32), ("spherical", 20)]
)
def test_row_4_number_of_parameters(kind: str, size: int) -> None:
    X = clusters(300, 5)
    model = quiet(fn.GaussianMixture(n_components=3, covariance_type=kind, random_state=0), X)
    assert model.n_parameters_ == size


def test_row_10_scores_are_in_units_of_the_data() -> None:
    X = clusters(500, 3)
    a = fn.GaussianMixture(n_components=2, reg_covar=0, random_state=0).fit(X)
    b = fn.GaussianMixture(n_components=2, reg_covar=0, random_state=0).fit(1000 * X)
    shift = b.score_samples(1000 * X) - a.score_samples(X)
    np.testing.assert_allclose(shift, -3 * np.log(1000), atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_follow_the_mixture(kind: str) -> None:
    X = clusters(2000, 3)
    model = quiet(fn.GaussianMixture(**start(X, kind)), X)
    drawn = model.sample(40_000, random_state=0)
    mean = model.weights_ @ model.means_
    assert np.abs((drawn.mean(0) - mean) / drawn.std(0) * np.sqrt(len(drawn))).max() < 5
    # Under the true mixture, the mean of log p is what the model says of its own samples.
    again = model.sample(40_000, random_state=1)
    a, b = model.score_samples(drawn), model.score_samples(again)
    assert abs(a.mean() - b.mean()) < 5 * np.sqrt(a.var() / len(a) + b.var() / len(b))
    shares = np.bincount(model.predict(drawn), minlength=3) / len(drawn)
    assert np.abs(shares - model.predict_proba(drawn).mean(0)).max() < 0.02


def test_bic_chooses_the_number_of_components() -> None:
    X = fn.data.load("8gaussians").X[:2000]
    model = fn.GaussianMixture(random_state=0).fit(X)
    assert len(model.weights_) == 8
    one = np.random.default_rng(0).normal(size=(1000, 2))
    assert len(fn.GaussianMixture(random_state=0).fit(one).weights_) == 1


def test_rows_of_weight_two_count_twice() -> None:
    X = clusters(300, 3)
    weight = np.array([0, 1, 2])[np.arange(300) % 3]
    given = start(X[1:], "full")
    a = quiet(fn.GaussianMixture(**given), X, sample_weight=weight)
    b = quiet(fn.GaussianMixture(**given), np.repeat(X, weight, axis=0))
    np.testing.assert_allclose(a.means_, b.means_, rtol=1e-9)
    np.testing.assert_allclose(a.covariances_, b.covariances_, rtol=1e-8)
    np.testing.assert_allclose(a.score_samples(X), b.score_samples(X), rtol=1e-8)
    for bad in (np.ones(299), -np.ones(300), np.zeros(300), np.full(300, np.nan)):
        with pytest.raises(fn.DataError, match="sample_weight"):
            fn.GaussianMixture().fit(X, sample_weight=bad)
    with pytest.raises(fn.DataError, match="sample_weight must be 300 numbers"):
        fn.GaussianMixture().fit(X, sample_weight="abc")
    with pytest.raises(fn.DataError, match="The sum of sample_weight is not finite"):
        fn.GaussianMixture().fit(X, sample_weight=np.full(300, 1e308))


def test_warm_start_goes_on() -> None:
    X = clusters(1000, 3)
    model = fn.GaussianMixture(
        n_components=3, max_iter=2, tol=1e-9, warm_start=True, random_state=0
    )
    first = quiet(model, X).lower_bound_
    assert quiet(model, X).lower_bound_ > first
    assert model.set_params(warm_start=False) is model
    assert quiet(model, X).lower_bound_ == first


def test_an_unfinished_fit_says_so() -> None:
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        fn.GaussianMixture(n_components=3, max_iter=1, tol=1e-12, random_state=0).fit(clusters())


# --- degenerate data --------------------------------------------------------------------------


def test_c2_constant_columns_come_back_exactly_and_carry_no_likelihood() -> None:
    X = clusters(300, 2)
    wide = np.column_stack([X[:, 0], np.full(300, 7.3), X[:, 1]])
    a = fn.GaussianMixture(n_components=2, random_state=0).fit(X)
    b = fn.GaussianMixture(n_components=2, random_state=0).fit(wide)
    np.testing.assert_allclose(a.score_samples(X), b.score_samples(wide), rtol=1e-12)
    assert (b.sample(50)[:, 1] == 7.3).all()
    assert (b.means_[:, 1] == 7.3).all()
    assert b.means_.shape == (2, 3)
    assert b.covariances_.shape == (2, 3, 3)


def test_c2_a_row_off_the_constant_has_probability_zero() -> None:
    X = np.column_stack([clusters(100, 1), np.full(100, 7.3)])
    log_p = fn.GaussianMixture(n_components=1).fit(X).score_samples([[9.0, 7.3], [9.0, 7.4]])
    assert np.isfinite(log_p[0])
    assert log_p[1] == -np.inf


@pytest.mark.parametrize("factor", [1.0, 1e10, 1e-10])
def test_c3_duplicated_and_collinear_columns_can_be_fitted(factor: float) -> None:
    X = clusters(500, 2) * factor
    wide = np.column_stack([X, X[:, 0], X.sum(1)])
    model = quiet(fn.GaussianMixture(n_components=2, random_state=0), wide)
    drawn = model.sample(200, random_state=0)
    assert np.isfinite(drawn).all()
    scale = wide.std(0)[0]
    assert np.abs(drawn[:, 0] - drawn[:, 2]).max() < max(1e-3 * scale, 1e-2)


def test_duplicated_rows_and_few_distinct_rows() -> None:
    X = np.repeat([[0.0, 1.0], [5.0, 2.0]], 20, axis=0)
    model = quiet(fn.GaussianMixture(n_components=3, random_state=0), X)
    assert np.isfinite(model.score_samples(X)).all()
    assert np.abs(model.sample(50, random_state=0)[:, 0, None] - [0, 5]).min(1).max() < 0.1


def test_c4_more_components_than_rows_is_an_error_and_auto_is_not() -> None:
    X = clusters(5, 2)
    with pytest.raises(fn.DataError, match="n_components=6 is more than the 5 rows"):
        fn.GaussianMixture(n_components=6).fit(X)
    assert len(quiet(fn.GaussianMixture(random_state=0), X).weights_) <= 5


@pytest.mark.parametrize("offset", [1e10, 1.7e9])
def test_c5_large_offsets_lose_nothing(offset: float) -> None:
    X = clusters(500, 3)
    a = fn.GaussianMixture(n_components=2, random_state=0).fit(X)
    b = fn.GaussianMixture(n_components=2, random_state=0).fit(X + offset)
    np.testing.assert_allclose(a.score_samples(X), b.score_samples(X + offset), rtol=1e-4)


def test_a_covariance_that_cannot_be_inverted_says_what_to_do() -> None:
    X = clusters(100, 2)
    with pytest.raises(fn.DataError, match="reg_covar"):
        fn.GaussianMixture(n_components=1, reg_covar=0).fit(np.column_stack([X, X[:, 0]]))


# --- labels -----------------------------------------------------------------------------------


def labelled(n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    y = rng.choice(["ash", "elm", "oak"], n, p=[0.5, 0.3, 0.2])
    centre = {"ash": 0, "elm": 4, "oak": 8}
    return rng.normal(size=(n, 2)) + np.array([centre[label] for label in y])[:, None], y


@pytest.mark.parametrize("kind", KINDS)
def test_classes_are_bayes_rule(kind: str) -> None:
    X, y = labelled()
    model = quiet(fn.GaussianMixture(n_components=2, covariance_type=kind, random_state=0), X, y)
    assert model.component_class_.tolist() == [0, 0, 1, 1, 2, 2]
    assert model.classes_.tolist() == ["ash", "elm", "oak"]
    assert (model.predict(X) == y).mean() > 0.98
    prior = np.array([(y == label).mean() for label in model.classes_])
    given = np.stack([model.score_samples(X, np.full(len(X), c)) for c in model.classes_], 1)
    posterior = np.exp(given + np.log(prior) - logsumexp(given + np.log(prior), axis=1)[:, None])
    np.testing.assert_allclose(model.predict_proba(X), posterior, atol=1e-12)
    total = logsumexp(given + np.log(prior), axis=1)
    np.testing.assert_allclose(model.score_samples(X), total, rtol=1e-12)


def test_classes_do_not_touch_each_other() -> None:
    X, y = labelled()
    model = fn.GaussianMixture(n_components=1, random_state=0).fit(X, y)
    for k, label in enumerate(model.classes_):
        np.testing.assert_allclose(model.means_[k], X[y == label].mean(0), rtol=1e-10)
        covariance = np.cov(X[y == label].T, bias=True) + 1e-6 * np.eye(2)
        np.testing.assert_allclose(model.covariances_[k], covariance, rtol=1e-9)


def test_one_class_alone_is_a_class() -> None:
    X, _ = labelled()
    model = fn.GaussianMixture(n_components=2, random_state=0).fit(X, np.full(len(X), "ash"))
    np.testing.assert_allclose(model.score_samples(X, "ash"), model.score_samples(X), rtol=1e-12)
    assert (model.predict(X[:3]) == "ash").all()
    assert np.isfinite(model.sample(3, y="ash")).all()


def test_continuous_y_is_the_conditional_of_the_joint() -> None:
    rng = np.random.default_rng(0)
    joint = rng.multivariate_normal(
        [1, 2, 3], [[2, 0.9, 0.8], [0.9, 1, 0.3], [0.8, 0.3, 1.5]], 4000
    )
    X, y = joint[:, :2], joint[:, 2]
    model = fn.GaussianMixture(n_components=1, reg_covar=0).fit(X, y)
    mean, cov = joint.mean(0), np.cov(joint.T, bias=True)
    gain = cov[:2, 2:] / cov[2, 2]
    rest = cov[:2, :2] - gain @ cov[2:, :2]
    for value in (3.0, 5.5):
        center = mean[:2] + gain[:, 0] * (value - mean[2])
        expected = multivariate_normal(center, rest).logpdf(X[:50])
        np.testing.assert_allclose(model.score_samples(X[:50], value), expected, rtol=1e-6)
        drawn = model.sample(20_000, y=value, random_state=0)
        z = (drawn.mean(0) - center) / np.sqrt(np.diag(rest) / len(drawn))
        assert np.abs(z).max() < 5
        np.testing.assert_allclose(np.cov(drawn.T), rest, atol=0.05)
    marginal = multivariate_normal(mean[:2], cov[:2, :2]).logpdf(X[:50])
    np.testing.assert_allclose(model.score_samples(X[:50]), marginal, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_continuous_y_mixes_components_by_how_likely_they_make_it(kind: str) -> None:
    rng = np.random.default_rng(0)
    side = rng.integers(0, 2, 2000)
    y = np.where(side, 5.0, -5.0) + rng.normal(size=2000)
    X = np.where(side, 3.0, -3.0)[:, None] + 0.1 * rng.normal(size=(2000, 2))
    model = quiet(fn.GaussianMixture(n_components=2, covariance_type=kind, random_state=0), X, y)
    assert (model.sample(100, y=5.0, random_state=0) > 1).all()
    each = model.sample(4, y=np.array([5.0, -5.0, 5.0, -5.0]), random_state=0)
    assert (np.sign(each[:, 0]) == [1, -1, 1, -1]).all()


# --- tables -----------------------------------------------------------------------------------


def table(n: int = 800) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    kind = rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1])
    size = rng.normal(size=n) + np.where(kind == "a", 0.0, 3.0)
    size[rng.random(n) < 0.2] = np.nan
    return pd.DataFrame({"kind": kind, "size": size, "flag": rng.random(n) < 0.25})


def test_a_table_has_a_proper_mass() -> None:
    frame = table()
    model = fn.GaussianMixture(n_components=3, random_state=0, max_iter=300).fit(frame)
    grid = np.linspace(-12, 15, 4001)
    total = 0.0
    for kind in "abc":
        for flag in (False, True):
            rows = pd.DataFrame({"kind": kind, "size": grid, "flag": flag})
            total += np.trapezoid(np.exp(model.score_samples(rows)), grid)
            gap = pd.DataFrame({"kind": [kind], "size": [np.nan], "flag": [flag]})
            total += float(np.exp(model.score_samples(gap)[0]))
    assert total == pytest.approx(1, abs=2e-3)


def test_samples_of_a_table_have_its_rates() -> None:
    frame = table(2000)
    drawn = (
        fn.GaussianMixture(n_components=3, random_state=0, max_iter=300)
        .fit(frame)
        .sample(20_000, random_state=0)
    )
    assert abs(drawn["size"].isna().mean() - frame["size"].isna().mean()) < 0.02
    assert abs(drawn["flag"].mean() - frame["flag"].mean()) < 0.02
    for kind in "abc":
        assert abs((drawn["kind"] == kind).mean() - (frame["kind"] == kind).mean()) < 0.02
        means = [f.loc[f["kind"] == kind, "size"].mean() for f in (drawn, frame)]
        assert abs(means[0] - means[1]) < 0.4


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
def test_em_integrates_missing_values_out(kind: str) -> None:
    rng = np.random.default_rng(0)
    covariance = np.full((4, 4), 0.9) + 0.1 * np.eye(4)
    X = rng.multivariate_normal(np.zeros(4), covariance, 4000)
    gaps = rng.random(X.shape) < 0.4
    holed = np.where(gaps, np.nan, X)
    model = fn.GaussianMixture(
        n_components=1, covariance_type=kind, missing="model", tol=1e-7, max_iter=300
    ).fit(holed)
    cov = model.covariances_[0] if kind != "tied" else model.covariances_
    cov = np.diag(cov) if kind == "diag" else cov
    exact = covariance if kind != "diag" else np.eye(4)
    np.testing.assert_allclose(cov, exact, atol=0.08)
    assert np.isnan(model.sample(4000, random_state=0)).mean() == pytest.approx(0.4, abs=0.02)
    losses = np.diff([line["loss"] for line in model.history_])
    assert losses.max() <= 1e-9


def test_weights_are_relative() -> None:
    X = np.concatenate([clusters(200, 2), clusters(200, 2) + 60])
    for scale in (1e-3, 1.0, 100.0):
        model = quiet(fn.GaussianMixture(random_state=0), X, sample_weight=np.full(400, scale))
        assert len(model.weights_) == len(quiet(fn.GaussianMixture(random_state=0), X).weights_)


def test_labels_are_drawn_as_often_as_they_weigh() -> None:
    X, y = np.random.default_rng(0).normal(size=(400, 1)), np.repeat([0, 1], 200)
    weight = np.where(y == 1, 9.0, 1.0)
    model = fn.GaussianMixture(n_components=1).fit(X, y, sample_weight=weight)
    _, labels = model.sample(5000, random_state=0, return_y=True)
    assert labels.mean() == pytest.approx(0.9, abs=0.03)


def test_a_fit_without_one_iteration_can_be_saved(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(em.Clock, "elapsed", lambda self: 1.0)
    model = fn.GaussianMixture(n_components=2, budget="0.5s", random_state=0).fit(clusters())
    assert "first iteration" in model.status_reason_
    assert fn.load(model.save(tmp_path / "run")).n_iter_ == 0


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_failed_fit_leaves_the_mixture_of_before(warm_start: bool) -> None:
    model = fn.GaussianMixture(n_components=2, warm_start=warm_start, random_state=0)
    drawn = model.fit(clusters()).sample(2, random_state=0)
    with pytest.raises(fn.DataError):  # found when learning has begun
        model.set_params(n_components=50).fit(clusters(20))
    assert (model.sample(2, random_state=0) == drawn).all()


def test_missing_values_are_integrated_out() -> None:
    frame = table()
    model = fn.GaussianMixture(n_components=3, random_state=0, max_iter=300).fit(frame)
    gap = pd.DataFrame({"kind": ["a"], "size": [np.nan], "flag": [True]})
    known = gap.assign(size=0.1)
    assert np.isfinite(model.score_samples(gap)).all()
    assert model.predict_proba(gap).sum() == pytest.approx(1)
    assert not np.allclose(model.predict_proba(gap), model.predict_proba(known))


# --- budgets and images -----------------------------------------------------------------------


def test_a_budget_in_steps_is_a_number_of_iterations() -> None:
    model = fn.GaussianMixture(n_components=3, tol=0.0, budget="7 steps", random_state=0)
    assert model.fit(clusters()).n_steps_ == 7


def test_a_spent_budget_keeps_the_last_complete_iteration(monkeypatch: Any) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr(em.Clock, "elapsed", lambda self: float(next(clock)))
    model = fn.GaussianMixture(n_components=3, tol=0.0, budget="11s", random_state=0)
    model.fit(clusters())
    assert 1 <= model.n_steps_ <= 11
    assert np.isfinite(model.sample(10)).all()


def test_ctrl_c_keeps_the_last_complete_iteration(monkeypatch: Any) -> None:
    steps = iter(range(10**6))
    inner = em.maximisation

    def interrupted(*args: Any) -> Any:
        if next(steps) == 3:  # after three iterations
            signal.raise_signal(signal.SIGINT)
        return inner(*args)

    monkeypatch.setattr(em, "maximisation", interrupted)
    model = fn.GaussianMixture(n_components=3, tol=0.0, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(clusters())
    assert model.interrupted_
    assert model.n_iter_ == 4
    assert np.isfinite(model.sample(10)).all()


def test_blocks_of_rows_do_not_change_the_fit(monkeypatch: Any) -> None:
    X = clusters(500, 3)
    whole = quiet(fn.GaussianMixture(**start(X, "full")), X)
    for module in (em, starts, blocks_of_rows):
        monkeypatch.setattr(module, "NUMBERS", 100)
    monkeypatch.setattr(reading, "_CHUNK", 200)
    monkeypatch.setattr(products, "_FEWEST_ROWS", 7)
    monkeypatch.setattr(products, "_BLOCK_BYTES", 800)
    blocks = quiet(fn.GaussianMixture(**start(X, "full")), X)
    np.testing.assert_allclose(whole.means_, blocks.means_, rtol=1e-10)
    np.testing.assert_allclose(whole.score_samples(X), blocks.score_samples(X), rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_on_request_is_close_to_float64(kind: str) -> None:
    X = clusters(5000, 4) * 1000 + 1e6
    given = start(X, kind)
    given["precisions_init"] = given["precisions_init"] / 1e6
    exact = quiet(fn.GaussianMixture(**given), X)
    rough = quiet(fn.GaussianMixture(**given, precision="float32"), X)
    assert 0 < np.abs(rough.means_ - exact.means_).max() < 1e-4 * X.std(0).min()
    assert np.abs(rough.covariances_ / exact.covariances_ - 1).max() < 1e-2
    assert np.abs(rough.score_samples(X) - exact.score_samples(X)).max() < 1e-2
    assert rough.score(X) == pytest.approx(exact.score(X), abs=1e-5)
    assert rough.lower_bound_ == pytest.approx(exact.lower_bound_, abs=1e-5)


def test_images_are_modelled_as_vectors_of_pixels() -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (200, 3, 4)).astype(np.uint8)
    X[:, 0, 0] = 9
    model = fn.GaussianMixture(n_components=1).fit(X)
    assert model.means_.shape == (1, 12)
    np.testing.assert_allclose(
        model.means_[0],
        X.reshape(200, 12).mean(0),
        atol=0.2,  # dequantisation noise
    )
    drawn = model.sample(100, random_state=0)
    assert drawn.dtype == np.uint8
    assert np.abs(drawn[:, 0, 0].astype(int) - 9).max() <= 6  # one grey level of spread


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"n_components": 0}, "n_components"),
        ({"n_components": "many"}, "n_components"),
        ({"covariance_type": "ful"}, "Did you mean 'full'"),
        ({"tol": -1}, "tol"),
        ({"tol": np.inf}, "tol must be a finite number"),  # no model could be saved with it
        ({"max_iter": 0}, "max_iter"),
        ({"reg_covar": "x"}, "reg_covar"),
        ({"n_components": 2, "means_init": np.zeros((3, 2))}, "means_init"),
        ({"n_components": 1, "means_init": [[np.inf, 0.0]]}, "means_init must be finite"),
        ({"n_components": 1, "precisions_init": "abc"}, "precisions_init must be an array"),
        ({"precision": "float23"}, "Did you mean 'float32'"),
        ({"n_components": 2, "weights_init": [0.5, 0.6]}, "weights_init"),
        ({"n_components": 2, "precisions_init": np.ones(3)}, "precisions_init"),
    ],
)
def test_bad_arguments_get_clear_errors(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fn.GaussianMixture(**bad).fit(clusters(100, 2))
