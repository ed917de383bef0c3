r"""How noise moves to data. Pure functions of tensors."""

from fromnoise.transport import (
    couplings,
    densities,
    guidance,
    paths,
    samplers,
    solvers,
    times,
    weightings,
)

__all__ = [
    "couplings",
    "densities",
    "guidance",
    "paths",
    "samplers",
    "solvers",
    "times",
    "weightings",
]
