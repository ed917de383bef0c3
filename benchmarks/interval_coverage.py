r"""How often does a metric's 95 % interval hold the metric's expectation?

For each case, both sets are drawn afresh many times; the truth is the mean of the metric over the
repetitions. Run from the repository root (about 40 minutes on one core, most of it for c2st):

    python benchmarks/interval_coverage.py [--repetitions 200] [--rows 200 1000] [--metric NAME]
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from fromnoise.metrics import c2st, copying, coverage, energy_distance, mmd, sliced_wasserstein
from fromnoise.metrics.result import Result, paired_difference

Draw = Callable[[np.random.Generator, int], np.ndarray]
Metric = Callable[[Draw, Draw, int, np.random.Generator], Result]


def gaussian(d: int, mean: float = 0.0, std: float = 1.0) -> Draw:
    r"""Return a sampler of N(mean, std²) in d dimensions."""
    return lambda rng, n: rng.normal(mean, std, (n, d))


def heavy(rng: np.random.Generator, n: int) -> np.ndarray:
    r"""Draw from Student's t with 5 degrees of freedom in 5 dimensions."""
    return rng.standard_t(5, (n, 5))


def ring(rng: np.random.Generator, n: int) -> np.ndarray:
    r"""Draw from eight small Gaussians on a circle."""
    angle = 2 * np.pi * rng.integers(8, size=n) / 8
    return np.column_stack([np.cos(angle), np.sin(angle)]) + rng.normal(0, 0.05, (n, 2))


def counts(rng: np.random.Generator, n: int) -> np.ndarray:
    r"""Draw from three Poisson columns, which have many ties."""
    return rng.poisson([0.5, 2.0, 5.0], (n, 3)).astype(np.float64)


def two_sample(metric: Callable[[np.ndarray, np.ndarray], Result]) -> Metric:
    r"""Return a trial of a metric of real and fake rows."""
    return lambda real, fake, n, rng: metric(real(rng, n), fake(rng, n))


def copying_trial(real: Draw, fake: Draw, n: int, rng: np.random.Generator) -> Result:
    r"""Measure a model of which a third of the rows are training rows with a little noise."""
    train, held_out, made = real(rng, n), real(rng, n // 2), fake(rng, n)
    copies = rng.random(n) < 1 / 3
    made[copies] = train[copies] + rng.normal(0, 1e-3, made[copies].shape)
    return copying(train, held_out, made)


def paired_trial(real: Draw, fake: Draw, n: int, rng: np.random.Generator) -> Result:
    r"""Compare two models, one of them perfect, against the same real rows."""
    rows = real(rng, n)
    return paired_difference(
        energy_distance(rows, fake(rng, n)), energy_distance(rows, real(rng, n))
    )


CASES: dict[str, tuple[Draw, Draw]] = {
    "gaussian 1, same": (gaussian(1), gaussian(1)),
    "gaussian 2, same": (gaussian(2), gaussian(2)),
    "gaussian 2, shift 0.5": (gaussian(2), gaussian(2, 0.5)),
    "gaussian 10, same": (gaussian(10), gaussian(10)),
    "gaussian 10, shift 0.2": (gaussian(10), gaussian(10, 0.2)),
    "gaussian 10, std 1.2": (gaussian(10), gaussian(10, 0.0, 1.2)),
    "gaussian 40, same": (gaussian(40), gaussian(40)),
    "t5 in 5, same": (heavy, heavy),
    "t5 in 5, gaussian": (heavy, gaussian(5)),
    "ring, same": (ring, ring),
    "ring, gaussian": (ring, gaussian(2, 0.0, 0.7)),
    "counts, same": (counts, counts),
    "counts, gaussian": (counts, gaussian(3, 2.0, 1.5)),
}
METRICS: dict[str, Metric] = {
    "energy_distance": two_sample(energy_distance),
    "mmd rbf": two_sample(mmd),
    "mmd cubic": two_sample(lambda real, fake: mmd(real, fake, kernel="cubic")),
    "sliced_wasserstein": two_sample(lambda x, y: sliced_wasserstein(x, y, n_directions=100)),
    "coverage": two_sample(coverage),
    "c2st": two_sample(c2st),
    "copying": lambda real, fake, n, rng: copying(real(rng, n), real(rng, n // 2), fake(rng, n)),
    "copying, 1/3 copies": copying_trial,
    "copying, all copies": lambda real, fake, n, rng: copying(
        rows := real(rng, n), real(rng, n // 2), rng.choice(rows, n)
    ),
    "paired energy": paired_trial,
}


def hits(results: Iterable[Result]) -> tuple[float, float, float]:
    r"""Return the truth, the share of intervals that hold it, and mean width / (4 std).

    The last is about 1 for a good interval, and infinite where the metric never varies.
    """
    table = np.array([(r.value, r.low, r.high) for r in results])
    truth = table[:, 0].mean()
    inside = (table[:, 1] <= truth) & (truth <= table[:, 2])
    width = (table[:, 2] - table[:, 1]).mean()
    spread = table[:, 0].std()
    return float(truth), float(inside.mean()), width / (4 * spread) if spread > 1e-12 else np.inf


def trials(metric: Metric, case: str, n: int, repetitions: int) -> Iterator[Result]:
    r"""Yield the metric of fresh sets, the same for every metric."""
    real, fake = CASES[case]
    for seed in range(repetitions):
        yield metric(real, fake, n, np.random.default_rng([seed, n]))


def main() -> None:
    r"""Print one line for each metric, number of rows and case."""
    parser = argparse.ArgumentParser(description="coverage of the metrics' 95 % intervals")
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--rows", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--metric", choices=list(METRICS), action="append")
    options = parser.parse_args()
    for name in options.metric or METRICS:
        for n in options.rows:
            for case in CASES:
                results = trials(METRICS[name], case, n, options.repetitions)
                truth, share, width = hits(results)
                sys.stdout.write(
                    f"{name:20} n={n:<5} {case:24} truth {truth:9.5f}   coverage {share:6.1%}   "
                    f"width/4 std {width:5.2f}\n"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main()
