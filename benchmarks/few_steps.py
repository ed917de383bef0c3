r"""One to four steps: velocities and mean velocities, with both couplings.

    python benchmarks/few_steps.py [--budget "2000 steps"] [--seeds 3]
    python benchmarks/few_steps.py --images [--budget "6000 steps"]

In the plane: sliced Wasserstein distance of 5,000 draws to 5,000 new rows, small network, mean
over the seeds with its 95 % interval. ``--images``: codes of Fashion-MNIST, 64 numbers of one
convolutional auto-encoder for all, network of the default size; 1000 × KID (EfficientNet-Lite0)
of 2,000 decoded draws against the 10,000 test images, with its interval. Velocities take Euler
steps, and 32 of them for comparison. Prints Markdown.
"""

import argparse
import itertools
from importlib.metadata import version

import numpy as np
import torch
from intervals import over_seeds

import fromnoise as fn
from fromnoise.data import toy
from fromnoise.metrics import mmd, sliced_wasserstein
from fromnoise.metrics.enetlite0 import EnetLite0

N, STEPS, IMAGES, MANY = 5000, (1, 2, 4), 2000, 32
SETS = ("8gaussians", "moons")
RUNS = [*itertools.product(("independent", "optimal-transport"), ("velocity", "mean-flow"))]


def distances(name: str, coupling: str, objective: str, budget: str, seed: int) -> list[float]:
    r"""Return the distance at each number of steps."""
    model = fn.FlowMatching(
        coupling=coupling,
        objective=objective,
        solver="mean" if objective == "mean-flow" else "euler",
        network="small",
        budget=budget,
        random_state=seed,
    ).fit(toy.sample(name, N, seed))
    new = toy.sample(name, N, 1000 + seed)
    return [
        sliced_wasserstein(new, model.set_params(steps=k).sample(N, random_state=1)).value
        for k in STEPS
    ]


def plane(budget: str, seeds: int) -> None:
    r"""Print the table of the two-dimensional sets."""
    print(f"| data | coupling | objective | {' | '.join(f'{k} steps' for k in STEPS)} |")
    print(f"|{'---|' * 6}")
    for name in SETS:
        floor = over_seeds(
            [
                sliced_wasserstein(toy.sample(name, N, 1000 + s), toy.sample(name, N, s)).value
                for s in range(seeds)
            ]
        )
        print(f"| {name} | real rows | | {' | '.join([floor] * len(STEPS))} |", flush=True)
        for coupling, objective in RUNS:
            runs = [distances(name, coupling, objective, budget, s) for s in range(seeds)]
            cells = [over_seeds(column) for column in zip(*runs, strict=True)]
            print(f"| {name} | {coupling} | {objective} | {' | '.join(cells)} |", flush=True)


def images(budget: str) -> None:
    r"""Print the table of Fashion-MNIST."""
    torch.set_num_threads(1)
    X = np.asarray(fn.data.load("fashion-mnist").X)
    train, test = X[:60_000], X[60_000:]
    encoder = fn.AutoEncoder(network="medium", random_state=0).fit(train)
    codes = encoder.encode(train)
    features = EnetLite0.fit(train)
    real = features(test)

    def cell(drawn: np.ndarray) -> str:
        kid = mmd(real, features(drawn), kernel="cubic")
        return f"{1000 * kid.value:.0f} ({1000 * kid.low:.0f} to {1000 * kid.high:.0f})"

    heads = " | ".join(f"{k} steps" for k in (*STEPS, MANY))
    print(f"| coupling | objective | minutes | {heads} |\n|{'---|' * 7}")
    floor = cell(encoder.reconstruct(train[:IMAGES]))
    print(f"| | reconstructed | |{f' {floor} |' * (len(STEPS) + 1)}", flush=True)
    for coupling, objective in RUNS:
        mean = objective == "mean-flow"
        model = fn.FlowMatching(
            coupling=coupling,
            objective=objective,
            solver="mean" if mean else "euler",
            budget=budget,
            random_state=0,
        ).fit(codes)
        cells = [
            cell(encoder.decode(model.set_params(steps=k).sample(IMAGES, random_state=1)))
            for k in (*STEPS, MANY)
        ]
        minutes = model.fit_seconds_ / 60
        print(f"| {coupling} | {objective} | {minutes:.1f} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    r"""Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", help="of each fit; 2000 steps, with --images 6000")
    parser.add_argument("--seeds", type=int, default=3, help="in the plane")
    parser.add_argument("--images", action="store_true", help="Fashion-MNIST instead")
    given = parser.parse_args()
    budget = given.budget or ("6000 steps" if given.images else "2000 steps")
    print(f"fromnoise {version('fromnoise')}, torch {version('torch')}, budget {budget}\n")
    if given.images:
        images(budget)
    else:
        plane(budget, given.seeds)


if __name__ == "__main__":
    main()
