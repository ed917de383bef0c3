import datetime
from collections import Counter

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import ks_2samp, pearsonr

from fromnoise.errors import DataError
from fromnoise.metrics import column_shapes, pair_trends, paired_difference
from fromnoise.metrics.result import halved


def people(n, seed=0, shift=0.0):
    """A mixed table with missing values in every kind of column."""
    rng = np.random.default_rng(seed)
    age = rng.normal(40 + shift, 10, n)
    city = rng.choice(["Oslo", "Rome", "Lima"], n, p=[0.5, 0.3, 0.2]).astype(object)
    table = pd.DataFrame(
        {
            "age": age,
            "income": 100 * age + rng.normal(0, 1000, n),
            "city": city,
            "member": rng.random(n) < np.where(city == "Oslo", 0.8, 0.2),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 999, n), "D"),
        }
    )
    for column, share in (("age", 0.1), ("city", 0.2), ("since", 0.1)):
        table.loc[rng.random(n) < share, column] = None
    return table


def one(**values):
    return pd.DataFrame(values)


@pytest.mark.parametrize("decimals", [8, 0])
def test_shape_of_numbers_is_scipys(decimals):
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=70).round(decimals), rng.normal(0.4, 2, 45).round(decimals)
    result = column_shapes(one(x=real), one(x=fake))
    assert result.value == pytest.approx(1 - ks_2samp(real, fake).statistic, rel=1e-12)


def test_shape_of_levels_is_the_overlap_counted_by_hand():
    real = one(c=["a"] * 5 + ["b"] * 3 + ["c"] * 2)
    fake = one(c=["a"] * 2 + ["b"] * 2 + ["d"] * 4)
    # 1 - (|.5 - .25| + |.3 - .25| + .2 + .5)/2
    assert column_shapes(real, fake).value == pytest.approx(0.5)
    assert column_shapes(real == "a", fake == "a").value == pytest.approx(0.75)


def test_shapes_are_the_mean_over_columns():
    real, fake = people(200), people(150, seed=1, shift=5)
    alone = [column_shapes(real[[name]], fake[[name]]) for name in real]
    result = column_shapes(real, fake)
    assert result.value == pytest.approx(np.mean([float(r) for r in alone]))
    np.testing.assert_allclose(
        result.replicates, np.mean([r.replicates for r in alone], axis=0), rtol=1e-12
    )


def test_shapes_leave_missing_values_out():
    real, fake = people(200), people(150, seed=1)
    for name in real:
        expected = column_shapes(real[[name]].dropna(), fake[[name]].dropna()).value
        assert column_shapes(real[[name]], fake[[name]]).value == pytest.approx(expected)


@pytest.mark.parametrize("value", [1.5, "a"])
def test_a_column_without_values_agrees_with_none_but_its_like(value):
    full, empty = one(x=[value] * 6), one(x=[value] + [None] * 5).iloc[1:]
    dtype = full["x"].dtype
    assert column_shapes(full, empty.astype(dtype)).value == 0
    assert column_shapes(empty.astype(dtype), full).value == 0
    assert column_shapes(empty.astype(dtype), empty.astype(dtype)).value == 1


@pytest.mark.parametrize("names", [["age"], ["city"], ["age", "member"], ["since"]])
def test_shapes_are_halved(names):
    real, fake = people(90)[names], people(61, seed=1, shift=9)[names]

    def of_half(kept):
        return column_shapes(*(z[kept[np.arange(len(z)) % 20]] for z in (real, fake))).value

    result = column_shapes(real, fake)
    expected = halved(of_half, 20)
    np.testing.assert_allclose([result.value, *result.replicates], expected, rtol=1e-10)


def test_trend_of_two_numbers_is_the_difference_of_correlations():
    rng = np.random.default_rng(0)
    real = pd.DataFrame(rng.normal(size=(80, 2)), columns=["x", "y"])
    fake = pd.DataFrame(rng.normal(size=(50, 2)) @ [[1, 0.9], [0, 0.3]] + 1e6, columns=["x", "y"])
    r, s = (pearsonr(table["x"], table["y"]).statistic for table in (real, fake))
    assert pair_trends(real, fake).value == pytest.approx(1 - abs(r - s) / 2, rel=1e-9)
    real.loc[::7, "x"] = None
    real.loc[::5, "y"] = None
    r = pearsonr(*real.dropna().to_numpy().T).statistic
    assert pair_trends(real, fake).value == pytest.approx(1 - abs(r - s) / 2, rel=1e-9)


def test_opposite_trends_are_zero_and_a_constant_column_has_none():
    real = one(x=[1.0, 2, 3, 4, 5], y=[2.0, 4, 6, 8, 10])
    assert pair_trends(real, real.assign(y=-real["y"])).value == pytest.approx(0)
    still = real.assign(y=0.1)
    assert pair_trends(real, still).value == pytest.approx(0.5)
    assert pair_trends(still, real).value == pytest.approx(0.5)
    assert pair_trends(still, still).value == 1
    assert pair_trends(still, still).low == 1
    assert pair_trends(real, real.assign(y=[None] * 4 + [1.0])).value == pytest.approx(0.5)


def test_trend_of_levels_is_the_contingency_table_counted_by_hand():
    real = one(c=["a", "a", "b", "b"], d=["x", "y", "x", None])
    fake = one(c=["a", "a", "a", "b", None], d=["x", "x", "y", None, None])
    # (a, x): 1/4, 2/5 · (a, y): 1/4, 1/5 · (b, x): 1/4, 0 · (b, -): 1/4, 1/5 · (-, -): 0, 1/5
    assert pair_trends(real, fake).value == pytest.approx(
        1 - (0.15 + 0.05 + 0.25 + 0.05 + 0.2) / 2
    )
    swapped = pair_trends(real[["d", "c"]], fake)
    assert swapped.value == pytest.approx(pair_trends(real, fake).value)


@pytest.mark.parametrize("names", [["city", "member"], ["member", "city"]])
def test_trend_of_levels_is_the_overlap_of_all_pairs(names):
    real, fake = people(60)[names], people(45, seed=1)[names]
    fake.loc[::6, "city"] = "Pisa"  # a level that the real rows lack
    counts = [Counter(table.astype(str).itertuples(index=False)) for table in (real, fake)]
    pairs = {*counts[0], *counts[1]}
    apart = sum(abs(counts[0][pair] / 60 - counts[1][pair] / 45) for pair in pairs) / 2
    assert pair_trends(real, fake).value == pytest.approx(1 - apart, rel=1e-12)


def test_intervals_stay_within_the_scores_that_there_are():
    good, other = one(c=[*"aaabbbab"], d=[*"aabbbbab"]), one(c=[*"abbbbaab"], d=[*"bbbbbaab"])
    bad = one(c=[*"cccdcdca"], d=[*"eefefefa"])
    for metric in (column_shapes, pair_trends):
        assert metric(good, other).value < 1 == metric(good, other).high
        assert metric(good, bad).value > 0 == metric(good, bad).low


def test_trend_of_a_number_and_levels_has_ten_bins_of_the_real_range():
    real = one(x=np.arange(11.0), c=["a"] * 11)
    # bins [0, 1), ..., [8, 9), [9, 10]: one real number each, two in the last
    centres = np.array([0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5, 10.0])
    assert pair_trends(real, one(x=centres, c=["a"] * 11)).value == pytest.approx(1)
    assert pair_trends(real, one(x=centres + 0.5, c=["a"] * 11)).value == pytest.approx(10 / 11)
    # the outer bins have no end
    wide = np.where(centres < 1, -99, np.where(centres > 9, 99, centres))
    assert pair_trends(real, one(x=wide, c=["a"] * 11)).value == pytest.approx(1)
    # the bins are not the fakes' own
    assert pair_trends(real, real.assign(x=real["x"] * 9)).value == pytest.approx(3 / 11)
    gone = real.assign(x=np.where(real["x"] < 5, np.nan, real["x"]))
    assert pair_trends(real, gone).value == pytest.approx(6 / 11)
    assert pair_trends(gone, gone).value == 1


def test_trends_are_the_mean_over_pairs():
    real, fake = people(200), people(150, seed=1, shift=5)
    names = list(real)
    pairs = [[a, b] for i, a in enumerate(names) for b in names[i + 1 :]]
    alone = [pair_trends(real[pair], fake[pair]) for pair in pairs]
    result = pair_trends(real, fake)
    assert result.value == pytest.approx(np.mean([float(r) for r in alone]))
    assert result.low < result.value < result.high


@pytest.mark.parametrize("names", [["age", "income"], ["city", "member"]])
def test_trends_are_halved(names):
    # bins are those of all rows, so only pairs without bins are those of the halves by themselves
    real, fake = people(90)[names], people(61, seed=1, shift=9)[names]

    def of_half(kept):
        return pair_trends(*(z[kept[np.arange(len(z)) % 20]] for z in (real, fake))).value

    result = pair_trends(real, fake)
    expected = halved(of_half, 20)
    np.testing.assert_allclose([result.value, *result.replicates], expected, rtol=1e-9)


@pytest.mark.parametrize("metric", [column_shapes, pair_trends])
def test_rows_columns_libraries_and_units_do_not_matter(metric):
    real, fake = people(100), people(80, seed=1, shift=5)
    result = metric(real, fake)
    assert result == metric(real, fake)
    assert metric(real, fake[fake.columns[::-1]]) == result
    assert metric(pl.from_pandas(real), pl.from_pandas(fake)) == result
    assert metric(pl.from_pandas(real), fake.astype({"city": "category"})) == result
    assert metric(real.set_index(real.index[::-1]), fake) == result
    scaled = [table.assign(age=table["age"] * -3 + 7) for table in (real, fake)]
    turned = metric(*scaled)
    # bins are closed to the left, and no number is at an edge
    assert turned.value == pytest.approx(result.value, abs=0.01)
    shuffled = metric(real.sample(frac=1, random_state=0), fake.sample(frac=1, random_state=1))
    assert shuffled.value == pytest.approx(result.value, rel=1e-12)


@pytest.mark.parametrize("metric", [column_shapes, pair_trends])
def test_a_table_agrees_with_itself_and_less_with_a_worse_one(metric):
    real = people(300)
    assert metric(real, real).value == pytest.approx(1)
    good, bad = people(300, seed=1), people(300, seed=2, shift=20)
    bad["income"] = 0.0
    gap = paired_difference(metric(real, bad), metric(real, good))
    assert gap.high < 0
    result = metric(real, good)
    assert (result.better, result.target, result.n) == ("higher", 1.0, 300)
    assert 0 <= result.low < result.value < result.high <= 1


def test_columns_drawn_by_themselves_have_shapes_but_no_trends():
    real = people(500)
    rng = np.random.default_rng(0)
    fake = one(**{name: real[name].sample(frac=1, random_state=rng).array for name in real})
    assert column_shapes(real, fake).value == pytest.approx(1)
    fresh = people(500, seed=1)
    for pair in (["age", "income"], ["city", "member"]):
        apart, together = (pair_trends(real[pair], table[pair]) for table in (fake, fresh))
        assert apart.high < together.low


def test_dates_of_every_kind_are_numbers():
    days = [datetime.date(2020, 1, day) for day in range(1, 11)]
    real = pl.DataFrame({"day": days})
    assert column_shapes(real, real[::2]).value == pytest.approx(0.9)
    aware = pd.DataFrame({"t": pd.date_range("2020-01-01", periods=10, tz="Europe/Oslo")})
    assert column_shapes(aware, aware.iloc[:5]).value == pytest.approx(0.5)


@pytest.mark.parametrize("metric", [column_shapes, pair_trends])
def test_tables_that_cannot_be_compared_are_refused(metric):
    real = people(20)
    with pytest.raises(DataError, match=r"fake as a pandas or polars DataFrame, got 'ndarray'"):
        metric(real, real.to_numpy())
    with pytest.raises(DataError, match=r"\['age'\] are missing and \['years'\] are not known"):
        metric(real, real.rename(columns={"age": "years"}))
    with pytest.raises(DataError, match=r"in column 'city' of fake, as in real.*convert"):
        metric(real, real.assign(city=1.0))
    with pytest.raises(DataError, match=r"in column 'age' of fake, as in real.*convert"):
        metric(real, real.assign(age="old"))
    with pytest.raises(DataError, match="at least 4 rows in fake, got 3"):
        metric(real, real[:3])
    with pytest.raises(DataError, match="infinity in row 2"):
        metric(real, real.assign(age=[0, 0, np.inf] + [0] * 17))
    with pytest.raises(DataError, match="different names in real"):
        metric(real.set_axis(["age"] * 5, axis=1), real)
    assert metric(real[:4], real[4:8]).n == 4


def test_one_column_has_no_trend():
    with pytest.raises(DataError, match=r"at least two columns.*column_shapes"):
        pair_trends(people(20)[["age"]], people(20)[["age"]])
