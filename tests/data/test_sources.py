r"""Reading names and files: what is built in, labels, and faults, which are named."""

import gzip
import io
import struct
import zipfile
from datetime import date

import numpy as np
import pandas as pd
import pytest

from fromnoise.data import (
    Data,
    fit_encoding,
    load,
    sources,
)
from fromnoise.errors import DataError


@pytest.fixture
def read(tmp_path):
    def read(content, **arguments):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load(str(path), **arguments)

    return read


# ------------------------------------------------------------------ labels
def test_a_label_is_taken_out_of_a_table(read):
    data = read("a,kind\n1,x\n2,y\n", label="kind")
    assert data.label == "kind" and data.y.tolist() == ["x", "y"] and data.y.name == "kind"
    assert data.X.columns.tolist() == ["a"] and data.kind == "table" and data.name == "table"
    frame = pd.DataFrame({3: [1.0, 2.0], "k": [0, 1]})
    assert load(frame, label="3").X.columns.tolist() == ["k"]
    polars = pytest.importorskip("polars")
    data = load(polars.DataFrame({"a": [1, 2], "k": ["x", "y"]}), label="k")
    assert data.X.columns == ["a"] and data.y.to_list() == ["x", "y"]


def test_labels_that_do_not_exist_are_refused(read):
    with pytest.raises(DataError, match=r"No column 'knid'. Did you mean 'kind'"):
        read("a,kind\n1,x\n2,y\n", label="knid")
    with pytest.raises(DataError, match="no column besides the label"):
        read("kind\nx\ny\n", label="kind")
    with pytest.raises(DataError, match="no table"):
        load(np.eye(2), label="kind")


# ------------------------------------------------------------------ names and other files
def test_built_in_sets():
    digits = load("digits")
    assert digits.X.shape == (1797, 8, 8) and digits.X.min() == 0 and digits.X.max() == 16
    assert digits.kind == "images" and sorted(set(digits.y.tolist())) == list(range(10))
    for name, shape, classes in [("wine", (178, 13), 3), ("breast-cancer", (569, 30), 2)]:
        data = load(name)
        assert (
            data.X.shape == shape
            and data.kind == "vectors"
            and len(set(data.y.tolist())) == classes
        )
    assert load("diabetes").X.shape == (442, 10) and load("diabetes").y.dtype == float


def test_unknown_sources_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"'digitz'. Did you mean 'digits'"):
        load("digitz")
    with pytest.raises(DataError, match="no local file"):
        load("http://127.0.0.1:9/x.csv")
    (tmp_path / "x.pkl").write_bytes(b"")
    with pytest.raises(DataError, match=r"ends in .csv, .tsv, .parquet, .npy, .npz"):
        load(tmp_path / "x.pkl")
    with pytest.raises(DataError, match="image_size resizes folders"):
        load("digits", image_size=4)


def test_data_and_arrays_are_passed_through():
    X = np.eye(3)
    data = load(X)
    assert data.X is X and data.kind == "vectors" and load(data) is data
    assert load([[1, 2], [3, 4]]).X.shape == (2, 2)
    assert load(np.zeros((3, 4, 4))).kind == "images"
    assert load(pd.DataFrame({"a": [1]})).kind == "table"


def test_arrays_in_files(tmp_path):
    X = np.random.default_rng(0).normal(size=(5, 2))
    np.save(tmp_path / "x.npy", X)
    data = load(tmp_path / "x.npy")
    assert isinstance(data.X, np.memmap) and np.array_equal(data.X, X) and data.name == "x"
    np.savez(tmp_path / "both.npz", X=X, y=np.arange(5))
    data = load(tmp_path / "both.npz")
    assert np.array_equal(data.X, X) and data.y.tolist() == [0, 1, 2, 3, 4]
    assert isinstance(data.X, np.memmap) and type(data.y) is np.ndarray
    for array in (np.asfortranarray(X), X[:0], np.array(1.5), np.array(["a", "é"])):
        np.savez(tmp_path / "other.npz", X=array)
        found = load(tmp_path / "other.npz").X if array.ndim == 2 else None
        assert array.ndim != 2 or (np.array_equal(found, array) and found.dtype == array.dtype)
    np.savez_compressed(tmp_path / "one.npz", images=np.zeros((3, 4, 4)))
    assert load(tmp_path / "one.npz").kind == "images"
    np.savez(tmp_path / "many.npz", a=X, b=X)
    with pytest.raises(DataError, match=r"expected an array named X .*got 'a', 'b'"):
        load(tmp_path / "many.npz")


def test_b1_b7_hostile_arrays_are_refused(tmp_path):
    np.save(tmp_path / "object.npy", np.array([{}], object), allow_pickle=True)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
    )
    (tmp_path / "large.npy").write_bytes(header.getvalue() + b"\0" * 64)
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.npz").write_bytes(b"hello")
    for name in ("object.npy", "large.npy", "empty.npy"):
        with pytest.raises(DataError, match=f"{name}.*no sound .npy"):
            load(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "large.npz", "w") as bundle:
        bundle.writestr("X.npy", header.getvalue() + b"\0" * 64)
    np.savez(tmp_path / "object.npz", X=np.array([{}], object))
    whole = io.BytesIO()
    np.savez(whole, X=np.arange(100.0))
    (tmp_path / "cut.npz").write_bytes(whole.getvalue()[:300])
    for name in ("text.npz", "large.npz", "object.npz", "cut.npz"):
        with pytest.raises(DataError, match=f"{name}.*no sound .npz"):
            load(tmp_path / name)


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"a": [1.5, 2.5], "c": pd.Categorical(["x", "y"])})
    frame.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(load(tmp_path / "t.parquet").X, frame)
    (tmp_path / "bad.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match="no sound Parquet"):
        load(tmp_path / "bad.parquet")


def test_what_pandas_destroys_in_parquet_survives(tmp_path):
    polars = pytest.importorskip("polars")
    days = [date(2023, 10, 27), None, date(2024, 2, 29)]
    frame = polars.DataFrame(
        {"day": days, "n": [2**53 + 1, None, 7], "b": [True, None, False], "i": [1, 2, 3]}
    ).with_columns(polars.col("i").cast(polars.Int8), c=polars.Series(["x", "y", "x"]).cast(
        polars.Categorical))  # fmt: skip
    frame.write_parquet(tmp_path / "t.parquet")
    X = load(tmp_path / "t.parquet").X
    assert X["n"].tolist() == [2**53 + 1, pd.NA, 7] and str(X["n"].dtype) == "Int64"
    assert X["b"].tolist() == [True, pd.NA, False]
    assert X["day"].dtype.kind == "M" and X["day"][0] == pd.Timestamp("2023-10-27")
    assert X["i"].dtype == np.int8 and X["c"].dtype == "category"
    encoding = fit_encoding(X)
    again = encoding.decode(encoding.encode(encoding.check(X)))
    pd.testing.assert_frame_equal(again, X)


# ------------------------------------------------------------------ MNIST's format
def write_idx(folder, images=3, labels=3, magic=0x803):
    for part in ("train", "t10k"):
        pixels = np.arange(images * 4, dtype=np.uint8)
        raw = struct.pack(">IIII", magic, images, 2, 2) + pixels.tobytes()
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(raw))
        raw = struct.pack(">II", 0x801, labels) + bytes(range(labels))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(raw))


def test_a_folder_in_the_format_of_mnist(tmp_path, monkeypatch):
    write_idx(tmp_path)
    data = load(tmp_path)
    assert data.kind == "images" and data.X.shape == (6, 2, 2) and data.X.dtype == np.uint8
    assert data.X[1].tolist() == [[4, 5], [6, 7]] and data.y.tolist() == [0, 1, 2, 0, 1, 2]
    monkeypatch.setattr(sources, "FASHION_MNIST", tmp_path)
    assert np.array_equal(load("fashion-mnist").X, data.X)
    monkeypatch.setattr(sources, "FASHION_MNIST", tmp_path / "none")
    with pytest.raises(DataError, match="install Debian's package dataset-fashion-mnist, or give"):
        load("fashion-mnist")


def test_damaged_idx_files_are_refused(tmp_path):
    write_idx(tmp_path, labels=2)
    with pytest.raises(DataError, match="6 images but 4 labels"):
        load(tmp_path)
    write_idx(tmp_path, magic=0x802)
    with pytest.raises(DataError, match="no sound idx file"):
        load(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"no")
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"ab"))
    with pytest.raises(DataError, match="no sound idx file"):
        load(tmp_path)


def test_data_holds_what_it_is_given():
    data = Data(np.eye(2), name="x", note=("remark",))
    assert data.y is None and data.kind == "vectors" and data.label is None
    with pytest.raises(AttributeError):
        data.name = "y"
