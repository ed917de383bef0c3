r"""The flags of ``fit FAMILY``: the arguments of its dataclass that words can say."""

__all__ = ["flags_of", "is_scalar", "is_scalars"]

import dataclasses
import inspect
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cyclopts import Parameter

import fromnoise

_SCALARS = (bool, int, float, str)


def flags_of(model: Any) -> list[inspect.Parameter]:
    r"""Return the arguments of an estimator that a flag can take; those not given are None."""
    family = type(model)
    hints = {**get_type_hints(family), "random_state": int}
    found = []
    for field in dataclasses.fields(family):
        hint = _priors(hints["prior"]) if field.name == "prior" else _flag_type(hints[field.name])
        if field.name in ("verbose", "run_dir") or hint is None:  # --quiet and --out
            continue
        text = _described(family, field.name, getattr(model, field.name))
        told = Parameter(help=text, negative_iterable=())
        annotation: Any = Annotated[Union[hint, None], told]  # noqa: UP007 - made at run time
        kind = inspect.Parameter.KEYWORD_ONLY
        found.append(inspect.Parameter(field.name, kind, default=None, annotation=annotation))
    return found


def is_scalar(value: Any) -> bool:
    r"""Return whether a value is one word.

    Example:
        >>> is_scalar("auto"), is_scalar((1, 2))
        (True, False)
    """
    return value is None or isinstance(value, _SCALARS)


def is_scalars(value: Any) -> bool:
    r"""Return whether a value is a tuple of words.

    Example:
        >>> is_scalars((1, 2)), is_scalars(())
        (True, False)
    """
    return isinstance(value, tuple) and value != () and all(map(is_scalar, value))


def _priors(hint: Any) -> Any:
    r"""Return the names that a prior may have: words of the argument's own, and what samples."""
    registry = fromnoise.families
    own = get_args(_flag_type(hint) or Literal[()])
    return Literal[(*own, *(n for n in registry.PRESETS if hasattr(registry.make(n), "sample")))]


def _flag_type(hint: Any) -> Any:
    r"""Return the part of a type that a flag can take; None if there is none."""
    if hint in _SCALARS or get_origin(hint) is Literal:
        return hint
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        scalars = all(part is Ellipsis or _flag_type(part) is not None for part in parts)
        return hint if parts and scalars else None
    if get_origin(hint) in (Union, UnionType):
        kept = [part for part in map(_flag_type, get_args(hint)) if part is not None]
        return Union[tuple(kept)] if kept else None  # noqa: UP007 - made at run time
    return None


def _described(family: type, name: str, default: Any) -> str:
    r"""Return what a flag is for, and its default."""
    text = _help(family, name)
    value = getattr(default, "family", default)  # a preset may hold a model as prior
    if isinstance(value, tuple):
        value = " ".join(map(str, value))
    word = "none" if value is None else value
    return f"{text} [default: {word}]".lstrip() if is_scalar(value) else text


def _help(family: type, name: str) -> str:
    r"""Return what the docstrings of a family and its bases say of an argument."""
    for cls in family.__mro__:
        lines = inspect.getdoc(cls) if cls.__doc__ else None
        for line in _entries(lines or ""):
            if line.startswith(f"{name}: "):
                return line.removeprefix(f"{name}: ").replace("``", "").replace("\\", "")
    return ""


def _entries(doc: str) -> list[str]:
    r"""Return the entries of a docstring's Args section, each on one line."""
    section = doc.partition("Args:\n")[2].partition("\n\n")[0]
    entries: list[str] = []
    for line in section.splitlines():
        if line.startswith("        "):
            entries[-1] += " " + line.strip()
        else:
            entries.append(line.strip())
    return entries
