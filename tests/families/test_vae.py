r"""The variational auto-encoder against the linear model, whose every answer is known."""

import math
import os
import signal
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor, nn

import fromnoise as fn
from fromnoise import VAE
from fromnoise.base.likelihoods import Gaussian, Likelihood
from fromnoise.data import Encoded
from fromnoise.families.vae import (
    importance_bound,
    kl_to_normal,
    log_normal,
    log_vamp,
    reparameterised,
    row_seeds,
)
from fromnoise.training import entropy


def small(**arguments: Any) -> fn.VAE:
    given = {"network": "small", "random_state": 0, "budget": "20 steps", "latent_dim": 2}
    return fn.VAE(**{**given, **arguments})


def gaussian(n: int = 400, d: int = 4) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3


class FixedVAE(fn.VAE):
    r"""A VAE whose observation noise has a variance that is given."""

    variance = 1.0

    def _new_likelihood(self) -> Likelihood:
        likelihood = FixedGaussian(self.encoding_.model_shape)
        likelihood.variance = self.variance
        return likelihood


class FixedGaussian(Gaussian):
    variance = 1.0

    def set_spread(self, total: Tensor) -> None:
        self.log_sigma.fill_(0.5 * math.log(self.variance))


# --- the linear model ---------------------------------------------------------------------------

D, K, SIGMA = 5, 2, 0.6
W = torch.tensor([[1.0, 0.5], [-2.0, 0.25], [0.0, 1.5], [1.0, 0.0], [0.5, 0.0]]).double()
W[:, 1] -= W[:, 0] * (W[:, 0] @ W[:, 1]) / W[:, 0].square().sum()  # the posterior is diagonal
CENTRE = torch.arange(5).double() / 4
EVIDENCE = multivariate_normal(
    CENTRE.numpy(), (W @ W.T + SIGMA**2 * torch.eye(D).double()).numpy()
)
PRECISION = 1 + W.square().sum(0) / SIGMA**2


def linear_pair(d: int, k: int, seed: int = 0) -> tuple[nn.Linear, nn.Linear]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(d, 2 * k), nn.Linear(k, d)


def linear(shift: float = 0.0, stretch: float = 1.0) -> fn.VAE:
    r"""Return x = W z + c + σ ε, and q as far from its posterior as is asked for."""
    model = small(network=linear_pair(D, K), budget="1 steps").fit(gaussian(50, D))
    networks = model.networks_.double()
    encoder, decoder = networks["encoder"], networks["decoder"]
    gain = W.T / SIGMA**2 / PRECISION[:, None]
    encoder.weight.copy_(torch.cat([gain, torch.zeros(K, D)]))
    log_variance = (stretch / PRECISION).log()
    encoder.bias.copy_(torch.cat([shift - gain @ CENTRE, log_variance]))
    decoder.weight.copy_(W)
    decoder.bias.copy_(CENTRE)
    for moments in (model.moments, model.observation.scale):
        moments.mean.zero_()
        moments.std.fill_(1)
    model.observation.log_sigma.fill_(math.log(SIGMA))
    return model


def rows(n: int = 40) -> Tensor:
    return torch.from_numpy(EVIDENCE.rvs(n, random_state=1).reshape(n, D))


def exact_elbo(model: fn.VAE, x: Tensor) -> Tensor:
    r"""Return the ELBO by 2k points that integrate quadratics exactly."""
    mean, log_variance = model.posterior(x)
    points = math.sqrt(K) * torch.cat([torch.eye(K), -torch.eye(K)]).double()
    z = reparameterised(mean, log_variance, points)
    log_p = model.observation.log_prob(model.decoded(z, None), x)
    return (log_p + model.log_ratio(z, None, mean, log_variance)).mean(1)


def test_row_6_log_evidence_is_elbo_plus_kl_to_the_posterior() -> None:
    model, x = linear(shift=0.3, stretch=1.7), rows()
    kl = 0.5 * (0.3**2 * PRECISION + 1.7 - 1 - math.log(1.7)).sum()
    elbo = exact_elbo(model, x)
    torch.testing.assert_close(elbo + kl, torch.from_numpy(EVIDENCE.logpdf(x)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("draws", [1, 7])
def test_row_6_with_the_exact_posterior_every_draw_gives_the_evidence(draws: int) -> None:
    model, x = linear().set_params(n_importance_score=draws), rows()
    bound = model.bound(x, None, torch.arange(len(x)))
    np.testing.assert_allclose(bound, EVIDENCE.logpdf(x), rtol=0, atol=1e-10)


def test_row_7_bounds_are_in_order_and_close() -> None:
    model, x = linear(shift=0.2, stretch=2.0), rows(1)
    truth, bounds = EVIDENCE.logpdf(x), {}
    many = x.expand(3000, -1)
    for draws in (1, 5, 50):
        model.set_params(n_importance_score=draws)
        bounds[draws] = model.bound(many, None, torch.arange(len(many))).numpy()
    last = exact_elbo(model, x).item()
    assert abs(bounds[1].mean() - last) < 5 * bounds[1].std() / math.sqrt(3000)
    for draws in (5, 50):
        error = bounds[draws].std() / math.sqrt(3000)
        assert last + 5 * error < bounds[draws].mean() < truth + 5 * error
        last = bounds[draws].mean()
    model.set_params(n_importance_score=5000)
    close = model.bound(rows(20), None, torch.arange(20)).numpy()
    np.testing.assert_allclose(close, EVIDENCE.logpdf(rows(20)), atol=0.1)
    assert abs((close - EVIDENCE.logpdf(rows(20))).mean()) < 0.02


def test_the_loss_is_minus_the_elbo_of_one_draw() -> None:
    model, x = linear(shift=0.2, stretch=1.3), rows(2000)
    model.beta = 3.0
    loss = model.loss((x,), None, 1.0, torch.Generator().manual_seed(0))
    mean, log_variance = model.posterior(x)
    noise = torch.randn(2000, 1, K, generator=torch.Generator().manual_seed(0)).double()
    rate = kl_to_normal(mean, log_variance).sum(1).mean()
    assert noise.shape == (2000, 1, K)
    # σ is set to its optimum by the loss, so the distortion is that of the batch.
    log_sigma = model.observation.log_sigma
    expected_distortion = D * (log_sigma + 0.5 * math.log(2 * math.pi) + 0.5)
    torch.testing.assert_close(loss, 3 * rate + expected_distortion, rtol=1e-9, atol=0)
    residual = W @ torch.diag(1.3 / PRECISION) @ W.T
    error = x - CENTRE - (mean @ W.T)
    expected = ((error.square().sum(1)).mean() + residual.trace()) / D
    assert log_sigma.mul(2).exp().item() == pytest.approx(expected.item(), rel=0.03)


def test_warm_up_free_bits_and_beta_weigh_the_kl() -> None:
    model, x = linear(shift=0.2, stretch=1.3), rows(100)

    def loss(progress: float, **arguments: Any) -> float:
        model.set_params(beta=1.0, kl_warm_up=0.2, free_bits=0.0).set_params(**arguments)
        return model.loss((x,), None, progress, torch.Generator().manual_seed(0)).item()

    rate = kl_to_normal(*model.posterior(x)).mean(0)
    none = loss(0.0)
    assert loss(0.1) - none == pytest.approx(0.5 * rate.sum().item())
    assert loss(0.5) - none == pytest.approx(rate.sum().item())
    assert loss(0.0, kl_warm_up=0.0) - none == pytest.approx(rate.sum().item())
    assert loss(0.5, beta=4.0) - none == pytest.approx(4 * rate.sum().item())
    assert rate[1] < 1.0 < rate[0]
    assert loss(0.5, free_bits=1.0) - none == pytest.approx(rate[0].item() + 1.0)


# --- formulas -----------------------------------------------------------------------------------


def test_row_5_kl_is_the_closed_form_also_near_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(1000, generator=generator).double()
    log_variance = 3 * torch.randn(1000, generator=generator).double()
    kl = kl_to_normal(mean, log_variance)
    expected = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
    torch.testing.assert_close(kl, expected, rtol=1e-12, atol=1e-13)
    assert (kl >= 0).all()
    tiny = kl_to_normal(torch.zeros(1), torch.tensor([1e-4]))
    assert tiny.item() == pytest.approx(2.5e-9, rel=0.01)  # the naive float32 form says 8.3e-9
    double = kl_to_normal(torch.zeros(1).double(), torch.tensor([1e-3]).double())
    series = sum(1e-3**i / math.factorial(i) for i in range(2, 8)) / 2
    assert double.item() == pytest.approx(series, rel=1e-9)


def test_log_normal_and_the_vamp_mixture_are_scipys() -> None:
    generator = torch.Generator().manual_seed(0)
    z, mean, log_variance = (torch.randn(n, 3, generator=generator).double() for n in (20, 4, 4))
    each = [
        multivariate_normal(m, np.diag(np.exp(v))).pdf(z)
        for m, v in zip(mean.numpy(), log_variance.numpy(), strict=True)
    ]
    found = log_vamp(z.reshape(5, 4, 3), mean, log_variance)
    np.testing.assert_allclose(found.exp().flatten(), np.mean(each, axis=0), rtol=1e-12)
    np.testing.assert_allclose(log_normal(z, mean[0], log_variance[0]).exp(), each[0], rtol=1e-12)


def test_row_32_the_gradient_of_the_weighted_bound() -> None:
    model, x = linear(shift=0.2, stretch=1.3), rows(3)
    model.set_params(n_importance_train=4, n_importance_score=4)
    encoder = model.networks_["encoder"]
    noise = torch.randn(3, 4, K, generator=torch.Generator().manual_seed(0)).double()

    def log_weights(weight: Tensor, bias: Tensor) -> Tensor:
        mean, log_variance = nn.functional.linear(x, weight, bias).chunk(2, dim=1)
        z = reparameterised(mean, log_variance, noise)
        log_p = model.observation.log_prob(model.decoded(z, None), x)
        return log_p + model.log_ratio(z, None, mean, log_variance)

    given = [p.detach().clone().requires_grad_() for p in (encoder.weight, encoder.bias)]
    assert torch.autograd.gradcheck(lambda *p: importance_bound(log_weights(*p)), given)
    # Burda 2016, eq. 14: the gradient of each log-weight, by its normalised weight.
    log_w = log_weights(*given)
    share = log_w.softmax(1).detach()
    by_hand = torch.autograd.grad((share * log_w).sum(), given, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(importance_bound(log_w).sum(), given), by_hand)


def test_the_loss_of_many_draws_is_the_weighted_bound() -> None:
    model, x = linear(shift=0.2, stretch=2.0), rows(500)
    model.set_params(n_importance_train=20)
    model.observation.set_spread = lambda total: None  # type: ignore[method-assign]
    loss = model.loss((x,), None, 1.0, torch.Generator().manual_seed(0)).item()
    elbo, truth = exact_elbo(model, x).mean().item(), EVIDENCE.logpdf(x).mean()
    assert -loss == pytest.approx(truth, abs=0.1)
    assert elbo < truth - 0.3


def test_parameters_get_the_same_gradient_from_loss_as_from_finite_differences() -> None:
    model, x = linear(shift=0.2, stretch=1.3), rows(20)
    model.set_params(prior="normal", n_importance_train=3)
    model.observation.set_spread = lambda total: None  # type: ignore[method-assign]
    weight = model.networks_["decoder"].weight.requires_grad_()

    def loss() -> Tensor:
        return model.loss((x,), None, 1.0, torch.Generator().manual_seed(0))

    (gradient,) = torch.autograd.grad(loss(), weight)
    with torch.no_grad():
        weight[1, 0] += 1e-5
        up = loss().item()
        weight[1, 0] -= 2e-5
        down = loss().item()
    assert gradient[1, 0].item() == pytest.approx((up - down) / 2e-5, rel=1e-5)


# --- row 8 and E8: which units live -------------------------------------------------------------


def equicorrelated(n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    r"""Return rows of unit variance whose correlation has known eigenvalues."""
    blocks = [(0.9, 3), (0.3, 3)]
    C = np.zeros((6, 6))
    for i, (r, size) in enumerate(blocks):
        C[3 * i : 3 * i + size, 3 * i : 3 * i + size] = r + (1 - r) * np.eye(size)
    X = np.random.default_rng(0).normal(size=(n, 6))
    X -= X.mean(0)
    X = X @ np.linalg.inv(np.linalg.cholesky(np.cov(X.T, ddof=0))).T @ np.linalg.cholesky(C).T
    return X, np.linalg.eigvalsh(C)[::-1]


def trained(variance: float, **arguments: Any) -> FixedVAE:
    X, _ = equicorrelated()
    model = FixedVAE(
        network=linear_pair(6, 4),
        latent_dim=4,
        validation_fraction=0.0,
        random_state=0,
        **{"budget": "1000 steps", "learning_rate": 0.02, **arguments},
    )
    model.variance = variance
    return model.fit(X)


def test_row_8_the_units_that_live_are_those_above_the_noise() -> None:
    X, eigenvalues = equicorrelated()
    model = trained(0.9)
    kl = kl_to_normal(*model.posterior(torch.from_numpy(X).float())).mean(0).sort(descending=True)
    expected = 0.5 * np.log(np.maximum(eigenvalues[:4] / 0.9, 1))
    assert (expected > 0).sum() == model.n_active_units_ == 2
    assert model.status_ == "ok"
    assert kl.values.sum().item() == pytest.approx(expected.sum(), rel=0.02)
    np.testing.assert_allclose(kl.values, expected, atol=0.02)


def test_row_e8_noise_above_every_eigenvalue_collapses_and_says_so() -> None:
    X, eigenvalues = equicorrelated()
    model = trained(
        2 * eigenvalues[0], prior=fn.GaussianMixture(n_components=1), budget="2500 steps"
    )
    assert kl_to_normal(*model.posterior(torch.from_numpy(X).float())).sum(1).mean() < 1e-3
    assert (model.status_, model.n_active_units_) == ("collapsed", 0)
    assert "0 of 4 units are active" in model.status_reason_
    # A prior is fitted on draws of q(z | x), which is N(0, I) here; the means are all alike.
    np.testing.assert_allclose(model.prior_.covariances_[0], np.eye(4), atol=0.1)
    loaded = small()
    loaded.n_active_units_ = 1
    assert model._state()["n_active_units_"] == 0


def test_the_optimal_variance_is_that_of_the_discarded_directions() -> None:
    X, eigenvalues = equicorrelated()
    model = fn.VAE(
        network=linear_pair(6, 2),
        budget="1000 steps",
        learning_rate=0.02,
        random_state=0,
        n_importance_score=20,
    ).fit(X)
    variance = model.observation.log_sigma.mul(2).exp().item()
    assert variance == pytest.approx(eigenvalues[2:].mean(), rel=0.05)  # Tipping & Bishop 1999
    C = np.corrcoef(X.T)
    exact = multivariate_normal(np.zeros(6), C).logpdf(X[:200]) - np.log(X.std(0)).sum()
    fitted = (eigenvalues[:2].sum(), eigenvalues[2:].mean())
    ppca = -0.5 * (
        6 * np.log(2 * np.pi) + np.log(eigenvalues[:2]).sum() + 4 * np.log(fitted[1]) + 6
    )
    assert model.score(X) == pytest.approx(ppca - np.log(X.std(0)).sum(), abs=0.05)
    assert model.score(X[:200]) < exact.mean() + 0.1


# --- priors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["normal", "vamp", fn.GaussianMixture(n_components=2)])
def test_scores_are_the_weighted_bound_under_each_prior(prior: Any) -> None:
    X = gaussian(100)
    model = small(prior=prior, n_importance_score=3, budget="40 steps").fit(X)
    encoded = model.encoding_.encode(X[:2])
    x = torch.from_numpy(model.encoding_.pack(encoded))
    mean, log_variance = model.posterior(x)
    seeds = row_seeds(encoded, model.score_seed_)
    noise = torch.stack(
        [torch.randn(3, 2, generator=torch.Generator().manual_seed(int(s))) for s in seeds]
    )
    z = reparameterised(mean, log_variance, noise)
    q = torch.distributions.Normal(mean[:, None], (0.5 * log_variance).exp()[:, None])
    if prior == "normal":
        log_prior = torch.distributions.Normal(0, 1).log_prob(z).sum(2)
    elif prior == "vamp":
        m, v = model.posterior(model.moments.restore(model._pseudo_inputs))
        each = torch.distributions.Normal(m, (0.5 * v).exp()).log_prob(z[:, :, None]).sum(3)
        log_prior = each.exp().mean(2).log()
    else:
        flat = z.flatten(0, 1).double().numpy()
        log_prior = torch.from_numpy(model.prior_.score_samples(flat)).reshape(2, 3)
    mean_x, sigma = model.observation.mean(model.decoded(z, None)), model.observation.log_sigma
    spread = sigma.exp() * model.moments.std
    log_p = torch.distributions.Normal(mean_x, spread).log_prob(x[:, None]).sum(2)
    bound = (log_p + log_prior - q.log_prob(z).sum(2)).double().exp().mean(1).log()
    units = np.log(X[np.sort(np.setdiff1d(np.arange(100), model._held_out))].std(0)).sum()
    np.testing.assert_allclose(model.score_samples(X[:2]), bound - units, rtol=1e-4)


@pytest.fixture(scope="module")
def plain() -> tuple[np.ndarray, float]:
    r"""Return two clusters, and the score of a model of them with the usual prior."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 3)) * 0.1 + np.where(rng.random(800) < 0.5, 2, -2)[:, None]
    return X, small(budget="200 steps", latent_dim=1).fit(X).score(X)


@pytest.mark.parametrize("prior", ["vamp", fn.GaussianMixture(n_components=2)])
def test_a_better_prior_is_better_and_survives_saving(
    plain: tuple[np.ndarray, float], prior: Any, tmp_path: Any
) -> None:
    X, usual = plain
    model = small(budget="200 steps", latent_dim=1, prior=prior).fit(X)
    assert model.score(X) > usual - 0.02
    drawn = model.sample(2000, random_state=0)
    assert (np.abs(np.abs(drawn) - 2) < 0.6).all(1).mean() > 0.9
    assert 0.4 < (drawn[:, 0] > 0).mean() < 0.6
    loaded = fn.load(model.save(tmp_path / "run"))
    assert (loaded.sample(5, random_state=1) == model.sample(5, random_state=1)).all()
    assert (loaded.score_samples(X[:20]) == model.score_samples(X[:20])).all()
    assert loaded.n_active_units_ == model.n_active_units_


def test_a_neural_prior_draws_but_has_no_bound() -> None:
    prior = fn.FlowMatching(network="small", steps=2)
    model = small(prior=prior).fit(gaussian(60))
    assert model.sample(3, random_state=0).shape == (3, 4)
    assert not hasattr(model, "score_samples")
    with pytest.raises(AttributeError, match="VAE has no score with prior=FlowMatching"):
        _ = model.score


def test_a_prior_is_conditional_when_the_model_is() -> None:
    rng = np.random.default_rng(0)
    y = np.array(["a", "b"])[rng.integers(0, 2, 300)]
    X = rng.normal(size=(300, 3)) + np.where(y == "a", 2.0, -2.0)[:, None]
    model = small(
        prior=fn.GaussianMixture(n_components=1), budget="100 steps", n_importance_score=20
    ).fit(X, y)
    assert model.prior_.condition_ is not None
    z = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    mean, codes = torch.zeros(4, 2), torch.tensor([0, 1, 1, 0])
    expected = model.prior_.score_samples(
        z.reshape(12, 2).double().numpy(), codes.numpy().repeat(3)
    )
    ratio = model.log_ratio(z, codes, mean, mean) + log_normal(z, mean[:, None], mean[:, None])
    np.testing.assert_allclose(ratio.flatten(), expected, rtol=1e-4)
    each = np.stack([model.score_samples(X, np.full(300, label)) for label in "ab"])
    share = np.array([[(y == "a").mean()], [(y == "b").mean()]])
    total = np.log((share * np.exp(each)).sum(0))
    np.testing.assert_allclose(model.score_samples(X), total, rtol=1e-9)
    assert (model.sample(200, y="a", random_state=0).mean(1) > 0).mean() > 0.9


# --- likelihoods, end to end --------------------------------------------------------------------


def test_bernoulli_scores_are_masses_whatever_the_two_values() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.random(600) < 0.3
    X = (rng.random((600, 2)) < np.where(hidden, 0.9, 0.2)[:, None]).astype(np.uint8)
    model = small(likelihood="bernoulli", budget="150 steps", n_importance_score=500).fit(X)
    four = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    p = np.exp(model.score_samples(four.astype(np.uint8)))
    assert p.sum() == pytest.approx(1, abs=0.01)
    frequency = [(row == X).all(1).mean() for row in four]
    np.testing.assert_allclose(p, frequency, atol=0.04)
    wide = small(likelihood="bernoulli", budget="150 steps", n_importance_score=500).fit(
        100.0 * X - 7
    )
    np.testing.assert_allclose(wide.score_samples(100.0 * four - 7), np.log(p), atol=0.15)
    assert wide.score_samples(np.array([[-7.0, 3.0]])) == -np.inf
    drawn = wide.sample(500, random_state=0)
    np.testing.assert_allclose(np.where(drawn > 0, 93, -7), drawn, rtol=1e-14)


def test_bernoulli_images_show_means_unless_noise_is_asked_for() -> None:
    X = (fn.data.load("digits").X[:300] > 7).astype(np.uint8) * 255
    model = small(likelihood="bernoulli", budget="100 steps", latent_dim=8).fit(X)
    assert (model.score_samples(X[:20]) < 0).all()
    assert len(np.unique(model.sample(20, random_state=0))) > 20
    noisy = model.set_params(observation_noise=True).sample(20, random_state=0)
    assert set(np.unique(noisy)) == {0, 255}


def test_discretised_scores_are_masses_of_pixels() -> None:
    rng = np.random.default_rng(0)
    X = np.where(rng.random((500, 1, 1)) < 0.3, rng.integers(20, 30, (500, 1, 1)), 200)
    X = X.astype(np.uint8)
    model = small(
        likelihood="discretised-logistic", budget="300 steps", n_importance_score=100
    ).fit(X)
    p = np.exp(model.score_samples(np.arange(256, dtype=np.uint8).reshape(256, 1, 1)))
    assert p.sum() == pytest.approx(1, abs=0.02)
    assert p[20:30].sum() == pytest.approx(0.3, abs=0.1)
    drawn = model.set_params(observation_noise=True).sample(500, random_state=0)
    assert drawn.dtype == np.uint8
    assert ((drawn >= 15) & (drawn < 35)).mean() == pytest.approx(0.3, abs=0.1)


def mixed(n: int = 1500) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    kind = rng.choice(["red", "green", "blue"], n, p=[0.5, 0.3, 0.2])
    size = rng.normal(size=n) + np.where(kind == "red", 3, 0)
    weight = np.where(rng.random(n) < np.where(kind == "blue", 0.5, 0.1), np.nan, 2 * size)
    weight += rng.normal(size=n) * 0.1
    return pd.DataFrame({"kind": pd.Categorical(kind), "size": size, "weight": weight})


def test_tables_come_back_with_their_categories_gaps_and_relations() -> None:
    X = mixed()
    model = small(budget="600 steps", latent_dim=3).fit(X)
    drawn = model.sample(3000, random_state=0)
    assert drawn.dtypes.equals(X.dtypes)
    for name in ("red", "green", "blue"):
        share = (drawn["kind"] == name).mean()
        assert share == pytest.approx((X["kind"] == name).mean(), abs=0.08)
        gone, truth = (t.loc[t["kind"] == name, "weight"].isna().mean() for t in (drawn, X))
        assert gone == pytest.approx(truth, abs=0.12)
    seen = drawn.dropna()
    assert np.corrcoef(seen["size"], seen["weight"])[0, 1] > 0.9
    rival = fn.GaussianMixture(n_components=1, random_state=0).fit(X)
    assert model.score(X[:300]) > rival.score(X[:300])
    one = model.set_params(observation_noise=False).sample(500, random_state=0)
    assert one["size"].std() < X["size"].std()


def test_masses_of_a_table_of_categories_sum_to_one() -> None:
    rng = np.random.default_rng(0)
    one = rng.choice(["x", "y"], 300)
    X = pd.DataFrame({"one": one, "two": np.where(rng.random(300) < 0.8, one, "z")})
    model = small(budget="150 steps", n_importance_score=300).fit(X)
    every = pd.DataFrame([(a, b) for a in "xy" for b in "xyz"], columns=["one", "two"])
    assert np.exp(model.score_samples(every)).sum() == pytest.approx(1, abs=0.02)
    drawn = model.sample(1000, random_state=0)
    assert (drawn["one"] == drawn["two"]).mean() == pytest.approx(0.8, abs=0.15)


def test_vectors_with_gaps_and_integers_are_modelled_column_by_column() -> None:
    X = gaussian(200)
    X[::5, 1] = np.nan
    model = small(missing="model").fit(X)
    assert model.likelihood_ == "columns"
    assert np.isfinite(model.score_samples(X)).all()
    assert 0 < np.isnan(model.sample(500, random_state=0)[:, 1]).mean() < 1
    whole = small().fit(np.random.default_rng(0).poisson(20, (100, 2)))
    assert whole.likelihood_ == "gaussian"
    assert whole.sample(3).dtype.kind == "i"


# --- draws --------------------------------------------------------------------------------------


def test_samples_of_vectors_are_noisy_and_their_means_are_not() -> None:
    X = gaussian(500)
    model = small(budget="200 steps", latent_dim=1).fit(X)
    drawn = model.sample(4000, random_state=0)
    np.testing.assert_allclose(drawn.std(0), X.std(0), rtol=0.15)
    z = np.zeros((2, 1), np.float32)
    assert (model.decode(z)[0] == model.decode(z)[1]).all()
    plain = model.set_params(observation_noise=False).sample(4000, random_state=0)
    sigma = model.observation.log_sigma.exp().item() * X.std(0)
    np.testing.assert_allclose(np.sqrt(plain.var(0) + sigma**2), drawn.std(0), rtol=0.05)
    assert (model.reconstruct(X[:5]) == model.decode(model.encode(X[:5]))).all()


def test_scores_depend_on_the_seed_and_the_row_alone() -> None:
    X = gaussian(100)
    model = small(n_importance_score=2).fit(X)
    again = np.concatenate([X[:3], X[50:60], X[:3]])
    scores = model.score_samples(again)
    np.testing.assert_array_equal(scores[:3], scores[-3:])
    np.testing.assert_allclose(scores[:3], model.score_samples(X)[:3], rtol=1e-5)
    model.score_seed_ += 1
    assert (model.score_samples(X[:3]) != scores[:3]).all()


def test_blocks_of_draws_do_not_change_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    X = gaussian(20)
    model = small(n_importance_score=30).fit(X)
    whole = model.score_samples(X)
    monkeypatch.setattr("fromnoise.families.vae._DECODED_ROWS", 1024)  # 4 draws of 256 rows
    np.testing.assert_allclose(model.score_samples(X), whole, rtol=1e-6)


def test_bfloat16_scores_when_asked_and_stays_close() -> None:
    X = fn.data.load("digits").X[:200]
    model = small(budget="100 steps", latent_dim=8, n_importance_score=20).fit(X)
    exact = model.score_samples(X)
    low = model.set_params(precision="bfloat16").score_samples(X)
    assert 0 < np.abs(low - exact).mean() < 1
    assert abs((low - exact).mean()) < 0.1


def test_labels_reach_the_decoder_and_not_the_encoder() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    X = rng.normal(size=(300, 2)) + 6 * y[:, None]
    model = small(budget="100 steps", n_importance_score=20).fit(X, y)
    assert (model.encode(X, y) == model.encode(X)).all()
    z = np.zeros((1, 2), np.float32)
    assert (model.decode(z, y=1) - model.decode(z, y=0) > 3).all()
    assert (model.score_samples(X, y) > model.score_samples(X, 1 - y)).mean() > 0.95


# --- fitting ------------------------------------------------------------------------------------


def test_an_interrupted_fit_is_usable() -> None:
    def stop(record: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        model = small(budget="1000 steps", callbacks=[stop])
        with pytest.raises(KeyboardInterrupt):
            model.fit(gaussian())
    finally:
        signal.signal(signal.SIGINT, before)
    assert model.interrupted_
    assert np.isfinite(model.score_samples(gaussian()[:5])).all()


def test_importance_weighted_training_beats_one_draw_on_its_bound() -> None:
    X = (fn.data.load("digits").X[:600] > 7).astype(np.uint8)
    common = {"likelihood": "bernoulli", "latent_dim": 6, "n_importance_score": 50}
    model = small(n_importance_train=8, budget="60 steps", **common).fit(X)
    assert np.isfinite(model.score(X[:50]))
    assert model.loss((torch.from_numpy(model.encoding_.pack(model.encoding_.encode(X[:50]))),),
                      None, 1.0, torch.Generator().manual_seed(0)).item() > 0  # fmt: skip
    assert fn.families.make("iwae").n_importance_train == 50


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"latent_dim": 0}, "latent_dim"),
        ({"beta": -1}, "beta must be a finite number from 0"),
        ({"beta": math.nan}, "beta"),
        ({"beta": True}, "beta"),
        ({"free_bits": -0.5}, "free_bits"),
        ({"kl_warm_up": 1.5}, "kl_warm_up must be a finite number from 0 to 1"),
        ({"n_importance_train": 0}, "n_importance_train"),
        ({"n_importance_score": 2.0}, "n_importance_score"),
        ({"likelihood": "bernouli"}, "Did you mean 'bernoulli'"),
        ({"observation_noise": "never"}, "observation_noise"),
        ({"observation_noise": 3}, "observation_noise"),
        ({"prior": None}, 'prior must be "normal", "vamp" or a model'),
        ({"prior": "vampp"}, "Did you mean 'vamp'"),
        ({"prior": fn.GaussianMixture(budget="3s")}, "budget"),
        ({"free_bits": 0.1, "n_importance_train": 5}, "free_bits needs"),
        ({"free_bits": 0.1, "prior": "vamp"}, "free_bits needs"),
    ],
)
def test_bad_arguments_are_refused_before_any_data_is_read(bad: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**bad).fit(None)


@pytest.mark.parametrize(
    ("likelihood", "X", "message"),
    [
        ("bernoulli", gaussian(50), "column 0 of those that vary"),
        ("bernoulli", mixed(50), 'Use likelihood="columns"'),
        ("gaussian", mixed(50), 'Use likelihood="columns"'),
        ("discretised-logistic", gaussian(50), "uint8"),
        ("discretised-logistic", np.random.default_rng(0).random((20, 3, 3)), "uint8"),
        ("columns", np.zeros((20, 3, 3), np.uint8), "vectors and tables"),
    ],
)
def test_a_likelihood_that_cannot_describe_the_data_is_refused(
    likelihood: str, X: Any, message: str
) -> None:
    with pytest.raises(fn.DataError, match=message):
        small(likelihood=likelihood).fit(X)


def test_networks_of_your_own_have_to_meet() -> None:
    X = gaussian(50)
    model = small(network=(nn.Linear(4, 6), nn.Linear(3, 4)), latent_dim="auto").fit(X)
    assert model.latent_dim_ == 3
    with pytest.raises(fn.DataError, match=r"(?s)encoder.*\(2, 4\).*\(2, 5\)"):
        small(network=(nn.Linear(4, 5), nn.Linear(2, 4))).fit(X)
    with pytest.raises(fn.DataError, match=r"(?s)decoder.*\(2, 4\).*\(2, 3\)"):
        small(network=(nn.Linear(4, 4), nn.Linear(2, 3))).fit(X)
    with pytest.raises(ValueError, match="pair"):
        small(network=nn.Linear(4, 4)).fit(X)


# --- what must not be lost or silently changed ------------------------------------------------


def test_a_signal_while_the_fit_settles_keeps_the_model(monkeypatch: Any) -> None:
    settle = VAE._settle

    def interrupted(self: VAE, *args: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        settle(self, *args)

    monkeypatch.setattr(VAE, "_settle", interrupted)
    X = np.random.default_rng(0).normal(size=(100, 3))
    model = VAE(budget="20 steps", random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert model.interrupted_
    assert np.isfinite(model.score_samples(X)).all()


def test_what_was_learnt_stays_when_the_prior_argument_changes(tmp_path: Any) -> None:
    X = np.random.default_rng(0).normal(size=(100, 3))
    model = VAE(budget="20 steps", prior="vamp", random_state=0).fit(X)
    scores = model.score_samples(X)
    model.set_params(prior="normal")
    assert np.array_equal(model.score_samples(X), scores)
    loaded = fn.load(model.save(tmp_path / "run"))
    assert np.array_equal(loaded.score_samples(X), scores)


def test_without_its_fitted_prior_a_model_says_so(monkeypatch: Any) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fn.GaussianMixture, "_fit_into", interrupted)
    X = np.random.default_rng(0).normal(size=(100, 3))
    model = VAE(budget="20 steps", prior=fn.GaussianMixture(n_components=2), random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert model.reconstruct(X).shape == X.shape
    for name in ("sample", "score_samples", "score"):
        with pytest.raises(AttributeError, match="no fitted prior"):
            getattr(model, name)


def test_rows_out_of_reach_have_no_probability() -> None:
    X = np.random.default_rng(0).normal(size=(100, 3))
    model = VAE(budget="20 steps", random_state=0).fit(X)
    scores = model.score_samples(X[:2] * np.array([[1.0], [1e25]]))
    assert np.isfinite(scores[0])
    assert scores[1] == -np.inf


def test_arguments_of_scoring_are_checked_again() -> None:
    X = np.random.default_rng(0).normal(size=(100, 3))
    model = VAE(budget="20 steps", random_state=0).fit(X)
    with pytest.raises(ValueError, match="n_importance_score"):
        model.set_params(n_importance_score=0).score_samples(X)


def test_a_neural_prior_repeats_with_the_seed() -> None:
    X = np.random.default_rng(0).normal(size=(100, 3))
    prior = fn.FlowMatching(network="small", steps=2)
    a, b = (VAE(budget="40 steps", prior=prior, random_state=3).fit(X) for _ in range(2))
    assert np.array_equal(a.sample(5, random_state=0), b.sample(5, random_state=0))


def test_noise_of_the_code_and_of_the_row_are_strangers() -> None:
    X = np.random.default_rng(0).normal(size=(300, 3))
    model = VAE(budget="20 steps", latent_dim=3, random_state=0).fit(X)
    z = model._draw_codes(entropy(5), 0, 1000, None)
    noise = model.sample(1000, random_state=5) - model.decode(z)
    correlation = np.corrcoef(z.T, noise.T)[:3, 3:]
    assert noise.std(0).min() > 0.1
    assert np.abs(correlation).max() < 5 / 1000**0.5


def test_draws_of_the_vamp_prior_spread_around_their_pseudo_inputs() -> None:
    X = np.random.default_rng(0).normal(size=(300, 3))
    model = VAE(budget="20 steps", latent_dim=2, prior="vamp", random_state=0).fit(X)
    centres = model._coded(model._pseudo_inputs)[0].numpy()
    z = model._draw_codes(0, 0, 500, None)
    nearest = np.abs(z[:, None] - centres).max(2).min(1)
    assert np.median(nearest) > 1e-3


def test_the_time_of_a_fit_holds_all_its_parts() -> None:
    X = np.random.default_rng(0).normal(size=(300, 3))
    began = time.monotonic()
    model = VAE(budget="20 steps", prior=fn.GaussianMixture(n_components=3), random_state=0).fit(X)
    assert model.prior_.fit_seconds_ < model.fit_seconds_ <= time.monotonic() - began


def test_the_draws_of_a_row_depend_on_its_categories_too() -> None:
    values, observed = np.zeros((2, 1)), np.ones((2, 1), bool)
    a, b = row_seeds(Encoded(values, np.array([[0], [1]]), observed), 0)
    assert a != b


def test_the_variance_of_a_code_stays_within_what_floats_can_hold() -> None:
    encoder = nn.Linear(3, 4)
    nn.init.constant_(encoder.bias, 1e4)
    X = np.random.default_rng(0).normal(size=(50, 3))
    model = small(network=(encoder, nn.Linear(2, 3)), budget="1 steps").fit(X)
    _, log_variance = model.posterior(torch.from_numpy(X).float())
    assert log_variance.abs().max() <= 14


def test_the_status_of_a_prior_is_the_models(monkeypatch: Any) -> None:
    fit = fn.GaussianMixture._fit_into

    def diverged(self: fn.GaussianMixture, *args: Any) -> fn.GaussianMixture:
        fit(self, *args)
        self.status_, self.status_reason_ = "diverged", "it was told to"
        return self

    monkeypatch.setattr(fn.GaussianMixture, "_fit_into", diverged)
    X = np.random.default_rng(0).normal(size=(100, 3))
    model = VAE(budget="40 steps", prior=fn.GaussianMixture(n_components=2), random_state=0).fit(X)
    assert (model.status_, model.status_reason_) == ("diverged", "prior: it was told to")
