r"""How the report writes names, numbers, times and counts.

Names come out of somebody's file: they are cut and made printable, so that a line break, a lone
surrogate or a mark that turns the direction of text is seen instead of obeyed. Numbers carry the
digits that their uncertainty supports, and the minus sign of print.
"""

__all__ = ["amount", "count", "cut", "duration", "is_finite", "megabytes", "power", "prose"]

import math
from typing import Any


def cut(text: object, limit: int = 28) -> str:
    r"""Return ``text`` on one line, printable, at most ``limit`` characters long.

    Args:
        text: A name of any length, with any characters.
        limit: Characters to keep, the ellipsis included.

    Returns:
        The name; line breaks, surrogates and direction marks are written as escapes.

    Example:
        >>> cut("a\nb" + "c" * 99, 10)
        'a\\nbccccc…'
    """
    head = str(text)[: limit + 1]
    line = "".join(c if c.isprintable() else _escape(c) for c in head)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def prose(text: object, limit: int = 600) -> str:
    r"""Return a sentence on one line: line breaks are spaces here, not escapes.

    Args:
        text: Anything that can be written.
        limit: Characters to keep, the ellipsis included.

    Returns:
        The sentence.

    Example:
        >>> prose("two\n  lines")
        'two lines'
    """
    return cut(" ".join(str(text)[: 4 * limit].split()), limit)


def amount(value: float | None, spread: float | None = None) -> str:
    r"""Return a number with as many digits as two significant ones of ``spread``; else three.

    Args:
        value: The number; None or not finite is a dash.
        spread: Half the width of its interval; None where there is none.

    Returns:
        The number with thousands separated.

    Example:
        >>> amount(1234.5678, 0.123)
        '1,234.57'
    """
    if value is None or not math.isfinite(value):
        return "–"
    scale, digits = (spread, 1) if spread else (value, 2)
    # Rounded first: 0.00999… has its first digit where 0.01 has.
    decimals = digits - int(f"{scale:.{digits}e}".partition("e")[2])
    if abs(value) >= 1e6 or (decimals > 6 and abs(value) < 1e-3):
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa} × {power(int(exponent))}".replace("-", "−")
    # Adding zero turns a rounded -0.0 into 0.0.
    decimals = max(0, min(decimals, 4 if abs(value) >= 0.1 else 6))
    return f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", "−")


def power(exponent: int) -> str:
    r"""Return a power of ten with its exponent raised.

    Args:
        exponent: The exponent.

    Example:
        >>> power(-3)
        '10⁻³'
    """
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def duration(seconds: float | None) -> str:
    r"""Return a time in the unit that suits it.

    Args:
        seconds: The time; None or not finite is a dash.

    Example:
        >>> duration(3725.0)
        '1 h 02 min'
    """
    if not is_finite(seconds) or seconds is None:
        return "–"
    if seconds < 300:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def count(value: float | None) -> str:
    r"""Return a whole number, from ten thousand on with three digits and a unit.

    Args:
        value: The number; None or not finite is a dash.

    Example:
        >>> count(1_234_567)
        '1.23 M'
    """
    if not is_finite(value) or value is None:
        return "–"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if value >= size:
            value = value / (1e3 if unit == "k" else size)
            return f"{value:.{max(0, 2 - int(math.log10(value)))}f} {unit}"
    return f"{value:,.0f}"


def megabytes(value: float | None) -> str:
    r"""Return an amount of memory in the unit that suits it.

    Args:
        value: Megabytes; None or not finite is a dash.

    Example:
        >>> megabytes(412.3), megabytes(2048.0)
        ('412 MB', '2.0 GB')
    """
    if not is_finite(value) or value is None:
        return "–"
    return f"{value:.0f} MB" if value < 1000 else f"{value / 1024:.1f} GB"


def is_finite(value: Any) -> bool:
    r"""Return whether a value is a number, neither infinite nor NaN.

    Args:
        value: Anything.

    Example:
        >>> is_finite(None), is_finite(2)
        (False, True)
    """
    return isinstance(value, int | float) and math.isfinite(value)
