r"""The errors a user can meet. Both are ValueErrors, as scikit-learn's conventions ask.

Every message says what was expected, what came, and how to mend it.
"""

__all__ = ["ArtifactError", "DataError", "did_you_mean", "shown"]

from collections.abc import Iterable
from difflib import get_close_matches

_LISTED = 30


class DataError(ValueError):
    r"""The data, or an argument that describes it, cannot be used as it is."""


class ArtifactError(ValueError):
    r"""A saved model or run is missing, damaged, unsafe or of another version."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    r"""Return a hint such as ``" Did you mean 'heun'? Known: euler, heun."``.

    Args:
        name: What the user wrote.
        known: The names that exist.

    Returns:
        The hint, starting with a space.

    Example:
        >>> did_you_mean("huen", ["euler", "heun"])
        " Did you mean 'heun'? Known: euler, heun."
    """
    known = list(known)
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f" Did you mean {shown(close[0])}?" if close else ""
    # Names may come out of a file: those that a terminal would act on are escaped.
    listed = [text if text.isprintable() and len(text) <= 40 else shown(text) for text in known]
    more = f", … ({len(known)} in all)" if len(known) > _LISTED else ""
    return f"{guess} Known: {', '.join(listed[:_LISTED])}{more}."


def shown(value: object, limit: int = 40) -> str:
    r"""Return ``repr(value)`` on one line, cut to ``limit`` characters, safe for a terminal."""
    text = ascii(value) if not str(value).isprintable() else repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
