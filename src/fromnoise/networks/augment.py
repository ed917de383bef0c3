r"""Random changes to images through which gradients pass, for a critic that sees few of them.

Each change happens to an image with probability p, independently of the others, to real and
generated images alike, so that a critic cannot learn a few real ones by heart (Zhao 2020), and as
long as p < 1 the generator does not learn the changes (Karras 2020, section 2.2):

    brightness    all pixels + U(-1/2, 1/2)
    contrast      (x - mean of the image) · U(1/2, 3/2)
    shift         by up to an eighth of each side, the border repeated
    cut-out       a window of half the sides becomes 0

in units in which pixels have mean 0 and standard deviation 1.
"""

__all__ = ["augment"]

import torch
from torch import Tensor


def augment(x: Tensor, p: float, generator: torch.Generator) -> Tensor:
    r"""Return images ``(n, C, H, W)``, each changed in each way with probability p.

    Args:
        x: Images; gradients pass through.
        p: Probability of each change.
        generator: Source of the draws.

    Returns:
        Images like ``x``.

    Example:
        >>> x = torch.zeros(2, 1, 8, 8)
        >>> torch.equal(augment(x, 0.0, torch.Generator().manual_seed(0)), x)
        True
    """
    if p <= 0:
        return x
    for change in (_brightness, _contrast, _shift, _cut_out):
        chosen = _uniform(x, generator) < p
        x = torch.where(chosen, change(x, generator), x)
    return x


def _uniform(x: Tensor, generator: torch.Generator) -> Tensor:
    draws = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
    return draws[:, None, None, None]


def _brightness(x: Tensor, generator: torch.Generator) -> Tensor:
    return x + _uniform(x, generator) - 0.5


def _contrast(x: Tensor, generator: torch.Generator) -> Tensor:
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (0.5 + _uniform(x, generator))


def _shift(x: Tensor, generator: torch.Generator) -> Tensor:
    for side in (2, 3):
        size = x.shape[side]
        reach = -(-size // 8)
        moved = ((2 * reach + 1) * _uniform(x, generator)).long() - reach  # (n, 1, 1, 1)
        shape = [1, 1, 1, 1]
        shape[side] = size
        place = torch.arange(size, device=x.device).reshape(shape) + moved
        x = x.gather(side, place.clamp(0, size - 1).expand_as(x))
    return x


def _cut_out(x: Tensor, generator: torch.Generator) -> Tensor:
    inside = torch.ones_like(x[:, :1], dtype=torch.bool)
    for side in (2, 3):
        size = x.shape[side]
        centre = size * _uniform(x, generator)
        shape = [1, 1, 1, 1]
        shape[side] = size
        place = torch.arange(size, device=x.device).reshape(shape) + 0.5
        inside = inside & ((place - centre).abs() <= size / 4)
    return torch.where(inside, torch.zeros_like(x), x)
