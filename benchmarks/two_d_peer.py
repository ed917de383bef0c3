r"""The part of `two_d.py` that runs in the peers' environment; it knows nothing of fromnoise.

    python benchmarks/two_d_peer.py distances FOLDER X Y [X Y ...]
    python benchmarks/two_d_peer.py cost --steps 500

``distances`` appends W_2² of X.npy and Y.npy, ``(n, 2)`` each, to FOLDER/distances.jsonl. All
n² = 10⁸ arcs are too many for POT's network simplex to be quick, so it gets some: a plan, and the
arcs that are cheapest by the potentials of the last one. By duality

    W_2² ≥ mean_i min_j (c_ij − v_j) + mean_j v_j       for any v,

and once that is the cost of the plan, up to a millionth, no arc that was left out matters. What
is cheapest by potentials is a nearest neighbour in space, with √(max v − v_j) as a third column.

``cost`` times a training step of torchcfm, with independent pairs and with its exact sampler.
"""

import argparse
import json
import math
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import ot
import torch
from scipy.sparse import coo_matrix
from scipy.spatial import cKDTree
from torch import Tensor, nn

Array = np.ndarray
CELLS, NEAR, ITERATIONS = 1000, 12, 10**8


def squared_distance(x: Array, y: Array) -> float:
    r"""Return W_2² of two sets of as many points."""
    n = len(x)
    each = np.repeat(np.arange(n), NEAR)
    i, j, v = coarse(x, y)
    value = np.square(x[i] - y[j]).sum(1).mean()
    for _ in range(100):
        u, near_y = cheapest(x, y, v)
        if value - (u.mean() + v.mean()) <= 1e-6 * value:
            return float(value)
        _, near_x = cheapest(y, x, u)
        arcs = np.unique(
            np.concatenate([i * n + j, each * n + near_y.ravel(), near_x.ravel() * n + each])
        )
        i, j = np.divmod(arcs, n)
        costs = coo_matrix((np.square(x[i] - y[j]).sum(1), (i, j)), shape=(n, n))
        plan, log = ot.emd([], [], costs, numItermax=ITERATIONS, log=True)
        value, v = log["cost"], log["v"]
        plan = plan.tocoo()
        i, j = plan.row[plan.data > 0].astype(int), plan.col[plan.data > 0].astype(int)
    raise RuntimeError("The arcs did not settle.")


def coarse(x: Array, y: Array) -> tuple[Array, Array, Array]:
    r"""Return pairs (i, j) of a first plan, by the optimal one between cells, and potentials."""
    rng = np.random.default_rng(0)
    centres = [z[rng.choice(len(z), min(CELLS, len(z)), replace=False)] for z in (x, y)]
    cells = [cKDTree(c).query(z)[1] for c, z in zip(centres, (x, y), strict=True)]
    shares = [np.bincount(k, minlength=len(centres[0])) / len(x) for k in cells]
    plan, log = ot.emd(*shares, ot.dist(*centres), numItermax=ITERATIONS, log=True)
    a, b = plan.nonzero()
    towards = np.repeat(b, np.rint(len(x) * plan[a, b]).astype(int))  # cells of y, row by row
    i, j = (np.argsort(k, kind="stable") for k in cells)
    return i[np.argsort(towards, kind="stable")], j, cheapest(y, centres[0], log["u"])[0]


def cheapest(x: Array, y: Array, v: Array) -> tuple[Array, Array]:
    r"""Return min_j ‖x_i − y_j‖² − v_j, ``(n,)``, and for whom it is least, ``(n, NEAR)``."""
    tree = cKDTree(np.column_stack([y, np.sqrt(v.max() - v)]))
    distance, near = tree.query(np.column_stack([x, np.zeros(len(x))]), NEAR)
    return distance[:, 0] ** 2 - v.max(), near


# --- what a step costs ------------------------------------------------------------------------


class Residual(nn.Module):
    r"""A network like fromnoise's default one: three blocks of width 128 (256 within), a time."""

    def __init__(self, width: int = 128, depth: int = 3) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(0, math.log10(256), 32) * math.pi / 2)
        self.time = nn.Sequential(nn.Linear(65, width), nn.SiLU())
        self.shift = nn.Linear(width, 2 * width * depth)
        self.first, self.last = nn.Linear(2, width), nn.Linear(width, 2)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.wide = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.back = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(depth))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        r"""Return a velocity."""
        angle = t[:, None] * self.frequencies
        shifts = self.shift(self.time(torch.cat([t[:, None], angle.sin(), angle.cos()], 1)))
        h = self.first(x)
        parts = zip(self.norms, self.wide, self.back, shifts.chunk(3, 1), strict=True)
        for norm, wide, back, shift in parts:
            h = h + back(nn.functional.silu(wide(norm(h)) + shift))
        return self.last(h)


def step_time(matcher: object, steps: int) -> float:
    r"""Return the median milliseconds of a step: batches of 256, AdamW."""
    torch.manual_seed(0)
    angle = torch.randint(8, (10_000,)) * math.pi / 4
    rows = 5 * torch.stack([angle.cos(), angle.sin()], 1) + torch.randn(10_000, 2)
    network = Residual()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        x_1 = rows[torch.randint(len(rows), (256,))]
        t, x_t, u_t = matcher.sample_location_and_conditional_flow(torch.randn_like(x_1), x_1)
        optimiser.zero_grad()
        (network(x_t, t) - u_t).square().mean().backward()
        optimiser.step()
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times))


def cost(steps: int) -> dict[str, float]:
    r"""Return milliseconds a step with either matcher."""
    from torchcfm import ConditionalFlowMatcher, ExactOptimalTransportConditionalFlowMatcher

    matchers = {
        "independent": ConditionalFlowMatcher(sigma=0.0),
        "optimal-transport": ExactOptimalTransportConditionalFlowMatcher(sigma=0.0),
    }
    name = f"torchcfm {version('torchcfm')}"
    return {f"{name}, {key}": step_time(matcher, steps) for key, matcher in matchers.items()}


def main() -> None:
    r"""Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("distances", "cost"))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("names", nargs="*", help="pairs of files in the folder, without .npy")
    parser.add_argument("--steps", type=int, default=500)
    given = parser.parse_args()
    if given.what == "cost":
        print(json.dumps(cost(given.steps)))
        return
    for x, y in zip(given.names[::2], given.names[1::2], strict=True):
        squared = squared_distance(*(np.load(given.folder / f"{name}.npy") for name in (x, y)))
        line = {"x": x, "y": y, "squared": squared, "by": f"POT {version('POT')}"}
        with (given.folder / "distances.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
