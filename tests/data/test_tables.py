r"""Tables: every dtype comes back, densities change units, faults are named."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

import fromnoise as fn
from fromnoise.data import encoding_from_state, fit_encoding, from_state, take, to_state
from fromnoise.data.columns import Column
from fromnoise.data.frames import column_of, native
from fromnoise.data.levels import Levels
from fromnoise.data.numeric import Numbers
from fromnoise.errors import DataError

N = 400


def rng(seed=0):
    return np.random.default_rng(seed)


def gapped(values, seed=1):
    return pd.Series(values).mask(rng(seed).random(len(values)) < 0.2)


def round_trip(encoding, X):
    return encoding.decode(encoding.encode(encoding.check(X)))


def assert_same(got, expected):
    pd.testing.assert_frame_equal(got, expected, rtol=1e-10, atol=0)


numbers = rng().normal(3, 2, N)
words = rng().choice(["a", "NA", "00123", "ä\n"], N)
day = pd.Timestamp("2020-02-01")
COLUMNS = {
    "float64": numbers,
    "float32": numbers.astype("float32"),
    "float16": numbers.astype("float16"),
    "float gaps": gapped(numbers),
    "Float64": gapped(numbers).astype("Float64"),
    "lognormal": np.exp(3 * numbers),
    "prices": np.round(np.exp(numbers), 2),
    "price gaps": gapped(np.round(np.exp(numbers), 2)),
    "few floats": rng().choice([0.1, 2.5, 7.25], N),
    "int64": rng().integers(-(10**6), 10**6, N),
    "int8": rng().integers(-128, 128, N).astype("int8"),
    "uint8": rng().integers(0, 256, N).astype("uint8"),
    "large uint64": rng().integers(0, 5000, N).astype("uint64") + np.uint64(2**64 - 6000),
    "large int64": rng().integers(2**53, 2**53 + 10_000, N),
    "Int64 gaps": gapped(pd.Series(rng().integers(2**53, 2**53 + 9999, N), dtype="Int64")),
    "int as float": gapped(rng().integers(0, 1000, N).astype(float)),
    "few int": rng().integers(0, 5, N).astype("int16"),
    "Int8 few": gapped(pd.Series(rng().integers(0, 5, N), dtype="Int8")),
    "bool": rng().random(N) < 0.3,
    "boolean": gapped(pd.Series(rng().random(N) < 0.3, dtype="boolean")),
    "str": pd.Series(words),
    "str gaps": gapped(words),
    "string": gapped(pd.Series(words, dtype="string")),
    "object None": pd.Series(words, dtype=object).mask(rng(2).random(N) < 0.2, None),
    "object bool": pd.Series([True, False, None, True] * (N // 4), dtype=object),
    "category": pd.Categorical(words, categories=["ä\n", "NA", "00123", "unused", "a"]),
    "ordered": pd.Categorical(words, ordered=True),
    "category gaps": gapped(pd.Series(pd.Categorical(words))),
    "category int": pd.Categorical(rng().integers(0, 3, N), categories=[2, 1, 0, 9]),
    "days": day + pd.to_timedelta(rng().integers(0, 999, N), unit="D"),
    "days gaps": gapped(day + pd.to_timedelta(rng().integers(0, 999, N), unit="D")),
    "seconds": (day + pd.to_timedelta(rng().integers(0, 10**7, N), unit="s")).as_unit("s"),
    "micros": (day + pd.to_timedelta(rng().integers(0, 10**9, N), unit="us")).as_unit("ns"),
    "zone": (day + pd.to_timedelta(rng().integers(0, 10**6, N), unit="s")).tz_localize(
        "Asia/Tokyo"
    ),
    "fixed zone": (day + pd.to_timedelta(rng().integers(0, 10**6, N), unit="s")).tz_localize(
        "+02:00"
    ),
    "duration": pd.to_timedelta(rng().integers(0, 10**6, N), unit="ms"),
    "spikes": np.where(rng().random(N) < 0.4, 0.0, numbers),
    "constant": np.full(N, 1 / 3),
    "constant text": np.full(N, "x"),
    "constant gaps": gapped(np.full(N, 5.0)),
    "all missing": np.full(N, np.nan),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_every_dtype_comes_back(name):
    X = pd.DataFrame({name: COLUMNS[name], "other": numbers})
    encoding = fit_encoding(X)
    assert_same(round_trip(encoding, X), X)
    again = encoding_from_state(encoding.to_state())
    assert_same(round_trip(again, X), X)
    assert np.array_equal(again.encode(X).values, encoding.encode(X).values)


@pytest.mark.parametrize("name", COLUMNS)
def test_freezing_a_table_keeps_every_bit(name):
    X = pd.DataFrame({name: COLUMNS[name], "other": numbers}, index=np.arange(N)[::-1])
    pd.testing.assert_frame_equal(from_state(to_state(X)), X.reset_index(drop=True))


@pytest.mark.parametrize(
    "name", [n for n in COLUMNS if n not in ("float64", "lognormal", "float16", "large uint64")]
)
def test_dequantised_tables_round_to_the_values_they_came_from(name):
    X = pd.DataFrame({name: COLUMNS[name], "other": np.round(numbers, 1)})
    encoding = fit_encoding(X)
    encoded = encoding.encode(X)
    noisy = encoding.dequantise(encoded, rng())
    assert_same(encoding.decode(noisy).astype(X.dtypes), X)
    assert not np.array_equal(noisy.values, encoded.values)
    assert np.array_equal(noisy.codes, encoded.codes)
    assert (noisy.values[~encoded.observed] == 0).all()


def test_unpack_inverts_pack():
    X = pd.DataFrame(
        {name: COLUMNS[name] for name in ("float gaps", "str gaps", "spikes", "bool")}
    )
    encoding = fit_encoding(X)
    encoded = encoding.encode(X)
    assert encoding.shape == (2,) and encoding.cardinalities == (2, 5, 2, 2)
    for source in (None, rng()):
        packed = encoding.pack(encoded, source)
        assert packed.dtype == np.float32 and packed.shape == (N, *encoding.model_shape) == (N, 13)
        back = encoding.unpack(packed)
        assert np.array_equal(back.codes, encoded.codes)
        assert np.array_equal(back.observed, encoded.observed)
        seen = encoded.observed
        np.testing.assert_allclose(back.values[seen], encoded.values[seen], atol=1e-5)
    assert (encoding.pack(encoded)[:, :2][~encoded.observed] == 0).all()


# ------------------------------------------------------------------ roles
def role_of(values, **other):
    return fit_encoding(pd.DataFrame({"x": values, **other})).roles[0]


@pytest.mark.parametrize(
    "name", ["few int", "Int8 few", "bool", "str", "category", "few floats", "category int"]
)
def test_few_values_are_levels(name):
    assert isinstance(role_of(COLUMNS[name]), Levels)


@pytest.mark.parametrize("name", ["float64", "int8", "prices", "days", "duration", "int as float"])
def test_many_numbers_are_values(name):
    assert isinstance(role_of(COLUMNS[name]), Numbers)


def test_twenty_distinct_integers_are_levels_and_twenty_one_are_not():
    assert role_of(np.arange(200) % 20).cardinality == 20
    assert isinstance(role_of(np.arange(210) % 21), Numbers)


def test_few_rows_of_floats_are_no_levels():
    assert isinstance(role_of(np.array([0.5, 1.25, 7.5])), Numbers)


def test_spikes_are_values_that_stand_out():
    assert role_of(COLUMNS["spikes"]).spikes.tolist() == [0.0]
    two = np.where(rng().random(N) < 0.3, -99.0, COLUMNS["spikes"])
    assert role_of(two).spikes.tolist() == [-99.0, 0.0]
    assert not len(role_of(numbers).spikes)
    assert not len(role_of(rng().poisson(30, 4000)).spikes)
    rare = np.where(np.arange(N) < 0.04 * N, 0.0, numbers)
    assert not len(role_of(rare).spikes)


def test_a_spike_next_to_gaps_has_a_code_of_its_own():
    x = gapped(COLUMNS["spikes"])
    encoded = fit_encoding(pd.DataFrame({"x": x})).encode(pd.DataFrame({"x": x}))
    assert np.array_equal(encoded.codes[:, 0] == 1, x.isna())
    assert np.array_equal(encoded.codes[:, 0] == 2, x == 0)
    assert np.array_equal(encoded.observed[:, 0], encoded.codes[:, 0] == 0)


def test_decimals_are_those_of_the_rows():
    assert role_of(COLUMNS["prices"]).decimals == 2
    assert role_of(numbers).decimals == -1
    assert role_of(COLUMNS["int as float"]).decimals == 0
    assert role_of(np.round(numbers, 6)).decimals == 6
    assert role_of(np.round(numbers, 7)).decimals == -1
    assert role_of(numbers * 1e20).decimals == -1  # whole only because floats are coarse there
    drawn = role_of(COLUMNS["prices"]).decode(rng().normal(size=1000), np.zeros(1000, int)).values
    assert np.array_equal(drawn, np.round(drawn, 2))
    assert [float(f"{value:.2f}") for value in drawn] == drawn.tolist()


def test_dates_keep_to_the_lattice_they_came_from():
    role = role_of(COLUMNS["days"])
    drawn = native(role.decode(rng().normal(size=1000), np.zeros(1000, int)))
    assert (drawn == drawn.dt.normalize()).all()
    assert drawn.min() < COLUMNS["days"].min() and drawn.max() > COLUMNS["days"].max()
    noon = pd.DataFrame({"x": COLUMNS["days"] + pd.Timedelta(hours=12)})
    role = fit_encoding(pd.DataFrame({"x": COLUMNS["days"]})).roles[0]
    before, after = (
        role.encode(column_of(noon["x"] + pd.Timedelta(hours=h), "x"))[0] for h in (-12, 12)
    )
    values = role.encode(column_of(noon["x"], "x"))[0]
    assert (before < values).all() and (values < after).all()
    assert native(role.decode(np.array([-1e30]), np.zeros(1, int))).notna().all()


def test_a_column_without_any_entry_fits_every_dtype(table):
    X = table.assign(d=COLUMNS["zone"])
    X = X.mask(np.tile(X.index.to_numpy()[:, None] == 3, 4))
    encoding = fit_encoding(X)
    for dtype in ("float64", "str", "object", "datetime64[ns]", "Int64"):
        blank = pd.DataFrame({name: pd.Series([None, None], dtype=dtype) for name in X})
        encoded = encoding.encode(encoding.check(blank))
        assert not encoded.observed.any()
        assert encoding.decode(encoded).isna().all(axis=None)


def test_is_continuous_asks_for_floats_without_gaps_or_spikes():
    def continuous(*names):
        return fit_encoding(pd.DataFrame({name: COLUMNS[name] for name in names})).is_continuous

    assert continuous("float64", "float32", "prices", "constant", "constant text", "all missing")
    for name in (
        "float gaps",
        "int8",
        "int as float",
        "days",
        "str",
        "spikes",
        "bool",
        "few floats",
        "constant gaps",
    ):
        assert not continuous("float64", name)


def test_constants_take_no_part():
    X = pd.DataFrame(
        {name: COLUMNS[name] for name in ("constant", "constant text", "all missing")}
    )
    encoding = fit_encoding(X)
    assert encoding.model_shape == (0,) and encoding.pack(encoding.encode(X)).shape == (N, 0)
    assert encoding.layout == [(-1, -1)] * 3 and encoding.linear() is None


def test_layout_names_the_value_and_the_part_of_each_column():
    X = pd.DataFrame({name: COLUMNS[name] for name in ("str", "float64", "constant", "spikes")})
    assert fit_encoding(X).layout == [(-1, 0), (0, -1), (-1, -1), (1, 1)]
    assert fit_encoding(X).gates == (-1, 1)


# ------------------------------------------------------------------ normal scores
def test_log_det_of_a_table_is_that_of_the_numerical_derivative():
    X = pd.DataFrame(
        {
            "a": COLUMNS["lognormal"],
            "b": COLUMNS["float gaps"],
            "c": COLUMNS["spikes"],
            "i": COLUMNS["int64"],
            "d": COLUMNS["days"].as_unit("us"),
            "s": words,
        }
    )
    encoding = fit_encoding(X)
    encoded = encoding.encode(X)
    total = np.zeros(N)
    for value, (name, step) in enumerate(
        [("a", 1e-7), ("b", 1e-7), ("c", 1e-7), ("i", 1), ("d", pd.Timedelta(days=1))]
    ):
        low, high = X.copy(), X.copy()
        width = X["a"] * step if name == "a" else step
        low[name], high[name] = X[name] - width, X[name] + width
        gap = high[name] - low[name]
        gap = gap / pd.Timedelta(microseconds=1) if name == "d" else gap
        rise = encoding.encode(high).values[:, value] - encoding.encode(low).values[:, value]
        seen = encoded.observed[:, value]
        total[seen] += np.log(rise[seen] / gap.to_numpy(float)[seen])
    # A row next to a knot has two slopes; nearly all rows have one.
    error = np.abs(encoding.log_det(encoded) - total)
    assert np.quantile(error, 0.6) < 1e-3 and np.median(error) < 1e-6


@pytest.mark.parametrize("draw", ["normal", "uniform", "lognormal", "standard_cauchy"])
def test_values_are_normal_scores(draw):
    X = pd.DataFrame({"x": getattr(rng(), draw)(size=N)})
    values = fit_encoding(X).encode(X).values[:, 0]
    assert kstest(values, "norm").statistic < 0.03
    assert abs(values.mean()) < 0.05 and abs(values.std() - 1) < 0.05


def test_draws_from_the_normal_follow_the_column_and_go_beyond_it():
    x = np.exp(rng().normal(size=20_000))
    role = role_of(x)
    drawn = role.decode(rng(1).normal(size=20_000), np.zeros(20_000, int)).values
    assert kstest(drawn, x).statistic < 0.02
    assert role.decode(np.array([9.0]), np.zeros(1, int)).values[0] > x.max()


def test_the_curve_comes_from_the_training_rows_only():
    X = pd.DataFrame({"x": np.concatenate([numbers, numbers + 1000])})
    one = fit_encoding(X, index=np.arange(N)).roles[0]
    other = fit_encoding(X.iloc[:N]).roles[0]
    assert np.array_equal(one.curve.x, other.curve.x) and one.curve.x.max() < 100


def test_levels_and_gaps_come_from_all_rows():
    X = pd.DataFrame({"s": ["a", "b"] * 10 + ["c"], "x": [*np.arange(20.0) / 7, np.nan]})
    encoding = fit_encoding(X, index=np.arange(20))
    assert encoding.cardinalities == (3, 2)
    assert_same(round_trip(encoding, X), X)


def test_a_column_constant_in_the_training_rows_alone_still_encodes():
    X = pd.DataFrame({"x": np.concatenate([np.full(30, 0.1), rng().random(30)])})
    encoding = fit_encoding(X, index=np.arange(30))
    assert np.isfinite(encoding.encode(X).values).all()
    assert_same(round_trip(encoding, X), X)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=60))
def test_few_integers_of_any_size_come_back(x):
    X = pd.DataFrame({"x": np.array(x[:20])})
    assert_same(round_trip(fit_encoding(X), X), X)


@given(st.integers(-(2**63), 2**63 - 2**20), st.integers(1, 2**10))
def test_c8_c5_integers_near_any_origin_come_back(origin, step):
    X = pd.DataFrame({"x": origin + step * np.arange(100)})
    assert isinstance(fit_encoding(X).roles[0], Numbers)
    assert_same(round_trip(fit_encoding(X), X), X)


def test_integers_beyond_the_dtype_are_cut_at_its_ends():
    for name, dtype in (
        ("int8", "int8"),
        ("uint8", "uint8"),
        ("large uint64", "uint64"),
        ("int64", "int64"),
    ):
        role = role_of(COLUMNS[name])
        drawn = role.decode(np.array([-1e30, 0.0, 1e30]), np.zeros(3, int)).values
        info = np.iinfo(dtype)
        assert drawn[0] <= drawn[1] <= drawn[2]
        assert info.min <= drawn[0] and drawn[2] <= info.max
    assert role_of(COLUMNS["int8"]).decode(np.array([9e9]), np.zeros(1, int)).values[0] == 127


# ------------------------------------------------------------------ other data
@pytest.fixture
def table():
    return pd.DataFrame(
        {"size": numbers, "colour": np.resize(["red", "blue"], N), "n": COLUMNS["int64"]}
    )


def test_c7_columns_are_reordered_by_name(table):
    encoding = fit_encoding(table)
    assert_same(round_trip(encoding, table[["n", "colour", "size"]]), table)
    assert encoding.feature_names == ["size", "colour", "n"] and encoding.n_features == 3


def test_c7_lost_and_extra_columns_are_named(table):
    encoding = fit_encoding(table)
    with pytest.raises(
        DataError, match=r"should match.*unseen at fit time: 'si\\x1bze'.*now missing: 'size'"
    ):
        encoding.check(table.rename(columns={"size": "si\x1bze"}))
    with pytest.raises(DataError, match=r"now missing: 'n'.$"):
        encoding.check(table[["size", "colour"]])


def test_c7_an_unseen_category_is_named_escaped_and_cut(table):
    encoding = fit_encoding(table)
    with pytest.raises(
        DataError,
        match=r"Column 'colour' holds 'gr.*…, which was not in fit. Known: 'blue', 'red'",
    ):
        encoding.check(table.assign(colour="gr\x1b" + "e" * 99))


def test_c7_other_dtypes_are_named(table):
    encoding = fit_encoding(table)
    with pytest.raises(DataError, match="Column 'size' held real values in fit, now text"):
        encoding.check(table.assign(size="x"))
    with pytest.raises(DataError, match="Column 'colour' held text values in fit, now real"):
        encoding.check(table.assign(colour=1.5))
    with pytest.raises(DataError, match=r"Column 'n' held integers in fit, now 0.5"):
        encoding.check(table.assign(n=0.5))
    assert_same(round_trip(encoding, table.assign(n=table["n"].astype(float))), table)


@pytest.fixture(scope="module")
def model():
    X = pd.DataFrame({"size": numbers, "colour": np.resize(["red", "blue"], N)})
    return fn.VAE(network="small", budget="1 steps", random_state=0).fit(
        X, np.resize(["x", "y"], N)
    )


@pytest.mark.parametrize("method", ["score_samples", "encode", "transform", "impute"])
def test_c7_every_method_refuses_by_name_what_fit_did_not_see(model, method):
    X = pd.DataFrame({"colour": ["red"] * 3, "size": [1.0, 2.0, 3.0]})  # in another order
    more = {} if method == "transform" else {"y": "x"}
    assert len(getattr(model, method)(X, **more)) == 3
    long = "n" * 99
    for other, message in [
        (X.assign(colour="green"), "'colour' holds 'green', which was not in fit"),
        (X.rename(columns={"size": "s\x1b"}), r"unseen at fit time: 's\\x1b'.*missing: 'size'"),
        (X.drop(columns="colour"), "now missing: 'colour'"),
        (X.assign(**{long: 1}), "unseen at fit time: '" + "n" * 38 + "…"),
        (X.assign(size="large"), "'size' held real values in fit, now text"),
        (X.to_numpy(), "Expected a DataFrame"),
    ]:
        with pytest.raises(DataError, match=message):
            getattr(model, method)(other, **more)
    if more:
        with pytest.raises(DataError, match=r"class 'z', which was not in fit\. Known: 'x', 'y'"):
            getattr(model, method)(X, y="z")


def test_c7_labels_of_samples_are_refused_by_name(model):
    with pytest.raises(DataError, match=r"class 'z', which was not in fit\. Known: 'x', 'y'"):
        model.sample(3, y="z")
    with pytest.raises(DataError, match="y has 2 rows, expected 3"):
        model.sample(3, y=["x", "y"])


def test_dates_of_another_unit_or_library_are_converted():
    X = pd.DataFrame({"d": COLUMNS["days"].as_unit("us"), "x": numbers})
    encoding = fit_encoding(X)
    other = X.assign(d=X["d"].dt.as_unit("ns"))
    assert np.array_equal(encoding.encode(encoding.check(other)).values, encoding.encode(X).values)
    with pytest.raises(DataError, match="Column 'd' held date values"):
        encoding.check(X.assign(d=X["d"].dt.tz_localize("UTC")))


def test_c1_gaps_where_fit_saw_none_are_refused_unless_to_be_imputed(table):
    encoding = fit_encoding(table)
    holed = table.assign(size=gapped(table["size"]), colour=gapped(table["colour"], 2))
    count = int(holed["size"].isna().sum())
    with pytest.raises(DataError, match=f"rows by column: 'size': {count}.*none in fit"):
        encoding.check(holed)
    encoded = encoding.encode(encoding.check(holed, missing_ok=True))
    assert np.array_equal(encoded.codes[:, 0] == -1, holed["colour"].isna())
    assert np.array_equal(~encoded.observed[:, 0], holed["size"].isna())


def test_c1_inf_is_refused_and_gaps_by_argument(table):
    with pytest.raises(DataError, match=r"Column 'size' holds inf.*1 rows \(first 7\)"):
        fit_encoding(table.assign(size=table["size"].where(table.index != 7, np.inf)))
    with pytest.raises(DataError, match="inf"):
        fit_encoding(table).check(table.assign(size=np.inf))
    with pytest.raises(DataError, match="rows by column: 'size': "):
        fit_encoding(table.assign(size=gapped(table["size"])), missing="error")


def test_c4_few_rows_or_columns_are_refused(table):
    for n in (0, 1):
        with pytest.raises(DataError, match=f"{n} sample.*minimum of 2"):
            fit_encoding(table.iloc[:n])
    with pytest.raises(DataError, match="0 feature"):
        fit_encoding(table[[]])
    with pytest.raises(DataError, match="0 sample"):
        fit_encoding(table).check(table.iloc[:0])
    with pytest.raises(DataError, match="Expected a DataFrame"):
        fit_encoding(table).check(table.to_numpy())


def test_c6_mixed_types_are_listed():
    with pytest.raises(DataError, match=r"'x' mixes types.*row 0 is '1', str; row 1 is 2, int"):
        fit_encoding(pd.DataFrame({"x": ["1", 2, "y"]}, dtype=object))
    with pytest.raises(DataError, match="beyond 64 bits"):
        fit_encoding(pd.DataFrame({"x": [2**70, 1]}, dtype=object))
    with pytest.raises(DataError, match="'x' has dtype period"):
        fit_encoding(pd.DataFrame({"x": pd.period_range("2020", periods=3, freq="M")}))


def test_c11_repeated_and_odd_names():
    with pytest.raises(DataError, match="got twice: 'a'"):
        fit_encoding(pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]))
    with pytest.raises(DataError, match="strings or integers"):
        fit_encoding(pd.DataFrame({("a", 1): [1.0, 2.0]}))
    names = ["", "\n", "🙂", "x" * 10_000, "$_$", "<script>", 7]
    X = pd.DataFrame({name: numbers for name in names})
    encoding = encoding_from_state(fit_encoding(X).to_state())
    assert round_trip(encoding, X).columns.tolist() == names


def test_high_cardinality_text_is_refused_by_name():
    many = [f"id {i}" for i in range(1500)]
    with pytest.raises(DataError, match="Column 'x' holds 1500 distinct texts in 1500 rows"):
        fit_encoding(pd.DataFrame({"x": many}))
    assert fit_encoding(pd.DataFrame({"x": many[:1000]})).cardinalities == (1000,)
    assert fit_encoding(pd.DataFrame({"x": many * 2})).cardinalities == (1500,)


def test_input_is_not_changed():
    X = pd.DataFrame({name: COLUMNS[name] for name in COLUMNS})
    before = X.copy(deep=True)
    encoding = fit_encoding(X)
    encoding.pack(encoding.encode(encoding.check(X)), rng())
    pd.testing.assert_frame_equal(X, before)


def test_blocks_of_rows_encode_like_the_whole():
    X = pd.DataFrame({name: COLUMNS[name] for name in COLUMNS})
    encoding = fit_encoding(X)
    whole = encoding.encode(X)
    part = encoding.encode(take(X, np.array([5, 3])))
    assert np.array_equal(part.values, whole.values[[5, 3]])
    assert np.array_equal(part.codes, whole.codes[[5, 3]])


def test_a_stored_column_keeps_its_state_plain():
    column = column_of(pd.Series(["a", None], name="x"), "x")
    state = column.to_state()
    assert state["strings"] == ["a", ""] and state["missing"].tolist() == [False, True]
    assert native(Column.from_state(state), "x").isna().tolist() == [False, True]


def test_c12_many_columns_are_no_trouble():
    X = pd.DataFrame(rng().normal(size=(20, 1500)))
    encoding = fit_encoding(X)
    assert_same(round_trip(encoding, X), X)


def test_c12_a_hundred_thousand_categories_are_refused_or_coded():
    many = np.array([f"id {i:05}" for i in range(100_000)], object)
    with pytest.raises(DataError, match="'x' holds 100000 distinct texts in 100000 rows"):
        fit_encoding(pd.DataFrame({"x": many}))
    X = pd.DataFrame({"x": np.tile(many, 2)})
    encoding = fit_encoding(X)
    assert encoding.cardinalities == (100_000,) and encoding.model_shape == (100_000,)
    few = X[99_990:100_010]
    assert_same(round_trip(encoding, few.reset_index(drop=True)), few.reset_index(drop=True))
    packed = encoding.pack(encoding.encode(few))
    assert (packed.argmax(1) == np.arange(99_990, 100_010) % 100_000).all()


@pytest.mark.slow  # a column takes a millisecond to read and as long to measure
def test_c12_ten_thousand_columns_of_a_file_are_fitted_and_come_back(tmp_path):
    names = [f"c{i}" for i in range(10_000)]
    X = pd.DataFrame(rng().normal(size=(20, 10_000)).round(3), columns=names)
    X.to_csv(tmp_path / "x.csv", index=False)
    read = fn.data.load(tmp_path / "x.csv").X
    assert_same(read, X)
    model = fn.FlowMatching(network="small", budget="1 steps", random_state=0).fit(read)
    assert model.sample(2).columns.tolist() == names


# ------------------------------------------------------------------ polars
@pytest.fixture
def frame():
    pl = pytest.importorskip("polars")
    names = [
        "float64",
        "float32",
        "prices",
        "int64",
        "int8",
        "large uint64",
        "few int",
        "bool",
        "spikes",
        "zone",
    ]
    X = pl.DataFrame(
        {name: pl.Series(np.asarray(COLUMNS[name])) for name in names if name != "zone"}
    )
    start = np.datetime64("2020-02-01T00:00:00", "us")
    seconds = pl.Series(start + rng().integers(0, 10**6, N).astype("m8[s]"))
    hole = pl.Series(rng(3).random(N) < 0.2)
    X = X.with_columns(
        text=pl.Series(words),
        enum=pl.Series(words).cast(pl.Enum(["a", "NA", "00123", "ä\n", "unused"])),
        category=pl.Series(words).cast(pl.Categorical),
        seconds=seconds,
        zone=seconds.dt.replace_time_zone("Europe/Berlin"),
        date=seconds.cast(pl.Date),
        duration=seconds - seconds[0],
    )
    holed = [pl.when(~hole).then(pl.col(name)).alias(f"{name} gaps") for name in X.columns]
    return X.with_columns(holed)


def test_polars_in_polars_out(frame):
    from polars.testing import assert_frame_equal

    encoding = fit_encoding(frame)
    assert_frame_equal(round_trip(encoding, frame), frame, rel_tol=1e-10, abs_tol=0)
    again = encoding_from_state(encoding.to_state())
    assert_frame_equal(round_trip(again, frame), frame, rel_tol=1e-10, abs_tol=0)
    assert_frame_equal(from_state(to_state(frame)), frame, check_exact=True)
    assert_frame_equal(take(frame, np.array([3, 1])), frame[[3, 1]])


def test_a_model_of_pandas_takes_polars(frame):
    names = ["float64", "int64", "text", "date gaps", "bool gaps"]
    X = frame.select(names)
    pandas = pd.DataFrame({name: X[name].to_list() for name in names})
    pandas["date gaps"] = pd.to_datetime(pandas["date gaps"])
    encoding = fit_encoding(pandas)
    got, expected = encoding.encode(encoding.check(X)), encoding.encode(encoding.check(pandas))
    assert np.array_equal(got.values, expected.values) and np.array_equal(
        got.codes, expected.codes
    )


def test_polars_dtypes_without_a_meaning_are_refused(frame):
    pl = pytest.importorskip("polars")
    with pytest.raises(DataError, match="Column 'x' has dtype List"):
        fit_encoding(pl.DataFrame({"x": [[1], [2]]}))
