r"""Where codes are drawn from: an auto-encoder and a VAE, with N(0, I) and with a mixture.

    python benchmarks/latent_density.py --budget 60s --seeds 3 [--rows 60000]

Fashion-MNIST, three models under one budget each, which includes the mixture:

    ae + mixture     AutoEncoder(prior=GaussianMixture(n_components=10))
    vae              VAE(), codes from N(0, I)
    vae + mixture    VAE(prior=GaussianMixture(n_components=10))

The distance is that of the comparison: mmd (cubic kernel) on 64 principal components of the
pixels, 10,000 samples against the 10,000 official test images. Prints a Markdown table: for each
model the mean over seeds, with a 95 % interval from the spread between seeds where there are
several, else from the samples; and the same for the paired difference to the VAE.
"""

import argparse
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from intervals import over_seeds

import fromnoise as fn
from fromnoise.metrics import PixelPCA, mmd

TRAINING_ROWS = 60_000


def models(budget: str, latent_dim: int, seed: int) -> dict[str, Callable[[], Any]]:
    r"""Return what makes each model, by name."""

    def mixture() -> fn.GaussianMixture:
        return fn.GaussianMixture(n_components=10)

    common: dict[str, Any] = {"budget": budget, "latent_dim": latent_dim, "random_state": seed}
    return {
        "ae + mixture": lambda: fn.AutoEncoder(prior=mixture(), **common),
        "vae": lambda: fn.VAE(**common),
        "vae + mixture": lambda: fn.VAE(prior=mixture(), **common),
    }


def main() -> None:
    r"""Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--latent-dim", type=int, default=16)
    parser.add_argument("--rows", type=int, default=TRAINING_ROWS)
    parser.add_argument("--draws", type=int, default=10_000)
    given = parser.parse_args()
    X = fn.data.load("fashion-mnist").X
    train, test = X[: given.rows], X[TRAINING_ROWS:][: given.draws]
    pixels = PixelPCA.fit(train.reshape(len(train), -1))
    real = pixels(test.reshape(len(test), -1))
    found: dict[str, list[float]] = {}
    for seed in range(given.seeds):
        for name, make in models(given.budget, given.latent_dim, seed).items():
            model = make().fit(train)
            drawn = model.sample(given.draws, random_state=seed)
            distance = mmd(real, pixels(drawn.reshape(len(drawn), -1)), kernel="cubic")
            found.setdefault(name, []).append(distance.value)
            print(
                f"seed {seed}, {name}: {1000 * distance.value:.3f} ({1000 * distance.low:.3f} to"
                f" {1000 * distance.high:.3f}), {model.fit_seconds_:.0f} s,"
                f" {model.n_steps_} steps, {model.n_parameters_} parameters",
                file=sys.stderr,
                flush=True,
            )
    print(
        f"fromnoise {version('fromnoise')}, torch {version('torch')}, budget {given.budget}, codes"
        f" of {given.latent_dim}, {len(train)} rows, {given.draws} draws, {given.seeds} seeds\n"
    )
    print("| model | 1000 mmd² on principal components | less that of the VAE |\n|---|---|---|")
    for name, values in found.items():
        less = 1000 * (np.asarray(values) - np.asarray(found["vae"]))
        gain = over_seeds(less) if name != "vae" else "–"
        print(f"| {name} | {over_seeds(1000 * np.asarray(values))} | {gain} |")


if __name__ == "__main__":
    main()
