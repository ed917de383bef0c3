r"""What is minimised, and how: the players of a fit and its settings."""

__all__ = ["Batch", "Loss", "Objective", "Settings"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Batch = tuple[Tensor, ...]
Loss = Callable[[Batch, Tensor | None, float, torch.Generator], Tensor]


@dataclass
class Objective:
    r"""One player: a loss, and the parameters that lower it.

    Args:
        loss: Called with (batch, y, progress, generator); returns a scalar.
        parameters: What its gradient moves.
        every: Takes a step every so many steps.
        learning_rate: Of this player; None for the fit's.
        betas: Of AdamW; or a function of progress that returns them.
        clip: Largest norm of its gradient, ``math.inf`` for any; None for the fit's.
        after_step: Called after each of its steps, for instance to clip weights.
        name: With one, history has the columns ``NAME_loss`` and ``NAME_gradient``, the means of
            its loss and of the norm of its gradient, before clipping, since the last record.
    """

    loss: Loss
    parameters: Sequence[nn.Parameter]
    every: int = 1
    learning_rate: float | None = None
    betas: tuple[float, float] | Callable[[float], tuple[float, float]] = (0.9, 0.99)
    clip: float | None = None
    after_step: Callable[[], None] | None = None
    name: str = ""


@dataclass(frozen=True)
class Settings:
    r"""How to train.

    Args:
        batch_size: Rows a step; all of them where there are fewer.
        learning_rate: Peak learning rate.
        ema: Decay of the averaged weights a step, or ``"auto"`` for the power-law window.
        seed: Seed of every random stream.
        device: Where the networks live.
        precision: Of the networks in training; weights and averages stay in float32.
        weight_decay: Of AdamW.
        clip: Largest norm of a gradient.
    """

    batch_size: int
    learning_rate: float
    ema: float | Literal["auto"] = "auto"
    seed: int = 0
    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    weight_decay: float = 1e-4
    clip: float = 1.0
