r"""States on the way from noise to data: where they begin and end, and what lies between."""

import numpy as np
import pytest
import torch
from torch import nn

import fromnoise as fn
from fromnoise.base.trajectory import trajectory
from fromnoise.errors import DataError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 2)) @ [[2.0, 0.5], [0.0, 0.3]] + [10, -4]
QUICK = {"budget": "3 steps", "network": "small", "random_state": 0}


class Still(nn.Module):
    r"""What the network adds to the flow of a standardised Gaussian: nothing."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x, t):
        return 0.0 * x * self.unused


@pytest.mark.parametrize("solver", ["euler", "midpoint", "dopri5"])
def test_the_last_state_is_the_sample(solver):
    model = fn.FlowMatching(solver=solver, steps=6, **QUICK).fit(X)
    times, states = trajectory(model, 70, stops=4, random_state=3)
    assert times[0] == 0 and times[-1] == 1 and len(times) == 4
    expected = model.sample(70, random_state=3)
    assert states.shape == (280, 2) and states.dtype == expected.dtype
    assert np.allclose(states[3::4], expected, atol=0.01 if solver == "dopri5" else 0)


@pytest.mark.parametrize("solver", ["ancestral", "ddim"])
def test_fresh_noise_on_the_way_is_that_of_the_sample(solver):
    model = fn.Diffusion(solver=solver, steps=5, **QUICK).fit(X)
    _, states = trajectory(model, 20, stops=3, random_state=1)
    assert np.array_equal(states[2::3], model.sample(20, random_state=1))


def test_a_gaussian_flow_keeps_the_direction_of_the_noise_and_its_size_in_between():
    # On the straight path a standardised Gaussian flows by x_t = √(t² + (1 − t)²) z.
    model = fn.FlowMatching(network=Still(), budget="1 steps", solver="rk4", steps=40).fit(X)
    times, states = trajectory(model, 50, stops=5, random_state=0)
    centre, scale = X.mean(0), X.std(0)
    ways = ((states - centre) / scale).reshape(50, 5, 2)
    size = np.sqrt(times**2 + (1 - times) ** 2)
    assert times.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert np.allclose(ways, ways[:, :1] * size[:, None], rtol=0.05, atol=0.05)


def test_no_more_stops_than_steps():
    model = fn.FlowMatching(steps=2, **QUICK).fit(X)
    times, states = trajectory(model, 3, stops=9, random_state=0)
    assert times.tolist() == [0, 0.5, 1] and states.shape == (9, 2)


def test_labels_and_images_come_as_they_were_given():
    images = torch.from_numpy(RNG.integers(0, 256, (60, 6, 6), dtype=np.uint8))
    model = fn.FlowMatching(steps=3, **QUICK).fit(images, np.arange(60) % 2)
    _, states = trajectory(model, 4, stops=2, y=1, random_state=0)
    assert isinstance(states, torch.Tensor) and states.shape == (8, 6, 6)
    assert torch.equal(states[1::2], model.sample(4, y=1, random_state=0))
    _, drawn = trajectory(model, 4, stops=2, random_state=0)
    assert torch.equal(drawn[1::2], model.sample(4, random_state=0))
    with pytest.raises(DataError):
        trajectory(model, 4, y=7)


@pytest.mark.parametrize(("given", "word"), [({"n_samples": 0}, "n_samples"),
                                             ({"n_samples": 1025}, "n_samples"),
                                             ({"stops": 1}, "stops")])  # fmt: skip
def test_what_is_out_of_range_is_refused(given, word):
    model = fn.FlowMatching(steps=2, **QUICK).fit(X)
    with pytest.raises(ValueError, match=word):
        trajectory(model, **{"n_samples": 2, **given})
