r"""Layers that every network shares: how a time and a condition enter.

A time t in [0, 1] becomes sines and cosines of geometrically spaced frequencies (Vaswani 2017,
section 3.5) and then a vector. A condition becomes a vector too: a row of a table for a class,
a small network for numbers. *No condition* has a vector of its own, learnt from the rows whose
label was hidden (Ho & Salimans 2022); it is spelt as one class more, or as NaN.
"""

__all__ = ["ConditionEmbedding", "Moments", "TimeEmbedding", "Zero", "null_condition"]

import math

import torch
from torch import Tensor, nn


class TimeEmbedding(nn.Module):
    r"""Maps times ``(n,)``, or several a row ``(n, n_times)``, to vectors ``(n, width)``.

    Args:
        width: Length of the vectors.
        n_frequencies: Number of sines, and of cosines, of a time.
        n_times: Number of times a row. Several are those of a mean velocity, which is learnt by
            its slope in time, so the highest frequency is 16 quarter turns, and not 256.

    Example:
        >>> TimeEmbedding(16)(torch.zeros(3)).shape
        torch.Size([3, 16])
    """

    frequencies: Tensor

    def __init__(self, width: int, n_frequencies: int = 32, n_times: int = 1) -> None:
        super().__init__()
        highest = 256 if n_times == 1 else 16
        frequencies = torch.logspace(0, math.log10(highest), n_frequencies) * math.pi / 2
        self.register_buffer("frequencies", frequencies)
        self.net = nn.Sequential(nn.Linear(n_times * (2 * n_frequencies + 1), width), nn.SiLU())

    def forward(self, t: Tensor) -> Tensor:
        t = t.reshape(len(t), -1)
        angle = (t[..., None] * self.frequencies).flatten(1)  # (n, times · f)
        return self.net(torch.cat([t, angle.sin(), angle.cos()], dim=1))


class ConditionEmbedding(nn.Module):
    r"""Maps a condition to vectors ``(n, width)``.

    Args:
        n_classes: Number of classes; 0 for a continuous condition.
        n_columns: Number of columns of a continuous condition; 0 for classes.
        width: Length of the vectors.

    Example:
        >>> classes = ConditionEmbedding(3, 0, 16)
        >>> classes(torch.tensor([0, 2, 3])).shape  # 3 is: no condition
        torch.Size([3, 16])
        >>> numbers = ConditionEmbedding(0, 2, 16)
        >>> numbers(torch.tensor([[0.5, 1.0], [torch.nan, torch.nan]])).shape
        torch.Size([2, 16])
    """

    def __init__(self, n_classes: int, n_columns: int, width: int) -> None:
        super().__init__()
        self.n_columns = n_columns
        self.table = nn.Embedding(n_classes + 1 if n_classes else 1, width)
        if n_columns:
            self.net = nn.Sequential(
                nn.Linear(n_columns, width), nn.SiLU(), nn.Linear(width, width)
            )

    def forward(self, y: Tensor) -> Tensor:
        if not self.n_columns:
            return self.table(y)
        hidden = y.isnan().any(dim=1, keepdim=True)  # (n, 1)
        return torch.where(hidden, self.table.weight, self.net(y.nan_to_num()))


def null_condition(y: Tensor, n_classes: int, hide: Tensor | None = None) -> Tensor:
    r"""Return y with its condition taken away, where ``hide`` says so.

    Args:
        y: Classes ``(n,)`` or numbers ``(n, k)``.
        n_classes: Number of classes; 0 for numbers.
        hide: Rows to hide, ``(n,)`` of bool; all if None.

    Returns:
        A tensor like ``y``.

    Example:
        >>> null_condition(torch.tensor([0, 1]), 2, torch.tensor([True, False]))
        tensor([2, 1])
    """
    null = torch.full_like(y, n_classes if n_classes else torch.nan)
    if hide is None:
        return null
    return torch.where(hide.reshape(-1, *[1] * (y.ndim - 1)), null, y)


class Moments(nn.Module):
    r"""Holds the mean and standard deviation of the training rows, saved with the weights.

    Args:
        shape: Of one row.

    Example:
        >>> moments = Moments((2,))
        >>> moments.set(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), floor=0.05)
        >>> moments.mean, moments.std
        (tensor([1., 1.]), tensor([1.0000, 0.0500]))
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))

    def standardise(self, x: Tensor) -> Tensor:
        r"""Return (x − mean) / std."""
        # Batches are prepared on the CPU, wherever the networks are.
        mean, std = self.mean.to(x.device), self.std.to(x.device)
        return (x - mean).div_(std)

    def restore(self, x: Tensor) -> Tensor:
        r"""Return mean + std · x."""
        return self.mean + self.std * x

    def set(self, rows: Tensor, floor: float) -> None:
        r"""Measure rows ``(n, *shape)``; no standard deviation is less than ``floor``."""
        self.mean.copy_(rows.mean(0))
        self.std.copy_(rows.std(0, correction=0).clamp_min(floor))


class Zero(nn.Linear):
    r"""A linear layer that starts at zero, so that a residual block starts as the identity."""

    def reset_parameters(self) -> None:
        r"""Set weight and bias to zero."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
