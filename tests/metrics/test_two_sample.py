import itertools

import numpy as np
import pytest
import torch
from scipy.stats import energy_distance as scipy_energy
from scipy.stats import wasserstein_distance
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from fromnoise.errors import DataError
from fromnoise.metrics import (
    c2st,
    coverage,
    density,
    energy_distance,
    frechet_distance,
    mmd,
    paired_difference,
    sliced_wasserstein,
)
from fromnoise.metrics.two_sample import _area, _directions

SETS = {
    "equal n": (40, 40, 3),
    "unequal n": (41, 27, 2),
    "one column": (24, 30, 1),
    "three rows": (3, 4, 2),
}


@pytest.fixture(params=SETS.values(), ids=SETS)
def sets(request):
    n, m, d = request.param
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, d)), rng.normal(0.5, 1.3, (m, d))


def naive(kernel, x, y):
    def mean(pairs):
        return np.mean([kernel(a, b) for a, b in pairs])

    between = mean(itertools.product(x, y))
    return mean(itertools.permutations(x, 2)) + mean(itertools.permutations(y, 2)) - 2 * between


def euclidean(a, b):
    return np.sqrt(((a - b) ** 2).sum())


def cubic(a, b):
    return ((a * b).sum() / len(a) + 1) ** 3


def groups_left_out(metric, x, y):
    groups = min(20, len(x), len(y))
    keep = [[np.arange(len(z)) % groups != g for z in (x, y)] for g in range(groups)]
    return [metric(x[of_x], y[of_y]) for of_x, of_y in keep]


def test_energy_distance_is_the_double_loop(sets):
    result = energy_distance(*sets)
    assert result.value == pytest.approx(-naive(euclidean, *sets), rel=1e-12)
    expected = groups_left_out(lambda x, y: -naive(euclidean, x, y), *sets)
    np.testing.assert_allclose(result.replicates, expected, rtol=1e-10, atol=1e-12)


def test_energy_distance_is_scipys_but_for_the_pairs_of_a_row_with_itself():
    x, y = np.random.default_rng(0).normal(size=(2, 300, 1))
    within = [np.abs(z - z.T).mean() for z in (x, y)]
    biased = scipy_energy(x[:, 0], y[:, 0]) ** 2
    assert energy_distance(x, y).value == pytest.approx(biased - sum(within) / 299, abs=1e-12)


def test_mmd_cubic_is_the_double_loop(sets):
    result = mmd(*sets, kernel="cubic")
    assert result.value == pytest.approx(naive(cubic, *sets), rel=1e-10)
    expected = groups_left_out(lambda x, y: naive(cubic, x, y), *sets)
    np.testing.assert_allclose(result.replicates, expected, rtol=1e-9, atol=1e-10)


def test_mmd_rbf_is_the_double_loop(sets):
    real = sets[0]
    width = np.median([euclidean(a, b) for a, b in itertools.combinations(real, 2)])

    def rbf(a, b):
        return np.exp(-(euclidean(a, b) ** 2) / (2 * width**2))

    result = mmd(*sets)
    assert result.value == pytest.approx(naive(rbf, *sets), rel=1e-10)
    # the width stays that of all real rows
    expected = groups_left_out(lambda x, y: naive(rbf, x, y), *sets)
    np.testing.assert_allclose(result.replicates, expected, rtol=1e-9, atol=1e-12)


def test_mmd_rbf_has_a_scale_among_duplicates_and_none_without_differences():
    real = np.repeat([[0.0], [0.0], [0.0], [2.0]], 5, axis=0)
    assert mmd(real, real + 2).value == pytest.approx(
        naive(lambda a, b: np.exp(-((a - b)[0] ** 2) / 8), real, real + 2)
    )
    with pytest.raises(DataError, match="no scale"):
        mmd(np.ones((9, 1)), real)


def test_mmd_refuses_other_kernels():
    x = np.ones((5, 1))
    with pytest.raises(DataError, match="Did you mean 'cubic'"):
        mmd(x, x, kernel="cubik")


@pytest.mark.parametrize(
    "metric",
    [energy_distance, mmd, lambda x, y: mmd(x, y, kernel="cubic")],
    ids=["energy", "rbf", "cubic"],
)
def test_u_statistics_are_unbiased_for_equal_distributions(metric):
    draws = np.random.default_rng(0).normal(1, 1, (400, 2, 15, 2))
    values = np.array([metric(x, y).value for x, y in draws])
    assert abs(values.mean()) < 5 * values.std() / 20
    assert (values < 0).any()
    # the V-statistic, which keeps the pair of a row with itself, would fail:
    assert values.std() / 20 < 0.02 * np.abs(metric(draws[0, 0], draws[0, 0] + 1).value)


def test_sliced_wasserstein_of_a_shift_is_its_mean_square():
    real = np.random.default_rng(0).normal(size=(20, 5))
    shift = np.array([3.0, -1.0, 0.5, 2.0, 1.0])
    result = sliced_wasserstein(real, real + shift, n_directions=20_000)
    assert result.value**2 == pytest.approx((shift**2).sum() / 5, rel=1e-10)


@pytest.mark.parametrize(("d", "count"), [(3, 1002), (64, 1024), (1500, 1000)])
def test_directions_are_orthonormal_and_at_least_as_many_as_asked(d, count):
    directions = _directions(d, 1000)
    assert directions.shape == (count, d)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-12)
    if d < 1000:
        np.testing.assert_allclose(directions.T @ directions, np.eye(d) * count / d, atol=1e-9)


def test_sliced_wasserstein_in_one_column_is_that_of_sorted_rows():
    x, y = np.random.default_rng(0).normal(size=(2, 103, 1)) * [[[1.0]], [[2.0]]]
    expected = np.sqrt(((np.sort(x, axis=0) - np.sort(y, axis=0)) ** 2).mean())
    result = sliced_wasserstein(x, y)
    assert result.value == pytest.approx(expected, rel=1e-12)
    assert sliced_wasserstein(x, y, n_directions=7) == result


def test_sliced_wasserstein_of_unequal_n_repeats_each_row():
    x, y = (
        np.random.default_rng(0).normal(size=(6, 2)),
        np.random.default_rng(1).normal(size=(9, 2)),
    )
    expected = sliced_wasserstein(np.repeat(x, 3, axis=0), np.repeat(y, 2, axis=0)).value
    assert sliced_wasserstein(x, y).value == pytest.approx(expected, rel=1e-12)
    # another oracle: where the quantile functions do not cross, W1 of squares needs no pairing
    far = sliced_wasserstein(x[:, :1], np.full((9, 1), 50.0)).value
    squares = wasserstein_distance((50 - x[:, 0]) ** 2, [0.0])
    assert far == pytest.approx(np.sqrt(squares), rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(60, 60), (61, 45)])
def test_sliced_wasserstein_leaves_groups_out(n, m):
    rng = np.random.default_rng(0)
    sets = rng.normal(size=(n, 3)), rng.normal(0.5, 1.3, (m, 3))
    result = sliced_wasserstein(*sets, n_directions=60)
    expected = groups_left_out(lambda x, y: sliced_wasserstein(x, y, n_directions=60).value, *sets)
    np.testing.assert_allclose(result.replicates, expected, rtol=1e-10)


def test_sliced_wasserstein_has_directions_spread_over_the_sphere():
    real = np.random.default_rng(0).normal(size=(30, 3))
    stretched = [sliced_wasserstein(real, real * (1 + axis)).value for axis in np.eye(3)]
    # for rows of N(0, I), u·x and u·(x * (1, 1, 2)) have deviations 1 and sqrt(1 + 3 u_3^2)
    u = np.random.default_rng(1).normal(size=(100_000, 3))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    large = np.random.default_rng(2).normal(size=(2_000, 3))
    expected = np.sqrt(((np.sqrt(1 + 3 * u[:, 2] ** 2) - 1) ** 2).mean())
    assert sliced_wasserstein(large, large * [1, 1, 2]).value == pytest.approx(expected, rel=0.05)
    assert max(stretched) < 2 * min(stretched)
    with pytest.raises(DataError, match="n_directions"):
        sliced_wasserstein(real, real, n_directions=0)


def test_c2st_is_half_for_equal_distributions_and_one_for_far_ones():
    draws = np.random.default_rng(0).normal(size=(8, 2, 60, 2))
    results = [c2st(x, y) for x, y in draws]
    values = np.array([result.value for result in results])
    assert abs(values.mean() - 0.5) < 5 * 0.06 / np.sqrt(8)
    assert sum(r.low <= 0.5 <= r.high for r in results) >= 6
    assert (results[0].better, results[0].target) == ("target", 0.5)
    assert c2st(draws[0, 0], draws[0, 1] + 9).value == 1


def test_c2st_is_the_mean_area_of_five_folds_and_widens_the_jackknife_of_it():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(80, 2)), rng.normal(0.7, 1, (60, 2))
    rows, truth = np.concatenate([real, fake]), np.repeat([0, 1], [80, 60])
    position = np.concatenate([np.arange(80), np.arange(60)])
    areas = np.empty((5, 21))
    for fold in range(5):
        held = position % 5 == fold
        trees = HistGradientBoostingClassifier(early_stopping=False, random_state=0)
        score = trees.fit(rows[~held], truth[~held]).predict_proba(rows)[:, 1]
        for g in range(21):
            kept = held & (position % 20 != (g - 1 if g else 99))
            areas[fold, g] = roc_auc_score(truth[kept], score[kept])
    value, *without = areas.mean(axis=0)
    result = c2st(real, fake)
    assert result.value == pytest.approx(value, rel=1e-12)
    assert np.var(result.replicates) == pytest.approx(1.8 * np.var(without), rel=1e-9)


def test_c2st_reads_missing_values():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(2, 200, 2))
    fake[rng.random(200) < 0.6, 0] = np.nan
    assert c2st(real, fake).value > 0.7
    with pytest.raises(DataError, match="at least 10 rows"):
        c2st(real[:9], fake)


def test_c2st_runs_on_its_fewest_rows_and_unequal_ones():
    rng = np.random.default_rng(0)
    for n, m in [(10, 10), (11, 37), (13, 10)]:
        result = c2st(rng.normal(size=(n, 1)), rng.normal(size=(m, 1)))
        assert 0 <= result.low <= result.value <= result.high <= 1


def test_area_is_scikit_learns():
    rng = np.random.default_rng(0)
    score, truth = rng.integers(0, 9, 70) / 9, rng.random(70) < 0.4
    assert _area(score, truth) == pytest.approx(roc_auc_score(truth, score), rel=1e-12)


METRICS = [
    energy_distance,
    mmd,
    sliced_wasserstein,
    frechet_distance,
    coverage,
    density,
    c2st,
]


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_repeats_itself_and_leaves_its_input_and_the_global_seeds(metric):
    real, fake = np.random.default_rng(0).normal(size=(2, 50, 2))
    before = real.copy(), fake.copy(), np.random.get_state()[1].copy(), torch.get_rng_state()
    first, second = metric(real, fake), metric(real, fake)
    assert first == second
    assert first.low <= first.value <= first.high
    assert first.n == 50
    assert metric(torch.tensor(real), torch.tensor(fake)) == first
    after = real, fake, np.random.get_state()[1], torch.get_rng_state()
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("metric", [metric for metric in METRICS if metric is not density])
def test_every_metric_but_density_tells_a_worse_model_from_a_better_one(metric):
    rng = np.random.default_rng(0)
    real = rng.normal(size=(300, 2))
    good, bad = rng.normal(size=(300, 2)), rng.normal(1.5, 0.5, (300, 2))
    gap = paired_difference(metric(real, bad), metric(real, good))
    assert gap.high < 0 if gap.better == "higher" else gap.low > 0
