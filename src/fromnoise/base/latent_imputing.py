r"""Missing entries of a row from a model with a code: x_m ~ p(x_m | x_o) by way of z.

Entries are independent given z, so it is enough to draw z ~ p(z | x_o) ∝ p(z) p(x_o | z).

1. Importance resampling (Mattei & Frellsen 2019, eq. 12): of S draws z_s, half from q(z | x) of
   the row with its gaps at their means, half from p(z), together from their mixture g, one is
   taken by the weight p(z_s) p(x_o | z_s) / g(z_s).
2. Turns of two kinds, each of which leaves p(z, x_m | x_o) as it is:
   Elliptical slices (Murray 2010, figure 2): z' = z cos φ + ν sin φ, ν ~ N(0, I), where φ
   shrinks towards 0 until p(x_o | z') is above a level. It needs no q.
   Metropolis within Gibbs (Mattei & Frellsen 2018, section 3.4): x_m ~ p(x_m | z), then
   z' ~ q(z | x_o, x_m), taken with probability
   min(1, p(z') p(x | z') q(z | x) / (p(z) p(x | z) q(z' | x))). It moves all of z at once.

The first alone is exact for many draws, the second for many turns; without the test of the
third (Rezende 2014, appendix F) the law would be that of q. A mode of p(z | x_o) that none of
the S draws finds is seldom found later.
"""

__all__ = ["Coder", "conditional_rows"]

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from fromnoise.base.imputing import RowNoise, possible
from fromnoise.base.likelihoods import Columns, Likelihood
from fromnoise.mixture import choose

DRAWS = 128  # S
TURNS = 20
SHRINKS = 32  # of an ellipse's arc; each leaves about two thirds of it
_DECODED_ROWS, _DECODED_NUMBERS = 4096, 2**22  # that a decoder is given or returns at a time
_IMPOSSIBLE = -1e9  # logit of a code that cannot be


class Coder(Protocol):
    r"""What is asked of a model."""

    @property
    def observation(self) -> Likelihood:
        r"""p(x | z)."""
        ...

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return mean and log-variance of q(z | x), ``(n, k)``."""
        ...

    def decoded(self, z: Tensor, y: Tensor | None) -> Tensor:
        r"""Return what p(x | z) is made of, for codes ``(n, S, k)``."""
        ...

    def log_prior(self, z: Tensor, y: Tensor | None) -> Tensor:
        r"""Return log p(z), ``(n, S)``."""
        ...

    def draw_broad(self, u: Tensor, noise: Tensor) -> Tensor:
        r"""Return draws of p(z), or of N(0, I) where p(z) is a model, ``(n, S, k)``."""
        ...

    def log_broad(self, z: Tensor) -> Tensor:
        r"""Return their log-density, ``(n, S)``."""
        ...


def conditional_rows(
    model: Coder,
    x: Tensor,
    known: Tensor,
    labels: Sequence[tuple[Tensor | None, float]],
    noise: RowNoise,
    *,
    filler: Tensor,
    noisy: bool,
) -> Tensor:
    r"""Return packed rows whose unknown entries are draws given the known ones.

    Args:
        model: The model.
        x: Packed rows, ``(n, *)``.
        known: Which of their entries are known, bool ``(n, *)``.
        labels: Conditions of the rows that may be, and log p(y) of each.
        noise: Of the rows.
        filler: What stands where nothing is known when a code is first looked for, ``(*)``.
        noisy: Whether the rows are drawn from p(x | z) or show its mean.
    """
    start = torch.where(known, x, filler)
    found = [_resampled(model, start, known, y, noise) for y, _ in labels]
    log_p = torch.stack([p + prior for (_, p), (_, prior) in zip(found, labels, strict=True)], 1)
    which = _pick(log_p, noise.uniform(1))
    rows = torch.arange(len(x), device=x.device)
    z = torch.stack([z for z, _ in found], 1)[rows, which]
    y = labels[0][0]
    if y is not None:
        y = torch.stack([label for label, _ in labels if label is not None], 1)[rows, which]
    chain = _Chain(model, x, known, y, noise)
    for _ in range(TURNS):
        z = chain.turned(chain.sliced(z))
    return chain.drawn(z) if noisy else chain.shown(z)


def _resampled(
    model: Coder, x: Tensor, known: Tensor, y: Tensor | None, noise: RowNoise
) -> tuple[Tensor, Tensor]:
    r"""Return a code of each row ``(n, k)``, and the estimate of log p(x_o | y) ``(n,)``."""
    mean, log_variance = model.posterior(x)
    half = DRAWS // 2
    own = _around(mean, log_variance, noise.normal(half, mean.shape[1]))
    broad = model.draw_broad(noise.uniform(half), noise.normal(half, mean.shape[1]))
    z = torch.cat([own, broad], 1)
    log_q, log_broad = _log_normal(z, mean, log_variance), model.log_broad(z)
    log_g = torch.logaddexp(log_q, log_broad) - math.log(2)
    numbers = _DECODED_NUMBERS // math.prod(model.observation.out_shape)
    size = max(1, min(_DECODED_ROWS, numbers) // len(x))
    log_p = torch.cat(
        [
            model.observation.log_prob_of(model.decoded(part, y), x, known)
            for part in z.split(size, dim=1)
        ],
        1,
    )
    log_weight = log_p + model.log_prior(z, y) - log_g
    chosen = _pick(log_weight, noise.uniform(1))
    code = z[torch.arange(len(z), device=z.device), chosen]
    return code, log_weight.logsumexp(1) - math.log(DRAWS)


class _Chain:
    r"""Metropolis within Gibbs for the rows of a block."""

    def __init__(
        self, model: Coder, x: Tensor, known: Tensor, y: Tensor | None, noise: RowNoise
    ) -> None:
        self.model, self.x, self.known, self.y, self.noise = model, x, known, y, noise

    def turned(self, z: Tensor) -> Tensor:
        r"""Return codes after x_m ~ p(x_m | z) and one proposal z' ~ q(z | x_o, x_m)."""
        x = self.model.observation.without_fillers(self.drawn(z).to(self.x))
        mean, log_variance = self.model.posterior(x)
        other = _around(mean, log_variance, self.noise.normal(1, z.shape[1]))[:, 0]
        both = torch.stack([z, other], 1)  # (n, 2, k)
        log_p = self.model.observation.log_prob(self.model.decoded(both, self.y), x)
        log_p = log_p + self.model.log_prior(both, self.y)
        log_ratio = (log_p - _log_normal(both, mean, log_variance)).diff(dim=1)
        taken = self.noise.uniform(1).log() < log_ratio
        return torch.where(taken, other, z)

    def sliced(self, z: Tensor) -> Tensor:
        r"""Return codes after a step along an ellipse through z and fresh noise."""
        fresh, u = self.noise.normal(z.shape[1]), self.noise.uniform(SHRINKS + 2)
        level = self._log_target(z) + u[:, 0].log()
        angle = 2 * math.pi * u[:, 1]
        low, high = angle - 2 * math.pi, angle
        result, still = z, torch.ones(len(z), dtype=torch.bool, device=z.device)
        for shrink in u[:, 2:].T:
            other = z * angle.cos()[:, None] + fresh * angle.sin()[:, None]
            found = still & (self._log_target(other) > level)
            result = torch.where(found[:, None], other, result)
            still = still & ~found
            if not bool(still.any()):
                break
            low, high = torch.where(angle < 0, angle, low), torch.where(angle < 0, high, angle)
            angle = torch.lerp(low, high, shrink)
        return result

    def _log_target(self, z: Tensor) -> Tensor:
        r"""Return log p(z) p(x_o | z) / N(z; 0, I), ``(n,)``."""
        z = z[:, None]
        log_p = self.model.observation.log_prob_of(
            self.model.decoded(z, self.y), self.x, self.known
        )
        return (log_p + self.model.log_prior(z, self.y) + 0.5 * z.square().sum(2))[:, 0]

    def drawn(self, z: Tensor) -> Tensor:
        r"""Return rows drawn from p(x | z) where they are not known."""
        observation = self.model.observation
        out = self._decoded(z)
        noise = self.noise.each(lambda generator: observation.noise(1, generator))
        return self._filled(observation.draw(out, noise.to(out)))

    def shown(self, z: Tensor) -> Tensor:
        r"""Return rows that show the mean of p(x | z) where they are not known."""
        return self._filled(self.model.observation.mean(self._decoded(z)))

    def _decoded(self, z: Tensor) -> Tensor:
        out = self.model.decoded(z[:, None], self.y)[:, 0]
        if isinstance(self.model.observation, Columns):
            width = len(self.model.observation.gates)
            may = possible(self.x, self.known, width)
            out = torch.cat([out[:, :width], out[:, width:].where(may, _IMPOSSIBLE)], 1)
        return out

    def _filled(self, drawn: Tensor) -> Tensor:
        if isinstance(self.model.observation, Columns):
            drawn = _one_hot(drawn, self.model.observation.ends)
        return torch.where(self.known, self.x.to(drawn), drawn)


def _one_hot(packed: Tensor, ends: list[int]) -> Tensor:
    r"""Return rows whose logits have become one-hot groups in {−1, +1}."""
    parts = [packed[:, : ends[0]]]
    for a, b in pairwise(ends):
        hot = torch.nn.functional.one_hot(packed[:, a:b].argmax(1), b - a)
        parts.append(2.0 * hot.to(packed.dtype) - 1.0)
    return torch.cat(parts, 1)


def _around(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    return mean[:, None] + (0.5 * log_variance).exp()[:, None] * noise


def _log_normal(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""Return log N(z; μ, diag σ²) of draws ``(n, S, k)``, ``(n, S)``."""
    scaled = (z - mean[:, None]).square() * (-log_variance).exp()[:, None]
    return -0.5 * (scaled + log_variance[:, None] + math.log(2 * math.pi)).sum(-1)


def _pick(log_weight: Tensor, u: Tensor) -> Tensor:
    r"""Return which of the weights ``(n, S)`` u ``(n, 1)`` falls into, ``(n,)``."""
    weight = log_weight.double().nan_to_num(nan=-torch.inf).softmax(1)
    return choose(weight, u[:, 0].double())
