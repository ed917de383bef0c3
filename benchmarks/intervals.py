r"""What the tables of the benchmarks say of numbers over seeds."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import t


def over_seeds(values: Sequence[float] | np.ndarray) -> str:
    r"""Return the mean with its 95 % t-interval; the mean alone for one seed."""
    x = np.asarray(values)
    if len(x) < 2:
        return f"{x.mean():.2f}"
    half = t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x))
    return f"{x.mean():.2f} ({x.mean() - half:.2f} to {x.mean() + half:.2f})"
