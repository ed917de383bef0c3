import warnings

import numpy as np
import pytest
from scipy.linalg import sqrtm

from fromnoise.errors import DataError
from fromnoise.metrics import frechet_distance, vendi


def with_moments(mean, covariance, n=50, seed=0):
    """Rows whose sample mean and covariance are exactly these."""
    rows = np.random.default_rng(seed).normal(size=(n, len(mean)))
    rows -= rows.mean(axis=0)
    rows = (
        rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T, ddof=1).reshape(2 * [len(mean)]))).T
    )
    return rows @ np.linalg.cholesky(covariance).T + mean


def by_matrix_root(real, fake):
    s, t = (np.cov(z.T).reshape(2 * [z.shape[1]]) for z in (real, fake))
    root = sqrtm(s)
    cross = sqrtm(root @ t @ root).real
    return np.sum((real.mean(0) - fake.mean(0)) ** 2) + np.trace(s + t - 2 * cross)


def test_frechet_distance_of_diagonal_gaussians_is_the_closed_form():
    a, b = np.array([1e-4, 1.0, 9.0, 400.0]), np.array([4.0, 0.25, 9.0, 1e-2])
    mean, other = np.array([0.0, 1, 2, 3]), np.array([1.0, 1, 0, -3])
    expected = ((np.sqrt(a) - np.sqrt(b)) ** 2).sum() + ((mean - other) ** 2).sum()
    result = frechet_distance(
        with_moments(mean, np.diag(a)), with_moments(other, np.diag(b), n=70, seed=1)
    )
    assert result.value == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_of_gaussians_that_do_not_commute_is_that_of_matrix_roots():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)), rng.normal(size=(41, 5))
    assert frechet_distance(real, fake).value == pytest.approx(
        by_matrix_root(real, fake), rel=1e-10
    )


def test_frechet_distance_leaves_groups_out():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(63, 3)) + 50, rng.normal(50.5, 1.5, (45, 3))
    expected = [
        by_matrix_root(*(z[np.arange(len(z)) % 20 != g] for z in (real, fake))) for g in range(20)
    ]
    np.testing.assert_allclose(frechet_distance(real, fake).replicates, expected, rtol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(50, 10), (50, 1), (30, 100)])
def test_frechet_distance_of_a_set_to_itself_is_zero(n, d):
    rows = np.random.default_rng(0).normal(size=(n, d)) * np.logspace(0, 3, d)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = frechet_distance(rows, rows).value
    assert abs(value) <= 1e-6 * rows.var(axis=0).sum()


def test_frechet_distance_of_constant_columns_is_the_shift_and_the_variance():
    real = with_moments(np.zeros(2), np.eye(2))
    still = np.full((50, 2), 3.0)
    assert frechet_distance(still, still + np.array([1, 2])).value == pytest.approx(5)
    # a point at (3, 3) and N(0, I): 9 + 9 + tr I
    assert frechet_distance(real, still).value == pytest.approx(20)
    assert frechet_distance(still, real).value == pytest.approx(20)


def test_frechet_distance_of_as_few_rows_as_columns_warns_of_bias():
    rng = np.random.default_rng(0)
    large, small = rng.normal(size=(200, 20)), rng.normal(size=(20, 20))
    for sets in ((large, small), (small, large)):
        with pytest.warns(UserWarning, match=r"20 rows in 20 columns.*bias.*PixelPCA") as caught:
            result = frechet_distance(*sets)
        assert caught[0].filename == __file__
        assert result.n == 20
    frechet_distance(large, rng.normal(size=(21, 20)))  # no warning, or an error


def test_frechet_distance_is_as_biased_as_its_docstring_says():
    draws = np.random.default_rng(0).normal(size=(50, 2, 500, 10))
    values = np.array([frechet_distance(x, y).value for x, y in draws])
    assert values.mean() == pytest.approx(10 * 15 / (2 * 500), rel=0.1)


def test_frechet_distance_does_not_depend_on_place_direction_or_order_and_goes_with_the_square():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(60, 3)), rng.normal(0.3, 1.2, (60, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    value = frechet_distance(real, fake).value
    assert frechet_distance(fake, real).value == pytest.approx(value, rel=1e-10)
    assert frechet_distance(real @ turn + 1e4, fake @ turn + 1e4).value == pytest.approx(value)
    assert frechet_distance(real * 1e3, fake * 1e3).value == pytest.approx(value * 1e6)


def test_frechet_distance_says_what_it_is_and_what_it_needs():
    rows = np.random.default_rng(0).normal(size=(30, 2))
    result = frechet_distance(rows, rows + 1)
    assert (result.better, result.target, result.n) == ("lower", 0.0, 30)
    assert frechet_distance(rows[:3], rows[3:6]).low >= 0
    with pytest.raises(DataError, match="at least 3 rows in fake"):
        frechet_distance(rows, rows[:2])
    with pytest.raises(DataError, match="2 in real and 1 in fake"):
        frechet_distance(rows, rows[:, :1])


def by_kernel(rows):
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    share = np.linalg.eigvalsh(rows @ rows.T / len(rows))
    share = share[share > 1e-15]
    return np.exp(-(share * np.log(share)).sum())


@pytest.mark.parametrize(("n", "d"), [(40, 7), (40, 40), (25, 60)])
def test_vendi_is_that_of_the_matrix_of_cosines_and_leaves_groups_out(n, d):
    rows = np.random.default_rng(0).normal(1, 1, (n, d))
    result = vendi(rows)
    assert result.value == pytest.approx(by_kernel(rows), rel=1e-10)
    expected = [by_kernel(rows[np.arange(n) % 20 != g]) for g in range(20)]
    np.testing.assert_allclose(result.replicates, expected, rtol=1e-9)


@pytest.mark.parametrize("d", [12, 30])
def test_vendi_of_orthogonal_rows_is_their_number_and_of_equal_rows_one(d):
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0][:12]
    assert vendi(directions).value == pytest.approx(12)
    assert vendi(np.repeat(directions, 5, axis=0)).value == pytest.approx(12)
    assert vendi(np.repeat(directions[:1], 40, axis=0)).value == pytest.approx(1)
    # 3/4 and 1/4 of the rows
    uneven = np.repeat(directions[:2], [30, 10], axis=0)
    assert vendi(uneven).value == pytest.approx(4 / 3**0.75)


def test_vendi_does_not_depend_on_lengths_or_turns():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 6))
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    for other in (rows * rng.uniform(1, 9, (50, 1)), rows @ turn, rows * 1e-200, rows * 1e200):
        assert vendi(other).value == pytest.approx(vendi(rows).value, rel=1e-10)


def test_vendi_gives_rows_of_zeros_a_direction_of_their_own():
    rows = np.repeat([[0.0, 0.0], [3.0, 0.0]], 10, axis=0)
    assert vendi(rows).value == pytest.approx(2)
    assert vendi(np.zeros((9, 4))).value == pytest.approx(1)


def test_vendi_says_what_it_is():
    rows = np.random.default_rng(0).normal(size=(90, 6))
    result = vendi(rows)
    assert (result.better, result.target, result.n) == ("higher", 6.0, 90)
    assert vendi(rows[:4]).target == 4
    assert 1 <= result.low < result.value < result.high <= 6
    assert result == vendi(rows)
    with pytest.raises(DataError, match="at least 3 rows in fake"):
        vendi(rows[:2])


def test_vendi_of_many_rows_takes_the_side_of_the_columns():
    # the other side would be a matrix of 800 MB
    rows = np.random.default_rng(0).normal(size=(10_000, 8))
    assert vendi(rows).value == pytest.approx(8, rel=1e-2)
