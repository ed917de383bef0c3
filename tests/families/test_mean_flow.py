r"""Mean velocities: the identity they obey, one step where many were needed, and their limits."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fromnoise as fn
from fromnoise.metrics import sliced_wasserstein
from fromnoise.networks import ResidualMLP
from fromnoise.transport.solvers import MeanStep, integrate
from transport_fields import Silent

RNG = np.random.default_rng(0)


def small(**arguments: Any) -> fn.FlowMatching:
    given = {"network": "small", "random_state": 0, "budget": "2 steps", **arguments}
    return fn.FlowMatching(objective="mean-flow", solver="mean", steps=1, **given)


class SilentOfTwoTimes(Silent):
    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        assert t.shape == (len(x), 2)
        return super().forward(x, t, y)


def test_one_step_of_the_exact_mean_velocity_is_the_whole_flow() -> None:
    X = RNG.normal(size=(400, 2)) * [1, 50] + [3, 0]
    model = small(network=SilentOfTwoTimes(), learning_rate=1e-9).fit(X)
    exact = model.set_params(solver="rk4", steps=64).sample(300, random_state=0)
    for steps in (1, 2, 5):
        drawn = model.set_params(solver="mean", steps=steps).sample(300, random_state=0)
        np.testing.assert_allclose(drawn / X.std(0), exact / X.std(0), atol=1e-4)
        assert model.n_evaluations == steps


def test_mean_steps_join() -> None:
    # u(x, t, s) of dx/dt = x: any steps lead to e x.
    def field(x: Tensor, times: Tensor) -> Tensor:
        h = (times[:, 1] - times[:, 0])[:, None]
        return x * torch.expm1(h) / h

    x = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    for times in ([0, 1], [0, 0.3, 1], [0, 0.1, 0.6, 0.7, 1]):
        end = integrate(field, x, torch.tensor(times, dtype=torch.float64), MeanStep())
        torch.testing.assert_close(end, torch.e * x, rtol=1e-12, atol=0)
    back = integrate(field, torch.e * x, torch.tensor([1, 0.2, 0]).double(), MeanStep())
    torch.testing.assert_close(back, x, rtol=1e-6, atol=0)


def test_the_loss_is_the_identity() -> None:
    X = np.random.default_rng(0).normal(size=(200, 2))
    model = small(budget="20 steps", coupling="optimal-transport").fit(X)
    x_0, x_1 = torch.randn(2, 64, 2, generator=torch.Generator().manual_seed(3))
    loss = model.mean_loss((x_0, x_1), None, 1.0, torch.Generator().manual_seed(5))
    one, other = torch.rand(2, 64, generator=torch.Generator().manual_seed(5)).double()
    other[::2] = one[::2]
    t, s = torch.minimum(one, other), torch.maximum(one, other)
    assert (t == s).float().mean() == 0.5
    x_t, v = (1 - t[:, None]) * x_0 + t[:, None] * x_1, (x_1 - x_0).double()

    def mean_velocity(x: Tensor, t: Tensor) -> Tensor:
        return model.velocity(x, torch.stack([t, s], 1), None)

    h = 3e-2  # the network answers in float32
    ahead, behind = mean_velocity(x_t + h * v, t + h), mean_velocity(x_t - h * v, t - h)
    target = v + (s - t)[:, None] * (ahead - behind) / (2 * h)
    error = (mean_velocity(x_t, t) - target).square().mean(1)
    assert loss.item() == pytest.approx((error + 0.01).log().mean().item(), abs=0.01)
    plain = (mean_velocity(x_t, t) - v).square().mean(1)
    assert abs(loss.item() - (plain + 0.01).log().mean().item()) > 0.02


def test_one_step_draws_what_a_velocity_needs_many_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fromnoise.base.field.EXACT_STEPS", 16)
    data = fn.data.load("8gaussians").X
    train, test = data[:4000], data[4000:5000]
    given = {"network": "small", "random_state": 0, "coupling": "independent"}
    plain = fn.FlowMatching(budget="100 steps", solver="euler", steps=1, **given).fit(train)
    mean = small(budget="400 steps", coupling="independent").fit(train)
    far = [
        float(sliced_wasserstein(test, model.sample(1000, random_state=0)))
        for model in (plain, mean)
    ]
    assert far[1] < 0.6 * far[0]
    # Codes and densities follow the velocity, u(x, t, t).
    back = mean.decode(mean.encode(test[:50]))
    np.testing.assert_allclose(back, test[:50], atol=0.02)
    assert np.isfinite(mean.score_samples(test[:50])).all()


def test_labels_and_networks_of_ones_own(tmp_path: Any) -> None:
    X, y = RNG.normal(size=(100, 2)), np.arange(100) % 2
    own = ResidualMLP(2, 2, width=8, depth=1, timed=True, n_times=2)
    model = small(network=own).fit(X)
    loaded = fn.load(model.save(tmp_path / "run"), network=own)
    assert (loaded.sample(5, random_state=0) == model.sample(5, random_state=0)).all()
    labelled = small().fit(X, y)
    assert not (labelled.sample(5, y=0, random_state=0) == labelled.sample(5, y=1)).all()
    with pytest.raises(ValueError, match="guidance"):
        labelled.set_params(guidance=2.0).sample(5, y=1)
    sourced = small(source=X + 5).fit(X)
    assert sourced.sample(5).shape == (5, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "vp-cosine"}, "linear"),
        ({"bridge_noise": 0.1}, "bridge_noise"),
        ({"guidance": 2.0}, "guidance"),
    ],
)
def test_what_does_not_go_together(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**arguments).fit(RNG.normal(size=(20, 2)))


def test_a_velocity_has_no_mean_steps_and_images_no_mean_velocity() -> None:
    with pytest.raises(ValueError, match='objective="mean-flow"'):
        fn.FlowMatching(solver="mean").fit(RNG.normal(size=(20, 2)))
    with pytest.raises(fn.DataError, match="images"):
        small().fit(RNG.random((20, 4, 4)))
