r"""Which model to use, and how sure that is.

Families are ranked by one named number: ``energy_distance`` for vectors, ``c2st`` (its distance
from 0.5) for tables, ``mmd`` on features for images. The leader has the best value. A family is
tied with it if the 95 % interval of the paired difference reaches zero: both are held against
the same real rows, so what those rows happen to be cancels. With several seeds the differences
of the seeds make the interval (Student's t). Reference rows, and families that diverged,
collapsed, failed, copy their training rows or do not sample, are never ranked. Where the leader
is tied with one that costs less than half of its seconds, that one is named too.
"""

__all__ = ["COPYING_LIMIT", "SILENT", "Scored", "combined", "verdict"]

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import t as student

from fromnoise.comparison.wording import duration
from fromnoise.metrics import Result, paired_difference

COPYING_LIMIT = 0.2
SILENT = "does not sample"  # the flag of a row that has no samples, and so no rank


@dataclass(frozen=True)
class Scored:
    r"""A family, its results on the ranking metric, one a seed, and what fit and samples took.

    Args:
        name: The row's name.
        results: The results.
        seconds: Of one fit and its samples; 0 if that is not known.
    """

    name: str
    results: tuple[Result, ...]
    seconds: float = 0.0


def combined(results: Sequence[Result]) -> Result:
    r"""Return the mean over seeds; with several, its interval is Student's t over them.

    Example:
        >>> a, b = (Result(v, v - 1, v + 1, 9, "lower", 0.0) for v in (1.0, 2.0))
        >>> combined([a, b]).value
        1.5
    """
    if len(results) == 1:
        return results[0]
    low, high = _student([r.value for r in results])
    mean = float(np.mean([r.value for r in results]))
    return replace(results[0], value=mean, low=low, high=high)


def verdict(scored: Sequence[Scored], metric: str, *, all_silent: bool = False) -> dict[str, Any]:
    r"""Return ``{"best", "tied", "why"}`` of ``report.json``.

    Args:
        scored: The families that may be ranked.
        metric: Name of the ranking metric, for the sentence.
        all_silent: Whether nothing can be ranked because no family samples.

    Returns:
        Name of the leader (None if nothing can be ranked), names tied with it, and why.
    """
    if not scored:
        why = "No family finished in a state to be ranked."
        if all_silent:
            why = "None of these families samples, and only samples can be ranked."
        return {"best": None, "tied": [], "why": why}
    ranked = sorted(scored, key=lambda s: np.mean([_loss(result) for result in s.results]))
    leader = ranked[0]
    tied = [other.name for other in ranked[1:] if _tied(leader, other)]
    value = combined(leader.results)
    why = f"{leader.name} has the best {metric}, {value.value:.3g} ({_interval(value)})"
    if tied:
        why += f"; {_listed(tied)} cannot be told apart from it at 95 %"
    elif len(ranked) > 1:
        why += "; the paired 95 % interval of every other family lies beyond it"
    cheap = _cheapest(leader, [other for other in ranked[1:] if other.name in tied])
    return {"best": leader.name, "tied": tied, "why": f"{why}.{cheap}"}


def _cheapest(leader: Scored, tied: Sequence[Scored]) -> str:
    r"""Return a sentence on the one that costs least, if that is less than half of the leader."""
    first = min([leader, *tied], key=lambda one: one.seconds)
    if not 0 < first.seconds < leader.seconds / 2:
        return ""
    return (
        f" {first.name} costs least of these: {duration(first.seconds)} to fit and draw,"
        f" {leader.name} {duration(leader.seconds)}."
    )


def _loss(result: Result) -> float:
    r"""Return how bad a result is; lower is better, whatever the metric."""
    if result.better == "target" and result.target is not None:
        return abs(result.value - result.target)
    return -result.value if result.better == "higher" else result.value


def _tied(leader: Scored, other: Scored) -> bool:
    if len(leader.results) > 1:
        gaps = [_loss(b) - _loss(a) for a, b in zip(leader.results, other.results, strict=True)]
        return _student(gaps)[0] <= 0
    a, b = leader.results[0], other.results[0]
    difference = paired_difference(b, a)
    half = (difference.high - difference.low) / 2
    return _loss(b) - _loss(a) <= half


def _student(values: Sequence[float]) -> tuple[float, float]:
    n, mean = len(values), float(np.mean(values))
    half = float(student.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return mean - half, mean + half


def _interval(result: Result) -> str:
    return f"95 %: {result.low:.3g} to {result.high:.3g}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
