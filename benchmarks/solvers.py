r"""How far samples are from the data after so many evaluations of the network, for every solver.

    python benchmarks/solvers.py [--device cuda] [--out solvers/] [--data moons ...]

One `Diffusion` a data set, with its default path and grid; then every solver draws from the same
noise with at most 1, 2, 4, …, 128 evaluations. Two-dimensional sets: sliced Wasserstein distance
of 2,000 draws to 2,000 fresh rows. Fashion-MNIST: 1000 × KID (EfficientNet-Lite0) of 600 draws
against the 10,000 test images; on a processor the diffusion is that of an auto-encoder's codes
(convolutions, 64 numbers). Prints Markdown, a table a set; ``--out`` keeps numbers and a figure.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fromnoise as fn
from fromnoise import metrics
from fromnoise.metrics.enetlite0 import EnetLite0
from fromnoise.transport.samplers import SOLVERS

COUNTS = (1, 2, 4, 8, 16, 32, 64, 128)
SETS = ("8gaussians", "moons", "fashion-mnist")
ADAPTIVE = "dopri5"
DRAWS = 2_000


class Flat:
    r"""A two-dimensional set, and the distance of draws to fresh rows of it."""

    unit, draws = "sliced Wasserstein", DRAWS

    def __init__(self, name: str) -> None:
        self.train = fn.data.toy.sample(name, 10_000, seed=0)
        self.fresh = fn.data.toy.sample(name, 2 * DRAWS, seed=1)

    def distance(self, drawn: np.ndarray) -> float:
        r"""Return the distance of draws."""
        return metrics.sliced_wasserstein(self.fresh[:DRAWS], drawn).value

    def floor(self) -> float:
        r"""Return the distance of other fresh rows."""
        return self.distance(self.fresh[DRAWS:])


class Images:
    r"""Fashion-MNIST, and the distance of draws to the test images."""

    unit, draws = "1000 × KID", 600

    def __init__(self, name: str) -> None:
        X = np.asarray(fn.data.load(name).X)
        self.train, test = X[:60_000], X[60_000:]
        self.features = EnetLite0.fit(self.train)
        self.real = self.features(test)

    def distance(self, drawn: np.ndarray) -> float:
        r"""Return the distance of draws."""
        return 1000 * metrics.mmd(self.real, self.features(drawn), kernel="cubic").value

    def floor(self) -> float:
        r"""Return the distance of training images."""
        return self.distance(self.train[: self.draws])


def curves(model: Any, data: Flat | Images) -> dict[str, dict[int, float]]:
    r"""Return the distances of each solver at the numbers of evaluations that it can take."""
    found: dict[str, dict[int, float]] = {}
    sampler = getattr(model, "prior_", model)
    for name, method in SOLVERS.items():
        found[name] = {}
        for count in (1,) if name == ADAPTIVE else COUNTS:
            each = 2 if name == "edm" else method.evaluations(1)  # its last step takes one
            if count < each and name != ADAPTIVE:
                continue
            sampler.set_params(solver=name, steps=max(count // each, 1))
            distance = data.distance(model.sample(data.draws, random_state=1))
            taken = sampler.n_evaluations
            found[name][taken if name == ADAPTIVE else count] = distance
            print(name, taken, distance, flush=True)
    return found


def network(name: str, steps: int, device: str) -> Any:
    r"""Return the model of a data set, to be fitted."""
    same = {"budget": f"{steps} steps", "device": device, "random_state": 0}
    if name == "fashion-mnist" and not torch.cuda.is_available():
        codes = fn.families.make("latent-flow", prior="diffusion")
        return codes.set_params(**same)
    return fn.Diffusion(**same)


def table(found: dict[str, dict[int, float]], digits: int) -> str:
    r"""Return Markdown."""
    lines = ["| solver | " + " | ".join(map(str, COUNTS)) + " |", "|---|" + "--:|" * len(COUNTS)]
    for name, values in found.items():
        if name == ADAPTIVE:
            (count, value), *_ = values.items()
            lines.append(f"| {name} | {value:.{digits}f} after {count} |" + " |" * 7)
            continue
        cells = [f"{values[c]:.{digits}f}" if c in values else "–" for c in COUNTS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def figure(results: dict[str, Any], path: Path) -> None:
    r"""Save one panel a data set."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    panels = pyplot.subplots(1, len(results), figsize=(5 * len(results), 4), squeeze=False)[1][0]
    for axes, (name, result) in zip(panels, results.items(), strict=True):
        for number, (solver, values) in enumerate(result["curves"].items()):
            points = sorted((int(count), value) for count, value in values.items())
            marker = "*" if solver == ADAPTIVE else "o"
            style = {"marker": marker, "markersize": 3, "linestyle": "-" if number < 6 else "--"}
            axes.plot(*zip(*points, strict=True), label=solver, color=f"C{number % 6}", **style)
        if result["floor"] > 0:
            axes.axhline(result["floor"], color="grey", linestyle=":", label="real rows")
        rows = [values for solver, values in result["curves"].items() if solver != "edm"]
        most = max(value for values in rows for value in values.values())
        axes.set(xscale="log", yscale="log", title=name, xlabel="evaluations")
        axes.set(ylabel=result["unit"], ylim=(None, 1.5 * most))  # "edm" starts far beyond
    panels[0].legend(fontsize=7, ncols=2)
    pyplot.tight_layout()
    pyplot.savefig(path, dpi=110)


def main() -> None:
    r"""Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="*", default=SETS)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=8_000, help="of each fit")
    parser.add_argument("--out", type=Path, default=Path("solvers"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in given.data:
        kept = given.out / f"{name}.json"
        if not kept.exists():
            data = Images(name) if name == "fashion-mnist" else Flat(name)
            model = network(name, given.steps, given.device)
            found = curves(model.fit(data.train), data)
            whole = {"unit": data.unit, "floor": data.floor(), "curves": found}
            kept.write_text(json.dumps(whole))
        results[name] = json.loads(kept.read_text())
    print(f"\nfromnoise {version('fromnoise')}, torch {version('torch')}, {given.steps:,} steps")
    for name, result in results.items():
        found = {s: {int(c): v for c, v in row.items()} for s, row in result["curves"].items()}
        digits = 0 if name == "fashion-mnist" else 3
        print(f"\n{name}, {result['unit']}; real rows {result['floor']:.{digits}f}\n")
        print(table(found, digits))
    figure(results, given.out / "solvers.png")


if __name__ == "__main__":
    main()
