r"""Residual convolutions between images and codes, for any height, width and channels.

    encoder   image → halve, mix → halve, mix → … → at most 4 × 4 places → code
    decoder   code  → at most 4 × 4 places → mix, double → mix, double → … → image

A side is halved, rounded up, while it is longer than 4; what the decoder doubles too far is cut
off again, so odd sides and images of one row are like any other. Channels double with each
halving, up to four times the first. To mix is to add W₂ silu(W₁ norm(h) + E e) to h, as in the
perceptron: W₁ looks at 3 × 3 neighbours, W₂ at one place and starts at zero, e embeds the
condition. The decoder's last layer starts at zero too. Norms are over groups of channels of one
row (Wu & He 2018), never over rows: a row's result does not depend on the rows beside it.
"""

__all__ = ["ConvDecoder", "ConvEncoder"]

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from fromnoise.networks.layers import ConditionEmbedding

_FEW_PLACES = 4
_MOST_CHANNELS = 4  # times the first
_GROUP = 8

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)

Sides = tuple[int, int]


class ConvEncoder(nn.Module):
    r"""Maps images ``(n, C, H, W)`` to ``(n, n_out)``.

    Args:
        shape: (C, H, W).
        n_out: Numbers a row.
        width: Channels after the first halving; a multiple of 8.
        depth: Residual blocks at each size.

    Example:
        >>> import torch
        >>> ConvEncoder((3, 9, 7), 5, width=8, depth=1)(torch.zeros(2, 3, 9, 7)).shape
        torch.Size([2, 5])
    """

    def __init__(self, shape: tuple[int, int, int], n_out: int, *, width: int, depth: int) -> None:
        super().__init__()
        sides = _sides(shape[1], shape[2])
        channels = [shape[0], *_channels(width, len(sides) - 1)]
        self.shrink = nn.ModuleList(
            nn.Conv2d(*pair, 3, stride=_stride(*step), padding=1)
            for pair, step in zip(pairwise(channels), pairwise(sides), strict=True)
        )
        self.mix = nn.ModuleList(_Mix(c, depth, 0) for c in channels[1:])
        self.norm = nn.GroupNorm(channels[-1] // _GROUP, channels[-1])
        self.last = nn.Linear(channels[-1] * sides[-1][0] * sides[-1][1], n_out)
        self.multiplications = _multiplications(self.shrink, self.mix, sides[1:], self.last)

    def forward(self, x: Tensor) -> Tensor:
        for shrink, mix in zip(self.shrink, self.mix, strict=True):
            x = mix(shrink(x), None)
        code: Tensor = self.last(functional.silu(self.norm(x)).flatten(1))
        return code


class ConvDecoder(nn.Module):
    r"""Maps codes ``(n, n_in)``, and a condition where it has one, to images ``(n, C, H, W)``.

    It is called as ``(z)`` or ``(z, y)``.

    Args:
        n_in: Length of a code.
        shape: (C, H, W).
        width: Channels before the last doubling; a multiple of 8.
        depth: Residual blocks at each size.
        condition: Embedding of y; None if unconditional.

    Example:
        >>> import torch
        >>> ConvDecoder(5, (3, 9, 7), width=8, depth=1)(torch.zeros(2, 5)).shape
        torch.Size([2, 3, 9, 7])
    """

    def __init__(
        self,
        n_in: int,
        shape: tuple[int, int, int],
        *,
        width: int,
        depth: int,
        condition: ConditionEmbedding | None = None,
    ) -> None:
        super().__init__()
        self.sides = _sides(shape[1], shape[2])[::-1]
        channels = [*_channels(width, len(self.sides) - 1)[::-1], shape[0]]
        self.condition = condition
        self.start = (channels[0], *self.sides[0])
        self.first = nn.Linear(n_in, channels[0] * self.sides[0][0] * self.sides[0][1])
        extra = condition.table.embedding_dim if condition else 0
        self.mix = nn.ModuleList(_Mix(c, depth, extra) for c in channels[:-1])
        self.grow = nn.ModuleList(
            _doubling(*pair, _stride(*step[::-1]))
            for pair, step in zip(pairwise(channels), pairwise(self.sides), strict=True)
        )
        self.norm = nn.GroupNorm(channels[-2] // _GROUP, channels[-2])
        _silence(self.grow[-1])
        self.multiplications = _multiplications(self.grow, self.mix, self.sides, self.first)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        e = None if self.condition is None else self.condition(y)
        h = self.first(z).reshape(len(z), *self.start)
        steps = zip(self.mix, self.grow, self.sides[1:], strict=True)
        for i, (mix, grow, (height, width)) in enumerate(steps):
            h = mix(h, e)
            if i == len(self.mix) - 1:
                h = functional.silu(self.norm(h))
            h = grow(h)[:, :, :height, :width]
        return h


class _Mix(nn.Module):
    r"""Residual blocks at one size."""

    def __init__(self, channels: int, depth: int, condition: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(
            nn.GroupNorm(channels // _GROUP, channels) for _ in range(depth)
        )
        self.wide = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in range(depth)
        )
        self.back = nn.ModuleList(_silence(nn.Conv2d(channels, channels, 1)) for _ in range(depth))
        self.shift = nn.Linear(condition, channels * depth) if condition else None

    def forward(self, h: Tensor, e: Tensor | None) -> Tensor:
        shifts = None if self.shift is None else self.shift(e).chunk(len(self.wide), dim=1)
        for i, (norm, wide, back) in enumerate(zip(self.norms, self.wide, self.back, strict=True)):
            inner = wide(norm(h))
            if shifts is not None:
                inner = inner + shifts[i][:, :, None, None]
            h = h + back(functional.silu(inner))
        return h


def _sides(height: int, width: int) -> list[Sides]:
    r"""Return the sides of the image and of what is left after each halving, at least one."""
    sides = [(height, width)]
    while len(sides) == 1 or max(sides[-1]) > _FEW_PLACES:
        height, width = (-(-s // 2) if s > _FEW_PLACES else s for s in sides[-1])
        sides.append((height, width))
    return sides


def _stride(long: Sides, short: Sides) -> Sides:
    return 1 + (short[0] < long[0]), 1 + (short[1] < long[1])


def _channels(width: int, levels: int) -> list[int]:
    return [width * min(2**level, _MOST_CHANNELS) for level in range(levels)]


def _doubling(n_in: int, n_out: int, stride: Sides) -> nn.ConvTranspose2d:
    # A kernel that its stride divides leaves no chequered pattern.
    kernel = (stride[0] + 2, stride[1] + 2)
    return nn.ConvTranspose2d(n_in, n_out, kernel, stride=stride, padding=1)


def _silence(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _multiplications(
    resize: nn.ModuleList, mix: nn.ModuleList, sides: list[Sides], dense: nn.Linear
) -> int:
    r"""Return how often a weight meets a number, for one row."""
    total = dense.weight.numel()
    for layer, blocks, (height, width) in zip(resize, mix, sides, strict=False):
        kernels = [m for m in (layer, *blocks.modules()) if isinstance(m, _CONVOLUTIONS)]
        total += sum(m.weight.numel() for m in kernels) * height * width
    return total
