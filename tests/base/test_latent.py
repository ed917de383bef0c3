r"""What families with codes share: shares of a budget, the law of the codes, errors of rows."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fromnoise as fn
from fromnoise.base import LatentModel
from fromnoise.base.latent import row_errors
from fromnoise.data import Encoded
from fromnoise.training import Objective


@dataclass(kw_only=True, eq=False, repr=False)
class Halves(LatentModel):
    r"""A model whose code of a row is half the row, and that learns nothing."""

    family: ClassVar[str] = "halves"

    def build(self) -> nn.ModuleDict:
        networks = super().build()
        networks["weight"] = nn.Linear(1, 1)
        return networks

    def code(self, x: Tensor) -> Tensor:
        return x / 2

    def draw_code(self, x: Tensor, noise: Tensor) -> Tensor:
        return x / 2 + noise

    def generate(self, z: Tensor, y: Tensor | None) -> Tensor:
        return 2 * z if y is None else 2 * z + y[:, None]

    def objectives(self) -> list[Objective]:
        weight = self.networks_["weight"]
        loss = lambda batch, y, p, g: weight(batch[0][:, :1]).square().mean()  # noqa: E731
        return [Objective(loss, [*weight.parameters()])]


def halves(**arguments: Any) -> Halves:
    given = {"latent_dim": 2, "budget": "10 steps", "network": "small", "random_state": 0}
    return Halves(**{**given, **arguments})


X = np.random.default_rng(0).normal(size=(3000, 2)) * [2.0, 3.0] + [1.0, -1.0]


def test_codes_and_rows_meet_in_model_space() -> None:
    model = halves().fit(X)
    z = model.encode(X)
    np.testing.assert_allclose(z, model.encoding_.encode(X).values / 2, atol=1e-6)
    np.testing.assert_allclose(model.decode(z), X, atol=1e-5)
    np.testing.assert_allclose(model.reconstruct(X), X, atol=1e-5)
    assert model.reconstruction_error(X).max() < 1e-10
    assert (model.transform(X) == z).all()
    assert z.dtype == np.float32


def test_without_a_model_as_prior_codes_are_standard_normal() -> None:
    drawn = halves().fit(X).sample(20_000, random_state=0)
    np.testing.assert_allclose(drawn.std(0) / X.std(0), 2, rtol=0.03)


def test_the_prior_learns_drawn_codes_of_all_rows() -> None:
    prior = fn.GaussianMixture(n_components=1, reg_covar=0.0)
    model = halves(prior=prior).fit(X)
    # half a standardised column plus N(0, 1)
    np.testing.assert_allclose(np.diag(model.prior_.covariances_[0]), 1.25, rtol=0.05)
    assert not hasattr(prior, "means_")  # a clone was fitted
    drawn = model.sample(20_000, random_state=0)
    np.testing.assert_allclose(drawn.var(0) / X.var(0), 5, rtol=0.08)
    assert (drawn[:7] == model.sample(7, random_state=0)).all()
    again = halves(prior=prior).fit(X)
    assert (again.sample(50, random_state=1) == model.sample(50, random_state=1)).all()


def test_labels_reach_prior_and_decoder() -> None:
    y = np.where(X[:, 0] > 1, "high", "low")
    model = halves(prior=fn.GaussianMixture(n_components=1)).fit(X, y)
    assert (model.encode(X) == model.encode(X, y)).all()
    high, low = (model.sample(4000, y=name, random_state=0) for name in ("high", "low"))
    # Half a normal law has its mean at ±0.8; the decoder adds 1 to the second class.
    means = [(rows[:, 0].mean() - X[:, 0].mean()) / X[:, 0].std() for rows in (high, low)]
    np.testing.assert_allclose(means, [0.8, 1 - 0.8], atol=0.1)
    z = model.encode(X[:5])
    step = model.decode(z, np.full(5, "low")) - model.decode(z, np.full(5, "high"))
    np.testing.assert_allclose(step, np.tile(X.std(0), (5, 1)), rtol=0.02)  # codes 1 and 0
    with pytest.raises(fn.DataError, match="Pass y"):
        model.decode(z)


@pytest.mark.parametrize(
    ("budget", "own", "left"), [("10 steps", 6, 4), ("1 steps", 1, 1), ("5 epochs", 36, 24)]
)
def test_the_prior_is_given_two_fifths(budget: str, own: int, left: int) -> None:
    prior = fn.FlowMatching(network="small")
    model = halves(prior=prior, budget=budget, batch_size=250, validation_fraction=0.5)
    model.fit(X[:3000])
    # 1,500 training rows are 6 batches; the prior's 2,700 are 11 of 256
    expected = {"5 epochs": (18, -(-2 * 2700 // 256))}.get(budget, (own, left))
    assert (model.n_steps_, model.prior_.n_steps_) == expected


def test_a_budget_in_seconds_is_shared_by_the_clock() -> None:
    prior = fn.FlowMatching(network="small")
    model = halves(prior=prior, budget="1.5s").fit(X)
    assert model.fit_seconds_ < 3
    assert model.prior_.fit_seconds_ < model.fit_seconds_


def test_parameters_and_evaluations_include_the_prior() -> None:
    alone, both = halves().fit(X), halves(prior=fn.FlowMatching(network="small")).fit(X)
    assert both.n_parameters_ == alone.n_parameters_ + both.prior_.n_parameters_
    assert alone.n_evaluations == 1
    assert both.n_evaluations == 1 + both.prior_.n_evaluations


def test_a_prior_that_cannot_be_fitted_says_so() -> None:
    prior = fn.GaussianMixture(n_components=200)
    with pytest.raises(fn.DataError, match=r"The prior cannot be fitted on the codes: .*200"):
        halves(prior=prior).fit(X[:40])


def test_a_code_may_not_be_of_another_length() -> None:
    model = halves().fit(X)
    with pytest.raises(fn.DataError, match=r"shape \(n, 2\)"):
        model.decode(np.zeros((3, 3)))


@pytest.mark.parametrize(
    ("value", "code", "seen", "error"),
    [(3.0, 0, True, 4.0), (1.0, 2, True, 1.0), (9.0, 2, False, 1.0), (9.0, 0, False, 0.0)],
)
def test_errors_of_rows(value: float, code: int, seen: bool, error: float) -> None:
    truth = Encoded(np.array([[1.0]]), np.array([[0]]), np.array([[seen]]))
    guess = Encoded(np.array([[value]]), np.array([[code]]), np.array([[True]]))
    assert row_errors(truth, guess).tolist() == [error]


def test_errors_of_images_are_summed_over_pixels() -> None:
    shape, codes = (2, 3, 4, 5), np.zeros((2, 0), int)
    seen = np.ones((1, 1, 1, 1), bool)
    truth = Encoded(np.zeros(shape, np.float32), codes, seen)
    guess = Encoded(np.full(shape, 0.5, np.float32), codes, seen)
    assert row_errors(truth, guess).tolist() == [15.0, 15.0]


def test_an_encoder_of_ones_own_is_tried_and_left_as_it_was() -> None:
    class Counting(nn.Linear):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x)

    own, decoder = Counting(2, 2), nn.Linear(2, 2)
    state = torch.get_rng_state()
    model = fn.AutoEncoder(network=(own, decoder), budget="2 steps").fit(X[:50])
    assert model.latent_dim_ == 2
    assert own.calls == 0
    assert torch.equal(torch.get_rng_state(), state)
