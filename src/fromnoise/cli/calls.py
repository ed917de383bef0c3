r"""Calls as they are written: no value is turned into another, and what is wrong is said.

Every sentence names the flag; the rest is what was expected, and what came.
"""

__all__ = ["EXACT", "said_of"]

from collections.abc import Sequence
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from cyclopts import (
    Argument,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    Parameter,
    Token,
    UnusedCliTokensError,
    convert,
)

from fromnoise.errors import shown

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _exact(kind: Any, tokens: Sequence[Token]) -> Any:
    r"""Convert words; cyclopts alone rounds 2.7 to a whole number, and takes nothing for text."""
    for token in tokens:
        rounded = "." in token.value and {int, float} & _leaves(kind) == {int}
        if rounded or (token.keyword and not token.value and not token.implicit_value):
            raise CoercionError(token=token, target_type=kind)
    return convert(kind, tokens)


EXACT = Parameter(converter=_exact)


def said_of(error: CycloptsError) -> str:
    r"""Return what is said of a wrong call.

    Example:
        >>> from cyclopts import App
        >>> def run(*, seeds: int): ...
        >>> how = {"exit_on_error": False, "print_error": False}
        >>> for words in ([], ["--seeds"], ["--seeds", "two"]):
        ...     try:
        ...         App(default_command=run)(words, **how)
        ...     except CycloptsError as error:
        ...         print(said_of(error))
        --seeds is missing. See --help.
        --seeds is given without a value.
        --seeds: expected a whole number, got 'two'.
    """
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        return _missing(error, error.argument)
    if isinstance(error, CoercionError) and error.token is not None and error.msg is None:
        words = [_WORDS[leaf] for leaf in _WORDS if leaf in _leaves(error.target_type)]
        if words:
            name = error.token.keyword or _name(error.argument)
            choices = [str(c) for c in _choices(error.target_type)]
            expected = " or ".join([*words, *choices])
            return f"{name}: expected {expected}, got {shown(error.token.value)}."
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"Too many words, from {shown(error.unused_tokens[0])} on. See --help."
    return str(error)


def _missing(error: MissingArgumentError, argument: Argument) -> str:
    if error.keyword is None:
        meant = str(error).partition(" Did you mean ")[2]
        hint = f"Did you mean {meant}" if meant else "See --help."
        return f"{_name(argument)} is missing. {hint}"
    count, _ = argument.token_count()
    if count > 1:
        return f"{error.keyword} needs {count} values, got {len(error.tokens_so_far)}."
    return f"{error.keyword} is given without a value."


def _name(argument: Argument | None) -> str:
    r"""Return a flag as it is written, or a word of the call in capitals, as in the help."""
    if argument is None:
        return "A word"
    flag = argument.field_info.is_keyword_only
    return argument.name if flag else argument.name.lstrip("-").upper()


def _leaves(kind: Any) -> set[Any]:
    if get_origin(kind) in (Union, UnionType, tuple):
        return set().union(*map(_leaves, get_args(kind)))
    return {kind} if isinstance(kind, type) else set()


def _choices(kind: Any) -> list[Any]:
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [choice for part in get_args(kind) for choice in _choices(part)]
