r"""Budgets: how long a fit may take, in seconds, steps or epochs.

Everything that changes during training (learning rate, averaging, penalties) is a function of
the progress p in [0, 1], so a fit of ten seconds and one of ten hours follow the same plan:

    steps, epochs   p = steps done / steps
    seconds         p = (elapsed − start of step 1) / (seconds − start of step 1)

on the monotonic clock, which no change of date can move.
"""

__all__ = ["Budget", "Clock"]

import math
import re
import time
from dataclasses import dataclass
from typing import Literal

from fromnoise.errors import shown

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_FORM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|steps?|epochs?)\s*")


@dataclass(frozen=True)
class Budget:
    r"""An amount of training.

    Args:
        amount: How much; positive.
        unit: Of what.

    Example:
        >>> Budget.parse("1.5m")
        Budget(amount=90.0, unit='seconds')
        >>> Budget.parse("20 epochs").steps(n_rows=1000, batch_size=100)
        200
    """

    amount: float
    unit: Literal["seconds", "steps", "epochs"]

    @classmethod
    def parse(cls, text: object) -> "Budget | None":
        r"""Read ``"90s"``, ``"10m"``, ``"2h"``, ``"2000 steps"``, ``"20 epochs"`` or ``"auto"``.

        Args:
            text: The budget as the user wrote it.

        Returns:
            The budget; None for ``"auto"``.

        Raises:
            ValueError: If it is none of these, or not positive.
        """
        if text == "auto":
            return None
        match = _FORM.fullmatch(text) if isinstance(text, str) else None
        if match is None or not 0 < float(match[1]) < math.inf:
            raise ValueError(
                'budget must be "auto" or a positive amount such as "90s", "10m", "2h",'
                f' "2000 steps" or "20 epochs", got {shown(text)}.'
            )
        amount, unit = float(match[1]), match[2]
        if unit in _UNITS:
            return cls(amount * _UNITS[unit], "seconds")
        if amount != int(amount):
            raise ValueError(f"budget must be a whole number of {unit}, got {shown(text)}.")
        return cls(amount, "steps" if unit.startswith("step") else "epochs")

    def steps(self, n_rows: int, batch_size: int) -> int | None:
        r"""Return the number of steps, None for a budget in seconds."""
        if self.unit == "seconds":
            return None
        if self.unit == "steps":
            return int(self.amount)
        return -(-int(self.amount) * n_rows // batch_size)


class Clock:
    r"""Measures one fit against its budget.

    Args:
        budget: The budget.
        n_steps: The number of steps; None for a budget in seconds.

    Example:
        >>> clock = Clock(Budget(4, "steps"), 4)
        >>> clock.start(); clock.progress(done=3), clock.over(done=4)
        (0.75, True)
    """

    def __init__(self, budget: Budget, n_steps: int | None) -> None:
        self.n_steps = n_steps
        self.seconds = budget.amount if n_steps is None else None
        self.born = time.monotonic()
        self.first = 0.0

    def elapsed(self) -> float:
        r"""Return the seconds since this clock was made."""
        return time.monotonic() - self.born

    def start(self) -> None:
        r"""Mark the start of the first step."""
        self.first = self.elapsed()

    def resume(self, elapsed: float, first: float) -> None:
        r"""Go on from the seconds of a fit that stopped, which began its first step at one."""
        self.born, self.first = time.monotonic() - elapsed, first

    def progress(self, done: int) -> float:
        r"""Return the share of the budget that is spent after ``done`` steps."""
        if self.seconds is None:
            return done / (self.n_steps or 1)
        share = (self.elapsed() - self.first) / max(self.seconds - self.first, 1e-9)
        return min(max(share, 0.0), 1.0)

    def over(self, done: int, reserve: float = 0.0) -> bool:
        r"""Return whether ``done`` steps, and ``reserve`` seconds to come, use the budget up."""
        if self.seconds is None:
            return done >= (self.n_steps or 0)
        return self.elapsed() + reserve >= self.seconds
