r"""Our mixture and scikit-learn's, from the same start, in one run.

    taskset -c 0 python benchmarks/gmm.py [--repeats 3] [--iterations 10] [--small] [--float32]

Each fit is a process of its own, on the cores that this one may use. Seconds are those of ``fit``
alone, by the clock and of the processor (on a machine with other work only the latter mean
something, and only on one core). Memory is what the process has at its most during ``fit`` beyond
what it had just before, after a fit of a few rows has loaded the libraries (Linux only). Means and
weights begin at k-means++ centres, covariances at that of all rows; both run the same number of
iterations, without a tolerance. The last column is the largest difference of a weight, mean or
covariance, by the largest of its kind.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

SETTINGS = [
    (60_000, 50, 32, "full"),
    (1_000_000, 20, 16, "full"),
    (60_000, 784, 32, "diag"),
]
ONE = r"""
import json, sys, time, warnings
import numpy as np
who, n, d, k, kind, iterations, path = json.loads(sys.argv[1])
rng = np.random.default_rng(0)
centres = 2 * rng.normal(size=(k, d))
mix = rng.normal(size=(d, d)) / d**0.5 + np.eye(d)
X = centres[rng.integers(k, size=n)]
for start in range(0, n, 10_000):
    X[start : start + 10_000] += rng.normal(size=(len(X[start : start + 10_000]), d)) @ mix
from sklearn.cluster import kmeans_plusplus
means = kmeans_plusplus(X[:5_000], k, random_state=0)[0]
if kind == "full":
    precisions = np.tile(np.linalg.inv(np.cov(X[:20_000].T)), (k, 1, 1))
else:
    precisions = np.tile(1 / X[:20_000].var(0), (k, 1))
same = dict(n_components=k, covariance_type=kind, tol=0.0, max_iter=iterations, random_state=0,
            weights_init=np.full(k, 1 / k), means_init=means, precisions_init=precisions)
if who == "theirs":
    from sklearn.mixture import GaussianMixture
else:
    from fromnoise import GaussianMixture
    same["precision"] = who
warnings.simplefilter("ignore")
GaussianMixture(**same).fit(X[: 20 * k])

def kilobytes(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))

model = GaussianMixture(**same)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak begins anew
before, clock, cpu = kilobytes("VmRSS"), time.perf_counter(), time.process_time()
model.fit(X)
clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
memory = (kilobytes("VmHWM") - before) / 1024
np.savez(path, weights=model.weights_, means=model.means_, covariances=model.covariances_)
print(json.dumps([clock, cpu, memory, model.n_iter_]))
"""


def measure(who: str, path: Path, *setting: object) -> list[float]:
    r"""Return seconds by the clock and of the processor, megabytes, and iterations of one fit."""
    words = [sys.executable, "-c", ONE, json.dumps([who, *setting, str(path)])]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def difference(ours: Path, theirs: Path) -> float:
    r"""Return the largest difference of a parameter, by the largest of its kind."""
    with np.load(ours) as a, np.load(theirs) as b:
        return max(float(np.abs(a[name] - b[name]).max() / np.abs(b[name]).max()) for name in a)


def main() -> None:
    r"""Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--small", action="store_true", help="a tenth of the rows")
    parser.add_argument("--float32", action="store_true", help='ours with precision="float32"')
    given = parser.parse_args()
    ours = "float32" if given.float32 else "float64"
    packages = ", ".join(f"{name} {version(name)}" for name in ("fromnoise", "scikit-learn"))
    print(f"{packages}, {ours}, {len(os.sched_getaffinity(0))} core(s), {given.repeats} runs\n")
    print(
        "| rows × columns, K, kind | ours, s | its, s | ratio | ours, CPU s | its, CPU s | ratio |"
        " ours, MB | its, MB | ratio | difference |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        paths = {who: Path(folder) / f"{who}.npz" for who in (ours, "theirs")}
        for n, d, k, kind in SETTINGS:
            setting = (n // 10 if given.small else n, d, k, kind, given.iterations)
            runs = [
                [measure(who, paths[who], *setting) for who in paths] for _ in range(given.repeats)
            ]
            cells = [f"{setting[0]:,} × {d}, {k}, {kind}"]
            for column, digits in enumerate((2, 2, 0)):
                a, b = (statistics.median(run[who][column] for run in runs) for who in (0, 1))
                cells += [f"{a:.{digits}f}", f"{b:.{digits}f}"]
                cells.append(f"{b / a:.1f}" if column < 2 else f"{a / b:.2f}")
            cells.append(f"{difference(paths[ours], paths['theirs']):.0e}")
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
