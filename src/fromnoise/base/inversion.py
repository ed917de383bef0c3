r"""The way back through a map that has no inverse, by search."""

__all__ = ["nearest_noise"]

from collections.abc import Callable

import torch
from torch import Tensor

_RATE = 0.1  # of Adam at the start of a search; it falls to 0


def nearest_noise(
    draw: Callable[[Tensor, Tensor | None], Tensor],
    x: Tensor,
    y: Tensor | None,
    tries: Tensor,
    *,
    starts: int,
    steps: int,
) -> Tensor:
    r"""Return noise z whose draw(z, y) comes near x, by Adam on ‖draw(z, y) − x‖².

    Args:
        draw: The map from noise ``(n, k)`` and conditions to rows.
        x: Rows, ``(n, *)``.
        y: Conditions, one a row, or None.
        tries: Noise to choose the starts from, ``(m, k)``.
        starts: How many of the nearest tries a row starts from, at most m.
        steps: Steps of each search.

    Returns:
        The best end of each row, ``(n, k)``.

    Example:
        >>> tries = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
        >>> x = torch.tensor([[2.0, -4.0]])
        >>> z = nearest_noise(lambda z, y: 2 * z, x, None, tries, starts=2, steps=200)
        >>> z.round(decimals=1)
        tensor([[ 1., -2.]])
    """

    def error(z: Tensor, x: Tensor, y: Tensor | None) -> Tensor:
        return (draw(z, y) - x).square().flatten(1).sum(1)

    n = len(x)
    with torch.no_grad():
        errors = torch.stack([error(z.expand(n, -1), x, y) for z in tries])  # (m, n)
    best = errors.topk(starts, dim=0, largest=False).indices.flatten()
    z = tries[best].requires_grad_()  # (starts · n, k)
    x = x.repeat(starts, *[1] * (x.ndim - 1))
    y = None if y is None else y.repeat(starts, *[1] * (y.ndim - 1))
    optimizer = torch.optim.Adam([z], lr=_RATE)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = _RATE * (1 - step / steps)
        optimizer.zero_grad()
        with torch.enable_grad():  # whoever calls may have switched gradients off
            error(z, x, y).sum().backward()
        optimizer.step()
    with torch.no_grad():
        winner = error(z, x, y).reshape(starts, n).argmin(0)
        return z.detach().reshape(starts, n, -1)[winner, torch.arange(n, device=z.device)]
