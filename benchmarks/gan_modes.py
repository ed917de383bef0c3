r"""Does a GAN find every mode, and stay on them?

    python benchmarks/gan_modes.py --budget "20000 steps" [--seeds 5] [--pair-seeds 3]
    python benchmarks/gan_modes.py --digits --budget 20m

Eight Gaussians on a ring and 25 on a grid; 10,000 training rows, 10,000 draws. A mode is found if
it gets at least a fifth of its share of the draws within 3 standard deviations. The first table
is the default; the second sets pairs of objective and penalty beside it, at its learning rate and
number of critic steps, and leaves what fails in view. A Wasserstein generator moves at every fifth
of these steps, as its papers have it, and so takes a fifth as many. ``--digits`` stacks three of
scikit-learn's 8 x 8 digits as colour channels: 1,000 modes, told by a classifier of single digits
that is trained here; KL is from the shares of the draws to equal shares, and of real rows what
10,000 of them leave. ``--sets`` names the sets, so that two processes may share the work. Prints
Markdown.
"""

import argparse
import itertools
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
from sklearn.svm import SVC

import fromnoise as fn
from fromnoise.data import toy

N = 10_000
RING = 2 * np.stack([f(np.arange(8) * np.pi / 4) for f in (np.cos, np.sin)], axis=1)
GRID = 2.0 * np.array([*itertools.product(range(-2, 3), repeat=2)])
SETS = {"8gaussians": (RING, 0.1), "25gaussians": (GRID, 0.05)}
PAIRS = [
    ("relativistic", "r1-r2"),
    ("relativistic", "r1"),
    ("relativistic", "none"),
    ("non-saturating", "r1-r2"),
    ("non-saturating", "r1"),
    ("non-saturating", "none"),
    ("minimax", "r1-r2"),
    ("minimax", "none"),
    ("least-squares", "r1"),
    ("least-squares", "none"),
    ("hinge", "r1-r2"),
    ("hinge", "none"),
    ("wasserstein", "gradient-penalty"),
    ("wasserstein", "weight-clipping"),
]
STACKED = {
    "gan": {},
    "wgan-gp": {},
    "non-saturating": {"objective": "non-saturating", "penalty": "none"},
}


def modes(drawn: np.ndarray, centres: np.ndarray, std: float) -> tuple[int, float]:
    r"""Return how many modes are found, and the share of draws within 3 std of one."""
    distance = np.linalg.norm(drawn[:, None] - centres, axis=2)  # (n, modes)
    near = distance.min(1) < 3 * std
    counts = np.bincount(distance.argmin(1)[near], minlength=len(centres))
    return int((counts >= len(drawn) / len(centres) / 5).sum()), float(near.mean())


def fitted(name: str, X: Any, seed: int, budget: str, **arguments: Any) -> Any:
    r"""Return a model fitted with one seed; says on standard error how it went."""
    started = time.monotonic()
    model = fn.families.make(name, random_state=seed, budget=budget, **arguments).fit(X)
    line = f"{name} {arguments} seed {seed}: {model.n_steps_} steps in"
    print(line, f"{time.monotonic() - started:.0f} s, {model.status_}", file=sys.stderr)
    return model


def runs(name: str, seeds: int, budget: str, **arguments: Any) -> list[tuple[int, float, str]]:
    r"""Return modes, share and status for each seed."""
    found = []
    for seed in range(seeds):
        model = fitted("gan", toy.sample(name, N, seed), seed, budget, **arguments)
        found.append((*modes(model.sample(N, random_state=1), *SETS[name]), model.status_))
    return found


def cells(found: list[tuple[int, float, str]]) -> str:
    r"""Return what was found, seed by seed."""
    return " | ".join(
        [
            ", ".join(str(count) for count, _, _ in found),
            ", ".join(f"{share:.3f}" for _, share, _ in found),
            ", ".join(status for _, _, status in found),
        ]
    )


def toys(sets: list[str], seeds: int, pair_seeds: int, budget: str) -> None:
    r"""Print the default on some sets, then the pairs."""
    head = "modes, seed by seed | share within 3 std | status |\n|---|---|---|---|---|"
    print(f"| data | modes in the data | {head}")
    for name in sets:
        real = modes(toy.sample(name, N, 0), *SETS[name])
        print(f"| {name} | {len(SETS[name][0])} | {real[0]} | {real[1]:.3f} | real rows |")
        if seeds:
            found = runs(name, seeds, budget)
            print(f"| {name} | {len(SETS[name][0])} | {cells(found)} |", flush=True)
    if not pair_seeds:
        return
    print(f"\n| pair | data | {head}")
    for (objective, penalty), name in itertools.product(PAIRS, sets):
        steps = 5 if objective == "wasserstein" else 1
        arguments = {"objective": objective, "penalty": penalty, "critic_steps": steps}
        found = runs(name, pair_seeds, budget, **arguments)
        print(f"| {objective}, {penalty} | {name} | {cells(found)} |", flush=True)


def stacked(seed: int) -> np.ndarray:
    r"""Return 20,000 images of three digits each, ``(n, 3, 8, 8)``."""
    digits = fn.data.load("digits").X
    return digits[np.random.default_rng(seed).integers(0, len(digits), (20_000, 3))]


def digits(seeds: int, budget: str) -> None:
    r"""Print modes and KL of stacked digits."""
    data = fn.data.load("digits")
    rows = data.X.reshape(len(data.X), -1)
    cut = len(rows) // 5
    reader = SVC(gamma=0.001).fit(rows[cut:], data.y[cut:])
    accuracy = reader.score(rows[:cut], data.y[:cut])
    print(f"Classifier: {accuracy:.3f} of held-out digits.\n")
    print("| model | modes of 1,000 | KL | status |\n|---|---|---|---|")
    rng = np.random.default_rng(0)
    real = _counted(data.y[rng.integers(0, len(data.y), (N, 3))])
    print(f"| real rows | {' | '.join(real)} | |")
    for label, arguments in STACKED.items():
        name = label if label in fn.families.PRESETS else "gan"
        found = []
        for seed in range(seeds):
            model = fitted(name, stacked(seed), seed, budget, **arguments)
            drawn = model.sample(N, random_state=1).reshape(3 * N, -1)
            read = reader.predict(drawn).reshape(N, 3)
            found.append((*_counted(read), model.status_))
        columns = [", ".join(column) for column in zip(*found, strict=True)]
        print(f"| {label} | {' | '.join(columns)} |", flush=True)


def _counted(read: np.ndarray) -> tuple[str, str]:
    r"""Return how many of the 1,000 modes are there, and the KL to equal shares."""
    share = np.bincount(read @ [100, 10, 1], minlength=1000) / len(read)
    seen = share[share > 0]
    return str(len(seen)), f"{(seen * np.log(seen * 1000)).sum():.3f}"


def main() -> None:
    r"""Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", default="auto")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pair-seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=[*SETS], choices=[*SETS])
    parser.add_argument("--digits", action="store_true")
    given = parser.parse_args()
    print(f"fromnoise {version('fromnoise')}, torch {version('torch')}, budget {given.budget}\n")
    if given.digits:
        digits(given.seeds, given.budget)
    else:
        toys(given.sets, given.seeds, given.pair_seeds, given.budget)


if __name__ == "__main__":
    main()
