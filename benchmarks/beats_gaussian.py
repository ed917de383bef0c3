r"""FlowMatching and GaussianMixture against a single Gaussian, by energy distance.

    python benchmarks/beats_gaussian.py --budget 40s [--table FILE.csv]

Two-dimensional sets: 10,000 training rows, 10,000 draws against 10,000 fresh rows of the true
sampler. Digits and the table: a fifth held out; 1,000 draws of digits and 10,000 of the table
against all held-out rows. Features as in the comparison: standardised columns, principal
components of pixels, indicators of categories. Prints a Markdown table with 95 % intervals.
"""

import argparse
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np

import fromnoise as fn
from fromnoise.data import load, n_rows, take, toy
from fromnoise.metrics import PixelPCA, Standardise, TableFeatures, energy_distance

N = 10_000
TOYS = ("moons", "8gaussians", "25gaussians", "checkerboard", "swissroll", "scurve")


def split(X: Any) -> tuple[Any, Any]:
    r"""Return four fifths of the rows and the rest."""
    order = np.random.default_rng(0).permutation(n_rows(X))
    cut = n_rows(X) // 5
    return take(X, np.sort(order[cut:])), take(X, np.sort(order[:cut]))


def problems(table: str | None) -> Iterator[tuple[str, Any, Any, Any, int]]:
    r"""Yield name, training rows, held-out rows, features and number of draws."""
    for name in TOYS:
        X = toy.sample(name, 2 * N, 0)
        yield name, X[:N], X[N:], Standardise.fit(X[:N]), N
    train, test = split(load("digits").X)
    pixels = PixelPCA.fit(train.reshape(len(train), -1))
    yield "digits", train, test, lambda X: pixels(X.reshape(len(X), -1)), 1000
    if table is not None:
        train, test = split(load(table).X)
        yield "table", train, test, TableFeatures.fit(train), N


def main() -> None:
    r"""Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", default="40s")
    parser.add_argument("--table")
    given = parser.parse_args()
    models = {
        "gaussian": lambda: fn.GaussianMixture(n_components=1, random_state=0),
        "gmm": lambda: fn.GaussianMixture(random_state=0, budget=given.budget),
        "flow": lambda: fn.FlowMatching(random_state=0, budget=given.budget),
    }
    print(f"fromnoise {version('fromnoise')}, torch {version('torch')}, budget {given.budget}\n")
    print(f"| data | {' | '.join(models)} | flow below gaussian |")
    print("|---|" + "---|" * (len(models) + 1))
    for name, train, test, features, draws in problems(given.table):
        real, found = features(test), {}
        for model, make in models.items():
            fitted = make().fit(train)
            found[model] = energy_distance(real, features(fitted.sample(draws, random_state=1)))
            print(f"{name}: {model} {found[model].value:.5f}", file=sys.stderr)
        cells = [f"{r.value:.4f} ({r.low:.4f} to {r.high:.4f})" for r in found.values()]
        apart = "yes" if found["flow"].high < found["gaussian"].low else "no"
        print(f"| {name} | {' | '.join(cells)} | {apart} |", flush=True)


if __name__ == "__main__":
    main()
