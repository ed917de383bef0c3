r"""What the tests of the command line share: a home with data and models, and a clean process."""

import logging
import os
import signal
import sys
import tempfile
import traceback

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fromnoise as fn


@pytest.fixture(autouse=True)
def as_it_was():
    r"""Give back what the command line sets for its process: a handler of signals, one of logs."""
    logger = logging.getLogger("fromnoise")
    before = signal.getsignal(signal.SIGTERM), logger.handlers, logger.level
    yield
    signal.signal(signal.SIGTERM, before[0])
    logger.handlers = before[1]
    logger.setLevel(before[2])


@pytest.fixture
def forked():
    r"""Return what calls a function in a copy of this process, which has everything loaded.

    It returns the copy's exit code, negative for a signal, and what its stderr was told.
    """

    def run(function):
        with tempfile.TemporaryFile("w+") as told:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    sys.stderr = told
                    code = function()
                except SystemExit as end:
                    code = end.code
                except BaseException:
                    traceback.print_exc(file=told)
                finally:
                    told.flush()
                    os._exit(code)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            told.seek(0)
            return code, told.read()

    return run


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    r"""A folder with somebody's data and the models fitted to it."""
    folder = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    n = 200
    frame = pd.DataFrame({
        "age": rng.integers(18, 90, n),
        "price": np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(3, 1, n).round(2)),
        "=cmd|' /C calc'!A0": rng.normal(size=n),
        "<script>": rng.choice(["Bern", "=1+1", 'O\'Hara, "x"'], n),
        "a$_$": rng.choice(["u", "v", None], n),
        "em😀\nji": rng.random(n) < 0.5,
        "zip": [f"{i:05d}" for i in rng.integers(0, 15, n)],
        "day": pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 99, n), "D"),
        "kind": rng.choice(["yes", "no"], n),
    })  # fmt: skip
    frame.to_csv(folder / "mixed.csv", index=False)
    frame.rename(columns={"age": "agee"}).to_csv(folder / "renamed.csv", index=False)
    frame.assign(**{"<script>": "Geneva"}).to_csv(folder / "unseen.csv", index=False)
    np.save(folder / "v.npy", rng.normal(size=(100, 3)).astype(np.float32))
    for name in ("cats & dogs", "b"):
        (folder / "imgs" / name).mkdir(parents=True)
        for i in range(15):
            pixels = rng.integers(0, 256, (5, 7, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "imgs" / name / f"{i}.png")
    table = fn.data.load(folder / "mixed.csv", label="kind")
    small = {"n_components": 1, "random_state": 0}
    fn.GaussianMixture(**small).fit(table.X, table.y).save(folder / "table")
    fn.GaussianMixture(**small).fit(np.load(folder / "v.npy")).save(folder / "vectors")
    bare = fn.AutoEncoder(latent_dim=2, network="small", budget="2 steps", random_state=0)
    bare.fit(np.load(folder / "v.npy")).save(folder / "codes")
    images = fn.data.load(folder / "imgs")
    fn.GaussianMixture(**small).fit(images.X, images.y).save(folder / "images")
    return folder
