r"""Vectors: the map, its inverse and Jacobian, and which arrays are refused with what words."""

import pickle
import tracemalloc
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fromnoise.data import Encoded, encoding_from_state, fit_encoding, load
from fromnoise.data.vectors import VectorEncoding
from fromnoise.errors import DataError

finite = st.floats(-1e6, 1e6, allow_nan=False, width=64)
tables = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=2, max_dims=2, min_side=2), elements=finite
)


def round_trip(encoding, X):
    return encoding.decode(encoding.encode(encoding.check(X)))


@pytest.fixture
def holed():
    X = np.random.default_rng(0).normal(3.0, 2.0, (50, 3))
    X[::5, 1] = np.nan
    return X


@given(tables)
def test_decode_inverts_encode(X):
    scale = 1 + np.abs(X).max()
    np.testing.assert_allclose(round_trip(fit_encoding(X), X), X, rtol=0, atol=1e-12 * scale)


@given(tables)
def test_a_stored_encoding_gives_the_same_bits(X):
    encoding = fit_encoding(X)
    again = encoding_from_state(encoding.to_state())
    assert np.array_equal(again.encode(X).values, encoding.encode(X).values)
    assert np.array_equal(again.decode(again.encode(X)), encoding.decode(encoding.encode(X)))


def test_values_are_standardised_by_the_training_rows_only():
    X = np.concatenate([np.random.default_rng(0).normal(5, 3, (100, 2)), np.full((100, 2), 1e3)])
    X[100:, 1] += np.arange(100)
    encoding = fit_encoding(X, index=np.arange(100))
    values = encoding.encode(X).values[:100]
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(values.std(0), 1, rtol=1e-12)


def test_row_24_log_det_is_that_of_the_numerical_jacobian(holed):
    encoding = fit_encoding(holed, missing="model")
    x = holed[1]
    step = 1e-3
    moved = [encoding.encode(np.stack([x + step * e, x - step * e])).values for e in np.eye(3)]
    jacobian = np.stack([(m[0] - m[1]) / (2 * step) for m in moved])
    log_det = encoding.log_det(encoding.encode(holed))
    assert log_det[1] == pytest.approx(np.linalg.slogdet(jacobian)[1], abs=1e-9)
    # A missing entry has no density, so its column does not count.
    seen = [0, 2]
    assert log_det[0] == pytest.approx(
        np.linalg.slogdet(jacobian[np.ix_(seen, seen)])[1], abs=1e-9
    )


def test_row_10_a_thousandfold_unit_shifts_the_log_density_by_d_log_1000():
    X = np.random.default_rng(0).normal(size=(40, 3))
    small, large = fit_encoding(X), fit_encoding(1000 * X)
    shift = large.log_det(large.encode(1000 * X)) - small.log_det(small.encode(X))
    np.testing.assert_allclose(shift, -3 * np.log(1000), atol=1e-8)


def test_linear_gives_back_the_data():
    X = np.random.default_rng(0).normal(2, 3, (30, 3))
    X[:, 1] = 7
    encoding = fit_encoding(X)
    shift, scale, active = encoding.linear()
    assert active.tolist() == [True, False, True] and shift[1] == 7 and len(scale) == 3
    values = encoding.encode(X).values
    np.testing.assert_allclose(shift[active] + scale[active] * values, X[:, active], rtol=1e-12)


def test_c2_a_constant_column_is_left_out_and_comes_back_exactly():
    X = np.array([[1.0, 0.1, 2.0], [2.0, 0.1, 5.0], [4.0, 0.1, 3.0]])
    encoding = fit_encoding(X)
    assert encoding.shape == (2,) and encoding.model_shape == (2,) and encoding.n_features == 3
    drawn = encoding.decode(
        Encoded(np.zeros((5, 2)), np.zeros((5, 0), int), np.ones((5, 2), bool))
    )
    assert (drawn[:, 1] == 0.1).all()
    np.testing.assert_allclose(drawn[:, 0], 7 / 3)


def test_a_column_that_is_constant_in_the_training_rows_alone_is_kept():
    X = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 8.0]])
    encoding = fit_encoding(X, index=np.array([0, 1]))
    assert encoding.shape == (2,)
    np.testing.assert_allclose(encoding.linear()[0], [1.5, 6.0])  # over all rows where it must be
    assert not encoding.off_support(X).any()


def test_rows_off_the_constant_are_told_from_gaps():
    X = np.array([[1.0, 7.0], [2.0, 7.0], [3.0, np.nan], [4.0, 7.0]])
    encoding = fit_encoding(X, missing="model")
    other = np.array([[1.0, 7.0], [1.0, np.nan], [1.0, 7.5]])
    assert encoding.off_support(encoding.check(other)).tolist() == [False, False, True]


@pytest.mark.parametrize("scale", [1e140, 1e-300, 1.0])
@pytest.mark.parametrize("offset", [0.0, 1.7e9, 1e10])
def test_c5_extreme_scales_and_offsets_round_trip(scale, offset):
    x = np.random.default_rng(0).normal(size=(200, 2))
    X = x * scale + (offset if scale == 1 else 0)
    encoding = fit_encoding(X)
    values = encoding.encode(X).values
    np.testing.assert_allclose(values.std(0), 1, rtol=1e-6)
    assert np.abs(round_trip(encoding, X) - X).max() <= 1e-6 * scale


def test_c5_numbers_beyond_1e150_are_refused():
    X = np.ones((5, 2))
    X[3, 1] = 1e200
    with pytest.raises(DataError, match=r"Column 1 holds inf, or a number beyond 1e150, in row 3"):
        fit_encoding(X)


@pytest.mark.parametrize("missing", ["auto", "error"])
def test_c1_nan_is_refused_naming_column_count_and_argument(holed, missing):
    with pytest.raises(DataError, match=r'NaN in column 1 \(10 rows\).*missing="model"'):
        fit_encoding(holed, missing=missing)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("sign", [1, -1])
def test_c1_inf_is_always_refused(dtype, sign):
    X = np.ones((6, 2), dtype)
    X[[2, 4], 0] = sign * np.inf
    for missing in ("auto", "error", "model"):
        with pytest.raises(DataError, match=r"Column 0 holds inf.*row 2, 4"):
            fit_encoding(X, missing=missing)
    with pytest.raises(DataError, match="inf"):
        fit_encoding(np.arange(6.0).reshape(3, 2)).check(X)


def test_c1_new_gaps_are_refused_unless_they_are_to_be_imputed(holed):
    encoding = fit_encoding(np.nan_to_num(holed))
    with pytest.raises(DataError, match="NaN in column 1, where fit saw none"):
        encoding.check(holed)
    encoded = encoding.encode(encoding.check(holed, missing_ok=True))
    assert np.array_equal(encoded.observed, ~np.isnan(holed)) and encoded.codes.shape[1] == 0


def test_gaps_become_a_categorical_part_and_come_back(holed):
    encoding = fit_encoding(holed, missing="model")
    encoded = encoding.encode(holed)
    assert encoding.kind == "vectors" and encoding.cardinalities == (2,)
    assert encoding.model_shape == (5,) and not encoding.is_continuous
    assert np.array_equal(encoded.observed, ~np.isnan(holed))
    assert np.array_equal(encoded.codes[:, 0] == 1, np.isnan(holed[:, 1]))
    assert np.array_equal(np.isnan(encoding.decode(encoded)), np.isnan(holed))
    np.testing.assert_allclose(encoding.decode(encoded), holed, rtol=1e-12)


def test_an_all_missing_column_is_a_constant(holed):
    holed[:, 2] = np.nan
    encoding = fit_encoding(holed, missing="model")
    assert encoding.shape == (2,) and encoding.cardinalities == (2,)
    assert np.isnan(round_trip(encoding, holed)[:, 2]).all()


def test_pack_and_unpack_are_inverse(holed):
    encoding = fit_encoding(holed, missing="model")
    encoded = encoding.encode(holed)
    packed = encoding.pack(encoded)
    assert packed.dtype == np.float32 and packed.shape == (50, 5)
    assert set(np.unique(packed[:, 3:])) == {-1.0, 1.0}
    assert (packed[~encoded.observed[:, 1], 1] == 0).all()
    back = encoding.unpack(packed)
    assert np.array_equal(back.codes, encoded.codes)
    assert np.array_equal(back.observed, encoded.observed)
    np.testing.assert_allclose(back.values, encoded.values, atol=1e-6)


def test_fillers_are_drawn_from_a_standard_normal_in_training():
    X = np.random.default_rng(0).normal(size=(4000, 1))
    X[::2] = np.nan
    encoding = fit_encoding(np.hstack([X, X]), missing="model")
    encoded = encoding.encode(np.hstack([X, X]))
    packed = encoding.pack(encoded, np.random.default_rng(1))
    fillers = packed[::2, :2]
    assert abs(fillers.mean()) < 5 / np.sqrt(4000) and abs(fillers.std() - 1) < 0.06
    assert np.array_equal(packed[1::2, :2], encoded.values[1::2].astype(np.float32))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64", "bool"])
def test_integers_are_dequantised_by_one_quantum_and_rounded_back(dtype):
    X = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, (500, 2)).astype(dtype)
    encoding = fit_encoding(X)
    encoded = encoding.encode(X)
    noisy = encoding.dequantise(encoded, np.random.default_rng(1))
    noise = (noisy.values - encoded.values) * encoding.linear()[1]
    assert noise.min() >= -0.5 and noise.max() <= 0.5
    assert noise.var() == pytest.approx(1 / 12, rel=0.1) and abs(noise.mean()) < 0.05
    assert not encoding.is_continuous
    back = encoding.decode(noisy)
    assert back.dtype == X.dtype and np.array_equal(back, X)
    packed = encoding.pack(encoded, np.random.default_rng(1))
    np.testing.assert_allclose(packed, noisy.values, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_c13_float_dtypes_come_back(dtype):
    X = np.random.default_rng(0).normal(size=(20, 2)).astype(dtype)
    back = round_trip(fit_encoding(X), X)
    assert back.dtype == X.dtype and np.array_equal(back, X) == (dtype != "float64")
    assert fit_encoding(X).is_continuous


def test_c13_order_memory_maps_and_read_only_arrays_change_nothing(tmp_path):
    X = np.random.default_rng(0).normal(size=(20, 3))
    np.save(tmp_path / "x.npy", X)
    expected = fit_encoding(X).encode(X).values
    frozen = X.copy()
    frozen.setflags(write=False)
    for other in (
        np.asfortranarray(X),
        np.load(tmp_path / "x.npy", mmap_mode="r"),
        frozen,
        X.tolist(),
    ):
        encoding = fit_encoding(other)
        assert np.array_equal(encoding.encode(encoding.check(other)).values, expected)


def traced(function, *arguments):
    r"""Return a result, and the most memory in bytes that was allocated on the way to it."""
    tracemalloc.start()
    try:
        return function(*arguments), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("order", "dtype"), [("C", "float32"), ("F", "float32"), ("C", "int32")])
def test_c14_a_map_is_measured_block_by_block_to_the_bits_of_the_array(tmp_path, order, dtype):
    X = np.random.default_rng(0).normal(100, 20, (100_000, 40))
    X[:, 3] = 7  # and a column that is looked at twice
    X = np.asarray(X.astype(dtype), order=order)
    np.save(tmp_path / "x.npy", X)
    index = np.delete(np.arange(len(X)), np.arange(0, len(X), 50))
    mapped = load(tmp_path / "x.npy").X
    found, peak = traced(lambda: VectorEncoding.fit(mapped, index=index))
    assert peak < 14e6
    expected = VectorEncoding.fit(X, index=index)
    assert np.array_equal(found.shift, expected.shift)
    assert np.array_equal(found.scale, expected.scale)
    np.testing.assert_allclose(expected.scale, X[index].std(0, dtype=np.float64), rtol=1e-9)
    assert traced(found.check, mapped)[1] < 8e6


def test_c13_input_is_not_changed(holed):
    before = holed.copy()
    encoding = fit_encoding(holed, missing="model")
    encoding.pack(encoding.encode(encoding.check(holed)), np.random.default_rng(0))
    np.testing.assert_array_equal(holed, before)


@pytest.mark.parametrize("n", [0, 1])
def test_c4_no_rows_or_one_are_refused(n):
    with pytest.raises(DataError, match=f"{n} sample.*minimum of 2"):
        fit_encoding(np.ones((n, 3)))


def test_c4_one_row_can_be_encoded_but_none_cannot():
    encoding = fit_encoding(np.eye(3))
    assert len(encoding.encode(encoding.check(np.ones((1, 3))))) == 1
    with pytest.raises(DataError, match="0 sample"):
        encoding.check(np.ones((0, 3)))


def test_shapes_that_are_no_table_are_refused():
    with pytest.raises(DataError, match="Reshape your data"):
        fit_encoding(np.ones(5))
    with pytest.raises(DataError, match="0 feature"):
        fit_encoding(np.ones((5, 0)))
    with pytest.raises(
        DataError, match=r"X has 2 features, but fromnoise is expecting 3 features"
    ):
        fit_encoding(np.eye(3)).check(np.ones((4, 2)))


def test_c13_other_kinds_of_arrays_are_refused():
    with pytest.raises(DataError, match="Complex data not supported"):
        fit_encoding(np.eye(3) * 1j)
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        fit_encoding(scipy.sparse.eye(3).tocsr())
    with pytest.raises(TypeError, match="Masked"):
        fit_encoding(np.ma.masked_equal(np.eye(3), 0))
    with pytest.raises(DataError):
        fit_encoding(np.array([["a", "b"], ["c", "d"]]))
    days = np.array([["2020-01-01"], ["2020-01-02"]], "M8[D]")
    for dates in (days, days - days[0]):
        with pytest.raises(DataError, match=r"dtype (datetime|timedelta)64\[D\]: .*DataFrame"):
            fit_encoding(dates)
        with pytest.raises(DataError, match="dtype"):
            fit_encoding(np.eye(1)[[0, 0]]).check(dates)
    with pytest.raises(TypeError, match=r"got other objects in 2 rows \(row 0: datetime.date"):
        fit_encoding(days.astype(object))
    with pytest.raises(TypeError, match=r"got other objects in 1 rows \(row 1: <NA>"):
        fit_encoding(np.array([[1.0], [pd.NA]], object))


@pytest.mark.parametrize(
    "X",
    [
        np.eye(4, dtype=np.float16),
        np.arange(8).reshape(4, 2),
        np.eye(4, dtype=bool),
        np.asfortranarray(np.eye(4)),
        np.eye(4, dtype=">f8"),
        np.array([[Decimal("1.5"), 2], [3.0, np.float32(4)], [None, True]], object),
    ],
    ids=["float16", "int64", "bool", "fortran", "big-endian", "objects"],
)
def test_c13_every_dtype_gives_what_float64_gives_and_is_left_alone(X):
    before = pickle.dumps(X)
    X.setflags(write=False)
    encoding = fit_encoding(X, missing="model")
    expected = fit_encoding(X.astype(np.float64), missing="model")
    given, plain = (
        code.pack(code.encode(code.check(rows)))
        for code, rows in ((encoding, X), (expected, X.astype(np.float64)))
    )
    assert np.array_equal(given, plain)
    X.setflags(write=True)
    assert pickle.dumps(X) == before


def test_c6_objects_that_hold_numbers_are_converted_and_text_is_listed():
    X = np.arange(12.0).reshape(6, 2)
    assert np.array_equal(
        fit_encoding(X.astype(object)).encode(X).values, fit_encoding(X).encode(X).values
    )
    mixed = X.astype(object)
    mixed[[1, 2, 4, 5], 0] = "1", "x", "\x1b", 3
    with pytest.raises(
        DataError, match=r"text in 3 rows \(row 1: '1'; row 2: 'x'; row 4: '.x1b'\)"
    ):
        fit_encoding(mixed)


def test_integers_that_floats_cannot_tell_apart_are_refused():
    with pytest.raises(DataError, match=r"Column 1 holds an integer beyond 2\*\*53"):
        fit_encoding(np.array([[1, 2**53 + 1], [2, 5]]))


def test_an_unknown_way_with_gaps_is_refused():
    with pytest.raises(DataError, match="Did you mean 'model'"):
        fit_encoding(np.eye(3), missing="modle")


def test_blocks_of_rows_encode_like_the_whole(holed):
    encoding = fit_encoding(holed, missing="model")
    whole = encoding.encode(holed)
    parts = [encoding.encode(holed[i : i + 7]) for i in range(0, 50, 7)]
    assert np.array_equal(np.concatenate([p.values for p in parts]), whole.values)
    assert np.array_equal(whole.rows(np.array([3, 1])).values, whole.values[[3, 1]])
    assert np.array_equal(whole.rows(slice(2, 5)).observed, whole.observed[2:5])


def test_checks_run_over_all_blocks(monkeypatch):
    monkeypatch.setattr("fromnoise.data.vectors._BLOCK", 8)
    X = np.ones((20, 2))
    X[17, 1] = np.inf
    with pytest.raises(DataError, match="row 17"):
        fit_encoding(X)
    X[17, 1] = np.nan
    with pytest.raises(DataError, match=r"NaN in column 1 \(1 rows\)"):
        fit_encoding(X)


def test_torch_in_torch_out():
    torch = pytest.importorskip("torch")
    for dtype in (torch.float32, torch.float64, torch.int64, torch.uint8):
        X = (10 * torch.rand(20, 3, generator=torch.Generator().manual_seed(0))).to(dtype)
        encoding = VectorEncoding.fit(X)
        back = round_trip(encoding, X)
        assert back.dtype == dtype and torch.allclose(back, X)
        assert encoding_from_state(encoding.to_state()).container == "torch"
