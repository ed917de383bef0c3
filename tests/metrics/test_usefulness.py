import itertools

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score

from fromnoise.errors import DataError
from fromnoise.metrics import paired_difference, train_on_synthetic, usefulness
from fromnoise.metrics.result import half_masks

TREES = 20


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(usefulness, "_ITERATIONS", TREES)


def flowers(n, seed=0):
    rng = np.random.default_rng(seed)
    kind = rng.choice(["iris", "lily", "rose"], n)
    size = rng.normal(0, 1, n) + np.select([kind == "iris", kind == "lily"], [0.0, 2.0], 4.0)
    return pd.DataFrame(
        {
            "size": size,
            "weight": size**2 + rng.normal(0, 1, n),
            "garden": rng.choice(["north", "south"], n),
            "kind": kind,
        }
    )


def area(score, truth):
    pairs = list(itertools.product(score[truth], score[~truth]))
    return np.mean([(a > b) + (a == b) / 2 for a, b in pairs])


def test_classes_are_scored_by_the_mean_of_one_against_the_rest():
    fake, test = flowers(120)[["size", "weight", "kind"]], flowers(80, seed=1)
    test = test[["size", "weight", "kind"]]
    trees = HistGradientBoostingClassifier(max_iter=TREES, early_stopping=False, random_state=0)
    # the order of the classes is nobody's business
    shares = trees.fit(fake.iloc[:, :2], fake["kind"]).predict_proba(test.iloc[:, :2])
    areas = [
        area(shares[:, i], (test["kind"] == kind).to_numpy())
        for i, kind in enumerate(trees.classes_)
    ]
    result = train_on_synthetic(fake, test, "kind")
    assert result.value == pytest.approx(np.mean(areas), abs=1e-3)
    assert (result.better, result.target, result.n) == ("higher", 1.0, 80)
    assert 0.5 < result.low < result.value < result.high <= 1


def test_numbers_are_scored_by_r2_and_both_sets_are_halved():
    fake, test = flowers(160)[["size", "weight"]], flowers(80, seed=1)[["size", "weight"]]

    def score(of_fake, of_test):
        trees = HistGradientBoostingRegressor(max_iter=TREES, early_stopping=False, random_state=0)
        trees.fit(of_fake[["size"]], of_fake["weight"])
        return r2_score(of_test["weight"], trees.predict(of_test[["size"]]))

    result = train_on_synthetic(fake, test, "weight")
    assert result.value == pytest.approx(score(fake, test), rel=1e-6)
    assert len(result.replicates) == 8
    halves = [
        score(*(z[mask[np.arange(len(z)) % 8]] for z in (fake, test)))
        for mask in half_masks(8)[1:]
    ]
    contrasts = (np.array(halves[::2]) - halves[1::2]) / 2
    assert np.var(result.replicates) * 7 == pytest.approx((contrasts**2).sum() / 7, rel=1e-5)


def test_units_order_and_library_of_the_columns_do_not_matter():
    fake, test = flowers(120), flowers(80, seed=1)
    result = train_on_synthetic(fake, test, "weight")
    assert train_on_synthetic(fake, test, "weight") == result
    assert train_on_synthetic(pl.from_pandas(fake), test, "weight") == result
    assert train_on_synthetic(fake[fake.columns[::-1]], test, "weight") == result
    large = [table.assign(weight=table["weight"] * 1e60 + 1e61) for table in (fake, test)]
    assert train_on_synthetic(*large, "weight").value == pytest.approx(result.value, rel=1e-6)


def test_fakes_that_teach_nothing_are_a_half_or_zero():
    fake, test = flowers(300), flowers(200, seed=1)
    rng = np.random.default_rng(0)
    # trees that learn noise are worse than the mean
    for target, low, high in (("kind", 0.4, 0.6), ("weight", -0.5, 0.05)):
        blind = fake.assign(**{target: rng.permutation(fake[target])})
        good, bad = (train_on_synthetic(rows, test, target) for rows in (fake, blind))
        assert low < bad.value < high
        assert paired_difference(good, bad).low > 0
    one_class = train_on_synthetic(fake.assign(kind="rose"), test, "kind")
    assert (one_class.value, one_class.replicates) == (0.5, (0.5,) * 8)


def test_a_class_that_the_fakes_lack_counts_a_half():
    fake, test = flowers(200), flowers(200, seed=1)
    known = test[test["kind"] != "lily"]
    whole = train_on_synthetic(fake[fake["kind"] != "lily"], test, "kind").value
    assert 0.5 < whole < train_on_synthetic(fake, test, "kind").value
    # (iris, rose, and 1/2 for lily)/3
    two = train_on_synthetic(fake[fake["kind"] != "lily"], known, "kind").value
    assert two == pytest.approx(1, abs=0.02)
    assert whole < (two + two + 0.5) / 3
    # and one that the test lacks counts nothing, but is not taken for another
    more = train_on_synthetic(fake, known, "kind").value
    assert more == pytest.approx(1, abs=0.02)
    # all irises and half the roses are tulips: (1 for rose and 1/2 for iris)/2
    tulip = fake.assign(
        kind=fake["kind"].where((fake["kind"] == "rose") & (fake.index % 2), "tulip")
    )
    assert train_on_synthetic(tulip, known, "kind").value == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("target", ["whole", "yes", "level"])
def test_few_whole_numbers_booleans_and_levels_are_classes(target):
    def table(seed):
        x = np.random.default_rng(seed).normal(size=60)
        return pd.DataFrame(
            {
                "x": x,
                "whole": (x > 0) + 1.0,
                "yes": x > 0,
                "level": pd.Categorical(np.where(x > 0, "b", "a"), categories=["a", "b", "c"]),
            }
        )[["x", target]]

    result = train_on_synthetic(table(0), table(1), target)
    assert result.value == pytest.approx(1, abs=0.05)
    assert result.high <= 1
    # drawn values that no test row has, such as 1.7, are another class
    odd = table(0)
    if target == "whole":
        odd["whole"] = odd["whole"] + np.linspace(0.1, 0.2, 60)
        assert train_on_synthetic(odd, table(1), "whole").value == 0.5


def test_more_whole_numbers_and_fractions_are_numbers():
    rng = np.random.default_rng(0)
    x = rng.normal(size=100)
    for y in (np.arange(100) % 21, np.round(x * 2) / 4):
        table = pd.DataFrame({"x": y + 0.1, "y": y})
        assert train_on_synthetic(table, table, "y").value == pytest.approx(0.9, abs=0.1)
        bad = table.assign(y=y[::-1] * 9 - 99)
        assert train_on_synthetic(bad, table, "y").value < 0


def test_dates_can_be_predicted_and_predict():
    rng = np.random.default_rng(0)
    days = rng.integers(0, 3000, 200)
    table = pd.DataFrame(
        {"day": pd.Timestamp("2020-01-01") + pd.to_timedelta(days, "D"), "x": days / 7.5}
    )
    for target in ("day", "x"):
        result = train_on_synthetic(table[:120], table[120:], target)
        assert 0.6 < result.value < result.high <= 1


def test_rows_without_target_are_left_out_and_other_gaps_are_information():
    fake, test = flowers(120), flowers(90, seed=1)
    fake.loc[::3, "weight"] = None
    test.loc[::4, "weight"] = None
    result = train_on_synthetic(fake, test, "weight")
    assert result == train_on_synthetic(fake.dropna(), test.dropna(), "weight")
    assert result.n == test["weight"].notna().sum()
    fake.loc[::5, "kind"] = None
    test.loc[::7, "kind"] = None
    result = train_on_synthetic(fake, test, "kind")
    rows = [table.dropna(subset="kind") for table in (fake, test)]
    assert result == train_on_synthetic(*rows, "kind")
    # a gap that says it all
    told = [
        table.dropna().assign(
            size=lambda t: np.where(t["kind"] == "rose", np.nan, 1.0),
            garden=lambda t: np.where(t["kind"] == "iris", None, "north"),
            weight=0.0,
        )
        for table in (fake, test)
    ]
    assert train_on_synthetic(*told, "kind").value == 1
    empty = [table.assign(size=np.nan, garden=None) for table in told]
    assert train_on_synthetic(*empty, "kind").value == 0.5


def test_levels_that_the_fakes_lack_and_many_levels_are_read():
    rng = np.random.default_rng(0)

    def table(n, levels):
        code = rng.integers(0, levels, n)
        return pd.DataFrame({"c": [f"level {i}" for i in code], "y": code % 2 == 0})

    assert train_on_synthetic(table(200, 4), table(100, 4), "y").value == 1
    assert train_on_synthetic(table(200, 4), table(100, 9), "y").value > 0.6
    assert train_on_synthetic(table(3000, 600), table(100, 600), "y").value >= 0.5


def test_tables_that_cannot_be_learnt_from_are_refused():
    fake, test = flowers(40), flowers(40, seed=1)
    with pytest.raises(DataError, match=r"unknown column 'kinds'.*Did you mean 'kind'"):
        train_on_synthetic(fake, test, "kinds")
    with pytest.raises(DataError, match="columns beside 'kind'"):
        train_on_synthetic(fake[["kind"]], test[["kind"]], "kind")
    with pytest.raises(DataError, match="at least 10 rows in fake, got 9"):
        train_on_synthetic(fake[:9], test, "kind")
    gaps = test.assign(weight=np.where(np.arange(40) < 9, test["weight"], np.nan))
    with pytest.raises(DataError, match="10 rows of test with a value in 'weight', got 9"):
        train_on_synthetic(fake, gaps, "weight")
    with pytest.raises(DataError, match="'kind' has one value only"):
        train_on_synthetic(fake, test.assign(kind="rose"), "kind")
    with pytest.raises(DataError, match="in column 'size' of fake, as in test"):
        train_on_synthetic(fake.assign(size="small"), test, "kind")
    with pytest.raises(DataError, match=r"\['size'\] are missing"):
        train_on_synthetic(fake.drop(columns="size"), test, "kind")
    many = pd.DataFrame({"x": 1.0, "c": [str(i) for i in range(101)]})
    with pytest.raises(DataError, match="at most 100 classes in 'c'"):
        train_on_synthetic(many, many, "c")
    with pytest.raises(DataError, match="test as a pandas or polars DataFrame"):
        train_on_synthetic(fake, test.to_numpy(), "kind")


def test_no_interval_ends_above_perfect_prediction():
    x = np.random.default_rng(1).normal(size=80)
    table = pd.DataFrame({"x": x, "y": x})
    result = train_on_synthetic(table, table[:20], "y")
    assert result.low < result.value < 1 == result.high


def test_ten_rows_are_enough():
    for target in ("kind", "weight"):
        result = train_on_synthetic(flowers(10), flowers(10, seed=1), target)
        assert result.low <= result.value <= result.high
        assert result.n == 10


def test_levels_are_scikit_learns_categories_and_unknown_ones_are_missing():
    rng = np.random.default_rng(0)
    means = np.append(5.0, rng.normal(size=19))  # the most frequent level is unlike the others

    def table(n, levels):
        code = rng.integers(0, levels, n) * (rng.random(n) > 0.1)
        return pd.DataFrame({"c": [f"{i}" for i in code], "y": means[code] + rng.normal(size=n)})

    fake, test = table(300, 12), table(200, 20)
    trees = HistGradientBoostingRegressor(
        max_iter=TREES, early_stopping=False, random_state=0, categorical_features="from_dtype"
    )
    known = pd.CategoricalDtype(sorted(set(fake["c"])))
    trees.fit(fake[["c"]].astype(known), fake["y"])
    test_levels = test[["c"]].where(test["c"].isin(known.categories)).astype(known)
    expected = r2_score(test["y"], trees.predict(test_levels))
    assert train_on_synthetic(fake, test, "y").value == pytest.approx(expected, rel=1e-5)
