r"""Does a model hand its training rows out again?

A fresh row is nearest to a training row as often as training rows are many: with n_t training and
n_h held-out rows of one distribution, the nearest of all n_t + n_h is a training row with
probability p₀ = n_t/(n_t + n_h). With s the share of fakes that are nearer to one of the training
rows than to one of the held-out rows, ties half,

    copying = (s - p₀)/(1 - p₀)        0 for fresh rows, 1 for copies, below 0 for rows that keep
                                       away from the training rows

This is the "distance to the closest record" share test (Platzer & Reutterer 2021), put on a scale
that does not depend on the sizes of the sets.
"""

__all__ = ["copying"]

from typing import Any

import numpy as np

from fromnoise.metrics.pairs import checked, group_of, kth, nearest_by_group
from fromnoise.metrics.result import Result, half_count, halved, share_interval, summarise


def copying(train: Any, held_out: Any, fake: Any) -> Result:
    r"""Return the share of copies among the fakes, as the module defines it.

    Args:
        train: Rows that the model saw, (n_t, d).
        held_out: Rows of the same distribution that it did not see, (n_h, d).
        fake: Rows that it made, (n, d).

    Returns:
        The number, 0 for fresh rows (the target) and 1 for copies.

    Raises:
        DataError: If a set is not (n, d), finite, of at least 4 rows and of the same columns.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> train, held_out = rng.normal(size=(300, 2)), rng.normal(size=(100, 2))
        >>> copying(train, held_out, train).value
        1.0
    """
    named = {"train": train, "held_out": held_out, "fake": fake}
    train, held_out, fake = sets = checked(named, minimum=4)
    groups = half_count(train, held_out, fake)
    to_train = nearest_by_group(fake, train, 1, groups)
    to_held_out = nearest_by_group(fake, held_out, 1, groups)
    group_train, group_held_out, group = (group_of(len(rows), groups) for rows in sets)

    def copies(kept: np.ndarray) -> float:
        rows = kept[group]
        gap = kth(to_held_out[rows], 1, kept) - kth(to_train[rows], 1, kept)
        fresh = _fresh(kept[group_train].sum(), kept[group_held_out].sum())
        return float((0.5 + 0.5 * np.sign(gap).mean() - fresh) / (1 - fresh))

    values, fresh = halved(copies, groups), _fresh(len(train), len(held_out))
    low, high = share_interval(fresh + (1 - fresh) * values, len(fake))
    interval = ((low - fresh) / (1 - fresh), (high - fresh) / (1 - fresh))
    return summarise(values, n=len(fake), better="target", target=0.0, interval=interval)


def _fresh(n_train: float, n_held_out: float) -> float:
    return n_train / (n_train + n_held_out)
