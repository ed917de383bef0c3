r"""Does a model hand its training rows out again?

A fresh row is nearest to a training row as often as training rows are many: with n_t training and
n_h held-out rows of one distribution, the nearest of all n_t + n_h is a training row with
probability p₀ = n_t/(n_t + n_h). With s the share of fakes that are nearer to one of the training
rows than to one of the held-out rows, ties half,

    copying = (s - p₀)/(1 - p₀)        0 for fresh rows, 1 for copies, below 0 for rows that keep
                                       away from the training rows

This is the share test of distances to the closest record (Platzer & Reutterer 2021) on a scale
that does not depend on the sizes of the sets. Fakes with one nearest row share its luck: were it
in the other set, they would all count for that. So what is independent is the rows with the fakes
that are nearest to them, and the jackknife leaves out groups of those. With w_j the share of fakes
that row j of the N = n_t + n_h has, shuffling the rows between the two sets gives s the variance
p₀ (1 - p₀)(Σ_j w_j² - 1/N): that of 1/(Σ_j w_j² - 1/N) independent fakes, or of all if those
are fewer.
"""

__all__ = ["copying"]

from typing import Any

import numpy as np

from fromnoise.metrics.pairs import checked, nearest
from fromnoise.metrics.result import GROUPS, Result, share_interval, summarise


def copying(train: Any, held_out: Any, fake: Any) -> Result:
    r"""Return the share of copies among the fakes, as the module defines it.

    Args:
        train: Rows that the model saw, (n_t, d).
        held_out: Rows of the same distribution that it did not see, (n_h, d).
        fake: Rows that it made, (n, d).

    Returns:
        The number, 0 for fresh rows (the target) and 1 for copies.

    Raises:
        DataError: If a set is not (n, d), finite, of at least 3 rows and of the same columns.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> train, held_out = rng.normal(size=(300, 2)), rng.normal(size=(100, 2))
        >>> copying(train, held_out, train).value
        1.0
    """
    train, held_out, fake = checked({"train": train, "held_out": held_out, "fake": fake})
    to_train, trained_on = nearest(fake, train)
    to_held_out, held = nearest(fake, held_out)
    score = 0.5 + 0.5 * np.sign(to_held_out - to_train)
    owner = np.where(score > 0, trained_on, len(train) + held)
    group = np.where(score > 0, trained_on, held) % GROUPS
    fresh = len(train) / (len(train) + len(held_out))
    # Without the fakes of a group that has all of them nothing is known, so they count as fresh.
    without = [score[group != g].mean() if (group != g).any() else fresh for g in range(GROUPS)]
    shares = np.array([score.mean(), *without])
    spread = np.square(np.bincount(owner) / len(fake)).sum() - 1 / (len(train) + len(held_out))
    independent = 1 / max(spread, 1 / len(fake))
    values, (low, high) = (
        (np.array(share) - fresh) / (1 - fresh)
        for share in (shares, share_interval(shares, independent))
    )
    return summarise(values, n=len(fake), better="target", target=0.0, interval=(low, high))
