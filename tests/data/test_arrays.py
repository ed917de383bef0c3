r"""Arrays: integers that saturate, and moments that neither over- nor underflow."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fromnoise as fn
from fromnoise.data.arrays import restore, spread, spreads


def test_integers_saturate_instead_of_wrapping():
    assert restore(np.array([-3.0, 300.0]), "uint8", "numpy").tolist() == [0, 255]
    assert restore(np.array([1e30, -1e30]), "int64", "numpy")[0] > 0
    assert np.isfinite(restore(np.array([1e9]), "float16", "numpy")).all()


@given(hnp.arrays(np.int64, st.integers(1, 20), elements=st.integers(-1000, 1000)))
@pytest.mark.parametrize("unit", [1e-200, 1.0, 1e140])
def test_spread_agrees_with_numpy_at_any_scale(unit, x):
    mean, deviation = spread(x * unit)
    assert mean == pytest.approx(x.mean() * unit, abs=1e-9 * unit)
    assert deviation == pytest.approx(x.std() * unit, abs=1e-9 * unit)


def exactly(x, unit):
    r"""Return mean and standard deviation of a column in rational arithmetic."""
    entries = [Fraction(float(entry)) / Fraction(unit) for entry in x]
    mean = sum(entries) / len(entries)
    square = sum((entry - mean) ** 2 for entry in entries) / len(entries)
    return float(mean * Fraction(unit)), math.sqrt(square) * unit


@pytest.mark.parametrize(
    ("mean", "deviation"), [(1e8, 1e-2), (-1.7e9, 1.0), (0.0, 1e-300), (3.0, 1e140), (1e3, 1e3)]
)
@pytest.mark.parametrize("cuts", [[], [1, 2, 3, 500], list(range(7, 600, 7))])
def test_moments_by_blocks_are_exact_at_any_offset(mean, deviation, cuts):
    X = np.random.default_rng(0).normal(mean, deviation, (600, 2))
    X[:, 1] = np.sort(X[:, 1])  # no block is like the next
    for found, column in zip(np.transpose(spreads(np.split(X, cuts))), X.T, strict=True):
        assert found == pytest.approx(exactly(column, deviation), rel=1e-12, abs=1e-12 * deviation)


@pytest.mark.parametrize("n", [1, 2, 100])
def test_entries_that_are_missing_do_not_count(n):
    X = np.random.default_rng(0).normal(1e6, 1, (100, 4))
    X[::3, 0] = np.nan
    X[:50, 1] = np.nan
    X[:, 2] = np.nan
    X[:, 3] = np.where(np.arange(100) < 60, np.nan, 7.5)
    shift, scale = spreads(np.array_split(X, n))
    np.testing.assert_allclose(shift[:2], np.nanmean(X[:, :2], 0), rtol=1e-12)
    np.testing.assert_allclose(scale[:2], np.nanstd(X[:, :2] - 1e6, 0), rtol=1e-12)
    assert np.isnan(shift[2]) and shift[3] == 7.5 and scale[2:].tolist() == [0, 0]


def test_only_what_never_varies_has_no_spread():
    X = np.full((3000, 2), 0.1)
    X[-1, 1] = np.nextafter(0.1, 1)
    shift, scale = spreads(np.array_split(X, 50))
    assert shift[0] == 0.1 and scale[0] == 0 and scale[1] > 0


def test_moments_do_not_depend_on_the_layout_of_the_rows():
    X = np.random.default_rng(0).normal(size=(5000, 7)).astype(np.float32)
    expected = spreads(np.array_split(X, 9))
    for other in (np.asfortranarray(X), np.repeat(X, 2, 0)[::2], X.astype(np.float64)):
        assert np.array_equal(spreads(np.array_split(other, 9)), expected)


@pytest.mark.parametrize("name", ["rows.npy", Path("rows.npy")])
@pytest.mark.parametrize("family", [fn.GaussianMixture, fn.FlowMatching])
def test_the_name_of_data_is_refused_in_place_of_rows(family, name):
    with pytest.raises(fn.DataError, match=r"name 'rows.npy'. .*data.load\('rows.npy'\).X"):
        family().fit(name)


@pytest.mark.parametrize("X", [np.eye(4), pd.DataFrame(np.eye(4)), np.eye(4).reshape(4, 2, 2)])
def test_a_fitted_model_refuses_the_name_of_data_too(X):
    encoding = fn.data.fit_encoding(X)
    for method in (encoding.check, encoding.partial):
        with pytest.raises(fn.DataError, match="Load it first"):
            method("rows.npy")
