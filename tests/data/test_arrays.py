r"""Arrays: integers that saturate, and moments that neither over- nor underflow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fromnoise.data.arrays import restore, spread


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
