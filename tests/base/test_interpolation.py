r"""Ways between rows: their ends, their middle, their labels."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

import fromnoise as fn
from fromnoise.base.interpolation import slerp

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 3)) * [1, 10, 0.1] + [0, 100, 5]


def small(family: Any = fn.FlowMatching, **arguments: Any) -> Any:
    return family(**{"network": "small", "budget": "40 steps", "random_state": 0, **arguments})


@pytest.mark.parametrize("family", [fn.FlowMatching, fn.Diffusion])
def test_a_way_ends_where_it_should_and_keeps_the_length_of_the_codes(family: Any) -> None:
    model = small(family).fit(X)
    way = model.interpolate(X[:4], X[4:8], 7)
    assert way.shape == (28, 3)
    scale = X.std(0)
    np.testing.assert_allclose(way[::7] / scale, X[:4] / scale, atol=2e-3)
    np.testing.assert_allclose(way[6::7] / scale, X[4:8] / scale, atol=2e-3)
    z = model.encode(way)
    for pair, (a, b) in enumerate(zip(model.encode(X[:4]), model.encode(X[4:8]), strict=True)):
        arc = slerp(a.astype(float), b.astype(float), np.linspace(0, 1, 7))
        np.testing.assert_allclose(z[7 * pair : 7 * pair + 7], arc, atol=2e-2)


def test_codes_of_one_number_go_straight() -> None:
    model = small().fit(X[:, :1])
    way = model.interpolate([[-2.0]], [[2.0]], 5)
    assert (np.diff(way[:, 0]) > 0).all()


def test_a_vae_walks_between_reconstructions() -> None:
    model = small(fn.VAE, latent_dim=2).fit(X)
    way = model.interpolate(X[:1], X[1:2], 3)
    np.testing.assert_allclose(way[[0, 2]], model.reconstruct(X[:2]), rtol=1e-5)


def test_labels_stay_with_their_pair() -> None:
    y = np.arange(200) % 2
    model = small().fit(X, y)
    both = model.interpolate(X[:2], X[2:4], 4, np.array([0, 1]))
    for label in (0, 1):
        one = model.interpolate(X[label : label + 1], X[2 + label : 3 + label], 4, label)
        np.testing.assert_allclose(both[4 * label : 4 * label + 4], one, rtol=1e-5)


def test_rows_come_back_as_they_came() -> None:
    table = pd.DataFrame({"a": X[:, 0], "b": np.where(X[:, 2] > 5, "x", "y")})
    model = small(budget="5 steps").fit(table)
    way = model.interpolate(table[:2], table[2:4], 3)
    assert list(way.columns) == ["a", "b"]
    assert (way.dtypes == table.dtypes).all()


def test_bad_ends_are_refused() -> None:
    model = small(budget="2 steps").fit(X)
    with pytest.raises(ValueError, match="n must be"):
        model.interpolate(X[:1], X[1:2], 1)
    with pytest.raises(fn.DataError, match="as many rows, got 1 and 2"):
        model.interpolate(X[:1], X[1:3])


def test_there_is_no_arc_without_gaussian_codes() -> None:
    with pytest.raises(AttributeError, match=r"no interpolate with a source.* has interpolate"):
        small(source=X).interpolate(X[:1], X[1:2])
    assert not hasattr(fn.GaussianMixture(), "interpolate")
    assert not hasattr(fn.GAN(), "interpolate")
