import numpy as np
import pytest

from fromnoise.errors import DataError
from fromnoise.metrics import coverage, density, pairs
from fromnoise.metrics.result import halved


def naive_coverage(real, fake, k):
    far = np.linalg.norm(real[:, None] - real, axis=-1)
    radius = np.sort(far, axis=1)[:, k]
    nearest = np.linalg.norm(real[:, None] - fake, axis=-1).min(axis=1)
    return (nearest <= radius).mean()


@pytest.mark.parametrize(("n", "m"), [(80, 80), (95, 41), (13, 30)])
def test_coverage_is_the_naive_share(n, m):
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(n, 2)), rng.normal(0.5, 0.5, (m, 2))
    assert 0 < naive_coverage(real, fake, 5) < 1
    for k in (1, 5):
        assert coverage(real, fake, k=k).value == naive_coverage(real, fake, k)


def test_coverage_of_one_distribution_meets_its_target():
    draws = np.random.default_rng(0).normal(size=(2, 100, 2, 60, 3))
    for k, draws_k in zip((2, 5), draws, strict=True):
        results = [coverage(x, y, k=k) for x, y in draws_k]
        values = np.array([result.value for result in results])
        target = results[0].target
        assert target == pytest.approx(1 - 0.5**k, abs=0.01)
        assert abs(values.mean() - target) < 5 * values.std() / 10
    lopsided = [coverage(x, y[:20], k=2) for x, y in draws[0]]
    values = np.array([result.value for result in lopsided])
    assert abs(values.mean() - lopsided[0].target) < 5 * values.std() / 10


def test_coverage_counts_ties_and_copies_as_covered():
    real = np.repeat(np.arange(5.0), 10)[:, None]
    assert coverage(real, real).value == 1
    assert coverage(real, real[:30]).value == pytest.approx(0.6)


def test_coverage_sees_a_lost_mode():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(400, 2)) + np.repeat([[0.0], [50.0]], 200, axis=0)
    result = coverage(real, rng.normal(size=(400, 2)))
    assert result.value == pytest.approx(0.5, abs=0.02)
    assert (result.better, result.n) == ("higher", 400)
    for k in (0, -1):
        with pytest.raises(DataError, match="k of at least 1"):
            coverage(real, real, k=k)
    with pytest.raises(DataError, match="at least 12 rows in fake"):
        coverage(real, real[:11])


def naive_density(real, fake, k):
    far = np.linalg.norm(real[:, None] - real, axis=-1)
    radius = np.sort(far, axis=1)[:, k]
    inside = np.linalg.norm(fake[:, None] - real, axis=-1) <= radius
    return inside.sum(axis=1).mean() / k


@pytest.mark.parametrize(("n", "m"), [(80, 80), (95, 41), (13, 30)])
def test_density_is_the_naive_number(n, m, monkeypatch):
    monkeypatch.setattr(pairs, "_BLOCK_VALUES", 500)
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(n, 2)), rng.normal(0.5, 0.5, (m, 2))
    for k in (1, 5):
        assert density(real, fake, k=k).value == pytest.approx(naive_density(real, fake, k))


@pytest.mark.parametrize(("n", "m", "groups"), [(80, 80, 20), (61, 45, 20), (15, 30, 12)])
def test_density_is_halved_in_both_sets(n, m, groups):
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(n, 2)), rng.normal(0.5, 1.3, (m, 2))

    def of_half(kept):
        return naive_density(*(z[kept[np.arange(len(z)) % groups]] for z in (real, fake)), 2)

    expected = halved(of_half, groups)
    result = density(real, fake, k=2)
    np.testing.assert_allclose([result.value, *result.replicates], expected, rtol=1e-10)


@pytest.mark.parametrize(("n", "m"), [(60, 60), (60, 20)])
@pytest.mark.parametrize("k", [1, 5])
def test_density_of_one_distribution_is_one_at_any_size(n, m, k):
    rng = np.random.default_rng(0)
    values = [
        density(rng.normal(size=(n, 3)), rng.normal(size=(m, 3)), k=k).value for _ in range(100)
    ]
    assert abs(np.mean(values) - 1) < 5 * np.std(values) / 10
    assert np.std(values) / 10 < 0.06


def test_density_does_not_see_a_lost_mode_but_fakes_that_are_nowhere():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(400, 2)) + np.repeat([[0.0], [50.0]], 200, axis=0)
    kept = density(real, rng.normal(size=(400, 2)))
    assert kept.low < 1 < kept.high
    half = density(real, rng.normal(size=(400, 2)) + np.repeat([[0.0], [99.0]], 200, axis=0))
    assert half.value == pytest.approx(kept.value / 2, abs=0.1)
    nowhere = density(real, real + 999)
    assert (nowhere.value, nowhere.low) == (0, 0)
    rare = density(real, np.concatenate([real[:2] + 0.01, real[2:] + 999]))
    assert rare.low == 0 < rare.value < rare.high


def test_density_of_fakes_at_the_centre_of_many_columns_is_far_above_one():
    real = np.random.default_rng(0).normal(size=(100, 100))
    # each row is farther from every other than from the centre: all n balls of the usual k
    assert density(real, real * 0.01).value == 100 / 5


def test_density_counts_ties_and_says_what_it_is():
    real = np.repeat(np.arange(5.0), 10)[:, None]
    # each fake equals 10 real rows whose balls are of radius 0
    assert density(real, real).value == 10 / 5
    result = density(real, real[:20] + 0.25)
    assert result.value == 0
    assert (result.better, result.target, result.n) == ("target", 1.0, 20)


def test_density_refuses_what_coverage_refuses():
    real = np.random.default_rng(0).normal(size=(30, 2))
    for k in (0, -1):
        with pytest.raises(DataError, match="k of at least 1"):
            density(real, real, k=k)
    with pytest.raises(DataError, match="at least 12 rows in fake"):
        density(real, real[:11])
    assert density(real[:12], real[12:24]).n == 12


@pytest.mark.parametrize("metric", [coverage, density])
def test_balls_do_not_depend_on_units_place_or_direction(metric):
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(60, 3)), rng.normal(0.3, 1.2, (60, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    moved = metric(real @ turn * 7 + 3, fake @ turn * 7 + 3)
    assert moved.value == pytest.approx(metric(real, fake).value, abs=1e-12)
    np.testing.assert_allclose(moved.replicates, metric(real, fake).replicates, atol=1e-12)
