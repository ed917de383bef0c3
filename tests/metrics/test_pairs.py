import numpy as np
import pytest
import torch

from fromnoise.errors import DataError
from fromnoise.metrics import pairs
from fromnoise.metrics.pairs import (
    checked,
    count_within,
    distances,
    grouped_sums,
    kth,
    nearest,
    nearest_by_group,
    with_and_without,
)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(pairs, "_BLOCK_VALUES", 100)


def test_equal_rows_are_exactly_zero_apart_far_from_the_origin():
    x = np.random.default_rng(0).normal(1e8, 1, (30, 7))
    found = distances(x, x.copy())
    assert (np.diag(found) == 0).all()
    np.testing.assert_allclose(found, np.linalg.norm(x[:, None] - x, axis=-1), rtol=1e-14)


def test_read_only_and_reversed_rows_are_measured_without_a_warning():
    x = np.arange(6.0).reshape(3, 2)
    x.flags.writeable = False
    assert distances(x, x[::-1, ::-1])[0, 1] == pytest.approx(np.sqrt(10))


@pytest.mark.parametrize("same", [False, True])
def test_sums_with_and_without_groups_are_those_of_the_rows(small_blocks, same):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(37, 2))
    y = x if same else rng.normal(size=(29, 2))
    sums = with_and_without(grouped_sums(distances, x, y, 7, same=same))
    for g, total in enumerate(sums, start=-1):
        kept_x, kept_y = (z[np.arange(len(z)) % 7 != g] if g >= 0 else z for z in (x, y))
        assert total == pytest.approx(distances(kept_x, kept_y).sum(), rel=1e-12)


def test_a_row_makes_no_pair_with_itself(small_blocks):
    x = np.zeros((37, 1))
    sums = grouped_sums(lambda a, b: np.ones((len(a), len(b))), x, x, 7, same=True)
    assert sums.sum() == 37 * 36


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("k", [1, 3, 9])
def test_neighbours_by_group_are_those_of_the_sorted_distances(small_blocks, same, k):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(37, 2))
    y = x if same else rng.normal(size=(29, 2))
    found = nearest_by_group(x, y, k, 4, same=same)
    full = distances(x, y)
    if same:
        np.fill_diagonal(full, np.inf)
    kept = np.array([True, False, True, True])
    columns = kept[np.arange(len(y)) % 4]
    np.testing.assert_array_equal(kth(found, k, kept), np.sort(full[:, columns])[:, k - 1])
    np.testing.assert_array_equal(kth(found, k, kept | True), np.sort(full)[:, k - 1])


def test_nearest_is_that_of_the_full_table(small_blocks):
    x, y = np.random.default_rng(0).normal(size=(2, 37, 2))
    far, which = nearest(x, y)
    np.testing.assert_array_equal(far, distances(x, y).min(axis=1))
    np.testing.assert_array_equal(which, distances(x, y).argmin(axis=1))


def test_pairs_within_are_those_of_the_full_table(small_blocks):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(37, 2)), rng.normal(size=(29, 2))
    radii, counted = rng.uniform(-1, 3, (37, 4)), rng.random((29, 4)) < 0.6
    inside = distances(x, y)[:, :, None] <= radii[:, None]
    np.testing.assert_array_equal(
        count_within(x, y, radii, counted), (inside & counted).sum(axis=(0, 1))
    )


def test_checked_takes_what_holds_numbers():
    for rows in ([[1], [2], [3]], torch.ones(3, 1), np.ones((3, 1), bool), np.ones((3, 1), "f4")):
        (array,) = checked({"real": rows})
        assert array.dtype == np.float64
        assert array.shape == (3, 1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones(5), r"expected real as \(n, d\).*shape \(5,\)"),
        (np.ones((5, 0)), "d >= 1"),
        (np.ones((5, 2, 2)), "reshape"),
        (np.ones((2, 2)), "at least 3 rows in real, got 2"),
        ([["a"], ["b"], ["c"]], "array of numbers.*TableFeatures"),
        (np.ones((5, 1), complex), "array of numbers"),
        (np.array([[0.0], [np.nan], [1.0]]), "nan in row 1, column 0"),
        (np.array([[0.0, 1], [0, -np.inf], [1, 0]]), "-inf in row 1, column 1"),
    ],
)
def test_checked_says_what_is_wrong(rows, message):
    with pytest.raises(DataError, match=message):
        checked({"real": rows})


def test_checked_compares_columns_and_lets_nan_pass_when_asked():
    with pytest.raises(DataError, match="2 in real and 3 in fake"):
        checked({"real": np.ones((5, 2)), "fake": np.ones((5, 3))})
    rows = np.array([[np.nan], [1.0], [2.0]])
    assert np.isnan(checked({"real": rows}, allow_nan=True)[0][0, 0])
    with pytest.raises(DataError, match="finite"):
        checked({"real": rows * np.inf}, allow_nan=True)
