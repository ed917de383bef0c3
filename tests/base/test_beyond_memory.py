r"""Arrays larger than memory: as many bits right, and never more than blocks of them held."""

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import fromnoise as fn
from fromnoise.base import field
from fromnoise.base.neural import TrainingRows
from fromnoise.errors import DataError

N, WIDTH = 160_000, 100  # 64 MB of float32


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Any:
    r"""Return a map of a file that is mostly holes, which cost no time to write."""
    path = tmp_path_factory.mktemp("large") / "x.npy"
    X = np.lib.format.open_memmap(path, "w+", np.float32, (N, WIDTH))
    X[:: N // 500] = np.random.default_rng(0).normal(size=(500, WIDTH))
    X.flush()
    return fn.data.load(path).X


def peak_of(function: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def flow(**arguments: Any) -> fn.FlowMatching:
    return fn.FlowMatching(
        **{"network": "small", "budget": "3 steps", "random_state": 0, **arguments}
    )


def vae() -> fn.VAE:
    return fn.VAE(network="small", latent_dim=2, budget="3 steps", random_state=0)


@pytest.mark.parametrize("kind", ["floats", "whole", "holed", "images"])
def test_batches_are_those_of_rows_encoded_beforehand(kind: str) -> None:
    X = np.random.default_rng(0).normal(3, 20, (200, 4))
    if kind == "whole":
        X = X.astype(np.int16)
    if kind == "holed":
        X[::3, 1] = np.nan
    if kind == "images":
        X = X.reshape(50, 4, 4).astype(np.uint8)
    encoding = fn.data.fit_encoding(X, missing="model")
    index = np.random.default_rng(1).permutation(len(X))[:40]
    taken, _ = TrainingRows(X, encoding, None, index).take(
        np.array([3, 30, 2]), np.random.default_rng(2)
    )
    whole = encoding.encode(X).rows(index[[3, 30, 2]])
    assert np.array_equal(taken, encoding.pack(whole, np.random.default_rng(2)))


@pytest.mark.parametrize("family", [fn.FlowMatching, fn.VAE])
def test_c14_a_map_is_fitted_to_the_bits_of_the_array(tmp_path: Path, family: Any) -> None:
    X = np.random.default_rng(0).normal(5, 3, (400, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", np.arange(400) % 3)
    maps = [fn.data.load(tmp_path / name).X for name in ("x.npy", "y.npy")]
    assert all(isinstance(part, np.memmap) for part in maps)
    models = [
        family(network="small", budget="5 steps", random_state=0).fit(*rows)
        for rows in (maps, (X, np.arange(400) % 3))
    ]
    first, second = (model.networks_.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_c14_a_fit_holds_blocks_of_a_map(mapped: Any) -> None:
    assert peak_of(lambda: flow().fit(mapped)) < 0.7 * mapped.nbytes


_CHILD = r"""
import resource, sys
import fromnoise as fn

def size():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmData")) * 1024

def model(budget):
    return fn.FlowMatching(network="small", batch_size=64, budget=budget, random_state=0)

X = fn.data.load(sys.argv[1]).X
model("2 steps").fit(X[:1000])  # whatever libraries allocate once
limit = size() + 300_000_000
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
fitted = model("5 steps").fit(X)
assert fitted.n_samples_fit_ == len(X) and fitted.status_ == "ok"
try:
    X.copy()
except MemoryError:
    print("streamed")
"""


@pytest.mark.slow  # a minute: two gigabytes are read three times
@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of the kernel's kind")
def test_c14_two_gigabytes_are_fitted_within_three_hundred_megabytes(tmp_path: Path) -> None:
    shape = (1_000_000, 500)
    X = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, shape)
    X[::2000] = np.random.default_rng(0).normal(size=(500, 500))
    X[:1000] = np.random.default_rng(1).normal(size=(1000, 500))
    X.flush()
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, tmp_path / "x.npy"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.stdout == "streamed\n", child.stderr


def test_c14_rows_are_coded_by_parts_of_a_map(mapped: Any) -> None:
    encoder = vae().fit(mapped[:5000])
    few = mapped[: N // 2]
    assert peak_of(lambda: encoder.encode(few)) < few.nbytes


def test_c14_components_are_told_by_parts_of_a_map(mapped: Any) -> None:
    model = fn.GaussianMixture(n_components=1, covariance_type="diag").fit(mapped[:5000])
    few = mapped[: N // 2]
    assert peak_of(lambda: model.predict(few)) < few.nbytes


MODELS = {"mixture": fn.GaussianMixture(n_components=3), "flow": flow(steps=4), "vae": vae()}


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_asked_by_parts_is_what_is_asked_at_once(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field, "EXACT_STEPS", 4)
    X = np.random.default_rng(0).normal(5, 3, (300, 2))
    y = np.arange(300) % 2 if kind == "vae" else None
    model = MODELS[kind].set_params(random_state=0).fit(X, y)
    holed = X.copy()
    holed[250:262, 1] = np.nan  # on both sides of a border

    def asked() -> list[np.ndarray]:
        if kind == "flow":  # whose imputing takes long
            return [model.encode(X), model.score_interval(X)]
        return [
            model.score_samples(X, y),
            model.impute(holed, y, random_state=0),
            model.impute(X, mask=np.isnan(holed), random_state=0),
            *([model.encode(X, y), model.reconstruction_error(X, y)] if kind == "vae" else []),
            *([model.predict(X), model.predict_proba(X)] if kind == "mixture" else []),
        ]

    at_once = asked()
    monkeypatch.setattr("fromnoise.base.generative._PART", 600)  # parts of 256 rows
    for part, whole in zip(asked(), at_once, strict=True):
        assert np.array_equal(part, whole)
    with pytest.raises(DataError, match="mask must be of bools"):
        model.impute(X, y, mask=np.isnan(holed)[:100])
    X[290, 1] = np.inf
    with pytest.raises(DataError, match=r"rows from 256 on, as row 0: Column 1 .*row 34"):
        model.impute(X, y)


@pytest.mark.parametrize("kind", ["numpy", "torch", "images", "table"])
def test_what_is_decoded_by_parts_is_what_is_decoded_at_once(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field, "EXACT_STEPS", 4)
    X: Any = np.random.default_rng(0).normal(5, 3, (300, 4)).astype(np.float32)
    X = {"torch": torch.from_numpy(X), "images": X.reshape(300, 2, 2),
         "table": pd.DataFrame(X, columns=list("abcd"))}.get(kind, X)  # fmt: skip
    gan = fn.GAN(network="small", latent_dim=2, budget="2 steps", random_state=0).fit(X)
    y = np.random.default_rng(2).integers(0, 2, 300)
    told = {"budget": "60 steps", "learning_rate": 0.01, "ema": 0.0}  # so that labels tell
    moving = flow(source=X + 1, **told).fit(X, y) if kind == "torch" else None
    z = np.random.default_rng(1).normal(size=(300, 2))

    def asked() -> list[Any]:
        if moving is not None:
            return [moving.transport(X, y, backwards=way) for way in (False, True)]
        return [gan.decode(z), *([gan.invert(X, starts=1, steps=1)] if kind == "numpy" else [])]

    monkeypatch.setattr("fromnoise.families.gan._TRIES", 4)
    at_once = asked()
    monkeypatch.setattr("fromnoise.base.generative._PART", 600)  # parts of 256 rows
    for part, whole in zip(asked(), at_once, strict=True):
        assert type(part) is type(whole) and part.shape == whole.shape
        assert np.array_equal(np.asarray(part), np.asarray(whole))
    z[299, 1] = np.nan
    with pytest.raises(DataError, match="z must be finite"):
        gan.decode(z)
    with pytest.raises(DataError, match="z must hold real numbers, got complex128"):
        gan.decode(z * 1j)
    with pytest.raises(DataError, match="z must hold real numbers"):
        gan.decode([["a", "b"]])
    with pytest.raises(DataError, match="z must be an array of numbers"):
        gan.decode([[1.0, 2.0], [3.0]])
    told = torch.zeros(3, 2, requires_grad=True)
    assert np.array_equal(np.asarray(gan.decode(told)), np.asarray(gan.decode(np.zeros((3, 2)))))


def test_c14_what_is_decoded_is_held_once(mapped: Any) -> None:
    model = vae().fit(mapped[:5000])
    z = np.zeros((N // 2, 2))
    rows: list[np.ndarray] = []
    peak = peak_of(lambda: rows.append(model.decode(z)))
    assert rows[0].shape == (N // 2, WIDTH) and peak < 2.5 * rows[0].nbytes


def test_c14_what_is_imputed_is_held_once(mapped: Any) -> None:
    few = mapped[: N // 2]
    model = fn.GaussianMixture(n_components=1, covariance_type="diag").fit(mapped[:5000])
    mask = np.zeros(few.shape, bool)
    mask[::4, 0] = True
    filled: list[np.ndarray] = []
    peak = peak_of(lambda: filled.append(model.impute(few, mask=mask, random_state=0)))
    assert np.array_equal(filled[0][~mask], few[~mask]) and peak < 2.2 * few.nbytes
