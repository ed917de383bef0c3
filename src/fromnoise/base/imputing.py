r"""What networks need to draw missing entries: packed rows, what is known of them, and noise.

A packed row is a vector of values and one-hot groups. A value is known if it was seen. Of a
category that was seen all entries of its group are known; of one that is to be drawn, only that
it is not "missing": where fit has learnt that entries go missing, what is drawn is an entry.

Noise is drawn row by row from (seed, position), so a draw depends on the place of its row alone.
"""

__all__ = ["RowNoise", "packed_known", "possible", "unpacked"]

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fromnoise.data import Encoded, Encoding
from fromnoise.data.transforms import Partial
from fromnoise.training import torch_rng


def packed_known(encoding: Encoding, partial: Partial) -> tuple[np.ndarray, np.ndarray]:
    r"""Return packed rows and which of their entries are known.

    Args:
        encoding: The encoding of the rows.
        partial: The rows.

    Returns:
        float32 and bool arrays, both ``(n, *model_shape)``; what is not known is a filler.

    Example:
        >>> from fromnoise import data
        >>> encoding = data.fit_encoding(np.array([[0.0, 1.0], [2.0, 5.0]]))
        >>> x, known = packed_known(encoding, encoding.partial([[0.0, np.nan]]))
        >>> x, known
        (array([[-1.,  0.]], dtype=float32), array([[ True, False]]))
    """
    packed = encoding.pack(partial.encoded)
    seen = np.broadcast_to(partial.encoded.observed, partial.values.shape).copy()
    groups = [seen]
    codes = zip(encoding.cardinalities, encoding.missing_codes, strict=True)
    for part, (size, missing) in enumerate(codes):
        held = np.repeat(~partial.codes[:, [part]], size, axis=1)
        if missing >= 0:
            held[:, missing] = True
            if size == 2:  # the only other code
                held[:] = True
        groups.append(held)
    return packed, np.concatenate(groups, axis=1) if len(groups) > 1 else seen


def possible(x: Tensor, known: Tensor, width: int) -> Tensor:
    r"""Return which codes a row may have, as far as is known.

    Args:
        x: Packed rows ``(n, d + sum(cardinalities))``.
        known: Which of their entries are known, likewise.
        width: Number of values, d.

    Returns:
        bool ``(n, sum(cardinalities))``.

    Example:
        >>> x, known = torch.tensor([[1.0, -1.0, -1.0]]), torch.tensor([[False, False, True]])
        >>> possible(x, known, 0)
        tensor([[ True,  True, False]])
    """
    return ~known[:, width:] | (x[:, width:] > 0)


def unpacked(encoding: Encoding, drawn: np.ndarray, x: np.ndarray, known: np.ndarray) -> Encoded:
    r"""Return the rows that packed ones stand for, of codes that are possible.

    Args:
        encoding: The encoding of the rows.
        drawn: Packed rows, ``(n, *model_shape)``.
        x: What is known of them, likewise.
        known: Where it is, likewise.

    Example:
        >>> from fromnoise import data
        >>> encoding = data.fit_encoding(np.eye(2))
        >>> x, known = packed_known(encoding, encoding.partial([[1.0, np.nan]]))
        >>> unpacked(encoding, np.full((1, 2), 9.0), x, known).values
        array([[1., 9.]])
    """
    drawn = np.where(known, x, drawn)
    if encoding.cardinalities:
        width = drawn.shape[1] - sum(encoding.cardinalities)
        drawn[:, width:][known[:, width:] & (x[:, width:] < 0)] = -np.inf
    return encoding.unpack(drawn)


class RowNoise:
    r"""Random numbers of which every row has its own stream.

    Args:
        seed: Of the call.
        rows: Positions of the rows in it, ``(n,)``.
        like: Says on which device and of which dtype the numbers are.

    Example:
        >>> few, many = (RowNoise(0, torch.arange(n), torch.zeros(1)) for n in (2, 5))
        >>> bool((few.normal(3) == many.normal(3)[:2]).all())
        True
    """

    def __init__(self, seed: int, rows: Tensor, like: Tensor) -> None:
        self.like = like
        self.generators = [torch_rng(seed, row) for row in rows.tolist()]

    def normal(self, *shape: int) -> Tensor:
        r"""Return N(0, I) noise, ``(n, *shape)``."""
        noise = torch.empty(len(self.generators), *shape)
        for row, generator in zip(noise, self.generators, strict=True):
            row.normal_(generator=generator)
        return noise.to(self.like)

    def each(self, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        r"""Return what ``draw`` makes of the stream of each row, one row of its result each."""
        return torch.cat([draw(generator) for generator in self.generators]).to(self.like)

    def uniform(self, *shape: int) -> Tensor:
        r"""Return u ~ U(0, 1), ``(n, *shape)``."""
        u = torch.empty(len(self.generators), *shape)
        for row, generator in zip(u, self.generators, strict=True):
            row.uniform_(generator=generator)
        return u.to(self.like)
