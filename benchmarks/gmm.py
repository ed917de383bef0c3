r"""Our mixture and scikit-learn's, from the same start, in one run.

    python benchmarks/gmm.py [--repeats 3] [--iterations 10] [--small]

Each fit is a process of its own. Time is of ``fit`` alone, memory is what the process has at its
most beyond what it had with the data in place. Means and weights begin at ten k-means++ centres,
covariances at that of all rows; both run the same number of iterations, without a tolerance.
"""

import argparse
import json
import statistics
import subprocess
import sys
from importlib.metadata import version

SETTINGS = [
    (60_000, 50, 32, "full"),
    (1_000_000, 20, 16, "full"),
    (60_000, 784, 32, "diag"),
]
ONE = r"""
import json, resource, sys, time, warnings
import numpy as np
who, n, d, k, kind, iterations = json.loads(sys.argv[1])
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
if who == "ours":
    import fromnoise as fn
    model = fn.GaussianMixture(**same)
else:
    from sklearn.mixture import GaussianMixture
    model = GaussianMixture(**same)
warnings.simplefilter("ignore")
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, started = peak(), time.perf_counter()
model.fit(X)
seconds, after = time.perf_counter() - started, peak()
print(json.dumps([seconds, after - before, float(model.score(X[:20_000])), model.n_iter_]))
"""


def measure(who: str, *setting: object) -> tuple[float, float, float, int]:
    r"""Return seconds, megabytes, mean log-likelihood and iterations of one fit."""
    words = [sys.executable, "-c", ONE, json.dumps([who, *setting])]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    r"""Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--small", action="store_true", help="a tenth of the rows")
    given = parser.parse_args()
    print(f"fromnoise {version('fromnoise')}, scikit-learn {version('scikit-learn')}\n")
    print("| rows × columns, K, kind | ours s | its s | ratio | ours MB | its MB | Δ log p |")
    print("|---|---|---|---|---|---|---|")
    for n, d, k, kind in SETTINGS:
        setting = (n // 10 if given.small else n, d, k, kind, given.iterations)
        runs: dict[str, list[tuple[float, float, float, int]]] = {"ours": [], "theirs": []}
        for _ in range(given.repeats):
            for who in runs:
                runs[who].append(measure(who, *setting))
        ours, theirs = (statistics.median(r[0] for r in runs[who]) for who in runs)
        memory = [statistics.median(r[1] for r in runs[who]) for who in runs]
        gap = abs(runs["ours"][0][2] - runs["theirs"][0][2])
        print(
            f"| {setting[0]:,} × {d}, {k}, {kind} | {ours:.2f} | {theirs:.2f} |"
            f" {theirs / ours:.1f} | {memory[0]:.0f} | {memory[1]:.0f} | {gap:.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
