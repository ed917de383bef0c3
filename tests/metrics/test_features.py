import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.decomposition import PCA

from fromnoise.errors import DataError
from fromnoise.metrics import PixelPCA, Standardise, TableFeatures, energy_distance


def test_standardise_uses_the_training_rows_only():
    rng = np.random.default_rng(0)
    train = rng.normal([3, -1], [2, 5], (100, 2))
    features = Standardise.fit(train)
    np.testing.assert_allclose(features(train).mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(features(train).std(axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(features([[3, -1]]) * train.std(axis=0), [[3, -1] - train.mean(0)])
    assert features.name == "standardised"


def test_standardise_leaves_constant_columns_finite_and_refuses_other_widths():
    features = Standardise.fit(np.ones((5, 1)))
    assert features([[1.0], [4.0]]).tolist() == [[0.0], [3.0]]
    with pytest.raises(DataError, match=r"rows of 1 numbers.*got 2"):
        features(np.ones((5, 2)))


def images_of_rank_three(n=200):
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, 3)) * [9, 3, 1]) @ rng.normal(size=(3, 48)) + 7


def test_pixel_pca_is_principal_components_on_one_scale():
    rows = images_of_rank_three()
    features = PixelPCA.fit(rows.reshape(-1, 4, 4, 3), n_components=3)
    found = features(rows.reshape(-1, 4, 4, 3))
    expected = PCA(3).fit_transform(rows)
    expected /= np.sqrt((expected**2).mean())
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-6, atol=1e-8)
    assert features.name == "pixel-pca-3"


def test_pixel_pca_does_not_depend_on_the_unit_and_keeps_distances_in_proportion():
    rows = images_of_rank_three()
    a, b = (PixelPCA.fit(rows * unit)(rows * unit) for unit in (1, 255))
    np.testing.assert_allclose(np.abs(a), np.abs(b), atol=1e-6)
    far = [np.linalg.norm(z[:50] - z[50:100], axis=1) for z in (rows, a)]
    np.testing.assert_allclose(far[1] / far[0], far[1][0] / far[0][0], rtol=1e-6)


def test_pixel_pca_takes_any_layout_and_few_or_equal_images():
    images = np.random.default_rng(0).integers(0, 256, (100, 3, 6, 6), dtype=np.uint8)
    features = PixelPCA.fit(images)
    assert features(images).shape == (100, 64)
    np.testing.assert_array_equal(features(torch.from_numpy(images)), features(images))
    np.testing.assert_array_equal(features(images), PixelPCA.fit(images)(images))
    few = PixelPCA.fit(images[:10])
    assert few(images).shape == (100, 10)
    assert (PixelPCA.fit(np.ones((9, 4, 4)))(np.ones((3, 4, 4))) == 0).all()


def test_pixel_pca_in_blocks_is_that_of_each_image():
    images = np.random.default_rng(0).normal(size=(1500, 3, 3))
    features = PixelPCA.fit(images)
    np.testing.assert_allclose(features(images)[1400:], features(images[1400:]), atol=1e-12)


def test_pixel_pca_refuses_what_is_no_image():
    with pytest.raises(DataError, match="images as an array"):
        PixelPCA.fit([1, 2, 3])
    with pytest.raises(DataError, match=r"rows of 9 numbers.*got 16"):
        PixelPCA.fit(np.ones((9, 3, 3)))(np.ones((9, 4, 4)))
    with pytest.raises(DataError, match="finite numbers in images"):
        PixelPCA.fit(np.full((9, 3, 3), np.nan))


COLUMNS = {
    "age": [20.0, 40.0, None, 60.0],
    "born": [datetime.date(2000, 1, day) for day in (1, 2, 3, 4)],
    "city": ["Oslo", "Rome", "Rome", None],
    "member": [True, False, True, True],
}


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_table_features_in_both_libraries(library):
    table = library.DataFrame(COLUMNS)
    if library is pd:
        table["born"] = pd.to_datetime(table["born"])
    features = TableFeatures.fit(table)
    assert features.columns == [
        "age", "age is missing", "born", "born is missing",
        "city = 'Rome'", "city = 'Oslo'", "city = None", "member = True", "member = False",
    ]  # fmt: skip
    z, days = np.sqrt(1.5), np.array([-1.5, -0.5, 0.5, 1.5]) / np.sqrt(1.25)
    expected = [
        [-z, 0, days[0], 0, 0, 1, 0, 1, 0],
        [0, 0, days[1], 0, 1, 0, 0, 0, 1],
        [0, 1, days[2], 0, 1, 0, 0, 1, 0],
        [z, 0, days[3], 0, 0, 0, 1, 1, 0],
    ]
    np.testing.assert_allclose(features(table), expected, atol=1e-12)
    assert features.name == "table"


def test_unknown_levels_are_zero_and_columns_go_by_name():
    features = TableFeatures.fit(pd.DataFrame({"a": ["x", "y"], "b": [0, 2]}))
    found = features(pd.DataFrame({"b": [1, 4], "a": ["y", "new"]}))
    assert found.tolist() == [[0, 0, 0, 1], [3, 0, 0, 0]]


def test_rows_of_pandas_types_are_read():
    train = pd.DataFrame(
        {
            "count": pd.array([1, None, 3], dtype="Int64"),
            "level": pd.Categorical(["lo", "hi", None], categories=["lo", "hi", "never"]),
            "zone": pd.to_datetime(["2020-01-01", None, "2020-01-03"]).tz_localize("Asia/Tokyo"),
            "constant": [5.0, 5.0, 5.0],
            "empty": [np.nan, np.nan, np.nan],
            "mixed": [1, "1", [1]],
        }
    )
    found = pd.DataFrame(TableFeatures.fit(train)(train), columns=TableFeatures.fit(train).columns)
    assert found["count"].tolist() == [-1, 0, 1]
    assert found["count is missing"].tolist() == [0, 1, 0]
    assert found["zone"].tolist() == [-1, 0, 1]
    assert found["empty is missing"].tolist() == [1, 1, 1]
    assert found[["constant", "empty"]].to_numpy().tolist() == [[0, 0]] * 3
    assert "level = 'never'" not in found
    assert found[["mixed = 1", "mixed = '1'", "mixed = '[1]'"]].to_numpy().tolist() == (
        np.eye(3).tolist()
    )


def test_polars_nan_is_missing():
    table = pl.DataFrame({"a": [1.0, float("nan"), 3.0, None]})
    assert TableFeatures.fit(table)(table).tolist() == [[-1, 0], [0, 1], [1, 0], [0, 1]]


def test_many_levels_are_cut_to_the_frequent_ones():
    column = [f"often {i % 999}" for i in range(1998)] + [f"once {i}" for i in range(500)]
    found = TableFeatures.fit(pl.DataFrame({"a": column}))(pl.DataFrame({"a": column}))
    assert found.shape == (2498, 1000)
    assert (found[:1998].sum(axis=1) == 1).all()


def test_table_features_feed_a_metric():
    rng = np.random.default_rng(0)
    real = pd.DataFrame({"a": rng.normal(size=200), "b": rng.choice(["x", "y"], 200)})
    features = TableFeatures.fit(real)
    fake = real.assign(b="x")
    assert energy_distance(features(real), features(fake)).low > 0


def test_table_features_say_what_is_wrong():
    train = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    features = TableFeatures.fit(train)
    with pytest.raises(DataError, match=r"\['b'\] are missing and \['c'\] are not known"):
        features(train.rename(columns={"b": "c"}))
    with pytest.raises(DataError, match="numbers or dates in column 'a'"):
        features(train.assign(a=["u", "v"]))
    with pytest.raises(DataError, match="infinity in row 1"):
        features(train.assign(a=[0.0, np.inf]))
    with pytest.raises(DataError, match=r"DataFrame, got 'ndarray'.*Standardise"):
        TableFeatures.fit(np.ones((3, 2)))
    for empty in (train[:0], train[[]]):
        with pytest.raises(DataError, match="rows and columns in train"):
            TableFeatures.fit(empty)
