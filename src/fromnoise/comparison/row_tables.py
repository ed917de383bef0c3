r"""Small tables of a report: a few rows, each with its partner below it."""

__all__ = ["column_names", "pair_table"]

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fromnoise.comparison.wording import amount, cut

PAIRS, COLUMNS = 3, 6


def pair_table(
    upper: Any, lower: Any, titles: tuple[str, str], names: Sequence[Any] | None
) -> dict[str, Any]:
    r"""Return the first rows of two sets in turn, for the page to show.

    Args:
        upper: Rows, an array `(n, d)` or a DataFrame.
        lower: As many rows with the same columns.
        titles: What a row of each set is called.
        names: Names of an array's columns; None or a wrong number of them for x[0], x[1], …

    Returns:
        ``header``, ``titles`` and ``pairs``: a list of pairs of rows of text.

    Example:
        >>> pair_table(np.zeros((1, 2)), np.ones((1, 2)), ("a", "b"), None)["pairs"]
        [[['0.00', '0.00'], ['1.00', '1.00']]]
    """
    frames = [pd.DataFrame(rows).iloc[:PAIRS, :COLUMNS] for rows in (upper, lower)]
    is_table = isinstance(upper, pd.DataFrame)
    heading = list(upper.columns) if is_table else column_names(names, upper.shape[1])
    pairs = [
        [[_entry(value) for value in line] for line in pair]
        for pair in zip(*(frame.astype(object).values for frame in frames), strict=True)
    ]
    return {
        "header": [cut(name, 20) for name in heading[:COLUMNS]],
        "titles": titles,
        "pairs": pairs,
    }


def column_names(given: Any, count: int) -> list[str]:
    r"""Return names of ``count`` columns, those that are given if they are as many.

    Example:
        >>> column_names(None, 2)
        ['x[0]', 'x[1]']
    """
    if isinstance(given, list | tuple) and len(given) == count:
        return [str(name) for name in given]
    return [f"x[{i}]" for i in range(count)]


def _entry(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return amount(float(value))
    return cut(str(value).removesuffix(" 00:00:00"), 24)
