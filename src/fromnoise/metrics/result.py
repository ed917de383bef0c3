r"""A number with its interval, and the fair difference of two such numbers.

A metric here is a statistic θ of sets of rows. Its interval is a 95 % interval for E θ at this
number of rows, over fresh samples of every set, of the form θ ± t · se with t quantiles. Rows are
exchangeable (shuffle them if their order means something) and row i is of group i mod G, G = 20.

    smooth θ            delete-a-group jackknife: θ_g without the rows of group g in every set,
                        var θ = (G - 1)/G Σ_g (θ_g - mean θ_g)²
    nearest neighbours  G - 1 orthogonal splits into two halves of the groups, rows h of a Hadamard
                        matrix: c_h = (θ(half) - θ(other half))/2, var θ = Σ_h c_h²/(G - 1)

The jackknife overstates a variance that comes from neighbours, because what one row does depends
on which others are there; halves are two fresh samples of n/2 rows. The contrasts are written as
θ_g = θ - Σ_h h_g c_h/(G - 1), for a mean the jackknife's values exactly, so there is one formula.
Nothing is drawn with replacement: that makes copies, and a distance between sets sees copies.
Two models measured against the same real rows share what these do to θ_g, so the differences of
their replicates are a paired comparison. For equal distributions an energy distance or MMD is a
degenerate U-statistic, whose variance the jackknife doubles: the interval is cautious there.

Sources: Efron & Stein (1981), "The jackknife estimate of variance"; Kott (2001), "The
delete-a-group jackknife"; McCarthy (1969), "Pseudo-replication: half samples"; Wilson (1927).
"""

__all__ = [
    "GROUPS",
    "Better",
    "Result",
    "from_halves",
    "half_count",
    "half_masks",
    "halved",
    "paired_difference",
    "share_interval",
    "summarise",
]

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.stats import t as student

from fromnoise.errors import DataError

Better = Literal["lower", "higher", "target"]
GROUPS = 20


@dataclass(frozen=True)
class Result:
    r"""A metric's value with a 95 % interval.

    Args:
        value: The metric.
        low: Lower end of the interval for the metric's expectation at this number of rows.
        high: Upper end.
        n: Number of rows behind the number, of the smaller set.
        better: Whether lower or higher is better, or nearer to ``target``.
        target: The value that a perfect model has in expectation.
        replicates: A number for each group of rows (see the module), from which
            :func:`paired_difference` has its interval.

    Example:
        >>> result = Result(0.25, 0.2, 0.3, n=100, better="lower", target=0.0)
        >>> float(result)
        0.25
        >>> result.to_json()["better"]
        'lower'
    """

    value: float
    low: float
    high: float
    n: int
    better: Better
    target: float
    replicates: tuple[float, ...] = field(default=(), repr=False)

    def __float__(self) -> float:
        return self.value

    def to_json(self) -> dict[str, float | int | str]:
        r"""Return all but the replicates as a flat dictionary of JSON's types."""
        names = ("value", "low", "high", "n", "better", "target")
        return {name: getattr(self, name) for name in names}


def paired_difference(a: Result, b: Result) -> Result:
    r"""Return a - b with a 95 % interval, where both were measured against the same real rows.

    What the real rows contribute to both numbers cancels, so the interval is narrower than the
    two separate ones suggest. Zero inside the interval means a tie.

    Args:
        a: A result of one metric.
        b: A result of the same metric with the same settings and the same real rows.

    Returns:
        The difference; its target is 0 and its ``better`` that of ``a``.

    Raises:
        DataError: If the two were not measured over the same number of groups.

    Example:
        >>> import numpy as np
        >>> from fromnoise.metrics import energy_distance
        >>> rng = np.random.default_rng(0)
        >>> real, good, bad = (rng.normal(m, 1, (400, 2)) for m in (0, 0.1, 1))
        >>> gap = paired_difference(energy_distance(real, bad), energy_distance(real, good))
        >>> gap.low > 0
        True
    """
    if not a.replicates or len(a.replicates) != len(b.replicates):
        raise DataError(
            "expected two results of one metric over the same groups of rows, got "
            f"{len(a.replicates)} and {len(b.replicates)} replicates; "
            "measure both against the same real rows"
        )
    values = np.subtract([a.value, *a.replicates], [b.value, *b.replicates])
    return summarise(values, n=min(a.n, b.n), better=a.better, target=0.0)


def summarise(
    values: np.ndarray,
    *,
    n: int,
    better: Better,
    target: float,
    interval: tuple[float, float] | None = None,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Result:
    r"""Return a result whose interval is the jackknife's, unless one is given.

    Args:
        values: The statistic of all rows, then that without each group, (1 + G,).
        n: Rows of the smaller set.
        better: See :class:`Result`.
        target: See :class:`Result`.
        interval: Ends that a better method than value ± t · se gave.
        bounds: What the metric's expectation can be; the interval is cut there.

    Returns:
        The result.

    Raises:
        DataError: If the statistic is not finite, which is an overflow.

    Example:
        >>> summarise(np.array([1.0, 0.9, 1.1]), n=2, better="lower", target=0.0).low < 0
        True
    """
    if not np.isfinite(values).all():
        raise DataError(
            "the values are too large for this metric in double precision; "
            "rescale the rows first, for example with Standardise.fit(train)"
        )
    value, *replicates = map(float, values)
    half = _quantile(values) * math.sqrt(_variance(values))
    low, high = interval or (
        min(max(value - half, bounds[0]), value),  # but for rounding, the value is within
        max(min(value + half, bounds[1]), value),
    )
    return Result(value, float(low), float(high), n, better, target, tuple(replicates))


def half_count(*sets: np.ndarray) -> int:
    r"""Return the number of groups for :func:`halved`: 20, 12, 8 or 4, but no more than rows.

    Example:
        >>> half_count(np.ones((100, 2))), half_count(np.ones((15, 2)), np.ones((100, 2)))
        (20, 12)
    """
    return max(size for size in (4, 8, 12, GROUPS) if size == 4 or size <= min(map(len, sets)))


def half_masks(groups: int) -> np.ndarray:
    r"""Return which groups each statistic of :func:`from_halves` is of, (2 G - 1, G).

    Args:
        groups: G, of :func:`half_count`.

    Returns:
        All groups first, then each half and the other half of its split.

    Example:
        >>> half_masks(4)[:3].astype(int).tolist()
        [[1, 1, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1]]
    """
    plus = _hadamard(groups) > 0
    halves = np.stack([plus, ~plus], axis=1).reshape(-1, groups)
    return np.concatenate([np.ones((1, groups), dtype=bool), halves])


def from_halves(statistics: np.ndarray) -> np.ndarray:
    r"""Return a statistic of all rows, then the replicates that its halves give.

    Args:
        statistics: Of the rows of each mask of :func:`half_masks`, (2 G - 1,).

    Returns:
        Numbers, (1 + G,).

    Example:
        >>> means = np.array([1.0, 2.0, 3.0, 6.0])
        >>> from_halves(half_masks(4) @ means / [4, 2, 2, 2, 2, 2, 2]).round(3).tolist()
        [3.0, 3.667, 3.333, 3.0, 2.0]
    """
    splits = _hadamard((len(statistics) + 1) // 2)
    contrasts = (statistics[1::2] - statistics[2::2]) / 2
    return np.append(statistics[0], statistics[0] - contrasts @ splits / len(splits))


def halved(statistic: Callable[[np.ndarray], float], groups: int) -> np.ndarray:
    r"""Return :func:`from_halves` of a function of the mask.

    Args:
        statistic: Whether each group is kept, (G,) -> number.
        groups: G, of :func:`half_count`.

    Returns:
        Numbers, (1 + G,).

    Example:
        >>> means = np.array([1.0, 2.0, 3.0, 6.0])
        >>> halved(lambda kept: means[kept].mean(), 4).round(3).tolist()
        [3.0, 3.667, 3.333, 3.0, 2.0]
    """
    return from_halves(np.array([statistic(kept) for kept in half_masks(groups)]))


def _hadamard(order: int) -> np.ndarray:
    # Paley (1933), for a prime order - 1 = 3 mod 4; without the row of ones.
    prime = order - 1
    residue = np.isin(np.arange(prime), np.arange(1, prime) ** 2 % prime)
    shift = np.arange(prime)[:, None] + np.arange(prime)
    core = np.where(residue[shift % prime], 1, -1)
    return np.column_stack([np.ones(prime, dtype=int), core])


def share_interval(values: np.ndarray, n: float) -> tuple[float, float]:
    r"""Return Wilson's 95 % interval of a number in [0, 1], for rows that are not independent.

    Near 0 and 1, where value ± t · se leaves [0, 1] or has no width at all, the interval behaves
    like that of a share of n_e independent rows; n_e is the number that has the jackknife's
    variance, and at most n.

    Args:
        values: The share of all rows, then that without each group, (1 + G,).
        n: Number of independent rows, at most.

    Returns:
        Both ends, within [0, 1].

    Example:
        >>> low, high = share_interval(np.ones(21), n=100)
        >>> round(low, 3), high
        (0.958, 1.0)
    """
    value = float(values[0])
    inner = (value * n + 1) / (n + 2)
    independent = min(inner * (1 - inner) / max(_variance(values), 1e-300), n)
    pull = _quantile(values) ** 2 / independent
    centre = (value + pull / 2) / (1 + pull)
    half = math.sqrt(pull * value * (1 - value) + pull**2 / 4) / (1 + pull)
    # The ends meet the value at 0 and 1 but for rounding.
    return max(min(centre - half, value), 0.0), min(max(centre + half, value), 1.0)


def _variance(values: np.ndarray) -> float:
    return float((len(values) - 2) * np.var(values[1:]))


def _quantile(values: np.ndarray) -> float:
    return float(student.ppf(0.975, len(values) - 2))
