r"""A residual multilayer perceptron for vectors and tables.

Each block adds W₂ silu(W₁ norm(h) + E e) to h, where e embeds time and condition. W₂ starts at
zero, so the network deepens as it learns; so does the last layer, so it begins by saying nothing.
"""

__all__ = ["ResidualMLP"]

from torch import Tensor, nn

from fromnoise.networks.layers import ConditionEmbedding, TimeEmbedding, Zero


class ResidualMLP(nn.Module):
    r"""Maps ``(n, n_in)``, a time and a condition to ``(n, n_out)``; images keep their shape.

    Args:
        n_in: Columns that come in.
        n_out: Columns that go out.
        width: Width of the residual stream.
        depth: Number of residual blocks.
        timed: Whether ``forward`` takes a time.
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
        n_out: int,
        *,
        width: int,
        depth: int,
        timed: bool = False,
        condition: ConditionEmbedding | None = None,
    ) -> None:
        super().__init__()
        self.time = TimeEmbedding(width) if timed else None
        self.condition = condition
        self.first = nn.Linear(n_in, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.wide = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.back = nn.ModuleList(Zero(2 * width, width) for _ in range(depth))
        self.shift = nn.Linear(width, 2 * width * depth) if timed or condition else None
        self.last = Zero(width, n_out)

    def forward(self, x: Tensor, t: Tensor | None = None, y: Tensor | None = None) -> Tensor:
        h = self.first(x.flatten(1))
        shifts = self._shifts(t, y)
        for i, (norm, wide, back) in enumerate(zip(self.norms, self.wide, self.back, strict=True)):
            inner = wide(norm(h))
            h = h + back(nn.functional.silu(inner if shifts is None else inner + shifts[i]))
        out = self.last(h)
        return out if x.ndim == 2 else out.reshape(x.shape)

    def _shifts(self, t: Tensor | None, y: Tensor | None) -> tuple[Tensor, ...] | None:
        if self.shift is None:
            return None
        e = self.time(t) if self.time is not None else 0
        if self.condition is not None:
            e = e + self.condition(y)
        shifts: tuple[Tensor, ...] = self.shift(e).chunk(len(self.norms), dim=1)
        return shifts
