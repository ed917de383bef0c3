r"""Pages of mapped files go again."""

import mmap
import sys

import numpy as np
import pytest

from fromnoise.data import fit_encoding
from fromnoise.data.memory import let_go
from fromnoise.mixture.reading import Reader

SIZE = 2**24


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.random.default_rng(0).normal(size=(SIZE // 32, 4)))
    return path


def mapped_bytes(path):
    r"""Return how much of a file this process has in memory, by the maps of it."""
    total, here = 0, False
    with open("/proc/self/smaps") as maps:
        for line in maps:
            if "-" in line.split()[0]:
                here = line.rstrip().endswith(str(path))
            elif here and line.startswith("Rss:"):
                total += int(line.split()[1]) * 1024
    return total


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_reading_a_map_does_not_keep_it(rows):
    X = np.load(rows, mmap_mode="r")
    float(np.asarray(X).sum())
    assert mapped_bytes(rows) > SIZE / 2
    let_go(np.asarray(X)[5:, 1:])
    assert mapped_bytes(rows) < SIZE / 8
    encoding = fit_encoding(X)
    assert mapped_bytes(rows) < SIZE / 8
    for _ in Reader(X, encoding, None, (0,)).chunks():
        assert mapped_bytes(rows) < SIZE / 2  # pages may be large


@pytest.mark.parametrize("mode", ["r+", "c"])
def test_what_was_written_to_a_map_stays(rows, mode):
    X = np.load(rows, mmap_mode=mode)
    X[0] = 7
    let_go(X)
    assert (X[0] == 7).all()
    let_go(X[1:])
    assert (X[0] == 7).all()


def test_what_was_written_to_a_private_map_of_another_kind_stays(rows):
    with open(rows, "r+b") as file:
        private = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    X = np.ndarray((100, 4), buffer=private)
    X[:] = 7
    let_go(X)
    let_go(X[1:])
    assert (X == 7).all()
