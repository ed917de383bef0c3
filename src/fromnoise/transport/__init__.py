r"""How noise moves to data: paths, solvers, couplings, guidance. Pure functions of tensors."""

from fromnoise.transport import couplings, guidance, paths, solvers

__all__ = ["couplings", "guidance", "paths", "solvers"]
