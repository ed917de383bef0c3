r"""Random numbers as pure functions of (seed, what for, which one).

Nothing in fromnoise touches a global random state. Every stream has its own generator, seeded
from a short tuple of integers, so that batch 7 of epoch 3 or block 12 of a sample can be drawn
without drawing what comes before it.
"""

__all__ = ["entropy", "normal_rows", "numpy_rng", "seed_of", "torch_rng"]

from typing import Any

import numpy as np
import torch

from fromnoise.errors import shown


def entropy(random_state: Any) -> int:
    r"""Return the integer seed that ``random_state`` stands for.

    Args:
        random_state: None for fresh entropy; an int; a NumPy ``Generator`` or ``RandomState``,
            from which one number is drawn.

    Returns:
        A non-negative integer.

    Raises:
        TypeError: If it is anything else.
        ValueError: If it is a negative int.

    Example:
        >>> entropy(7)
        7
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        if random_state < 0:
            raise ValueError(f"random_state must not be negative, got {random_state}.")
        return int(random_state)
    raise TypeError(
        "random_state must be None, a non-negative int, or a NumPy Generator or RandomState,"
        f" got {shown(random_state)}."
    )


def seed_of(*key: int) -> int:
    r"""Return 64 well-mixed bits from a tuple of non-negative integers.

    Example:
        >>> seed_of(0, 1) == seed_of(0, 1), seed_of(0, 1) == seed_of(1, 0)
        (True, False)
    """
    # The length goes first: a seed sequence pads with zeros, so (0,) and (0, 0) would agree.
    return int(np.random.SeedSequence((len(key), *key)).generate_state(1, np.uint64)[0])


def torch_rng(*key: int, device: str | torch.device = "cpu") -> torch.Generator:
    r"""Return a torch generator seeded by ``key``.

    Example:
        >>> torch.equal(*(torch.randn(3, generator=torch_rng(0, 5)) for _ in range(2)))
        True
    """
    return torch.Generator(device=device).manual_seed(seed_of(*key) % 2**63)


def normal_rows(n: int, *shape: int, generator: torch.Generator) -> torch.Tensor:
    r"""Return N(0, I) noise ``(n, *shape)`` whose first rows do not depend on n.

    torch makes normal numbers from as many uniform ones, sixteen at a time, so what it makes of
    a multiple of sixteen rows begins what it makes of more.

    Example:
        >>> few, many = (normal_rows(n, 3, generator=torch_rng(0)) for n in (5, 700))
        >>> torch.equal(few, many[:5])
        True
    """
    return torch.randn(-(-n // 16) * 16, *shape, generator=generator)[:n]


def numpy_rng(*key: int) -> np.random.Generator:
    r"""Return a NumPy generator seeded by ``key``.

    Example:
        >>> float(numpy_rng(0, 5).random()) == float(numpy_rng(0, 5).random())
        True
    """
    return np.random.Generator(np.random.Philox(seed_of(*key)))
