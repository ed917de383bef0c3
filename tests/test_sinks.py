r"""What goes into a sink comes out of its file, whole or not at all."""

import tracemalloc
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image

from fromnoise import data
from fromnoise.data.sinks import check_writable, open_sink
from fromnoise.errors import DataError


def written(path, *blocks, **options):
    n = sum(data.n_rows(X) for X, _ in blocks)
    options = {"kind": "vectors", "n_rows": n, **options}
    with open_sink(path, **options) as sink:
        for X, y in blocks:
            sink.write(X, y)
    return path


def test_numbers_come_back_from_csv_to_the_bit(tmp_path):
    X = np.random.default_rng(0).normal(size=(50, 3)) * 10.0 ** np.arange(-150, 151, 150)
    path = written(tmp_path / "x.csv", (X[:20], None), (X[20:], None))
    assert path.read_text().splitlines()[0] == "x0,x1,x2"
    assert np.array_equal(np.loadtxt(path, delimiter=",", skiprows=1), X)


def test_blocks_of_npy_are_one_array_of_the_dtype_given(tmp_path):
    X = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    path = written(tmp_path / "x.npy", (X[:3], None), (X[3:], None), kind="images")
    read = np.load(path, allow_pickle=False)
    assert read.dtype == np.float32 and np.array_equal(read, X)


def test_npy_says_that_labels_are_left_out(tmp_path, caplog):
    with caplog.at_level("INFO", "fromnoise"):
        written(tmp_path / "x.npy", (np.zeros((2, 1)), np.array([0, 1])))
    assert "labels" in caplog.text


@pytest.mark.parametrize("library", [pd, pl])
def test_missing_values_are_empty_and_text_is_verbatim(tmp_path, library):
    frame = library.DataFrame({"=a\n,": ["=1+1", None, 'x"y'], "b": [1.5, None, -2.0]})
    label = pd.Series([1, 2, 3], name="c") if library is pd else pl.Series("c", [1, 2, 3])
    path = written(tmp_path / "x.csv", (frame, label), kind="table")
    assert path.read_text() == '"=a\n,",b,c\n=1+1,1.5,1\n,,2\n"x""y",-2.0,3\n'


def test_nullable_columns_of_pandas_are_written(tmp_path):
    frame = pd.DataFrame(
        {
            "i": pd.array([1, None], dtype="Int64"),
            "b": pd.array([None, True], dtype="boolean"),
            "t": pd.to_datetime(["2020-01-02", None]),
        }
    )
    path = written(tmp_path / "x.csv", (frame, None), kind="table")
    assert path.read_text() == "i,b,t\n1,,2020-01-02\n,True,\n"


@pytest.mark.parametrize("library", [pd, pl])
def test_days_are_written_as_days_and_times_as_times(tmp_path, library):
    days = [datetime(2023, 10, 27), datetime(2024, 2, 29)]
    times = [datetime(2023, 10, 27), datetime(2023, 10, 27, 8, 30)]
    frame = library.DataFrame({"day": days, "time": times})
    late = library.DataFrame({"day": times[1:], "time": days[:1]})
    path = written(tmp_path / "x.csv", (frame, None), (late, None), kind="table")
    assert path.read_text().splitlines() == [
        "day,time",
        "2023-10-27,2023-10-27 00:00:00",
        "2024-02-29,2023-10-27 08:30:00",
        "2023-10-27 08:30:00,2023-10-27 00:00:00",  # not lost, if later than the first block
    ]


def test_midnights_of_a_time_zone_are_no_days(tmp_path):
    frame = pd.DataFrame({"t": pd.to_datetime(["2023-10-27"]).tz_localize("Europe/Zurich")})
    path = written(tmp_path / "x.csv", (frame, None), kind="table")
    assert path.read_text() == "t\n2023-10-27 00:00:00+02:00\n"


def test_labels_of_several_columns_are_columns(tmp_path):
    path = written(tmp_path / "x.csv", (np.ones((1, 1)), np.array([[2.0, 3.0]])))
    assert path.read_text() == "x0,y0,y1\n1.0,2.0,3.0\n"


def test_parquet_keeps_dtypes(tmp_path):
    frame = pd.DataFrame({"a": pd.Categorical(["u", "v"]), "b": [1, 2], "c": [0.5, np.nan]})
    path = written(tmp_path / "x.parquet", (frame, None), (frame, None), kind="table")
    read = pd.read_parquet(path)
    assert len(read) == 4 and read["b"].dtype == np.int64
    assert read["a"].tolist() == ["u", "v"] * 2


@pytest.mark.parametrize(
    ("shape", "layout", "mode"),
    [
        ((2, 5, 7), "none", "L"),
        ((2, 5, 7, 3), "last", "RGB"),
        ((2, 3, 5, 7), "first", "RGB"),
        ((2, 5, 7, 1), "last", "L"),
        ((2, 4, 5, 3), "first", "RGBA"),  # width 3: only the layout tells channels from columns
    ],
)
def test_images_are_written_as_they_are(tmp_path, shape, layout, mode):
    X = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    folder = written(tmp_path / "p", (X, None), kind="images", layout=layout)
    moved = np.moveaxis(X, 1, -1) if layout == "first" else X
    for i, expected in enumerate(moved):
        image = Image.open(folder / f"{i:06d}.png")
        assert image.mode == mode
        assert np.array_equal(np.asarray(image).reshape(expected.shape), expected)


def test_float_images_of_all_blocks_share_one_scale(tmp_path):
    blocks = [(np.full((1, 2, 2), value), None) for value in (0.0, 8.0, 16.0)]
    folder = written(tmp_path / "p", *blocks, kind="images", limits=(0.0, 16.0))
    values = [np.asarray(Image.open(path)).max() for path in sorted(folder.iterdir())]
    assert values == [0, 128, 255]


def test_class_folders_are_safe_and_tell_classes_apart(tmp_path):
    names = ["cats & dogs", "../up", "a/b", "a_b", ".hid", "", "é", "50%"]
    X = np.zeros((len(names), 2, 2), np.uint8)
    folder = written(tmp_path / "p", (X, np.array(names)), kind="images")
    found = sorted(path.name for path in folder.iterdir())
    assert found == sorted(
        ["cats & dogs", "%2E.%2Fup", "a%2Fb", "a_b", "%2Ehid", "%", "é", "50%25"]
    )
    assert [p.name for p in tmp_path.iterdir()] == ["p"]
    assert len(list(folder.rglob("*.png"))) == len(names)


def test_png_refuses_what_it_cannot_hold(tmp_path):
    with pytest.raises(DataError, match="4 channels"):
        written(tmp_path / "p", (np.zeros((1, 5, 9, 9)), None), kind="images", layout="first")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x.csv", "x.npy", "x.parquet", "p"])
def test_nothing_half_written_stays(tmp_path, name):
    kind = "images" if name == "p" else "vectors"
    X = np.zeros((1, 2, 2)) if name == "p" else pd.DataFrame({"a": [1.0]})
    with pytest.raises(RuntimeError), open_sink(tmp_path / name, kind=kind, n_rows=2) as sink:
        sink.write(X, None)
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_whole_until_it_is_replaced(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("old")
    with pytest.raises(FileExistsError, match="--force"):
        open_sink(path, kind="vectors", n_rows=1)
    with open_sink(path, kind="vectors", n_rows=1, overwrite=True) as sink:
        sink.write(np.ones((1, 1)), None)
        assert path.read_text() == "old"
    assert path.read_text() == "x0\n1.0\n"


def test_a_folder_with_other_things_is_never_replaced(tmp_path):
    (tmp_path / "p" / "deep").mkdir(parents=True)
    (tmp_path / "p" / "deep" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="other things"):
        open_sink(tmp_path / "p", kind="images", n_rows=1, overwrite=True)
    with pytest.raises(FileExistsError, match="folder"):
        open_sink(tmp_path, kind="vectors", n_rows=1, overwrite=True)
    assert (tmp_path / "p" / "deep" / "thesis.txt").exists()


def test_a_folder_of_pngs_is_replaced(tmp_path):
    X = np.zeros((3, 2, 2), np.uint8)
    written(tmp_path / "p", (X, np.arange(3)), kind="images")
    written(tmp_path / "p", (X[:1], None), kind="images", overwrite=True)
    assert [path.name for path in (tmp_path / "p").rglob("*")] == ["000000.png"]


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("x.txt", "vectors", ".csv, .npy, .parquet"),
        ("folder", "vectors", ".csv, .npy, .parquet"),
        ("x.csv", "images", "cannot be written as .csv"),
        ("x.npy", "table", "cannot be written as .npy"),
        (None, "images", "--out"),
    ],
)
def test_kinds_and_endings_must_fit(tmp_path, name, kind, words):
    with pytest.raises(DataError, match=words):
        open_sink(name and tmp_path / name, kind=kind, n_rows=1)
    assert not list(tmp_path.iterdir())


def test_a_path_that_cannot_be_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="not a folder"):
        check_writable(tmp_path / "file" / "deep" / "x.csv")
    check_writable(tmp_path / "new" / "deep" / "x.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    for place in ("/proc/x", "/proc/x/run", "/sys/x.csv"):  # not even by root
        with pytest.raises(PermissionError, match="that can be written"):
            check_writable(Path(place))


def test_a_device_is_not_replaced():
    with pytest.raises(FileExistsError, match="no regular file"):
        open_sink("/dev/null", kind="vectors", n_rows=1, overwrite=True)
    with pytest.raises(FileExistsError, match="--force"):
        open_sink("/dev/null", kind="vectors", n_rows=1)


def test_folders_above_a_file_are_made(tmp_path):
    assert written(tmp_path / "a" / "b" / "x.csv", (np.ones((1, 1)), None)).exists()


@pytest.mark.parametrize("name", ["x.csv", "x.npy"])
def test_memory_does_not_grow_with_rows(tmp_path, name):
    block = np.random.default_rng(0).normal(size=(1024, 2))

    def peak(blocks):
        tracemalloc.start()
        written(tmp_path / f"{blocks}{name}", *[(block, None)] * blocks)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1)
    assert peak(60) < peak(6) + 200_000
