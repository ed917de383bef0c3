r"""Containers: rows, and trees from which they come back exactly."""

import numpy as np
import pandas as pd
import pytest

from fromnoise.data import (
    from_state,
    images,
    n_rows,
    take,
    to_state,
)
from fromnoise.errors import DataError


@pytest.mark.parametrize(
    "X",
    [
        np.arange(6.0).reshape(3, 2),
        np.arange(6, dtype=">i4").reshape(3, 2),
        np.array([True, False, True]),
        np.array(["a", "bb", "a"]),
        np.array(["a", "bb", "a"], object),
        images(np.zeros((3, 4, 4, 3)), "first"),
        pd.Series(["a", None, "b"], name="k"),
        pd.Series(pd.Categorical(["x", "y", "x"], ordered=True), name=5),
    ],
)
def test_containers_freeze_thaw_and_give_rows(X):
    again = from_state(to_state(X))
    assert type(again) is type(X) and n_rows(again) == n_rows(X) == 3
    rows = take(again, np.array([2, 0]))
    assert type(rows) is type(X) and n_rows(rows) == 2
    if isinstance(X, pd.Series):
        pd.testing.assert_series_equal(again, X)
        assert rows.index.tolist() == [0, 1] and rows[0] == X[2]
    else:
        got, expected = (
            np.asarray(getattr(again, "array", again)),
            np.asarray(getattr(X, "array", X)),
        )
        assert np.array_equal(got, expected) and got.dtype == expected.dtype.newbyteorder("=")
        assert getattr(again, "channels", None) == getattr(X, "channels", None)
        assert np.array_equal(np.asarray(getattr(rows, "array", rows)), expected[[2, 0]])


def test_other_containers():
    torch = pytest.importorskip("torch")
    X = torch.arange(6).reshape(3, 2)
    again = from_state(to_state(X))
    assert again.dtype == X.dtype and torch.equal(again, X)
    assert torch.equal(take(X, np.array([2, 0])), X[[2, 0]])
    assert from_state(to_state(None)) is None
    assert take([5, 6, 7], np.array([1])) == [6]
    with pytest.raises(DataError, match="numbers or strings"):
        to_state(np.array([1, "a"], object))
