r"""What counts as a value of an argument; as a number NumPy's too, and never a bool or NaN."""

__all__ = ["check_values", "is_number", "is_whole"]

import math
from dataclasses import fields
from functools import lru_cache
from typing import Any, Literal, TypeGuard, get_args, get_type_hints

import numpy as np

from fromnoise.errors import did_you_mean, shown


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


def check_values(model: Any) -> None:
    r"""Check the arguments of a dataclass against their types: words, and arrays where none goes.

    Raises:
        ValueError: If an argument is an array and its type is not Any, or a word that is not
            among those of its type.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Model:
        ...     solver: Literal["euler", "heun"] = "euler"
        >>> check_values(Model("euler"))
        >>> check_values(Model("eulr"))
        Traceback (most recent call last):
        ValueError: solver has no value 'eulr'. Did you mean 'euler'? Known: euler, heun.
        >>> check_values(Model(np.zeros(2)))
        Traceback (most recent call last):
        ValueError: solver takes no array, got one of shape (2,).
    """
    family: type = type(model)
    for name, (anything, closed, words) in _types(family).items():
        value = getattr(model, name)
        if getattr(value, "ndim", 0) and not anything:
            raise ValueError(f"{name} takes no array, got one of shape {tuple(value.shape)}.")
        if (isinstance(value, str) or closed) and words and value not in words:
            hint = did_you_mean(str(value), words)
            raise ValueError(f"{name} has no value {shown(value)}.{hint}")


@lru_cache  # arguments are checked at every call
def _types(family: type) -> dict[str, tuple[bool, bool, list[str]]]:
    r"""Return of each argument whether it takes anything, or words alone, and the words."""
    hints, names = get_type_hints(family), [field.name for field in fields(family)]
    return {n: (hints[n] is Any, _is_literal(hints[n]), _words(hints[n])) for n in names}


def _is_literal(hint: Any) -> bool:
    return getattr(hint, "__origin__", None) is Literal


def _words(hint: Any) -> list[str]:
    if _is_literal(hint):
        return [value for value in get_args(hint) if isinstance(value, str)]
    return [word for part in get_args(hint) for word in _words(part)]
