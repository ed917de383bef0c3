r"""Generators and critics, for vectors and for images of any height, width and channels.

No layer normalises over a batch: a critic with batch normalisation scores sets, not rows, and no
penalty of its gradient at a row would mean anything. Instead weights start at such a size that
activations keep theirs (He 2015), and the last layer of a residual branch starts at zero, so
that a network deepens as it learns (Zhang 2019). Images pass through a pyramid of sizes, each
half of the one before, down to a side of at most 4; at each stand residual blocks of a 1×1, a
3×3 and a 1×1 convolution (Huang 2024, section 4.2).

With a condition y, a generator is given an embedding of it beside its noise; a critic is
D(x, y) = w·φ(x) + e(y)·φ(x) / √k, a projection (Miyato & Koyama 2018, section 3).
"""

__all__ = [
    "ImageCritic",
    "ImageGenerator",
    "VectorCritic",
    "VectorGenerator",
    "pyramid",
    "spectrally_normalised",
]

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from fromnoise.networks.layers import ConditionEmbedding

SLOPE = 0.2  # of the leaky rectifier
WAVES, STEPS = 7, 13  # columns that one becomes
BASE = 4  # the largest side at the coarse end of a pyramid


class VectorGenerator(nn.Module):
    r"""Maps noise ``(n, n_in)`` and a condition to ``(n, n_out)``.

    Args:
        n_in: Length of the noise.
        n_out: Columns.
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        condition: Embedding of y; None if unconditional.

    Example:
        >>> VectorGenerator(4, 2, width=16, depth=2)(torch.zeros(5, 4)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        width: int,
        depth: int,
        condition: ConditionEmbedding | None = None,
    ) -> None:
        super().__init__()
        self.condition = condition
        self.body = _perceptron(STEPS * n_in + (width if condition else 0), width, depth)
        self.last = nn.Linear(width, n_out)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        h = _steps(z)
        h = h if self.condition is None else torch.cat([h, self.condition(y)], dim=1)
        return self.last(self.body(h))


class VectorCritic(nn.Module):
    r"""Maps rows ``(n, n_in)`` and a condition to scores ``(n, 1)``.

    Args:
        n_in: Columns.
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        condition: Embedding of y to vectors of this width; None if unconditional.

    Example:
        >>> VectorCritic(2, width=16, depth=2)(torch.zeros(5, 2)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self, n_in: int, *, width: int, depth: int, condition: ConditionEmbedding | None = None
    ) -> None:
        super().__init__()
        self.condition = condition
        self.body = _perceptron(WAVES * n_in, width, depth)
        self.last = nn.Linear(width, 1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return _projected(self.body(_waves(x)), self.last, self.condition, y)


class ImageGenerator(nn.Module):
    r"""Maps noise ``(n, n_in)`` and a condition to images ``(n, C, H, W)``.

    Args:
        n_in: Length of the noise.
        shape: (C, H, W).
        width: Channels at full size; they double at each smaller size, up to eightfold.
        depth: Residual blocks at each size.
        condition: Embedding of y; None if unconditional.

    Example:
        >>> ImageGenerator(4, (1, 7, 9), width=8, depth=1)(torch.zeros(2, 4)).shape
        torch.Size([2, 1, 7, 9])
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
        self.sizes = pyramid(shape[1], shape[2])[::-1]
        channels = _channels(width, len(self.sizes))[::-1]
        self.condition = condition
        self.coarse = channels[0], *self.sizes[0]
        label = condition.table.embedding_dim if condition else 0
        self.body = _perceptron(STEPS * n_in + label, channels[0], 1)
        self.spread = _started(nn.Linear(channels[0], math.prod(self.coarse)))
        self.thin = nn.ModuleList(
            _started(nn.Conv2d(a, b, 1), slope=1.0) for a, b in pairwise(channels)
        )
        self.blocks = _stages(channels, depth)
        self.last = nn.Conv2d(channels[-1], shape[0], 3, padding=1)

    @property
    def multiplications(self) -> int:
        r"""How many are done for one image."""
        parts = [*zip(self.blocks, self.sizes, strict=True)]
        parts += [*zip(self.thin, self.sizes[:-1], strict=True), (self.last, self.sizes[-1])]
        parts += [(self.body, (1, 1)), (self.spread, (1, 1))]
        return _multiplications(parts)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        h = _steps(z)
        h = h if self.condition is None else torch.cat([h, self.condition(y)], dim=1)
        h = self.spread(self.body(h)).unflatten(1, self.coarse)
        for i, stage in enumerate(self.blocks):
            h = stage(h if i == 0 else _resized(self.thin[i - 1](h), self.sizes[i]))
        return self.last(functional.leaky_relu(h, SLOPE))


class ImageCritic(nn.Module):
    r"""Maps images ``(n, C, H, W)`` and a condition to scores ``(n, 1)``.

    Args:
        shape: (C, H, W).
        width: Channels at full size; they double at each smaller size, up to eightfold.
        depth: Residual blocks at each size.
        condition: Embedding of y to vectors of length :func:`critic_features`; None if
            unconditional.

    Example:
        >>> ImageCritic((3, 7, 9), width=8, depth=1)(torch.zeros(2, 3, 7, 9)).shape
        torch.Size([2, 1])
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        width: int,
        depth: int,
        condition: ConditionEmbedding | None = None,
    ) -> None:
        super().__init__()
        self.sizes = pyramid(shape[1], shape[2])
        channels = _channels(width, len(self.sizes))
        self.condition = condition
        self.first = _started(nn.Conv2d(shape[0], channels[0], 3, padding=1))
        self.blocks = _stages(channels, depth)
        self.widen = nn.ModuleList(
            _started(nn.Conv2d(a, b, 1), slope=1.0) for a, b in pairwise(channels)
        )
        places = math.prod(self.sizes[-1])
        self.gather = _started(nn.Linear(channels[-1] * places, channels[-1]))
        self.last = nn.Linear(channels[-1], 1)

    @property
    def multiplications(self) -> int:
        r"""How many are done for one image."""
        parts = [*zip(self.blocks, self.sizes, strict=True)]
        parts += [*zip(self.widen, self.sizes[1:], strict=True), (self.first, self.sizes[0])]
        parts += [(self.gather, (1, 1)), (self.last, (1, 1))]
        return _multiplications(parts)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.first(x)
        for i, stage in enumerate(self.blocks):
            h = stage(h if i == 0 else self.widen[i - 1](_resized(h, self.sizes[i])))
        features = self.gather(functional.leaky_relu(h, SLOPE).flatten(1))
        features = functional.leaky_relu(features, SLOPE)  # (n, c)
        return _projected(features, self.last, self.condition, y)


def pyramid(height: int, width: int) -> list[tuple[int, int]]:
    r"""Return sizes from the full one down to sides of at most 4, each half of the one before.

    Example:
        >>> pyramid(28, 28), pyramid(3, 9)
        ([(28, 28), (14, 14), (7, 7), (4, 4)], [(3, 9), (2, 5), (1, 3)])
    """
    sizes = [(height, width)]
    while max(sizes[-1]) > BASE:
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    return sizes


def critic_features(shape: tuple[int, int, int], width: int) -> int:
    r"""Return the number of features that an :class:`ImageCritic` scores.

    Example:
        >>> critic_features((1, 28, 28), 16)
        128
    """
    return _channels(width, len(pyramid(shape[1], shape[2])))[-1]


def spectrally_normalised(network: nn.Module) -> nn.Module:
    r"""Divide each weight of ``network`` by its largest singular value, in place (Miyato 2018).

    A layer that starts at zero has none, and starts at random instead.

    Example:
        >>> layer = spectrally_normalised(nn.Linear(3, 3))
        >>> round(torch.linalg.matrix_norm(layer.weight, 2).item(), 2)
        1.0
    """
    for module in [*network.modules()]:
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Embedding):
            if not module.weight.is_meta and not module.weight.any():
                nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            parametrizations.spectral_norm(module)
    return network


def _projected(
    features: Tensor, last: nn.Module, condition: nn.Module | None, y: Tensor | None
) -> Tensor:
    score: Tensor = last(features)
    if condition is None:
        return score
    return score + (condition(y) * features).sum(1, keepdim=True) / math.sqrt(features.shape[1])


def _waves(x: Tensor) -> Tensor:
    r"""Return each column x with sin and cos of x, 2 x and 4 x, ``(n, 7 d)``.

    A perceptron of plain columns learns what is smooth long before what is not (Rahaman 2019),
    and then modes that are far apart for the data are one to the generator.
    """
    angles = (x[:, :, None] * torch.tensor([1.0, 2.0, 4.0], device=x.device)).flatten(1)
    return torch.cat([x, angles.sin(), angles.cos()], dim=1)


def _steps(z: Tensor) -> Tensor:
    r"""Return the waves of z, and the signs of those beside z itself, ``(n, 13 d)``.

    A continuous map of connected noise is connected: between modes that lie apart it leaves a
    bridge. With steps it need not be continuous.
    """
    waves = _waves(z)
    return torch.cat([waves, waves[:, z.shape[1] :].sign()], dim=1)


def _perceptron(n_in: int, width: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for k in range(depth):
        layers += [_started(nn.Linear(width if k else n_in, width)), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


class _Block(nn.Module):
    def __init__(self, channels: int, share: float) -> None:
        super().__init__()
        inner = max(channels // 2, 8)
        self.reduce = _started(nn.Conv2d(channels, inner, 1), scale=share)
        self.mix = _started(nn.Conv2d(inner, inner, 3, padding=1), scale=share)
        self.expand = nn.Conv2d(inner, channels, 1)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)  # type: ignore[arg-type]

    def forward(self, h: Tensor) -> Tensor:
        inner = functional.leaky_relu(self.reduce(functional.leaky_relu(h, SLOPE)), SLOPE)
        return h + self.expand(functional.leaky_relu(self.mix(inner), SLOPE))


def _stages(channels: list[int], depth: int) -> nn.ModuleList:
    share = (depth * len(channels)) ** -0.25
    return nn.ModuleList(
        nn.Sequential(*[_Block(count, share) for _ in range(depth)]) for count in channels
    )


def _multiplications(parts: list[tuple[nn.Module, tuple[int, int]]]) -> int:
    return sum(
        parameter.numel() * math.prod(size)
        for module, size in parts
        for parameter in module.parameters()
    )


def _channels(width: int, count: int) -> list[int]:
    return [width * 2 ** min(k, 3) for k in range(count)]


def _resized(h: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(h, size, mode="bilinear", align_corners=False)


def _started(
    layer: nn.Linear | nn.Conv2d, *, slope: float = SLOPE, scale: float = 1.0
) -> nn.Linear | nn.Conv2d:
    r"""Set weights to the size that keeps that of activations, times ``scale``."""
    nn.init.kaiming_normal_(layer.weight, a=slope)
    layer.weight.data.mul_(scale)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
