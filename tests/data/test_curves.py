r"""Curves: monotone, exact to invert, and with the slope that they state."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fromnoise.data.curves import Curve

spreads = st.sampled_from([1e-300, 1e-3, 1.0, 1e6, 1e140])
samples = hnp.arrays(np.float64, st.integers(2, 300), elements=st.floats(-100, 100, width=32))


@given(samples, spreads)
def test_row_24_a_curve_is_monotone_and_exactly_invertible(x, scale):
    curve = Curve.fit(x * scale)
    assert (np.diff(curve.x) > 0).all() and (np.diff(curve.v) > 0).all()
    there = np.concatenate([x, np.linspace(-300, 300, 50)]) * scale
    back = curve.inverse(curve.forward(there))
    width = np.abs(there).max() + np.abs(curve.x).max()
    np.testing.assert_allclose(back, there, rtol=0, atol=1e-10 * width)


# Differences of floats say nothing of slopes where knots are as near as rounding errors.
cents = hnp.arrays(np.int64, st.integers(2, 300), elements=st.integers(-10_000, 10_000))


@given(cents)
@settings(max_examples=30)
def test_row_24_the_log_slope_is_that_of_the_numerical_derivative(x):
    curve = Curve.fit(x / 100)
    middle = (curve.x[1:] + curve.x[:-1]) / 2
    at = np.concatenate([[curve.x[0] - 5], middle, [curve.x[-1] + 5]])
    step = np.diff(curve.x).min() / 8
    slope = (curve.forward(at + step) - curve.forward(at - step)) / ((at + step) - (at - step))
    np.testing.assert_allclose(np.exp(curve.log_slope(curve.forward(at))), slope, rtol=1e-5)
