r"""Velocity fields whose flow, divergence and density are known, and a network that adds none."""

import torch
from torch import Tensor, nn

MEAN = torch.tensor([1.3, -0.4, 0.0], dtype=torch.float64)
# The logarithms must not sum to 0: a density of the wrong sign of div would pass then.
SCALE = torch.tensor([0.5, 1.6, 0.8], dtype=torch.float64)


def grid(start, end, steps):
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


def noise(n, d, seed=0):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gaussian(x, t):
    r"""The velocity that carries N(0, I) to N(MEAN, diag SCALE²) along the straight path."""
    d, t = x.shape[1], t[:, None]
    mean, scale = MEAN[:d], SCALE[:d]
    variance = (1 - t) ** 2 + t**2 * scale**2
    return mean + (t * scale**2 - (1 - t)) / variance * (x - t * mean)


def swirl(x, t):
    r"""A nonlinear field on the plane whose divergence is not zero."""
    a, b = x.unbind(1)
    return torch.stack([0.5 * (a + b).sin() - b * t, 0.4 * b * a.cos() + 0.3 * t * a], dim=1)


class Silent(nn.Module):
    r"""A network that adds nothing to the Gaussian flow."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        return self.weight * x
