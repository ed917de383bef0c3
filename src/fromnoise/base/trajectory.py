r"""Samples on their way from noise to data, as the model's own solver takes them.

The last state is the sample itself: the noise, the labels, the solver and its steps are those of
``sample``. A state in between is x_t = α_t x_1 + σ_t x_0 in the model's standardised space; it is
turned back into rows like a sample, so that noise of unit size becomes a row of the data's mean
and spread.
"""

__all__ = ["trajectory"]

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fromnoise.base.arguments import is_whole
from fromnoise.base.generative import BLOCK
from fromnoise.base.transport import TransportModel
from fromnoise.errors import shown
from fromnoise.training import entropy, torch_rng
from fromnoise.transport.solvers import Method, Walk


@dataclass
class _Recorder:
    r"""A method that remembers the states it went through."""

    method: Method
    states: list[Tensor] = field(default_factory=list)

    def step(self, walk: Walk, x: Tensor, t: float, s: float) -> Tensor:
        if not self.states:
            self.states.append(x)
        self.states.append(self.method.step(walk, x, t, s))
        return self.states[-1]

    def evaluations(self, steps: int) -> int:
        return self.method.evaluations(steps)


def trajectory(
    model: TransportModel,
    n_samples: int = 1,
    *,
    stops: int = 8,
    y: Any = None,
    random_state: Any = None,
) -> tuple[np.ndarray, Any]:
    r"""Return samples and what they were before.

    Args:
        model: A fitted model that moves noise to data.
        n_samples: How many, at most 1,024.
        stops: At how many times to look, from noise to data and evenly spaced among the solver's
            steps; fewer where it takes fewer. An adaptive solver stops at even times.
        y: Labels, as in ``sample``.
        random_state: Seed, as in ``sample``.

    Returns:
        Times from 0 to 1, and rows of the kind that ``fit`` was given: the states of the first
        sample at these times, then those of the second, and so on. The last states are
        ``model.sample(n_samples, y, random_state=random_state)``.

    Raises:
        ValueError: If ``n_samples`` or ``stops`` is out of range.

    Example:
        >>> from fromnoise import FlowMatching
        >>> X = np.random.default_rng(0).normal(size=(64, 2))
        >>> model = FlowMatching(budget="2 steps", network="small", random_state=0).fit(X)
        >>> times, states = trajectory(model, 5, stops=3, random_state=0)
        >>> times.tolist(), bool((states[2::3] == model.sample(5, random_state=0)).all())
        ([0.0, 0.5, 1.0], True)
    """
    model._check_usable()
    if not is_whole(n_samples) or not 1 <= n_samples <= BLOCK:
        raise ValueError(f"n_samples must be from 1 to {BLOCK}, got {shown(n_samples)}.")
    if not is_whole(stops) or stops < 2:
        raise ValueError(f"stops must be at least 2, got {shown(stops)}.")
    seed, given = entropy(random_state), model._given(y, n_samples)
    labels = model._draw_labels(seed, 0, n_samples) if given is None else given
    times = model._times()
    if len(times) == 2 and model.solver == "dopri5":
        times = torch.linspace(float(times[0]), float(times[1]), stops, dtype=torch.float64)
    times = torch.unique_consecutive(times)
    seen = np.unique(np.linspace(0, len(times) - 1, stops).round().astype(int))

    def states(z: Tensor, y: Tensor | None, row: Tensor) -> Tensor:
        recorder = _Recorder(model._method())
        model._moved(z, y, row, times, recorder, seed, 0)
        kept = [model.moments.restore(recorder.states[i]).float() for i in seen]
        return torch.stack(kept, 1)

    starts = model.draw_starts(n_samples, torch_rng(seed, 0))
    packed = model._in_blocks(states, starts.numpy(), labels, np.arange(n_samples))
    encoding = model.encoding_
    rows = encoding.decode(encoding.unpack(packed.reshape(-1, *packed.shape[2:])))
    return times[torch.from_numpy(seen)].numpy(), rows
