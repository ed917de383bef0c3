r"""Bounds of the VAE, the IWAE and the VAE with a mixture prior, with 95 % intervals over seeds.

    python benchmarks/vae_bounds.py [--budget "2m"] [--seeds 5] [--draws 1000]

Two data sets, both held out by a fifth or by their test set: scikit-learn's digits (8 × 8,
binarised at 8, Bernoulli) and Fashion-MNIST (28 × 28, one Gaussian variance set to its optimum, in
nats of pixels from 0 to 1). Each model has the same networks and seeds, its networks the same
budget, and each row the same draws: the difference to the plain VAE is paired by seed. The
mixture has 10 components; its share of a budget, 40 %, comes on top. Prints a Markdown table.
"""

import argparse
import re
import sys
from importlib.metadata import version

import numpy as np
from intervals import over_seeds

import fromnoise as fn

MODELS = ("VAE", "IWAE, k = 50", "VAE + mixture prior")


def digits() -> tuple[np.ndarray, np.ndarray]:
    r"""Return training and held-out digits of 0 and 1."""
    X = (fn.data.load("digits").X >= 8).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(X))
    return X[order[360:]], X[order[:360]]


def fashion(rows: int, scored: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Return training and test images in [0, 1]."""
    X = fn.data.load("fashion-mnist").X.astype(np.float32) / 255
    return X[:rows], X[60_000 : 60_000 + scored]


def budget_of(name: str, budget: str) -> str:
    r"""Return the budget with which the networks alone get ``budget``."""
    amount, unit = re.fullmatch(r"([\d.]+)(.*)", budget).groups()  # type: ignore[union-attr]
    return f"{float(amount) / 0.6:.0f}{unit}" if "mixture" in name else budget


def model(name: str, likelihood: str, given: argparse.Namespace, seed: int) -> fn.VAE:
    r"""Return one of the models, not fitted."""
    return fn.VAE(
        latent_dim=16,
        likelihood=likelihood,
        prior=fn.GaussianMixture(n_components=10) if "mixture" in name else "normal",
        n_importance_train=50 if "IWAE" in name else 1,
        n_importance_score=given.draws,
        budget=budget_of(name, given.budget),
        random_state=seed,
    )


def main() -> None:
    r"""Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", default="2m")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--scored", type=int, default=1000)
    parser.add_argument("--data", default="digits,fashion-mnist")
    parser.add_argument("--models", default=";".join(MODELS), help="the first is the baseline")
    given = parser.parse_args()
    print(f"fromnoise {version('fromnoise')}, torch {version('torch')}, budget {given.budget},"
          f" {given.seeds} seeds, {given.draws} draws\n")  # fmt: skip
    print("| data | model | bound, nats | minus VAE, paired | active units of 16 |")
    print("|---|---|---|---|---|")
    for data in given.data.split(","):
        train, test = digits() if data == "digits" else fashion(given.rows, given.scored)
        likelihood, base = "bernoulli" if data == "digits" else "gaussian", np.zeros(given.seeds)
        for name in given.models.split(";"):
            bounds, active = np.zeros(given.seeds), np.zeros(given.seeds)
            for seed in range(given.seeds):
                fitted = model(name, likelihood, given, seed).fit(train)
                bounds[seed], active[seed] = fitted.score(test), fitted.n_active_units_
                print(f"{data}: {name}, seed {seed}: {bounds[seed]:.2f}", file=sys.stderr)
            base = bounds if name == "VAE" else base
            gain = "" if name == "VAE" else over_seeds(bounds - base)
            print(
                f"| {data} | {name} | {over_seeds(bounds)} | {gain} | {active.mean():.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
