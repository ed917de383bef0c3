import json

import numpy as np
import pytest
from scipy.linalg import hadamard
from scipy.stats import t as student

from fromnoise.errors import DataError
from fromnoise.metrics import Result, coverage, energy_distance, paired_difference
from fromnoise.metrics.result import (
    from_halves,
    half_count,
    half_masks,
    halved,
    share_interval,
    summarise,
)


def jackknife_of_mean(groups):
    return np.array([groups.mean(), *((groups.sum() - g) / (len(groups) - 1) for g in groups)])


def test_interval_of_a_mean_is_students():
    groups = np.random.default_rng(0).normal(3, 2, 20)
    result = summarise(jackknife_of_mean(groups), n=20, better="lower", target=0.0)
    half = student.ppf(0.975, 19) * groups.std(ddof=1) / np.sqrt(20)
    assert result.low == pytest.approx(groups.mean() - half, rel=1e-12)
    assert result.high == pytest.approx(groups.mean() + half, rel=1e-12)


@pytest.mark.parametrize("groups", [4, 8, 12, 20])
def test_halves_of_a_mean_are_its_jackknife(groups):
    means = np.random.default_rng(0).normal(size=groups)
    halves = halved(lambda kept: float(means[kept].mean()), groups)
    np.testing.assert_allclose(halves, jackknife_of_mean(means), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("groups", [4, 8, 12, 20])
def test_masks_are_all_groups_and_balanced_halves_with_their_complements(groups):
    masks = half_masks(groups)
    assert masks.shape == (2 * groups - 1, groups)
    assert masks[0].all()
    np.testing.assert_array_equal(masks[1::2], ~masks[2::2])
    signs = np.where(masks[1::2], 1, -1)
    np.testing.assert_array_equal(signs @ signs.T, groups * np.eye(groups - 1))
    assert (signs.sum(axis=1) == 0).all()


def test_variance_of_halves_is_the_mean_square_of_the_contrasts():
    statistics = np.random.default_rng(0).normal(size=39)
    result = summarise(from_halves(statistics), n=99, better="lower", target=0.0)
    contrasts = (statistics[1::2] - statistics[2::2]) / 2
    half = student.ppf(0.975, 19) * np.sqrt((contrasts**2).sum() / 19)
    assert result.high - result.value == pytest.approx(half, rel=1e-12)


def test_bounds_cut_the_interval_and_never_past_the_value():
    values = jackknife_of_mean(np.random.default_rng(0).normal(0.5, 1, 20))
    free = summarise(values, n=9, better="lower", target=0.0)
    cut = summarise(values, n=9, better="lower", target=0.0, bounds=(0.2, 0.5))
    assert free.low < 0.2 < free.value < 0.5 < free.high
    assert (cut.low, cut.value, cut.high) == (0.2, free.value, 0.5)
    below = summarise(values, n=9, better="lower", target=0.0, bounds=(2.0, 3.0))
    assert below.low == below.value


def test_half_count_needs_as_many_rows_as_groups():
    assert [half_count(np.ones(n), np.ones(99)) for n in (4, 7, 8, 12, 19, 20, 500)] == [
        4, 4, 8, 12, 12, 20, 20,
    ]  # fmt: skip


def test_share_interval_is_wilsons_for_independent_rows():
    rows = hadamard(32)[1, :20] > 0
    rows = np.concatenate([rows, ~rows, np.arange(20) < 13, np.arange(20) < 16])
    groups = rows.reshape(4, 20).mean(axis=0)
    low, high = share_interval(jackknife_of_mean(groups), n=80)
    p, q = rows.mean(), student.ppf(0.975, 19)
    p_inner = (80 * p + 1) / 82
    n = min(p_inner * (1 - p_inner) / (groups.var(ddof=1) / 20), 80)
    for end in (low, high):  # Wilson: the ends solve |p - end| = q sqrt(end (1 - end)/n)
        assert abs(p - end) == pytest.approx(q * np.sqrt(end * (1 - end) / n), rel=1e-9)
    assert low < p < high


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_share_interval_has_a_width_at_its_ends(share):
    low, high = share_interval(np.full(21, share), n=100)
    assert 0 <= low < high <= 1
    assert 0.03 < high - low < 0.05
    assert share in (low, high)


def test_json_has_all_but_the_replicates():
    result = Result(1.0, 0.5, 1.5, 10, "higher", 2.0, (1.0, 2.0))
    assert json.loads(json.dumps(result.to_json())) == {
        "value": 1.0, "low": 0.5, "high": 1.5, "n": 10, "better": "higher", "target": 2.0,
    }  # fmt: skip
    assert float(result) == 1.0
    assert "replicates" not in repr(result)


def test_results_are_json_after_every_kind_of_metric():
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    for metric in (energy_distance, coverage):
        json.dumps(metric(x, x + 1).to_json(), allow_nan=False)


def test_pairing_cancels_what_the_real_rows_do():
    rng = np.random.default_rng(1)
    real = rng.normal(size=(500, 2))
    a, b = (energy_distance(real, rng.normal(shift, 1, (500, 2))) for shift in (0.6, 0.5))
    gap = paired_difference(a, b)
    width = {name: r.high - r.low for name, r in (("a", a), ("b", b), ("gap", gap))}
    assert gap.value == pytest.approx(a.value - b.value)
    assert width["gap"] < 0.95 * np.hypot(width["a"], width["b"])
    assert (gap.n, gap.better, gap.target) == (500, "lower", 0.0)


def test_a_result_ties_with_itself_exactly():
    x = np.random.default_rng(0).normal(size=(50, 2))
    result = energy_distance(x, x + 1)
    gap = paired_difference(result, result)
    assert gap.low == gap.value == gap.high == 0


def test_pairing_refuses_other_groups():
    few, many = (Result(0, 0, 0, 9, "lower", 0, (0.0,) * groups) for groups in (9, 20))
    with pytest.raises(DataError, match="9 and 20 replicates"):
        paired_difference(few, many)
    with pytest.raises(DataError, match="0 and 20 replicates"):
        paired_difference(Result(0, 0, 0, 9, "lower", 0), many)


def test_overflow_is_an_error():
    x = np.random.default_rng(0).normal(size=(50, 2))
    with pytest.raises(DataError, match="too large"), np.errstate(all="ignore"):
        energy_distance(x * 1e200, x)
