r"""Rows read chunk by chunk: as the encoding would have them, and the fit of whole arrays."""

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import fromnoise as fn
from fromnoise.data import fit_encoding
from fromnoise.mixture import Reader, Rows, reading, starts
from fromnoise.training import numpy_rng


def clusters(n: int = 2000, d: int = 4, dtype: Any = np.float32) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, d)) * 4
    return (rng.normal(size=(n, d)) + centres[rng.integers(0, 3, n)] + 10).astype(dtype)


def arrays(kind: str) -> Any:
    X = clusters(300)
    if kind == "constant":
        X[:, 2] = 7
    if kind == "integers":
        return X.astype(np.int16)
    if kind == "images":
        return (X - X.min()).astype(np.uint8).reshape(75, 4, 4)
    if kind == "holed":
        X[::3, 1] = np.nan
    if kind == "half":
        return X.astype(np.float16)
    return pd.DataFrame(X, columns=list("abcd")) if kind == "table" else X


@pytest.mark.parametrize(
    "kind", ["floats", "half", "constant", "integers", "images", "holed", "table"]
)
@pytest.mark.parametrize("labelled", [False, True])
def test_chunks_are_the_rows_of_the_encoding(kind: str, labelled: bool, monkeypatch: Any) -> None:
    X = arrays(kind)
    monkeypatch.setattr(reading, "_CHUNK", 100)
    encoding = fit_encoding(X, missing="model")
    X = encoding.check(X)
    y = np.random.default_rng(0).normal(size=(len(X), 2)) if labelled else None
    reader = Reader(X, encoding, y, (5,))
    chunks = [(values.clone(), codes.clone()) for values, codes in reader.chunks()]
    assert (len(chunks) == 1) == (kind in ("holed", "table"))
    parts, start = [], 0
    for number, (values, _) in enumerate(chunks):
        encoded = encoding.encode(X[start : start + len(values)])
        encoded = encoding.dequantise(encoded, numpy_rng(5, number))
        parts.append(encoded.values.reshape(len(values), -1))
        start += len(values)
    whole = np.concatenate(parts).astype(np.float64)
    varying = (whole != whole[0]).any(0)
    assert np.array_equal(reader.varying, varying)
    assert np.array_equal(reader.constant, whole[0])
    expected = whole[:, varying] if y is None else np.concatenate([whole[:, varying], y], 1)
    assert np.array_equal(torch.cat([values for values, _ in chunks]), expected)
    assert np.array_equal(torch.cat([codes for _, codes in chunks]), encoding.encode(X).codes)
    np.testing.assert_allclose(reader.variance, expected.var(0), rtol=1e-10)
    again = [values.clone() for values, _ in reader.chunks()]
    assert all(torch.equal(a, b) for (a, _), b in zip(chunks, again, strict=True))


@pytest.mark.parametrize("weighed", [False, True])
def test_blocks_are_of_one_class_and_hold_every_row_once(weighed: bool) -> None:
    rng = np.random.default_rng(1)
    x = torch.from_numpy(np.arange(1000.0)[:, None])
    classes = rng.integers(0, 3, 1000)
    weight = torch.from_numpy(rng.integers(0, 3, 1000).astype(float)) if weighed else None

    def chunks() -> Any:
        return ((part, torch.empty(len(part), 0, dtype=torch.int64)) for part in x.split(130))

    one = torch.ones(1, dtype=torch.float64)
    facts: dict[str, Any] = {"kind": "full", "units": one, "variance": one, "cardinalities": ()}
    rows = Rows.read(chunks, 1000, classes, weight, **facts)
    kept = np.ones(1000, bool) if weight is None else weight.numpy() > 0
    assert rows.sizes == tuple(np.bincount(classes[kept]))
    seen = []
    for block in rows.blocks(2, 20):
        index = block.values[:, 0].long()
        assert len(index) <= 20
        assert (classes[index] == block.components.start // 2).all()
        assert weight is None or torch.equal(block.weight, weight[index])
        seen += index.tolist()
    assert sorted(seen) == np.flatnonzero(kept).tolist()
    for group, block in enumerate(rows.sample(50, np.random.default_rng(0))):
        index = block.values[:, 0].long()
        assert len(set(index.tolist())) == 50
        assert (classes[index] == group).all()
        assert weight is None or torch.equal(block.weight, weight[index])


@pytest.mark.parametrize("labels", [None, "classes", "numbers"])
def test_c14_a_map_is_fitted_to_the_bits_of_the_array(tmp_path: Path, labels: Any) -> None:
    X = clusters(40_000)
    np.save(tmp_path / "x.npy", X)
    y = {"classes": np.arange(len(X)) % 3, "numbers": X[:, 0] ** 2}.get(labels)
    mapped = fn.data.load(tmp_path / "x.npy").X
    assert isinstance(mapped, np.memmap)
    models = [
        fn.GaussianMixture(n_components=2, max_iter=3, tol=0.0, budget="3 steps", random_state=0)
        for _ in range(2)
    ]
    first, second = (model.fit(rows, y) for model, rows in zip(models, (mapped, X), strict=True))
    assert np.array_equal(first.means_, second.means_)
    assert np.array_equal(first.covariances_, second.covariances_)
    assert first.lower_bound_ == second.lower_bound_


def test_c14_rows_far_more_than_a_chunk_are_never_held(monkeypatch: Any) -> None:
    X = clusters(800_000)  # 12.8 MB
    lengths = []
    inner = Reader._standardised

    def recorded(self: Reader, x: np.ndarray, out: np.ndarray) -> np.ndarray:
        lengths.append(len(x))
        return inner(self, x, out)

    monkeypatch.setattr(Reader, "_standardised", recorded)
    monkeypatch.setattr(reading, "_CHUNK", 2**15)
    monkeypatch.setattr(starts, "_START_ROWS", 1000)
    model = fn.GaussianMixture(n_components=2, budget="2 steps", random_state=0)
    model.fit(X[:5000])
    lengths.clear()
    tracemalloc.start()
    model.fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(lengths) == 2**13
    passes = 1 + 2 + 2  # what varies and where it starts, k-means and its clusters, two steps
    assert sum(lengths) == passes * len(X) + 2**13  # the first row is looked at beforehand
    assert peak < 0.3 * X.nbytes


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("shape", [(2000, 4), (500, 4, 4)])
def test_a_file_that_is_written_to_during_the_fit_is_told_of(
    tmp_path: Path, monkeypatch: Any, shape: tuple[int, ...], value: float
) -> None:
    path, X = tmp_path / "x.npy", clusters(2000).reshape(shape)
    np.save(path, X)
    measure = Reader._measure

    def written(self: Reader) -> None:
        measure(self)
        np.load(path, mmap_mode="r+").reshape(len(X), -1)[321, 3] = value

    monkeypatch.setattr(Reader, "_measure", written)
    monkeypatch.setattr(reading, "_CHUNK", 2**9)
    model = fn.GaussianMixture(n_components=2, random_state=0)
    with pytest.raises(fn.DataError, match=r"^Row 321 of X .* changed meanwhile"):
        model.fit(fn.data.load(path).X)


_CHILD = r"""
import resource, sys
import fromnoise as fn

def size():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmData")) * 1024

def model(budget):
    return fn.GaussianMixture(n_components=4, budget=budget, random_state=0)

X = fn.data.load(sys.argv[1]).X
model("2 steps").fit(X[:100_000])  # whatever libraries allocate once
limit = size() + 100_000_000
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
assert model("3 steps").fit(X).n_steps_ == 3
try:
    X.copy()
except MemoryError:
    print("streamed")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of the kernel's kind")
def test_c14_a_map_is_fitted_in_less_memory_than_it_has(tmp_path: Path) -> None:
    shape = (4_000_000, 16)  # 256 MB
    X = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, shape)
    for start in range(0, len(X), 500_000):
        X[start : start + 500_000] = clusters(500_000, 16)
    X.flush()
    words = [sys.executable, "-c", _CHILD, str(tmp_path / "x.npy")]
    child = subprocess.run(words, capture_output=True, text=True, check=False)
    assert child.stdout == "streamed\n", child.stderr
