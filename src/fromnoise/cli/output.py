r"""What is written where: data to standard output, words about it to standard error.

Names come out of somebody's files: a terminal is to show them, not to obey them, so control
characters are escaped in all that is said.
"""

__all__ = [
    "aligned",
    "one_line",
    "plain_warnings",
    "prepare_streams",
    "print_json",
    "print_line",
    "say",
    "shortened",
]

import errno
import io
import json
import logging
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def print_line(text: str) -> None:
    r"""Write a line of data to standard output."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, "Standard output is closed.")
    sys.stdout.write(text + "\n")


def print_json(document: Any) -> None:
    r"""Write one JSON document to standard output; numbers that are not finite become null."""
    print_line(json.dumps(_strict(document), indent=1, allow_nan=False))


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _strict(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def aligned(lines: Sequence[Sequence[str]]) -> str:
    r"""Return lines of equally many cells as a table; all columns but the last have a width.

    Example:
        >>> print(aligned([["mmd", "0.5"], ["coverage", "0.9"]]))
        mmd       0.5
        coverage  0.9
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
    return "\n".join(row.rstrip() for row in rows)


def shortened(name: str, limit: int = 40) -> str:
    r"""Return a name as a terminal may show it.

    Example:
        >>> shortened("a\nb")
        'a\\nb'
    """
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
    return text if len(text) <= limit else text[: limit - 1] + "…"


@contextmanager
def plain_warnings() -> Iterator[None]:
    r"""Show warnings as lines of the log, without the place in the program they come from."""

    def shown(message: Warning | str, *_: object, **__: object) -> None:
        logging.getLogger("fromnoise").warning("%s", message)

    with warnings.catch_warnings():
        warnings.showwarning = shown
        yield


def say(text: str) -> None:
    r"""Write a line about a failure to standard error."""
    if sys.stderr is not None:
        sys.stderr.write(f"fromnoise: {one_line(text)}\n")


def one_line(text: str) -> str:
    r"""Return text on one line, with control characters as escapes.

    Example:
        >>> one_line("red:\n  \x1b[31m")
        'red: \\x1b[31m'
    """
    line = " ".join(part.strip() for part in text.split("\n") if part.strip())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))


def prepare_streams() -> None:
    r"""Log to standard error, and write UTF-8 whatever the locale says, as files are."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    logger = logging.getLogger("fromnoise")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
