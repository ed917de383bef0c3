r"""One to four steps in the plane: velocities and mean velocities, with both couplings.

    python benchmarks/few_steps.py [--budget "2000 steps"] [--seeds 3]

Sliced Wasserstein distance of 5,000 draws to 5,000 new rows, small network, mean over the seeds
with its 95 % interval. Velocities take Euler steps. Prints Markdown.
"""

import argparse
import itertools
from importlib.metadata import version

from intervals import over_seeds

import fromnoise as fn
from fromnoise.data import toy
from fromnoise.metrics import sliced_wasserstein

N, STEPS = 5000, (1, 2, 4)
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


def main() -> None:
    r"""Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", default="2000 steps")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    print(f"fromnoise {version('fromnoise')}, torch {version('torch')}, budget {given.budget}\n")
    print(f"| data | coupling | objective | {' | '.join(f'{k} steps' for k in STEPS)} |")
    print(f"|{'---|' * 6}")
    for name in SETS:
        floor = over_seeds(
            [
                sliced_wasserstein(toy.sample(name, N, 1000 + s), toy.sample(name, N, s)).value
                for s in range(given.seeds)
            ]
        )
        print(f"| {name} | real rows | | {' | '.join([floor] * len(STEPS))} |", flush=True)
        for coupling, objective in RUNS:
            runs = [
                distances(name, coupling, objective, given.budget, s) for s in range(given.seeds)
            ]
            cells = [over_seeds(column) for column in zip(*runs, strict=True)]
            print(f"| {name} | {coupling} | {objective} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
