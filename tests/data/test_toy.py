r"""Toy distributions: each draw is one from the distribution that its name says."""

import numpy as np
import pytest

from fromnoise.data import load, toy
from fromnoise.errors import DataError


@pytest.mark.parametrize("name", toy.NAMES)
def test_draws_repeat_by_seed_and_differ_between_seeds(name):
    X = toy.sample(name, 500, seed=3)
    assert X.shape == (500, 2) and X.dtype == np.float64 and np.isfinite(X).all()
    assert np.array_equal(X, toy.sample(name, 500, seed=3))
    assert not np.isin(X, toy.sample(name, 500, seed=4)).any()


@pytest.mark.parametrize("name", toy.NAMES)
def test_loading_gives_ten_thousand_rows_without_labels(name):
    data = load(name)
    assert data.X.shape == (10_000, 2) and data.y is None
    assert data.kind == "vectors" and data.name == name


@pytest.mark.parametrize(
    ("name", "modes", "width"), [("8gaussians", 8, 0.1), ("25gaussians", 25, 0.05)]
)
def test_gaussians_have_equal_modes_of_the_stated_width(name, modes, width):
    X = toy.sample(name, 20_000, seed=0)
    if modes == 8:
        nearest = np.round(np.arctan2(X[:, 1], X[:, 0]) / (np.pi / 4)) % 8
        centres = 2 * np.stack([np.cos(nearest * np.pi / 4), np.sin(nearest * np.pi / 4)], 1)
    else:
        centres = 2 * np.round(X / 2)
        assert np.abs(centres).max() == 4
    _, counts = np.unique(centres.round(6), axis=0, return_counts=True)
    expected = 20_000 / modes
    assert len(counts) == modes and np.abs(counts - expected).max() < 5 * np.sqrt(expected)
    np.testing.assert_allclose((X - centres).std(0), width, rtol=0.03)


def test_checkerboard_fills_every_second_square_evenly():
    X = toy.sample("checkerboard", 16_000, seed=0)
    cell = np.floor((X + 4) / 2).astype(int)
    assert X.min() >= -4 and X.max() <= 4
    assert ((cell.sum(1) % 2) == 0).all()
    _, counts = np.unique(cell, axis=0, return_counts=True)
    assert len(counts) == 8 and np.abs(counts - 2000).max() < 5 * np.sqrt(2000)


def test_moons_are_two_half_circles():
    X = toy.sample("moons", 20_000, seed=0)
    upper = np.abs(np.hypot(*X.T) - 1)
    lower = np.abs(np.hypot(*(X - [1.0, 0.5]).T) - 1)
    assert np.minimum(upper, lower).max() < 6 * 0.05
    assert np.mean(upper < lower) == pytest.approx(0.5, abs=0.02)
    assert X[upper < 0.02, 1].mean() > 0.4


def test_swissroll_and_scurve_lie_on_their_curves():
    X = toy.sample("swissroll", 5000, seed=0)
    radius = np.hypot(*X.T)
    turned = (np.arctan2(X[:, 1], X[:, 0]) - 5 * radius) / (2 * np.pi)
    near = np.abs(turned - turned.round()) * radius
    assert np.median(near) < 0.05
    X = toy.sample("scurve", 5000, seed=0)
    centre = np.where(X[:, 1:] > 0, [[0.0, 1.0]], [[0.0, -1.0]])
    # Each half is an arc of a circle of radius 1 about (0, -1) or (0, 1).
    assert np.abs(np.hypot(*(X - centre).T) - 1).max() < 0.3
    assert X[:, 1].min() < -1.8 and X[:, 1].max() > 1.8


def test_an_unknown_name_is_answered_with_a_guess():
    with pytest.raises(DataError, match="Did you mean 'moons'"):
        toy.sample("mons", 5, seed=0)
