r"""Which model to use, and how sure that is.

Families are ranked by one named number: ``energy_distance`` for vectors, ``c2st`` (its distance
from 0.5) for tables, ``mmd`` on features for images. The leader has the best value. A family is
tied with it if the 95 % interval of the paired difference reaches zero: both are held against
the same real rows, so what those rows happen to be cancels. With several seeds the differences
of the seeds make the interval (Student's t). Reference rows, and families that diverged,
collapsed, failed, copy their training rows or do not sample, are never ranked. Where the leader
is tied with one that costs less than half of its seconds, that one is named too.

The best of bad families is still bad: the verdict says so where boosted trees tell the leader's
rows from real ones easily, and where a single Gaussian does as well.
"""

__all__ = ["COPYING_LIMIT", "SILENT", "Scored", "combined", "verdict"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import t as student

from fromnoise.comparison.wording import duration
from fromnoise.metrics import Result, paired_difference

COPYING_LIMIT = 0.2
EASILY = 0.8  # a c2st above which rows are told from real ones without effort
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


def verdict(
    scored: Sequence[Scored],
    metric: str,
    *,
    all_silent: bool = False,
    told: Mapping[str, Mapping[str, Any]] | None = None,
    gaussian: Scored | None = None,
) -> dict[str, Any]:
    r"""Return ``{"best", "tied", "why"}`` of ``report.json``.

    Args:
        scored: The families that may be ranked.
        metric: Name of the ranking metric, for the sentence.
        all_silent: Whether nothing can be ranked because no family samples.
        told: For names of rows, and for ``"real"``, their c2st as in ``report.json``.
        gaussian: The reference of that name.

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
    sentences = [
        f"{why}.",
        _cost(leader, [other for other in ranked[1:] if other.name in tied]),
        _plainly(leader.name, told or {}),
        _no_better(leader, gaussian),
    ]
    return {"best": leader.name, "tied": tied, "why": " ".join(filter(None, sentences))}


def _cost(leader: Scored, tied: Sequence[Scored]) -> str:
    r"""Return what the leader took, and which tied family took less than half of that."""
    if not leader.seconds:
        return ""
    first = min([leader, *tied], key=lambda one: one.seconds or math.inf)
    if first.seconds >= leader.seconds / 2:
        return f"It took {duration(leader.seconds)} to fit and draw."
    return (
        f"{first.name} costs least of these: {duration(first.seconds)} to fit and draw,"
        f" {leader.name} {duration(leader.seconds)}."
    )


def _plainly(name: str, told: Mapping[str, Mapping[str, Any]]) -> str:
    r"""Return whether boosted trees tell the leader's rows from real ones, in words."""
    one, real = told.get(name) or {}, told.get("real") or {}
    if not one:
        return ""
    floor = f"; real rows from real ones: {real['value']:.2f}" if real else ""
    numbers = f"(c2st {one['value']:.2f}, where 0.5 is guessing and 1 is certain{floor})"
    if one["low"] > EASILY:
        return f"Even its rows are easily told from real ones {numbers}: a longer budget may help."
    if one["low"] > 0.5:
        return f"Its rows can be told from real ones {numbers}."
    return f"Boosted trees cannot tell its rows from real ones {numbers}."


def _no_better(leader: Scored, gaussian: Scored | None) -> str:
    if gaussian is None or len(gaussian.results) != len(leader.results):
        return ""
    gap = float(np.mean([_loss(result) for result in gaussian.results])) - float(
        np.mean([_loss(result) for result in leader.results])
    )
    if gap > 0 and not _tied(leader, gaussian):
        return ""
    return "It is no better than a single Gaussian by this number."


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
