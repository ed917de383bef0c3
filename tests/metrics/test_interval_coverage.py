"""A short form of benchmarks/interval_coverage.py: do 95 % intervals hold the expectation?"""

import numpy as np
import pandas as pd
import pytest

from fromnoise.metrics import (
    c2st,
    column_shapes,
    copying,
    coverage,
    density,
    energy_distance,
    frechet_distance,
    mmd,
    pair_trends,
    paired_difference,
    sliced_wasserstein,
    train_on_synthetic,
    usefulness,
    vendi,
)


def few_directions(real, fake):
    return sliced_wasserstein(real, fake, n_directions=20)


def cubic(real, fake):
    return mmd(real, fake, kernel="cubic")


def paired(real, fake):
    # two models that make rows of the same distribution, independently
    a, b = (energy_distance(real[:50], rows) for rows in (fake[:50], fake[50:]))
    return paired_difference(a, b)


def copies(real, fake):
    return copying(real[::2], real[1::2], fake)


def diversity(real, fake):
    return vendi(np.hstack([fake, fake**2]))


def table(rows):
    # a number, a number that goes with it, a level that goes with both
    number, level = rows.T
    kind = np.where(level > number, "low", np.where(level > -1, "high", "top"))
    return pd.DataFrame({"a": number, "b": number + level, "kind": kind})


def shapes(real, fake):
    return column_shapes(table(real), table(fake))


def trends(real, fake):
    return pair_trends(table(real), table(fake))


def hits(results):
    value, low, high = np.array([(r.value, r.low, r.high) for r in results]).T
    truth = value.mean()
    return ((low <= truth) & (truth <= high)).mean(), (high - low).mean() / (4 * value.std())


@pytest.mark.parametrize("shift", [0.0, 0.7])
@pytest.mark.parametrize(
    "metric",
    [
        energy_distance, mmd, cubic, few_directions, frechet_distance, coverage, density, copies,
        diversity, shapes, trends, paired,
    ],
)  # fmt: skip
def test_intervals_hold_the_expectation(metric, shift):
    draws = np.random.default_rng(0).normal(size=(100, 2, 100, 2))
    share, width = hits(metric(real, fake + shift) for real, fake in draws)
    # 100 trials at 95 %: below 0.88 is 3 standard errors off. For equal distributions the
    # jackknife doubles the variance of a degenerate statistic, so widths reach sqrt 2.
    assert share >= 0.88
    assert 0.8 < width < 1.7


def test_intervals_of_c2st_hold_the_expectation():
    draws = np.random.default_rng(0).normal(size=(20, 2, 50, 2))
    share, width = hits(c2st(real, fake + 0.7) for real, fake in draws)
    assert share >= 0.8
    assert 0.8 < width < 1.7


def test_intervals_of_train_on_synthetic_hold_the_expectation(monkeypatch):
    monkeypatch.setattr(usefulness, "_ITERATIONS", 10)
    draws = np.random.default_rng(0).normal(size=(30, 2, 200, 2))
    share, width = hits(
        train_on_synthetic(table(fake)[["a", "b"]], table(real)[["a", "b"]], "b")
        for real, fake in draws
    )
    # halves of few rows teach trees much less than all rows, so the interval is cautious
    assert share >= 0.83
    assert 0.8 < width < 2.5
