r"""What a sampler costs beside its network: everything but the network, as a share of the time.

    python benchmarks/overhead.py [--repeats 15]

64 rows are drawn in 20 steps by models of at least 0.4 million parameters whose weights are those
they start with; the cost is the same. Time within the network is measured by hooks around its
calls, in time of the processor, which other work on the machine does not stretch. Prints medians
as Markdown.
"""

import argparse
import statistics
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

import fromnoise as fn

SOLVERS = ("euler", "adams", "heun", "ddim", "dpm++2m", "ancestral")
ROWS, STEPS = 64, 20


def overhead(model: Any) -> tuple[float, float]:
    r"""Return the seconds of one call of ``sample``, and the share of it outside the network."""
    network, within, began = model.networks_["network"], [0.0], [0.0]

    def before(*_: Any) -> None:
        began[0] = time.process_time()

    def after(*_: Any) -> None:
        within[0] += time.process_time() - began[0]

    hooks = [network.register_forward_pre_hook(before), network.register_forward_hook(after)]
    started = time.process_time()
    model.sample(ROWS, random_state=1)
    total = time.process_time() - started
    for hook in hooks:
        hook.remove()
    return total, 1 - within[0] / total


def main() -> None:
    r"""Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    sets = {
        "images 28 × 28": (rng.integers(0, 256, (300, 28, 28), dtype=np.uint8), "small"),
        "vectors of 64 columns": (rng.normal(size=(300, 64)), "medium"),
    }
    print(f"fromnoise {version('fromnoise')}, torch {version('torch')}, one thread\n")
    print(
        "| data | million parameters | solver | ms | beside the network |\n|---|--:|---|--:|--:|"
    )
    for name, (X, size) in sets.items():
        model = fn.Diffusion(network=size, budget="1 steps", steps=STEPS, random_state=0).fit(X)
        for solver in SOLVERS:
            model.set_params(solver=solver)
            pairs = [overhead(model) for _ in range(given.repeats)]
            total, share = (statistics.median(part) for part in zip(*pairs, strict=True))
            print(
                f"| {name} | {model.n_parameters_ / 1e6:.2f} | {solver} | {1000 * total:.0f}"
                f" | {100 * share:.1f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main()
