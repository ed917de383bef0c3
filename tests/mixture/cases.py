r"""Mixtures for the tests beside."""

import torch

from fromnoise.mixture import Mixture

KINDS = ("full", "tied", "diag", "spherical")


def mixture(kind: str, k: int = 4, d: int = 3, tables: tuple[int, ...] = ()) -> Mixture:
    rng = torch.Generator().manual_seed(0)
    normal = torch.randn(k, d, d, dtype=torch.float64, generator=rng)
    square = normal @ normal.mT + 0.3 * torch.eye(d, dtype=torch.float64)
    scale = {
        "full": torch.linalg.cholesky(square),
        "tied": torch.linalg.cholesky(square[:1]),
        "diag": square.diagonal(dim1=1, dim2=2).sqrt(),
        "spherical": square[:, :1, 0].sqrt().expand(k, d).contiguous(),
    }[kind]
    return Mixture(
        kind,
        torch.linspace(1, 2, k, dtype=torch.float64).log_softmax(0),
        torch.randn(k, d, dtype=torch.float64, generator=rng),
        scale,
        tuple(
            torch.randn(k, c, dtype=torch.float64, generator=rng).log_softmax(1) for c in tables
        ),
    )
