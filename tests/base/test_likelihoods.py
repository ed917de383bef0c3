r"""Observation models against sums over all outcomes, SciPy, and numbers worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from scipy.stats import norm

from fromnoise import data
from fromnoise.base.likelihoods import (
    Bernoulli,
    Columns,
    DiscretisedLogistic,
    Gaussian,
    Likelihood,
    two_values,
)
from fromnoise.errors import DataError
from fromnoise.networks import Moments


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=rng(seed), dtype=torch.float64)


def measured(likelihood: Likelihood, mean: list[float], std: list[float]) -> Likelihood:
    moments = Moments((len(mean),))
    moments.mean.copy_(torch.tensor(mean))
    moments.std.copy_(torch.tensor(std))
    likelihood.measure(moments)
    return likelihood.double()


# --- Gaussian -----------------------------------------------------------------------------------


def test_gaussian_is_scipys_in_the_units_of_the_rows() -> None:
    likelihood = measured(Gaussian((3,)), [1.0, -2.0, 0.5], [2.0, 0.5, 4.0])
    likelihood.log_sigma.fill_(math.log(0.3))
    out, x = randn(4, 2, 3), randn(4, 3, seed=1)
    mean, sigma = likelihood.mean(out).numpy(), 0.3 * np.array([2.0, 0.5, 4.0])
    expected = norm.logpdf(x.numpy()[:, None], mean, sigma).sum(2)
    np.testing.assert_allclose(likelihood.log_prob(out, x), expected, rtol=1e-12)
    np.testing.assert_allclose(mean[0, 0], [1, -2, 0.5] + out[0, 0].numpy() * [2, 0.5, 4])


def test_the_optimal_sigma_is_the_best_one_and_its_gradient_may_be_ignored() -> None:
    likelihood = Gaussian((3,)).double()
    out, x = randn(50, 1, 3).requires_grad_(), 0.3 * randn(50, 3, seed=1)
    likelihood.set_spread(likelihood.spread(out, x, torch.ones(50, 1)).detach())
    sigma = likelihood.log_sigma.exp()
    torch.testing.assert_close(sigma.square(), (x[:, None] - out).square().mean().detach())
    best = likelihood.log_prob(out, x).sum()
    for factor in (0.99, 1.01):
        likelihood.log_sigma.add_(math.log(factor))
        assert likelihood.log_prob(out, x).sum() < best
        likelihood.log_sigma.sub_(math.log(factor))
    # −N log σ(out) − N/2 with σ a function of out has the same gradient.
    (given,) = torch.autograd.grad(likelihood.log_prob(out, x).sum(), out)
    free = -150 * 0.5 * (x[:, None] - out).square().mean().log()
    torch.testing.assert_close(given, torch.autograd.grad(free, out)[0])


def test_sigma_of_several_draws_weighs_them() -> None:
    likelihood = Gaussian((2,)).double()
    x = torch.zeros(1, 2, dtype=torch.float64)
    out = torch.tensor([[[1.0, 1.0], [3.0, 3.0]]], dtype=torch.float64)
    likelihood.set_spread(likelihood.spread(out, x, torch.tensor([[0.75, 0.25]]).double()))
    assert likelihood.log_sigma.exp().square().item() == pytest.approx(0.75 + 0.25 * 9)


def test_sigma_has_a_floor() -> None:
    likelihood = Gaussian((2,))
    x = torch.zeros(5, 2)
    likelihood.set_spread(likelihood.spread(x[:, None], x, torch.ones(5, 1)))
    assert likelihood.log_sigma.item() == -6
    assert torch.isfinite(likelihood.log_prob(x[:, None], x)).all()


def test_gaussian_draws_have_the_mean_and_sigma() -> None:
    likelihood = measured(Gaussian((2,)), [1.0, 2.0], [2.0, 3.0])
    likelihood.log_sigma.fill_(math.log(0.5))
    out = torch.ones(40_000, 2, dtype=torch.float64)
    x = likelihood.draw(out, likelihood.noise(40_000, rng()))
    np.testing.assert_allclose(x.mean(0), [3, 5], atol=0.05)
    np.testing.assert_allclose(x.std(0), [1, 1.5], rtol=0.02)


# --- Bernoulli ----------------------------------------------------------------------------------


def outcomes(d: int) -> torch.Tensor:
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * d)


def test_bernoulli_masses_are_those_of_the_logits_and_sum_to_one() -> None:
    likelihood = Bernoulli((3,)).double()
    likelihood.set_values(np.array([-1.0, 0.0, 2.0]), np.array([1.0, 5.0, 2.5]))
    bits = outcomes(3)
    x = torch.lerp(likelihood.low, likelihood.high, bits)
    out = 3 * randn(1, 1, 3).expand(8, 1, 3)
    log_p = likelihood.log_prob(out, x)[:, 0]
    p = expit(out[:, 0].numpy())
    expected = np.where(bits == 1, p, 1 - p).prod(1)
    np.testing.assert_allclose(log_p.exp(), expected, rtol=1e-12)
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert likelihood.supports(x).all()
    assert not likelihood.supports(x + 0.1).any()


def test_bernoulli_reads_through_dequantisation_noise() -> None:
    likelihood = Bernoulli((4,))
    x = torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    noisy, out = x + 0.4 * (torch.rand(1, 4, generator=rng()) - 0.5), torch.randn(1, 1, 4)
    assert likelihood.log_prob(out, noisy) == likelihood.log_prob(out, x)


def test_bernoulli_draws_are_values_as_frequent_as_the_logits_say() -> None:
    likelihood = Bernoulli((2,))
    likelihood.set_values(np.array([-3.0, 0.0]), np.array([1.0, 10.0]))
    out = torch.tensor([[0.0, 2.0]]).expand(20_000, 2)
    x = likelihood.draw(out, likelihood.noise(20_000, rng()))
    assert likelihood.supports(x).all()
    np.testing.assert_allclose(x.mean(0), likelihood.mean(out)[0], atol=0.1)
    np.testing.assert_allclose(likelihood.mean(out)[0], [-1, 10 * expit(2)], rtol=1e-6)


def test_two_values_are_checked_in_all_rows() -> None:
    X = np.array([[0, 7.0], [1, 9.0]] * 800)
    low, high = two_values(X, data.fit_encoding(X))
    np.testing.assert_allclose(low, [-1, -1])
    np.testing.assert_allclose(high, [1, 1])
    X[1500, 1] = 8.0  # beyond the first block
    with pytest.raises(DataError, match=r"column 1 .* more"):
        two_values(X, data.fit_encoding(X))
    images = np.random.default_rng(0).integers(0, 2, (20, 4, 4)).astype(np.uint8) * 255
    low, high = two_values(images, data.fit_encoding(images))
    assert (low.item(), high.item()) == (-1, 1)
    images[3, 1, 1] = 7
    with pytest.raises(DataError, match="pixels hold more than two"):
        two_values(images, data.fit_encoding(images))
    with pytest.raises(DataError, match="the same"):
        two_values(images[:2] * 0, data.fit_encoding(images))


# --- discretised logistics ----------------------------------------------------------------------


def levels() -> torch.Tensor:
    return torch.linspace(-1, 1, 256, dtype=torch.float64)


@pytest.mark.parametrize("scale", [-8.0, 0.0, 3.0])
def test_discretised_masses_sum_to_one(scale: float) -> None:
    likelihood = DiscretisedLogistic((2, 1, 1), n_mixture=3)
    out = randn(18).reshape(1, 1, 18, 1, 1)
    out[:, :, 12:] += scale
    x = levels()[:, None].expand(256, 2).reshape(256, 2, 1, 1)
    # The channels are independent: fix one at a level, sum over the other.
    fixed = torch.stack([x[:, 0], torch.zeros(256, 1, 1).double() - 1], dim=1)
    one = likelihood.log_prob(out.expand(256, 1, 18, 1, 1), fixed)[:, 0].logsumexp(0)
    both = likelihood.log_prob(out.expand(256, 1, 18, 1, 1), x)[:, 0]
    other = torch.stack([torch.zeros(256, 1, 1).double() - 1, x[:, 1]], dim=1)
    two = likelihood.log_prob(out.expand(256, 1, 18, 1, 1), other)[:, 0].logsumexp(0)
    corner = both[0]
    # p(a) p(b) with sums p(b = −1), p(a = −1), and the corner p(a = −1) p(b = −1)
    assert (one + two - corner).item() == pytest.approx(0, abs=1e-9)


def test_discretised_mass_of_one_logistic_is_a_difference_of_its_distribution_function() -> None:
    likelihood = DiscretisedLogistic((1, 1, 1), n_mixture=1)
    out = torch.tensor([0.0, 0.2, -1.5], dtype=torch.float64).reshape(1, 1, 3, 1, 1)
    log_p = likelihood.log_prob(out.expand(256, 1, 3, 1, 1), levels().reshape(-1, 1, 1, 1))
    edges = np.concatenate([[-np.inf], levels().numpy()[:-1] + 1 / 255, [np.inf]])
    expected = np.diff(expit((edges - 0.2) / math.exp(-1.5)))
    np.testing.assert_allclose(log_p[:, 0].exp(), expected, rtol=1e-9)
    noisy = levels() + (torch.rand(256, generator=rng()).double() - 0.5) * 0.99 * 2 / 255
    again = likelihood.log_prob(out.expand(256, 1, 3, 1, 1), noisy.reshape(-1, 1, 1, 1))
    assert torch.equal(again, log_p)


def test_discretised_far_tail_is_finite() -> None:
    likelihood = DiscretisedLogistic((1, 1, 1), n_mixture=1)
    out = torch.tensor([0.0, 1.0, -50.0]).reshape(1, 1, 3, 1, 1)
    log_p = likelihood.log_prob(out, torch.full((1, 1, 1, 1), -0.5))
    assert torch.isfinite(log_p).all()
    assert log_p.item() < -1000


def test_discretised_draws_follow_the_masses() -> None:
    likelihood = DiscretisedLogistic((1, 1, 1), n_mixture=2)
    out = torch.tensor([1.0, 0.0, -0.2, 0.3, -1.0, -2.0]).reshape(1, 6, 1, 1)
    n = 60_000
    x = likelihood.draw(out.expand(n, 6, 1, 1), likelihood.noise(n, rng())).flatten()
    counts = np.bincount(((x + 1) * 127.5).round().long(), minlength=256)
    p = likelihood.log_prob(
        out[None].expand(256, 1, 6, 1, 1), levels().float().reshape(-1, 1, 1, 1)
    )
    p = p[:, 0].exp().double().numpy()
    some = p * n > 20
    z = (counts - n * p)[some] / np.sqrt(n * p * (1 - p))[some]
    assert np.abs(z).max() < 5
    assert 0.8 < z.std() < 1.2
    mean = likelihood.mean(out).item()
    assert mean == pytest.approx(x.mean().item(), abs=0.03)  # the open outer bins pull it


# --- columns ------------------------------------------------------------------------------------


def table() -> tuple[pd.DataFrame, data.Encoding]:
    generator = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "a": generator.normal(size=60),
            "b": np.where(np.arange(60) % 3 == 0, np.nan, generator.normal(size=60)),
            "c": generator.choice(["x", "y", "z"], 60),
        }
    )
    return X, data.fit_encoding(X)


def columns(encoding: data.Encoding) -> Columns:
    assert isinstance(encoding, data.transforms.FlatEncoding)
    likelihood = Columns(encoding.gates, encoding.cardinalities)
    measured(likelihood, [0.125, -0.25, 0, 0, 0, 0, 0], [1.5, 0.5, 1, 1, 1, 1, 1])
    likelihood.log_sigma.copy_(torch.tensor([0.3, 0.7], dtype=torch.float64).log())
    return likelihood


def test_a_row_of_a_table_worked_out_by_hand() -> None:
    X, encoding = table()
    likelihood, encoded = columns(encoding), encoding.encode(X)
    x = torch.from_numpy(encoding.pack(encoded)).double()
    out = randn(60, 2, 7)
    log_p = likelihood.log_prob(out, x).numpy()
    out = out.numpy()
    for row in range(6):
        for k in range(2):
            o = out[row, k]
            v = encoded.values[row].astype(np.float32)
            expected = norm.logpdf(v[0], 0.125 + 1.5 * o[0], 0.3 * 1.5)
            here = not np.isnan(X["b"].iloc[row])
            if here:
                expected += norm.logpdf(v[1], -0.25 + 0.5 * o[1], 0.7 * 0.5)
            gate = np.exp(o[2:4]) / np.exp(o[2:4]).sum()
            city = np.exp(o[4:7]) / np.exp(o[4:7]).sum()
            expected += np.log(gate[0 if here else 1]) + np.log(city["xyz".index(X["c"][row])])
            assert log_p[row, k] == pytest.approx(expected, rel=1e-9)


def test_missing_entries_do_not_move_sigma_nor_reach_the_encoder() -> None:
    X, encoding = table()
    likelihood, encoded = columns(encoding), encoding.encode(X)
    filled = torch.from_numpy(encoding.pack(encoded, np.random.default_rng(1))).double()
    plain = torch.from_numpy(encoding.pack(encoded)).double()
    assert not torch.equal(filled, plain)
    torch.testing.assert_close(likelihood.without_fillers(filled), plain)
    out, weight = randn(60, 1, 7), torch.ones(60, 1, dtype=torch.float64)
    likelihood.set_spread(likelihood.spread(out, filled, weight))
    seen = encoded.observed[:, 1]
    error = (encoded.values[seen, 1] + 0.25) / 0.5 - out[seen, 0, 1].numpy()
    np.testing.assert_allclose(
        likelihood.log_sigma[1].exp(), np.sqrt((error**2).mean()), rtol=1e-6
    )
    likelihood.set_spread(torch.zeros(2, 2))
    assert (likelihood.log_sigma == 0).all()


def test_categories_are_drawn_as_often_as_the_softmax_says() -> None:
    _, encoding = table()
    likelihood = columns(encoding)
    n, logits = 30_000, torch.tensor([0.0, 1.0, 0.5, 0.0, 2.0, 1.0, 0.0], dtype=torch.float64)
    drawn = likelihood.draw(logits.expand(n, 7), likelihood.noise(n, rng()))
    encoded = encoding.unpack(drawn.numpy())
    for part, group in enumerate((logits[2:4], logits[4:7])):
        p = group.softmax(0).numpy()
        share = np.bincount(encoded.codes[:, part], minlength=len(p)) / n
        assert (np.abs(share - p) < 5 * np.sqrt(p * (1 - p) / n)).all()
    np.testing.assert_allclose(encoded.values.mean(0), [0.125, -0.25 + 0.5], atol=0.02)
    np.testing.assert_allclose(encoded.values.std(0), [0.3 * 1.5, 0.7 * 0.5], rtol=0.03)
    mode = encoding.unpack(likelihood.mean(logits[None]).numpy()).codes[0]
    assert mode.tolist() == [0, 0]
