r"""A mixture of 16 full components, fitted to a file of 10⁷ × 16 float32: seconds and memory.

    python benchmarks/big_mixture.py [--rows 10000000] [--iterations 5] [--float32]

The file (640 MB) is written to a temporary folder, from 16 known components, and mapped; the fit
is in a process of its own (Linux only). Three numbers say how much memory that had at its most:
all that was resident, libraries and pages of the file included; what of that was its own, read
off a hundred times a second; and what was its own before ``fit``, after a fit of a few rows had
loaded the libraries.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

ONE = r"""
import json, sys, threading, time
import fromnoise as fn
path, iterations, precision = json.loads(sys.argv[1])

def megabytes(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1024

def watch():
    while not done.wait(0.01):
        own.append(megabytes("RssAnon"))

X = fn.data.load(path).X
model = fn.GaussianMixture(n_components=16, covariance_type="full", tol=0.0, precision=precision,
                           budget=f"{iterations} steps", random_state=0)
model.fit(X[:2000])
done, own = threading.Event(), [megabytes("RssAnon")]
watcher = threading.Thread(target=watch)
watcher.start()
start = time.perf_counter()
model.fit(X)
seconds = time.perf_counter() - start
done.set()
watcher.join()
resident = megabytes("VmHWM")  # not ru_maxrss, in which the parent counts too
em = model.history_[-1]["seconds"] - model.history_[0]["seconds"]
score = model.score(X[:100_000])
print(json.dumps([seconds, em / max(1, iterations - 1), resident, max(own), own[0], score]))
"""


def write(path: Path, rows: int) -> float:
    r"""Write rows of 16 Gaussians; return the mean log-density of the first 100,000 under them."""
    rng = np.random.default_rng(0)
    means, mix = 2 * rng.normal(size=(16, 16)), rng.normal(size=(16, 16)) / 4 + np.eye(16)
    X = np.lib.format.open_memmap(path, "w+", np.float32, (rows, 16))
    for start in range(0, rows, 100_000):
        part = X[start : start + 100_000]
        part[:] = means[rng.integers(16, size=len(part))] + rng.normal(size=part.shape) @ mix
    X.flush()
    white = (X[:100_000, None] - means) @ np.linalg.inv(mix)
    log_p = -0.5 * (white**2).sum(2) - np.log(16) - 8 * np.log(2 * np.pi)
    return float(np.logaddexp.reduce(log_p, axis=1).mean() - np.linalg.slogdet(mix)[1])


def main() -> None:
    r"""Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--float32", action="store_true", help='precision="float32"')
    given = parser.parse_args()
    precision = "float32" if given.float32 else "float64"
    print(f"fromnoise {version('fromnoise')}, {len(os.sched_getaffinity(0))} core(s)\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        truth = write(path, given.rows)
        words = [sys.executable, "-c", ONE, json.dumps([str(path), given.iterations, precision])]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
        seconds, each, resident, own, before, score = json.loads(done.stdout.splitlines()[-1])
        size = path.stat().st_size / 2**20
    print(
        "| rows × columns, K | precision | iterations | fit, s | s an iteration | file, MB |"
        " resident, MB | own, MB | own before, MB | log p a row | of the truth |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    print(
        f"| {given.rows:,} × 16, 16 | {precision} | {given.iterations} | {seconds:.0f} |"
        f" {each:.1f} | {size:.0f} | {resident:.0f} | {own:.0f} | {before:.0f} | {score:.4f} |"
        f" {truth:.4f} |"
    )


if __name__ == "__main__":
    main()
