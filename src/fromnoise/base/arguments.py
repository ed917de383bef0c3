r"""What counts as a number among arguments: NumPy's too, and never a bool or NaN."""

__all__ = ["is_number", "is_whole"]

import math
from typing import Any, TypeGuard

import numpy as np


def is_whole(value: Any) -> TypeGuard[int]:
    r"""Return whether a value is a whole number.

    Example:
        >>> is_whole(3), is_whole(np.int64(3)), is_whole(3.0), is_whole(True)
        (True, True, False, False)
    """
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[float]:
    r"""Return whether a value is a real number; infinite ones are.

    Example:
        >>> is_number(2), is_number(np.float32(2)), is_number(math.nan), is_number("2")
        (True, True, False, False)
    """
    real = isinstance(value, int | float | np.integer | np.floating)
    return real and not isinstance(value, bool) and not math.isnan(value)
