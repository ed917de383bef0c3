r"""What y is, its codes, and that labels come back as they were given."""

import numpy as np
import pandas as pd
import pytest

import fromnoise as fn
from fromnoise.data import Condition, load
from fromnoise.errors import DataError


def fit(y):
    return Condition.fit(y, len(y))


def stored(condition):
    return Condition.from_state(condition.to_state())


CLASSES = {
    "int64": np.array([3, 1, 3, 7]),
    "uint8": np.array([3, 1, 3, 7], np.uint8),
    "bool": np.array([True, False, True, True]),
    "str": np.array(["b", "a", "b", "c"]),
    "object": np.array(["b", "a", "b", "ccc"], object),
}


@pytest.mark.parametrize("name", CLASSES)
def test_labels_are_classes_and_come_back(name):
    y = CLASSES[name]
    for condition in (fit(y), stored(fit(y))):
        codes = condition.check_encode(y, 4)
        assert condition.kind == "classes" and condition.width == 0
        assert condition.n_classes == len(set(y.tolist())) == len(condition.classes_)
        assert condition.classes_.tolist() == sorted(set(y.tolist()))
        assert codes.dtype == np.int64 and np.array_equal(condition.classes_[codes], y)
        back = condition.decode(codes)
        assert back.dtype == y.dtype and np.array_equal(back, y)


SERIES = {
    "int": pd.Series([3, 1, 3, 7], name="k"),
    "Int64": pd.Series([3, 1, 3, 7], dtype="Int64", name="k"),
    "str": pd.Series(["b", "a", "b", "c"], name=None),
    "category": pd.Series(pd.Categorical(list("baba"), categories=["z", "b", "a"]), name="k"),
    "bool": pd.Series([True, False, True, True], name="k"),
    "float": pd.Series([0.5, 1.5, 2.5, 9.0], name="k"),
    "float32": pd.Series([0.5, 1.5, 2.5, 9.0], name="k", dtype="float32"),
}


@pytest.mark.parametrize("name", SERIES)
def test_series_come_back_with_dtype_and_name(name):
    y = SERIES[name]
    for condition in (fit(y), stored(fit(y))):
        back = condition.decode(condition.check_encode(y, 4))
        pd.testing.assert_series_equal(back, y)
        assert condition.kind == ("continuous" if "float" in name else "classes")
    frame = y.to_frame("k")
    pd.testing.assert_frame_equal(fit(frame).decode(fit(frame).check_encode(frame, 4)), frame)


def test_polars_labels_come_back():
    pl = pytest.importorskip("polars")
    from polars.testing import assert_series_equal

    for values in (["b", "a", "b"], [0.5, 1.5, 0.0], [1, 2, 1]):
        y = pl.Series("k", values)
        for condition in (fit(y), stored(fit(y))):
            back = condition.decode(condition.check_encode(y, 3))
            assert_series_equal(back, y, abs_tol=1e-6)


def test_torch_labels_come_back():
    torch = pytest.importorskip("torch")
    for values in ([3, 1, 3], [True, False, True], [0.5, 1.0, 2.0]):
        y = torch.tensor(values)
        back = fit(y).decode(fit(y).check_encode(y, 3))
        assert back.dtype == y.dtype and torch.equal(back, y)


@pytest.mark.parametrize("shape", [(50,), (50, 1), (50, 3)])
def test_floats_are_standardised_and_come_back(shape):
    y = np.random.default_rng(0).normal(5, 3, shape)
    for condition in (fit(y), stored(fit(y))):
        codes = condition.check_encode(y, 50)
        assert condition.kind == "continuous" and condition.n_classes == 0
        assert condition.classes_ is None and condition.width == (shape[1:] or (1,))[0]
        assert codes.dtype == np.float64 and codes.shape == (50, condition.width)
        np.testing.assert_allclose(codes.mean(0), 0, atol=1e-6)
        np.testing.assert_allclose(codes.std(0), 1, rtol=1e-6)
        back = condition.decode(codes)
        assert back.shape == shape and back.dtype == y.dtype
        np.testing.assert_allclose(back, y, rtol=1e-6, atol=1e-6)


def test_a_frame_of_floats_comes_back():
    y = pd.DataFrame({"a": [0.5, 1.0, 3.0], "b": np.float32([1, 2, 5])})
    for condition in (fit(y), stored(fit(y))):
        pd.testing.assert_frame_equal(condition.decode(condition.check_encode(y, 3)), y)
    with pytest.raises(DataError, match="Column 'c' of y is not float"):
        fit(y.assign(c=[1, 2, 3]))


def test_a_constant_float_is_no_division_by_zero():
    condition = fit(np.full(4, 2.5))
    assert (condition.check_encode(2.5, 3) == 0).all()
    assert condition.decode(np.zeros((2, 1))).tolist() == [2.5, 2.5]


def test_one_value_is_for_all_rows():
    assert fit(CLASSES["str"]).check_encode("c", 3).tolist() == [2, 2, 2]
    assert fit(CLASSES["int64"]).check_encode(7, 2).tolist() == [2, 2]
    assert fit(CLASSES["int64"]).check_encode(np.float64(7), 2).tolist() == [2, 2]
    y = np.array([[0.0, 10.0], [2.0, 30.0]])
    assert fit(y).check_encode([1.0, 20.0], 3).tolist() == [[0.0, 0.0]] * 3
    assert fit(y).check_encode(np.array([[2.0, 30.0]]), 2).tolist() == [[1.0, 1.0]] * 2
    # Two rows of one column, not one row of two.
    assert fit(np.array([0.0, 2.0])).check_encode([0.0, 2.0], 2).tolist() == [[-1.0], [1.0]]
    assert fit(np.array([0.0, 2.0])).check_encode(2, 2).tolist() == [[1.0], [1.0]]


def test_c7_an_unseen_class_is_named():
    with pytest.raises(DataError, match=r"class 'd', which was not in fit\. Known: 'a', 'b', 'c'"):
        fit(CLASSES["str"]).check_encode(["a", "d"], 2)
    for other in (5, 0, 99, "3", 3.5):
        with pytest.raises(DataError, match=r"not in fit. Known: 1, 3, 7"):
            fit(CLASSES["int64"]).check_encode(other, 2)
    with pytest.raises(DataError, match=r"'x\\x1b"):
        fit(CLASSES["str"]).check_encode("x\x1b", 1)
    with pytest.raises(DataError, match=", …"):
        fit(np.arange(50)).check_encode(99, 1)


def test_wrong_numbers_of_rows_and_columns_are_refused():
    with pytest.raises(DataError, match="one entry for each of 5 rows, got 4 rows"):
        Condition.fit(CLASSES["int64"], 5)
    with pytest.raises(DataError, match="got a single value"):
        Condition.fit(3, 5)
    with pytest.raises(DataError, match="y has 4 rows, expected 3"):
        fit(CLASSES["int64"]).check_encode(CLASSES["int64"], 3)
    with pytest.raises(DataError, match="y has 2 columns, expected 3"):
        fit(np.ones((4, 3))).check_encode(np.ones((4, 2)), 4)
    with pytest.raises(DataError, match="y has 3 rows, expected 4"):
        fit(np.ones((4, 3))).check_encode(np.ones((3, 3)), 4)
    with pytest.raises(DataError, match="labels are one column"):
        fit(np.ones((4, 2), int))
    with pytest.raises(DataError, match="continuous: expected numbers"):
        fit(np.ones(4)).check_encode("a", 4)


def test_more_than_a_thousand_labels_suggest_float():
    assert fit(np.arange(1000)).n_classes == 1000
    with pytest.raises(DataError, match=r"1001 distinct labels.*as float"):
        fit(np.arange(1001))


def test_gaps_mixtures_and_other_types_are_refused():
    with pytest.raises(DataError, match=r"NaN or inf in 2 rows \(first 1, 2\)"):
        fit(np.array([1.0, np.nan, np.inf]))
    with pytest.raises(DataError, match=r"^y is missing in 1 rows \(first 1\)"):
        fit(pd.Series(["a", None, "b"]))
    with pytest.raises(DataError, match=r"mixes types \(int, str\)"):
        fit(np.array([1, "a"], object))
    with pytest.raises(DataError, match="dtype complex128"):
        fit(np.ones(3) * 1j)
    with pytest.raises(DataError, match="NaN or inf"):
        fit(np.array([1.0, 2.0])).check_encode(np.nan, 3)


def test_objects_of_one_type_are_what_they_hold():
    assert fit(np.array([1, 2, 1], object)).kind == "classes"
    assert fit(np.array([True, False], object)).classes_.dtype == bool
    assert fit(np.array([1, 2.5], object)).kind == "continuous"
    assert fit(["a", "b"]).classes_.tolist() == ["a", "b"]


def test_gaps_in_a_label_are_told_by_its_column():
    pl = pytest.importorskip("polars")
    holes = r"y, column 'k\\n', is (missing|NaN or inf) in 2 rows \(first 1, 3\)"
    for values in (["a", None, "b", None], [1.5, None, 2.0, None], [1, None, 2, None]):
        for library in (pd, pl):
            frame = library.DataFrame({"k\n": values, "x": [1.0, 2.0, 3.0, 4.0]})
            for y in (frame["k\n"], frame[["k\n"]]):
                with pytest.raises(DataError, match=holes):
                    fit(y)
            data = load(frame, label="k\n")
            with pytest.raises(DataError, match=holes):
                fn.GaussianMixture().fit(data.X, data.y)
    two = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, np.nan, np.inf]})
    with pytest.raises(DataError, match=r"y, column 'b', is .* in (1|2) rows"):
        fit(two)
    condition = fit(pd.Series([1.0, 2.0], name="k"))
    with pytest.raises(DataError, match=r"column 'k', is"):
        condition.check_encode(pd.Series([np.nan, 1.0], name="k"), 2)
