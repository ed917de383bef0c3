r"""A residual multilayer perceptron for vectors and tables.

Each block adds W₂ silu(W₁ norm(h) + E e) to h, where e embeds time and condition. W₂ starts at
zero, so the network deepens as it learns; so does the last layer, so it begins by saying nothing.
"""

__all__ = ["ResidualMLP"]

import math

from torch import Tensor, nn

from fromnoise.networks.layers import ConditionEmbedding, TimeEmbedding, Zero


class ResidualMLP(nn.Module):
    r"""Maps rows, and a time and a condition where it has them, to ``(n, n_out)``.

    It is called as ``(x)``, ``(x, t)``, ``(x, y)`` or ``(x, t, y)``; x is flattened.

    Args:
        n_in: Numbers a row that come in.
        n_out: Columns that go out, or the shape of a row that goes out.
        width: Width of the residual stream.
        depth: Number of residual blocks.
        timed: Whether ``forward`` takes a time.
        n_times: Number of times a row.
        condition: Embedding of y; None if unconditional.

    Example:
        >>> import torch
        >>> net = ResidualMLP(2, 2, width=16, depth=2, timed=True)
        >>> net(torch.zeros(5, 2), torch.zeros(5)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        n_in: int,
        n_out: int | tuple[int, ...],
        *,
        width: int,
        depth: int,
        timed: bool = False,
        n_times: int = 1,
        condition: ConditionEmbedding | None = None,
    ) -> None:
        super().__init__()
        self.time = TimeEmbedding(width, n_times=n_times) if timed else None
        self.condition = condition
        self.first = nn.Linear(n_in, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.wide = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.back = nn.ModuleList(Zero(2 * width, width) for _ in range(depth))
        self.shift = nn.Linear(width, 2 * width * depth) if timed or condition else None
        self.shape = n_out if isinstance(n_out, tuple) else (n_out,)
        self.last = Zero(width, math.prod(self.shape))

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:
        h = self.first(x.flatten(1))
        shifts = self._shifts(*given)
        for i, (norm, wide, back) in enumerate(zip(self.norms, self.wide, self.back, strict=True)):
            inner = wide(norm(h))
            h = h + back(nn.functional.silu(inner if shifts is None else inner + shifts[i]))
        return self.last(h).reshape(len(x), *self.shape)

    def _shifts(self, *given: Tensor) -> tuple[Tensor, ...] | None:
        embeddings = [part for part in (self.time, self.condition) if part is not None]
        if self.shift is None:
            return None
        e = sum(part(value) for part, value in zip(embeddings, given, strict=True))
        shifts: tuple[Tensor, ...] = self.shift(e).chunk(len(self.norms), dim=1)
        return shifts
