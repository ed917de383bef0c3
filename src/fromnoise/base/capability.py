r"""Methods that exist only where they mean something.

What a family cannot do is absent: ``hasattr(model, "score_samples")`` is False, and the
AttributeError says why, and which families can. (scikit-learn's ``available_if`` has the first
half, but replaces the sentence by its own.)
"""

__all__ = ["capability"]

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

P = ParamSpec("P")
R = TypeVar("R")
Method = Callable[Concatenate[Any, P], R]


class capability(Generic[P, R]):
    r"""Decorate a method that only some models have.

    Args:
        method: The method. The object's ``_cannot(name)`` returns None where it exists, else
            the sentence that says why not.

    Example:
        >>> class Model:
        ...     def _cannot(self, name):
        ...         return f"{name} needs a density."
        ...     @capability
        ...     def score(self):
        ...         return 0.0
        >>> hasattr(Model(), "score")
        False
        >>> Model().score
        Traceback (most recent call last):
        AttributeError: score needs a density.
    """

    def __init__(self, method: "Method[P, R]") -> None:
        self.method = method
        update_wrapper(self, method)  # type: ignore[arg-type]

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "Method[P, R]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[P, R]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self.method
        reason = instance._cannot(self.name)
        if reason is not None:
            raise AttributeError(reason)
        return self.method.__get__(instance, owner)
