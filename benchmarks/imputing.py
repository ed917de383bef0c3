r"""Draws of a missing column by an exact field, against the exact conditional.

    python benchmarks/imputing.py [--rows 20000]

The field is that of Gaussians or of two of them on the straight path, so that nothing but the
sampler errs: 64 steps, as the models take, with 16 particles and with one, which has no weights.
Errors of the mean in conditional deviations, of the deviation as a ratio; for two modes, the share
of the upper one. Prints Markdown.
"""

import argparse
import math
from importlib.metadata import version

import torch
from torch import Tensor

from fromnoise.base.transport import IMPUTE_STEPS, PARTICLES
from fromnoise.transport.inpainting import inpaint, inpainting_times
from fromnoise.transport.paths import LINEAR, convert
from fromnoise.transport.solvers import Field

SEEN = 1.5


def field(weights: Tensor, means: Tensor, covariances: Tensor) -> Field:
    r"""Return the velocity that carries N(0, I) to a mixture of Gaussians."""

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        time = t[:1]
        alpha, sigma = LINEAR.alpha(time), LINEAR.sigma(time)
        noisy = alpha**2 * covariances + sigma**2 * torch.eye(x.shape[1])
        miss = x[:, None] - alpha * means
        solved = torch.einsum("kij,nkj->nki", torch.linalg.inv(noisy), miss)
        log_p = -0.5 * (miss * solved).sum(2) - 0.5 * torch.logdet(noisy) + weights.log()
        each = means + alpha * torch.einsum("kij,nkj->nki", covariances, solved)
        data = (log_p.softmax(1)[:, :, None] * each).sum(1)
        return convert(LINEAR, x, time, data, "data", "velocity")

    return velocity


def draws(velocity: Field, seen: float, rows: int, particles: int) -> Tensor:
    r"""Return draws of the second column given the first, ``(rows,)``."""
    g = torch.Generator().manual_seed(0)
    known = torch.tensor([[True, False]]).expand(rows, 2)
    drawn = inpaint(
        velocity,
        torch.full((rows, 2), seen),
        known,
        inpainting_times(LINEAR, IMPUTE_STEPS),
        path=LINEAR,
        particles=particles,
        normal=lambda *shape: torch.randn(rows, *shape, generator=g),
        uniform=lambda *shape: torch.rand(rows, *shape, generator=g),
    )
    return drawn[:, 1]


def main() -> None:
    r"""Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    given = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    print(f"fromnoise {version('fromnoise')}, torch {version('torch')}, {given.rows} rows\n")
    print("| correlation | particles | error of the mean | ratio of deviations |")
    print("|---|---|---|---|")
    for rho in (0.0, 0.5, 0.9, 0.99):
        covariance = torch.tensor([[[1.0, rho], [rho, 1.0]]])
        velocity = field(torch.ones(1), torch.zeros(1, 2), covariance)
        std = math.sqrt(1 - rho**2)
        for particles in (PARTICLES, 1):
            x = draws(velocity, SEEN, given.rows, particles)
            error = (x.mean().item() - rho * SEEN) / std
            print(
                f"| {rho} | {particles} | {error:+.3f} | {x.std().item() / std:.3f} |", flush=True
            )
    print("\n| two modes, seen | particles | share of the upper mode | exact |\n|---|---|---|---|")
    means = torch.tensor([[-0.87, -0.98], [0.87, 0.98]])
    covariance = torch.diag(torch.tensor([0.25, 0.04])).expand(2, 2, 2)
    velocity = field(torch.full((2,), 0.5), means, covariance)
    for seen in (0.3, -0.1):
        exact = torch.sigmoid(torch.tensor(2 * 0.87 * seen / 0.25)).item()
        for particles in (PARTICLES, 1):
            x = draws(velocity, seen, given.rows, particles)
            share = (x > 0).double().mean().item()
            print(f"| {seen} | {particles} | {share:.3f} | {exact:.3f} |", flush=True)


if __name__ == "__main__":
    main()
