r"""Flow matching in the plane, beside the published table of [SF]²M (Tong 2024b, table 2).

    python benchmarks/two_d.py FOLDER [--seeds 5] [--peer-python PEER/bin/python]
    python benchmarks/two_d.py --cost [--peer-python PEER/bin/python]

10,000 training rows, 10,000 test rows, 100 Euler steps from 10,000 new starts. Printed are the
2-Wasserstein distance of where they arrive to the test rows, exact, and the normalised path energy

    NPE = abs(E ∫ ‖v(x_t, t)‖² dt − W_2²(q_0, q_1)) / W_2²(q_0, q_1),

mean ± standard deviation over the seeds. I-CFM, OT-CFM and FM are the table's recipe: a
perceptron of 3 × 64 (SELU), batches of 512, a rate of 1e-3, 20,000 steps (σ = 0, and σ_min = 0.1
for FM). "defaults" is ``FlowMatching(source=rows)`` and nothing else. What is done is kept in
FOLDER and not done again. With an interpreter that has POT (and torchcfm for ``--cost``),
``two_d_peer.py`` computes the distances; without one SciPy does, in minutes each.

``--cost``: milliseconds a step with the default network at batch 256, by the clock.
"""

import argparse
import itertools
import json
import subprocess
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.datasets import make_moons, make_s_curve
from torch import Tensor, nn

import fromnoise as fn

Array = np.ndarray
Draw = Callable[[int, np.random.Generator], Array]
N, EULER = 10_000, 100
NAMES = {"others": "other real rows", "defaults": "fromnoise's defaults"}

# --- the tasks: as in the code of the paper ---------------------------------------------------


def gaussian(n: int, rng: np.random.Generator) -> Array:
    r"""Return N(0, I)."""
    return rng.standard_normal((n, 2))


def ring(radius: float, std: float) -> Draw:
    r"""Return 8 Gaussians on a circle, as many rows of each as of the others."""

    def draw(n: int, rng: np.random.Generator) -> Array:
        angle = np.arange(n) % 8 * np.pi / 4
        centre = radius * np.stack([np.cos(angle), np.sin(angle)], 1)
        return centre + std * rng.standard_normal((n, 2))

    return draw


def moons(n: int, rng: np.random.Generator) -> Array:
    r"""Return two moons, twice as large and centred."""
    return 2 * make_moons(n, noise=0.05, random_state=_seed(rng))[0] - [1, 0]


def large_moons(n: int, rng: np.random.Generator) -> Array:
    r"""Return two moons of standard deviation 7, which meet a ring of radius 12."""
    x = make_moons(n, noise=0.1, random_state=_seed(rng))[0]
    return 7 * (x - x.mean()) / x.std()


def s_curve(n: int, rng: np.random.Generator) -> Array:
    r"""Return two of the three columns of a curve like an S."""
    return 1.5 * make_s_curve(n, noise=0.05, random_state=_seed(rng))[0][:, [0, 2]]


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


TASKS: dict[str, tuple[Draw, Draw]] = {
    "N → 8 Gaussians": (gaussian, ring(5, 1)),
    "moons → 8 Gaussians": (large_moons, ring(12, 1.5)),
    "N → moons": (gaussian, moons),
    "N → s-curve": (gaussian, s_curve),
}


def split(draw: Draw, rng: np.random.Generator) -> list[Array]:
    r"""Return three thirds of 30,000 rows: for training, for the test, and others."""
    return np.split(rng.permutation(draw(3 * N, rng)), 3)


def problem(task: str, seed: int) -> dict[str, Array]:
    r"""Return source and training rows, and starts, ends and other ends for the test."""
    rng = np.random.default_rng([seed, [*TASKS].index(task)])
    start, end = TASKS[task]
    source, starts, _ = split(start, rng)
    train, ends, others = split(end, rng)
    if start is gaussian:  # noise there is no end of
        source = gaussian(10 * N, rng)
    return {"source": source, "train": train, "starts": starts, "ends": ends, "others": others}


# --- the models -------------------------------------------------------------------------------


class Perceptron(nn.Module):
    r"""The network of the paper."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in in (3, width, width):
            layers += [nn.Linear(n_in, width), nn.SELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        r"""Return a velocity."""
        return self.layers(torch.cat([x, t[:, None]], 1))


PAPER = {
    "network": Perceptron(),
    "batch_size": 512,
    "learning_rate": 1e-3,
    "budget": "20000 steps",
}
ROWS: dict[str, dict[str, Any]] = {
    "I-CFM": {**PAPER, "coupling": "independent"},
    "FM": {**PAPER, "coupling": "independent", "sigma_min": 0.1},
    "OT-CFM": {**PAPER, "coupling": "optimal-transport"},
    "defaults": {},
}
PUBLISHED = {
    "2-Wasserstein": {
        "I-CFM": ["0.373 ± 0.103", "1.557 ± 0.407", "0.178 ± 0.014", "0.242 ± 0.141"],
        "FM": ["0.343 ± 0.058", "", "0.209 ± 0.055", "0.198 ± 0.037"],
        "OT-CFM": ["0.303 ± 0.043", "0.601 ± 0.027", "0.130 ± 0.016", "0.144 ± 0.028"],
    },
    "NPE": {
        "I-CFM": ["0.202 ± 0.055", "2.680 ± 0.292", "0.891 ± 0.120", "0.856 ± 0.031"],
        "FM": ["0.190 ± 0.054", "", "0.762 ± 0.099", "0.743 ± 0.116"],
        "OT-CFM": ["0.031 ± 0.027", "0.015 ± 0.010", "0.083 ± 0.009", "0.027 ± 0.012"],
    },
}


@torch.no_grad()
def followed(model: fn.FlowMatching, starts: Array) -> tuple[Array, float]:
    r"""Return where 100 Euler steps lead, and E ∫ ‖v‖² dt on the way, in the data's units."""
    encoding, moments = model.encoding_, model.moments
    x = moments.standardise(torch.from_numpy(encoding.pack(encoding.encode(starts))).double())
    here, energy = starts, 0.0
    for k in range(EULER):
        x = x + model.velocity(x, torch.full((len(x),), k / EULER), None) / EULER
        there = encoding.decode(encoding.unpack(moments.restore(x).numpy()))
        energy += EULER * np.square(there - here).sum(1).mean()
        here = there
    return here, energy


def run(task: str, row: str, seed: int, folder: Path) -> dict[str, Any]:
    r"""Fit one model; keep where its samples arrive, and return what was found on the way."""
    rows = problem(task, seed)
    model = fn.FlowMatching(source=rows["source"], random_state=seed, **ROWS[row])
    model.fit(rows["train"])
    arrived, energy = followed(model, rows["starts"])
    np.save(folder / f"{name_of(task, row, seed)}.npy", arrived)
    return {
        "run": name_of(task, row, seed),
        "row": row,
        "energy": energy,
        "steps": model.n_steps_,
        "seconds": model.fit_seconds_,
    }


def name_of(*parts: object) -> str:
    r"""Return the name of a file."""
    return "-".join(str(part) for part in parts).replace(" → ", "-to-").replace(" ", "-")


# --- distances --------------------------------------------------------------------------------


def pairs_of(task: str, seed: int, folder: Path) -> list[tuple[str, str]]:
    r"""Return the files whose distance is wanted; real rows are written where they lack."""
    for name, rows in problem(task, seed).items():
        path = folder / f"{name_of(task, name, seed)}.npy"
        if name in ("starts", "ends", "others") and not path.exists():
            np.save(path, rows)
    ends = name_of(task, "ends", seed)
    names = [name_of(task, name, seed) for name in ("starts", "others", *rows_of(task))]
    return [(name, ends) for name in names if (folder / f"{name}.npy").exists()]


def measure(folder: Path, pairs: Sequence[tuple[str, str]], python: str | None) -> None:
    r"""Append the squared distances W_2² of pairs of files to ``distances.jsonl``."""
    done = {(line["x"], line["y"]) for line in read(folder / "distances.jsonl")}
    left = [pair for pair in pairs if pair not in done]
    if not left:
        return
    if python:
        script = str(Path(__file__).with_name("two_d_peer.py"))
        flat = [name for pair in left for name in pair]
        subprocess.run([python, script, "distances", str(folder), *flat], check=True)
        return
    for x, y in left:
        cost = cdist(*(np.load(folder / f"{name}.npy") for name in (x, y)), "sqeuclidean")
        squared = cost[linear_sum_assignment(cost)].mean()
        append(folder / "distances.jsonl", {"x": x, "y": y, "squared": squared, "by": "SciPy"})


def read(path: Path) -> list[dict[str, Any]]:
    r"""Return the lines of a file, none if there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def append(path: Path, line: dict[str, Any]) -> None:
    r"""Write one line more."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


# --- tables -----------------------------------------------------------------------------------


def rows_of(task: str) -> list[str]:
    r"""Return the models of a task; Lipman's path starts from noise."""
    return [row for row in ROWS if row != "FM" or TASKS[task][0] is gaussian]


def found(folder: Path, seeds: int) -> dict[tuple[str, str, str], list[float]]:
    r"""Return what is there, seed by seed, for (quantity, row, task)."""
    energies = {line["run"]: line["energy"] for line in read(folder / "runs.jsonl")}
    squares = {line["x"]: line["squared"] for line in read(folder / "distances.jsonl")}
    values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for seed, task, row in itertools.product(range(seeds), TASKS, ("others", *ROWS)):
        name, least = name_of(task, row, seed), squares.get(name_of(task, "starts", seed))
        if name in squares:
            values["2-Wasserstein", row, task].append(float(np.sqrt(squares[name])))
        if name in energies and least is not None:
            values["NPE", row, task].append(abs(energies[name] - least) / least)
    return values


def cell(values: Sequence[float]) -> str:
    r"""Return mean ± standard deviation."""
    if not values:
        return ""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=int(len(values) > 1)):.3f}"


def tables(folder: Path, seeds: int) -> None:
    r"""Print what is there."""
    values = found(folder, seeds)
    for what, published in PUBLISHED.items():
        print(f"\n| {what} | {' | '.join(TASKS)} |\n|{'---|' * (1 + len(TASKS))}")
        for row in ("others", *ROWS):
            if row in published:
                print(f"| {row}, published | {' | '.join(published[row])} |")
            cells = [cell(values[what, row, task]) for task in TASKS]
            if any(cells):
                print(f"| {NAMES.get(row, f'{row}, fromnoise')} | {' | '.join(cells)} |")
    print(
        f"\ndistances by {', '.join({d['by'] for d in read(folder / 'distances.jsonl')})};",
        end=" ",
    )
    print("steps:", {(line["row"], line["steps"]) for line in read(folder / "runs.jsonl")})


# --- what a step costs ------------------------------------------------------------------------


def step_time(coupling: Any, steps: int) -> float:
    r"""Return the median milliseconds of a step between records, without validation."""
    rows = problem("N → 8 Gaussians", 0)
    model = fn.FlowMatching(
        coupling=coupling, budget=f"{steps} steps", batch_size=256, random_state=0
    ).fit(rows["train"])
    seconds = [line["seconds"] for line in model.history_]
    done = [line["step"] for line in model.history_]
    return float(np.median(1000 * np.diff(seconds) / np.diff(done)))


def cost(python: str | None, repeats: int, steps: int) -> None:
    r"""Print what a step costs, ours and torchcfm's in turn."""
    times: dict[str, list[float]] = {}
    script = str(Path(__file__).with_name("two_d_peer.py"))
    for _ in range(repeats):
        for coupling in ("independent", "optimal-transport"):
            times.setdefault(f"fromnoise, {coupling}", []).append(step_time(coupling, steps))
        if python:
            command = [python, script, "cost", "--steps", str(steps)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            for name, value in json.loads(answer).items():
                times.setdefault(name, []).append(value)
    print(f"\n| median of {repeats} | ms a step | s for 20,000 steps | to uncoupled |")
    print(f"|{'---|' * 4}")
    for name, values in times.items():
        alone = times[name.split(",")[0] + ", independent"]
        ratio = np.median(np.divide(values, alone))
        ms = np.median(values)
        print(f"| {name} | {ms:.2f} | {20 * ms:.0f} | {ratio:.2f} |")


def main() -> None:
    r"""Run what is not there yet, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="of results; it may be there already")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--peer-python", help="an interpreter with POT, and torchcfm for --cost")
    parser.add_argument("--cost", action="store_true", help="what a step costs, instead")
    parser.add_argument("--repeats", type=int, default=5, help="of --cost")
    parser.add_argument("--steps", type=int, default=500, help="of a repeat of --cost")
    given = parser.parse_args()
    print(f"fromnoise {version('fromnoise')}, torch {version('torch')}", end=", ")
    print(f"{torch.get_num_threads()} threads", flush=True)
    if given.cost:
        return cost(given.peer_python, given.repeats, given.steps)
    if given.folder is None:
        parser.error("where results are kept is missing: FOLDER")
    given.folder.mkdir(exist_ok=True)
    for seed in range(given.seeds):
        for task in TASKS:
            done = {line["run"] for line in read(given.folder / "runs.jsonl")}
            for row in rows_of(task):
                if name_of(task, row, seed) not in done:
                    append(given.folder / "runs.jsonl", run(task, row, seed, given.folder))
        pairs = [pair for task in TASKS for pair in pairs_of(task, seed, given.folder)]
        measure(given.folder, pairs, given.peer_python)
        tables(given.folder, seed + 1)
    return None


if __name__ == "__main__":
    main()
