r"""Parquet into .npy: every number where it was, block by block, and what cannot go is named."""

import subprocess
import sys
from datetime import date

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402 (needs pyarrow)

import fromnoise as fn  # noqa: E402
from fromnoise.cli import main  # noqa: E402
from fromnoise.data import conversion, memory, to_npy  # noqa: E402
from fromnoise.errors import DataError  # noqa: E402


@pytest.fixture
def written(tmp_path):
    def written(columns, **options):
        path = tmp_path / "x.parquet"
        pq.write_table(pa.table(columns), path, **options)
        return path

    return written


@pytest.fixture
def out(tmp_path):
    return tmp_path / "x.npy"


def test_numbers_stand_where_they_were(written, out, monkeypatch):
    monkeypatch.setattr(conversion, "_BLOCK", 70)
    rng = np.random.default_rng(0)
    x, n = rng.normal(size=1000), rng.integers(-(2**53), 2**53, 1000)
    b = rng.integers(0, 2, 1000).astype(bool)
    holed = pa.array([None if i % 7 == 0 else i for i in range(1000)], pa.int16())
    truth = pa.array([None, True, False, True] * 250)
    path = written({"x": x, "n": n, "b": b, "h": holed, "t": truth}, row_group_size=333)
    assert to_npy(path, out) == out
    X = fn.data.load(out).X
    assert isinstance(X, np.memmap) and X.dtype == np.float64 and X.shape == (1000, 5)
    expected = np.arange(1000.0)
    expected[::7] = np.nan
    for found, column in zip(X.T, (x, n, b, expected, [np.nan, 1, 0, 1] * 250), strict=True):
        np.testing.assert_array_equal(found, column)
    to_npy(path, out, columns=["n", "x"], overwrite=True)
    np.testing.assert_array_equal(np.load(out), np.stack([n, x], 1))


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (["f4"], "f4"),
        (["f4", "i2", "?"], "f4"),
        (["i1"], "f4"),
        (["f4", "i4"], "f8"),
        (["f8"], "f8"),
        (["f2", "u2"], "f4"),
    ],
)
def test_the_dtype_holds_all_that_the_columns_can(written, out, types, expected):
    path = written({str(i): np.ones(3, kind) for i, kind in enumerate(types)})
    assert np.load(to_npy(path, out)).dtype == np.dtype(expected)


def test_what_is_no_number_is_named(written, out):
    day, cents = date(2024, 2, 29), pa.array([1, 2], pa.decimal128(9, 2))
    path = written({"a": [1, 2], "b\n": ["x", "y"], "day": [day, day], "cents": cents})
    message = r"3 of the columns are not: 'b\\n' \(string\), 'day' \(date32.*'cents'"
    with pytest.raises(DataError, match=message):
        to_npy(path, out)
    with pytest.raises(DataError, match=r"No column 'dai'. Did you mean 'day'"):
        to_npy(path, out, columns=["dai"])
    with pytest.raises(DataError, match="got twice: 'a'"):
        to_npy(path, out, columns=["a", "a"])
    with pytest.raises(DataError, match="at least one column"):
        to_npy(path, out, columns=[])
    assert not list(out.parent.glob("*.npy*")) and to_npy(path, out, columns=["a"]) == out


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        (pa.array([1, 2, 2**53 + 1]), None, r"'v' holds an integer beyond 2\*\*53.*, in row 2"),
        (pa.array([1.0, 1e300]), "float32", "a number too large for float32, in row 1"),
        (pa.array([1, 100_000]), "float16", "a number too large for float16, in row 1"),
        (pa.array([1, None]), "int64", "a gap, which int64 has no room for, in row 1"),
        (pa.array([1.0, None]), "int64", "a gap, which int64 has no room for, in row 1"),
        (pa.array([1.0, 2.5]), "int8", "a number that int8 does not hold, in row 1"),
        (pa.array([1, -1]), "uint8", "a number that uint8 does not hold, in row 1"),
        (pa.array([1.0, 1e30]), "int64", "a number that int64 does not hold, in row 1"),
        (pa.array([1.0]), "complex64", "dtype must be of floats or integers, got complex64"),
        (pa.array([], pa.int8()), None, "holds no rows"),
    ],
)
def test_what_the_dtype_does_not_hold_is_refused(written, out, values, dtype, message):
    with pytest.raises(DataError, match=message):
        to_npy(written({"v": values}), out, dtype=dtype)
    assert not list(out.parent.glob("*.npy*")) and not list(out.parent.glob(".*"))


def test_one_name_is_one_column(written, out):
    path = written({"a": [1], "b": [2], "ab": [3]})
    assert np.load(to_npy(path, out, columns="ab")).tolist() == [[3]]


def test_a_file_that_is_not_there_is_said_so(tmp_path, out):
    with pytest.raises(DataError, match=r"There is no file .*gone\.parquet"):
        to_npy(tmp_path / "gone.parquet", out)


def test_integers_stay_what_they_are_on_request(written, out):
    path = written({"a": [2**62 + 1, -5], "b": [True, False]})
    assert np.load(to_npy(path, out, dtype="int64")).tolist() == [[2**62 + 1, 1], [-5, 0]]


def test_nothing_is_overwritten_unasked_and_nothing_half_is_left(written, out, tmp_path):
    path = written({"a": np.arange(4000.0)})
    out.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="exists"):
        to_npy(path, out)
    (tmp_path / "cut.parquet").write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(DataError, match="no sound Parquet"):
        to_npy(tmp_path / "cut.parquet", out, overwrite=True)
    assert out.read_bytes() == b"precious" and len(list(tmp_path.iterdir())) == 3
    with pytest.raises(DataError, match=r"must end in \.npy"):
        to_npy(path, tmp_path / "x.csv")
    with pytest.raises(DataError, match=r"must end in \.parquet"):
        to_npy(tmp_path / "x.csv", out)


_PEAKS = r"""
import sys, tracemalloc
import pyarrow as pa
from fromnoise.data import to_npy

tracemalloc.start()
to_npy(*sys.argv[1:])
print(tracemalloc.get_traced_memory()[1] + pa.default_memory_pool().max_memory())
"""


def test_c14_a_table_is_converted_by_blocks(written, out):
    rng = np.random.default_rng(0)
    path = written({f"c{i}": rng.normal(size=400_000) for i in range(10)}, row_group_size=20_000)
    child = [sys.executable, "-c", _PEAKS, path, out]  # the most that Arrow held is of a process
    peak = int(subprocess.run(child, capture_output=True, text=True, check=True).stdout)
    X = np.load(out, mmap_mode="r")
    assert X.shape == (400_000, 10) and peak < 0.8 * X.nbytes


# ------------------------------------------------------------------ tables that do not fit
def test_c14_a_table_that_does_not_fit_is_refused_with_its_size(written, monkeypatch, capsys):
    path = written({"a": np.arange(50_000), "text": ["x"] * 50_000})
    monkeypatch.setattr(memory, "available", lambda: 1_500_000)
    with pytest.raises(MemoryError, match=r"x\.parquet.*about 0\.0 GB.*fromnoise\.data\.to_npy"):
        fn.data.load(path)  # 16 bytes a row, twice
    monkeypatch.setattr(memory, "available", lambda: 1_700_000)
    assert len(fn.data.load(path).X) == 50_000
    monkeypatch.setattr(memory, "available", lambda: 10)
    assert main(["fit", "gmm", str(path), "--out", str(path.with_name("run"))]) == 71
    assert "read whole, takes about 0.0 GB" in capsys.readouterr().err


def test_c14_a_csv_that_does_not_fit_is_refused_with_its_size(tmp_path, monkeypatch):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "1,2\n" * 1000)
    monkeypatch.setattr(memory, "available", lambda: 8 * 4000)
    with pytest.raises(MemoryError, match=r"x\.csv.*write it as Parquet"):
        fn.data.load(path)
    monkeypatch.setattr(memory, "available", lambda: 8 * 4100)
    assert len(fn.data.load(path).X) == 1000


def test_c14_a_compressed_array_that_does_not_fit_is_refused_with_its_size(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "x.npz", X=np.zeros((1000, 10)))
    monkeypatch.setattr(memory, "available", lambda: 79_999)
    with pytest.raises(MemoryError, match=r"'X\.npy', unpacked, .*numpy\.savez"):
        fn.data.load(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", X=np.zeros((1000, 10)))
    assert fn.data.load(tmp_path / "x.npz").X.shape == (1000, 10)


def test_what_is_free_is_the_least_of_all_limits(tmp_path, monkeypatch):
    group = tmp_path / "a" / "b"
    group.mkdir(parents=True)
    (tmp_path / "group").write_text("1:cpu:/\n0::/a/b\n")
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    3000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", str(tmp_path / "meminfo"))
    monkeypatch.setattr(memory, "_GROUP", str(tmp_path / "group"))
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(memory, "_of_process", lambda: iter(()))
    assert memory.available() == 3000 * 1024
    for folder, most in ((group, "max"), (tmp_path / "a", "900000")):
        (folder / "memory.max").write_text(most + "\n")
        (folder / "memory.current").write_text("800000\n")
        (folder / "memory.stat").write_text("anon 7\ninactive_file 1000\n")
    assert memory.available() == 101_000
    (tmp_path / "a" / "memory.max").write_text("5\n")
    assert memory.available() == 0
    for name in ("_MEMINFO", "_GROUP"):
        monkeypatch.setattr(memory, name, "/nowhere")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "nowhere")
    assert memory.available() is None
    memory.refuse_too_large(1e30, "Nothing", "can be known here")
