r"""Observation models: p(x | z), read off what a decoder returns for z.

    Gaussian             N(x; x̂, σ² I), one σ for all entries (Rybkin 2021, "optimal σ")
    Columns              N(v_j; v̂_j, σ_j²) for each value, a softmax for each categorical part
    Bernoulli            logits; every entry has two values
    DiscretisedLogistic  a mixture of K logistics, cut into the 256 bins of a pixel

The first two are densities of packed rows, the last two probability masses. σ is not a weight:
the value that maximises the likelihood of a batch is known, the root of its mean squared error,
and setting it there leaves the gradient of every other weight as it is. After training it is
measured once and kept, so that scores are those of one fixed model.

Shapes: x ``(n, *shape)`` packed rows; out ``(n, K, *out_shape)``, K decoded codes a row.
"""

__all__ = ["Bernoulli", "Columns", "DiscretisedLogistic", "Gaussian", "Likelihood", "two_values"]

import math
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from fromnoise import data
from fromnoise.data import Encoding
from fromnoise.errors import DataError, shown
from fromnoise.networks import Moments

_LOG_2PI = math.log(2 * math.pi)
_LOG_SIGMA_FLOOR = -6.0  # in units of the data's spread
_LEVELS, _HALF_BIN = 255, 1 / 255  # of uint8 pixels in [-1, 1]
_LOG_SCALE_FLOOR = -7.0  # such a logistic has 97 % of its mass in one bin of a pixel
_BLOCK = 1024


class Likelihood(nn.Module, ABC):
    r"""p(x | z); its buffers are saved with the weights.

    Args:
        shape: Of a packed row.
        out_shape: Of what the decoder returns for a code.
    """

    is_mass: ClassVar[bool] = False

    def __init__(self, shape: tuple[int, ...], out_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.out_shape = shape, out_shape

    @abstractmethod
    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        r"""Return log p(x | z), summed over the entries of a row, ``(n, K)``."""

    @abstractmethod
    def log_prob_of(self, out: Tensor, x: Tensor, known: Tensor) -> Tensor:
        r"""Return log p of the known entries of packed rows, bool ``(n, *shape)``, ``(n, K)``."""

    @abstractmethod
    def mean(self, out: Tensor) -> Tensor:
        r"""Return packed rows without observation noise, for out ``(n, *out_shape)``."""

    @abstractmethod
    def draw(self, out: Tensor, noise: Tensor) -> Tensor:
        r"""Return packed rows with observation noise, for out ``(n, *out_shape)``."""

    @abstractmethod
    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        r"""Return the noise of n rows that ``draw`` takes."""

    def measure(self, moments: Moments) -> None:
        r"""Take the mean and spread of the training rows, where they matter."""

    def without_fillers(self, x: Tensor) -> Tensor:
        r"""Return packed rows with 0 where an entry is missing, as outside of training."""
        return x

    def spread(self, out: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        r"""Return what σ is made of, to be summed over rows; weight ``(n, K)`` sums to 1 a row."""
        return torch.zeros(())

    def set_spread(self, total: Tensor) -> None:
        r"""Set σ to the maximum of the likelihood, given a sum of :meth:`spread`."""

    def settled_log_prob(self, out: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        r"""Set σ to the maximum of the likelihood of these rows, and return log p(x | z)."""
        with torch.no_grad():
            self.set_spread(self.spread(out, x, weight))
        return self.log_prob(out, x)

    def supports(self, x: Tensor) -> Tensor:
        r"""Return whether a row has a probability at all, ``(n,)``."""
        return torch.ones(len(x), dtype=torch.bool, device=x.device)


class _Scaled(Likelihood):
    r"""Gaussians in units of the data's spread: x̂ = mean + std · out."""

    log_sigma: Tensor

    def __init__(
        self, shape: tuple[int, ...], out_shape: tuple[int, ...], scaled: tuple[int, ...]
    ) -> None:
        super().__init__(shape, out_shape)
        self.scale = Moments(scaled)

    def measure(self, moments: Moments) -> None:
        r"""Take the mean and spread of the values."""
        width = len(self.scale.mean)  # the values of a table stand before its categorical parts
        self.scale.mean.copy_(moments.mean[:width])
        self.scale.std.copy_(moments.std[:width])

    def set_spread(self, total: Tensor) -> None:
        r"""Set σ² to the mean squared error; where nothing was seen, to 1."""
        squares, count = total[0], total[1]
        log_sigma = 0.5 * (squares / count.clamp_min(1e-12)).clamp_min(1e-30).log()
        log_sigma = log_sigma.clamp_min(_LOG_SIGMA_FLOOR)
        self.log_sigma.copy_(torch.where(count > 0, log_sigma, 0.0))


class Gaussian(_Scaled):
    r"""N(x; x̂, σ² I) with one σ for all entries.

    Args:
        shape: Of a packed row.

    Example:
        >>> likelihood = Gaussian((3,))
        >>> likelihood.log_prob(torch.zeros(2, 5, 3), torch.zeros(2, 3)).shape
        torch.Size([2, 5])
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape, shape, shape)
        self.register_buffer("log_sigma", torch.zeros(()))

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        r"""Return log N(x; x̂, σ² I)."""
        return self._log_prob(self._squares(out, x), x)

    def log_prob_of(self, out: Tensor, x: Tensor, known: Tensor) -> Tensor:
        r"""Return log N(x; x̂, σ² I) of the known entries."""
        scaled = (self.scale.standardise(x)[:, None] - out) * (-self.log_sigma).exp()
        sigmas = self.scale.std.log() + self.log_sigma + 0.5 * _LOG_2PI
        return ((-0.5 * scaled.square() - sigmas) * known[:, None]).flatten(2).sum(2)

    def spread(self, out: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        r"""Return the squared error, and over how many entries."""
        squares = (weight * self._squares(out, x)).sum()
        return torch.stack([squares, torch.full_like(squares, x.numel())])

    def settled_log_prob(self, out: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        r"""Set σ² to the mean squared error, and return log N(x; x̂, σ² I)."""
        squares = self._squares(out, x)
        total = (weight * squares.detach()).sum()
        self.set_spread(torch.stack([total, torch.full_like(total, x.numel())]))
        return self._log_prob(squares, x)

    def _squares(self, out: Tensor, x: Tensor) -> Tensor:
        error = (self.scale.standardise(x)[:, None] - out).flatten(2)
        return error.square().sum(2)

    def _log_prob(self, squares: Tensor, x: Tensor) -> Tensor:
        d = x[0].numel()
        sigmas = self.scale.std.log().sum() + d * (self.log_sigma + 0.5 * _LOG_2PI)
        return -0.5 * squares * (-2 * self.log_sigma).exp() - sigmas

    def mean(self, out: Tensor) -> Tensor:
        r"""Return x̂."""
        return self.scale.restore(out)

    def draw(self, out: Tensor, noise: Tensor) -> Tensor:
        r"""Return x̂ + σ ε."""
        return self.scale.restore(out + self.log_sigma.exp() * noise)

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        r"""Return ε ~ N(0, I)."""
        return torch.randn(n, *self.shape, generator=generator)


class Columns(_Scaled):
    r"""Column by column: a Gaussian for each value, a softmax for each categorical part.

    A value that its categorical part declares missing has no density and does not count.

    Args:
        gates: Per value, the part whose code 0 says "here is a value", or -1.
        cardinalities: Codes of each categorical part.

    Example:
        >>> likelihood = Columns(gates=(-1, 0), cardinalities=(2, 3))
        >>> likelihood.out_shape
        (7,)
    """

    def __init__(self, gates: tuple[int, ...], cardinalities: tuple[int, ...]) -> None:
        shape = (len(gates) + sum(cardinalities),)
        super().__init__(shape, shape, (len(gates),))
        self.gates = gates
        self.ends = (np.cumsum((0, *cardinalities)) + len(gates)).tolist()
        self.register_buffer("log_sigma", torch.zeros(len(gates)))

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        r"""Return Σ_j log N(v_j; v̂_j, σ_j²) over seen values, plus Σ_c log p(code_c)."""
        sigma = self.log_sigma + self.scale.std.log() + 0.5 * _LOG_2PI
        scaled = self._errors(out, x) * (-self.log_sigma).exp()
        log_p = ((-0.5 * scaled.square() - sigma) * self._seen(x)[:, None]).sum(2)
        for a, b in pairwise(self.ends):
            hot = (x[:, None, a:b] > 0).to(out.dtype)
            log_p = log_p + (out[..., a:b].log_softmax(2) * hot).sum(2)
        return log_p

    def log_prob_of(self, out: Tensor, x: Tensor, known: Tensor) -> Tensor:
        r"""Return log p of the known values, and of codes as far as they are known.

        A code is known not to be one whose entry is known to be −1.
        """
        d = len(self.gates)
        sigma = self.log_sigma + self.scale.std.log() + 0.5 * _LOG_2PI
        scaled = self._errors(out, x) * (-self.log_sigma).exp()
        seen = self._seen(x) * known[:, :d]
        log_p = ((-0.5 * scaled.square() - sigma) * seen[:, None]).sum(2)
        for a, b in pairwise(self.ends):
            may = (~known[:, a:b] | (x[:, a:b] > 0))[:, None]
            log_share = out[..., a:b].log_softmax(2).where(may, -torch.inf)
            log_p = log_p + log_share.logsumexp(2)
        return log_p

    def spread(self, out: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        r"""Return the squared errors of each column, and over how many rows."""
        seen = self._seen(x)
        squares = torch.einsum("nk,nkd,nd->d", weight, self._errors(out, x).square(), seen)
        return torch.stack([squares, seen.sum(0)])

    def without_fillers(self, x: Tensor) -> Tensor:
        r"""Return packed rows with 0 where a value is missing."""
        d = len(self.gates)
        return torch.cat([x[:, :d] * self._seen(x), x[:, d:]], dim=1)

    def mean(self, out: Tensor) -> Tensor:
        r"""Return the mean of the values, and the logits, whose largest is the mode."""
        return self._packed(out, out[..., : len(self.gates)])

    def draw(self, out: Tensor, noise: Tensor) -> Tensor:
        r"""Return v̂ + σ ε, and logits with Gumbel noise, whose largest is a draw."""
        noisy = out[..., : len(self.gates)] + self.log_sigma.exp() * noise[:, : len(self.gates)]
        return self._packed(out + noise, noisy)

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        r"""Return ε ~ N(0, I) for the values and Gumbel noise for the logits."""
        d = len(self.gates)
        values = torch.randn(n, d, generator=generator)
        u = torch.rand(n, self.shape[0] - d, generator=generator).clamp_min(1e-30)
        return torch.cat([values, -(-u.log()).clamp_min(1e-30).log()], dim=1)

    def _packed(self, out: Tensor, values: Tensor) -> Tensor:
        return torch.cat([self.scale.restore(values), out[..., len(self.gates) :]], dim=-1)

    def _errors(self, out: Tensor, x: Tensor) -> Tensor:
        d = len(self.gates)
        return self.scale.standardise(x[:, :d])[:, None] - out[..., :d]

    def _seen(self, x: Tensor) -> Tensor:
        seen = torch.ones(len(x), len(self.gates), dtype=x.dtype, device=x.device)
        for value, gate in enumerate(self.gates):
            if gate >= 0:
                seen[:, value] = (x[:, self.ends[gate]] > 0).to(x.dtype)
        return seen


class Bernoulli(Likelihood):
    r"""Entries of two values each; the decoder returns logits of the larger one.

    Args:
        shape: Of a packed row.

    Example:
        >>> likelihood = Bernoulli((2,))
        >>> likelihood.set_values(np.zeros(2), np.ones(2))
        >>> likelihood.log_prob(torch.zeros(1, 1, 2), torch.tensor([[0.0, 1.0]])).exp()
        tensor([[0.2500]])
    """

    is_mass: ClassVar[bool] = True
    low: Tensor
    high: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape, shape)
        # In float64, so that float columns come back as they were.
        self.register_buffer("low", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("high", torch.ones(shape, dtype=torch.float64))

    def set_values(self, low: Any, high: Any) -> None:
        r"""Set the two values in model space, one pair an entry or one for all."""
        self.low.copy_(torch.as_tensor(low))
        self.high.copy_(torch.as_tensor(high))

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        r"""Return the log-probability of the values, which noise of a quantum cannot change."""
        return self.log_prob_of(out, x, torch.ones_like(x, dtype=torch.bool))

    def log_prob_of(self, out: Tensor, x: Tensor, known: Tensor) -> Tensor:
        r"""Return the log-probability of the known values."""
        sign = torch.where(x > (self.low + self.high) / 2, 1.0, -1.0).to(out.dtype)
        return (logsigmoid(sign[:, None] * out) * known[:, None]).flatten(2).sum(2)

    def mean(self, out: Tensor) -> Tensor:
        r"""Return the mean, between the two values, in float64."""
        return torch.lerp(self.low, self.high, out.double().sigmoid())

    def draw(self, out: Tensor, noise: Tensor) -> Tensor:
        r"""Return one of the two values, in float64."""
        return torch.where(noise < out.sigmoid(), self.high, self.low)

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        r"""Return u ~ U(0, 1)."""
        return torch.rand(n, *self.shape, generator=generator)

    def supports(self, x: Tensor) -> Tensor:
        r"""Return whether all entries of a row are one of the two values."""
        low, high = self.low.to(x.dtype), self.high.to(x.dtype)
        return ((x == low) | (x == high)).flatten(1).all(1)


class DiscretisedLogistic(Likelihood):
    r"""8-bit pixels: P(level) = Σ_k π_k [F_k(level + ½) − F_k(level − ½)], F_k a logistic.

    The outer bins reach to infinity (Salimans 2017, section 2.1). Given z, pixels and their
    channels are independent; only z ties them together.

    Args:
        shape: (C, H, W).
        n_mixture: Logistics a pixel and channel, K.

    Example:
        >>> DiscretisedLogistic((3, 4, 4), n_mixture=5).out_shape  # π, mean and scale of each
        (45, 4, 4)
    """

    is_mass: ClassVar[bool] = True

    def __init__(self, shape: tuple[int, ...], n_mixture: int = 5) -> None:
        super().__init__(shape, (3 * n_mixture * shape[0], *shape[1:]))
        self.n_mixture = n_mixture

    def log_prob(self, out: Tensor, x: Tensor) -> Tensor:
        r"""Return the log-mass of the pixels; each x is rounded to its level."""
        return self._log_masses(out, x).flatten(2).sum(2)

    def log_prob_of(self, out: Tensor, x: Tensor, known: Tensor) -> Tensor:
        r"""Return the log-mass of the known pixels."""
        return (self._log_masses(out, x) * known[:, None]).flatten(2).sum(2)

    def _log_masses(self, out: Tensor, x: Tensor) -> Tensor:
        log_pi, mean, log_scale = self._parts(out)
        level = ((x + 1) * (_LEVELS / 2)).round().clamp(0, _LEVELS)[:, None, None]
        centred = level * (2 / _LEVELS) - 1 - mean  # (n, K, mixture, C, H, W)
        above = (centred + _HALF_BIN) * (-log_scale).exp()
        below = (centred - _HALF_BIN) * (-log_scale).exp()
        # F(a) − F(b) = F(a) F(−b) (1 − exp(b − a)), of which no part cancels.
        inner = (-torch.expm1(-2 * _HALF_BIN * (-log_scale).exp())).log()
        inside = logsigmoid(above) + logsigmoid(-below) + inner
        log_mass = torch.where(level == 0, logsigmoid(above), inside)
        log_mass = torch.where(level == _LEVELS, logsigmoid(-below), log_mass)
        return (log_pi + log_mass).logsumexp(2)  # (n, K, C, H, W)

    def mean(self, out: Tensor) -> Tensor:
        r"""Return Σ_k π_k μ_k, each μ_k no further out than the pixels go."""
        log_pi, mean, _ = self._parts(out[:, None])
        return (log_pi.exp() * mean.clamp(-1, 1)).sum(2)[:, 0]

    def draw(self, out: Tensor, noise: Tensor) -> Tensor:
        r"""Return pixels at one of the 256 levels."""
        log_pi, mean, log_scale = (part[:, 0] for part in self._parts(out[:, None]))
        which = (log_pi.exp().cumsum(1) < noise[:, :1]).sum(1, keepdim=True)
        which = which.clamp_max(self.n_mixture - 1)  # (n, 1, C, H, W)
        u = noise[:, 1:].clamp(1e-6, 1 - 1e-6)
        x = mean.gather(1, which) + log_scale.gather(1, which).exp() * torch.logit(u)
        level = ((x[:, 0] + 1) * (_LEVELS / 2)).round().clamp(0, _LEVELS)
        return level * (2 / _LEVELS) - 1

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        r"""Return two u ~ U(0, 1) a pixel, which logistic and where in it."""
        return torch.rand(n, 2, *self.shape, generator=generator)

    def _parts(self, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return log π, mean and log-scale, ``(n, K, mixture, C, H, W)`` each."""
        logits, mean, log_scale = out.unflatten(2, (3, self.n_mixture, self.shape[0])).unbind(2)
        # Where the decoder says nothing the logistics stand side by side, else none would move.
        places = torch.linspace(-1, 1, 2 * self.n_mixture + 1, device=out.device)[1::2]
        mean = mean + places.to(out.dtype)[:, None, None, None]
        log_scale = (log_scale - math.log(self.n_mixture)).clamp_min(_LOG_SCALE_FLOOR)
        return logits.log_softmax(2), mean, log_scale


def two_values(X: Any, encoding: Encoding) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the two values that each entry takes, in model space.

    Args:
        X: Checked rows.
        encoding: Their encoding; vectors have a pair of values a column, images one for all.

    Returns:
        The smaller and the larger value, ``(d,)``, or ``(1, 1, 1)`` for images.

    Raises:
        DataError: If there is an entry of another value.

    Example:
        >>> encoding = data.fit_encoding(np.array([[0, 5], [1, 5], [1, 9]]))
        >>> low, high = two_values(np.array([[0, 5], [1, 9]]), encoding)
        >>> low.shape, bool((low < high).all())
        ((2,), True)
    """
    axes = (0, 1, 2, 3) if encoding.kind == "images" else 0

    def blocks() -> Any:
        for start in range(0, data.n_rows(X), _BLOCK):
            index = np.arange(start, min(start + _BLOCK, data.n_rows(X)))
            yield encoding.encode(data.take(X, index)).values

    low = np.min([block.min(axes) for block in blocks()], axis=0)
    high = np.max([block.max(axes) for block in blocks()], axis=0)
    other = np.any([((v != low) & (v != high)).any(axes) for v in blocks()], axis=0)
    if np.any(other) or not np.all(low < high):
        raise DataError(
            f'likelihood="bernoulli" needs entries of two values each, but {_where(other)}.'
            ' Use likelihood="auto", or binarise: X > threshold.'
        )
    return low.reshape(-1, *[1] * (len(encoding.model_shape) - 1)), high.reshape(
        -1, *[1] * (len(encoding.model_shape) - 1)
    )


def _where(other: np.ndarray) -> str:
    if other.ndim == 0:
        return "the pixels hold more than two" if other else "all pixels are the same"
    return f"column {shown(int(np.flatnonzero(other)[0]))} of those that vary holds more"
