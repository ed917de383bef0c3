r"""The variational auto-encoder (Kingma & Welling 2014; Rezende 2014).

    z → x       x ~ p(x | z), z ~ p(z): N(0, I), a mixture over pseudo-inputs, or a fitted model
    x → z       the mean of q(z | x) = N(μ(x), diag σ²(x))
    loss        −ELBO = E_q[−log p(x | z)] + β KL(q(z | x) ‖ p(z)),   z = μ + σ ε, ε ~ N(0, I)
    log p(x)    a lower bound, log 1/S Σ_s p(x | z_s) p(z_s) / q(z_s | x), z_s ~ q(z | x)

Both terms are sums over dimensions, never means: their balance is the model (with a mean over
pixels the KL weighs hundreds of times too much). With k draws in training the loss is the
importance-weighted bound of Burda 2016, eq. 8. What p(x | z) may be stands in
:mod:`fromnoise.base.likelihoods`.

A unit of z is *active* if its posterior mean varies over the data (Burda 2016, section 5.2:
variance above 0.01). In the linear model exactly the directions whose variance exceeds that of
the observation noise are; where none is, the model has collapsed to one that ignores z.
"""

__all__ = ["VAE"]

import hashlib
import math
import time
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from fromnoise.base import BLOCK, GenerativeModel, LatentModel, NeuralModel
from fromnoise.base.arguments import is_number, is_whole
from fromnoise.base.generative import ScoreKind
from fromnoise.base.imputing import RowNoise, packed_known, unpacked
from fromnoise.base.interpolation import Interpolation
from fromnoise.base.latent_imputing import conditional_rows
from fromnoise.base.likelihoods import (
    Bernoulli,
    Columns,
    DiscretisedLogistic,
    Gaussian,
    Likelihood,
    two_values,
)
from fromnoise.base.neural import TrainingRows
from fromnoise.data import Encoded
from fromnoise.data.transforms import FlatEncoding, Partial
from fromnoise.errors import DataError
from fromnoise.persistence import Tree
from fromnoise.training import (
    Batch,
    Budget,
    Interrupts,
    Objective,
    numpy_rng,
    seed_of,
    torch_rng,
)

ACTIVE = 0.01  # variance of the posterior mean over rows
PSEUDO_INPUTS = 100
_LEARNT = ("likelihood_", "prior_kind_", "score_seed_", "n_active_units_")
_LOG_VARIANCE = 14.0  # |log σ²(x)| goes no further
_SETTLED_ROWS, _SETTLED_NUMBERS, _SETTLED_WIDTH = 4096, 2**24, 256  # a second's work at most
_DECODED_ROWS, _DECODED_NUMBERS = 4096, 2**20  # that a decoder is given or returns at a time
_SCORE, _OBSERVE, _SETTLE, _PSEUDO = 28, 29, 34, 35  # what a random stream is for


@dataclass(kw_only=True, eq=False, repr=False)
class VAE(Interpolation, LatentModel):
    r"""Learns codes with a known distribution, so that decoding noise makes new data.

    Args:
        beta: Weight of the KL term; 1 bounds the likelihood, more gives fewer, plainer codes.
        likelihood: p(x | z). ``"gaussian"``, one variance for all entries, set to its optimum;
            ``"bernoulli"`` for entries of two values each; ``"discretised-logistic"`` for 8-bit
            images; ``"columns"``, a Gaussian of its own variance for each value and a softmax
            for each categorical part. ``"auto"`` is ``"columns"`` for tables and where there
            are categorical parts, ``"gaussian"`` elsewhere.
        prior: p(z). ``"normal"``; ``"vamp"``, a mixture of the codes of 100 learnt pseudo-inputs
            (Tomczak & Welling 2018); or a model that is fitted on draws of q(z | x) afterwards.
        free_bits: Nats that the KL of each dimension may cost for nothing.
        kl_warm_up: Share of the training in which the weight of the KL term rises from 0.
        n_importance_train: Draws of z for each row and step; above 1, the loss is the
            importance-weighted bound.
        n_importance_score: Draws of z for each row in ``score_samples``.
        observation_noise: Whether samples are drawn from p(x | z) or show its mean; ``"auto"``
            is the mean for images only.

    Attributes:
        n_active_units_: Units of the code that carry something.
        status_: ``"ok"``, ``"diverged"``, or ``"collapsed"`` if no unit does.
        networks_: ``"encoder"``, ``"decoder"``, ``"moments"``, ``"likelihood"``.

    Example:
        >>> import fromnoise as fn
        >>> X = fn.data.load("digits").X[:200]
        >>> model = fn.VAE(latent_dim=4, budget="30 steps", random_state=0).fit(X)
        >>> model.sample(2, random_state=1).shape, model.encode(X[:3]).shape
        ((2, 8, 8), (3, 4))
        >>> model.score_samples(X[:3]).shape, model.score_kind_
        ((3,), 'lower_bound')
    """

    family: ClassVar[str] = "vae"
    _after_fit: ClassVar[tuple[str, ...]] = (
        "n_importance_score",
        "observation_noise",
        "precision",
    )
    _numbers_a_code: ClassVar[int] = 2

    prior: Literal["normal", "vamp"] | GenerativeModel = "normal"
    beta: float = 1.0
    likelihood: Literal["auto", "gaussian", "bernoulli", "discretised-logistic", "columns"] = (
        "auto"
    )
    free_bits: float = 0.0
    kl_warm_up: float = 0.1
    n_importance_train: int = 1
    n_importance_score: int = 100
    observation_noise: bool | Literal["auto"] = "auto"

    # --- q(z | x), p(x | z), p(z) --------------------------------------------------------------

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return mean and log-variance of q(z | x), ``(n, k)`` each."""
        return self._coded(self.moments.standardise(x))

    def _coded(self, standardised: Tensor) -> tuple[Tensor, Tensor]:
        numbers = self.networks_["encoder"](standardised).to(standardised.dtype)
        mean, log_variance = numbers.chunk(2, dim=1)
        return mean, log_variance.clamp(-_LOG_VARIANCE, _LOG_VARIANCE)

    def decoded(self, z: Tensor, y: Tensor | None) -> Tensor:
        r"""Return what the decoder says of codes ``(n, K, k)``, ``(n, K, *out_shape)``."""
        decoder, flat = self.networks_["decoder"], z.flatten(0, 1)
        label = [] if y is None else [y.repeat_interleave(z.shape[1], 0)]
        out: Tensor = decoder(flat, *label)
        return out.to(z.dtype).unflatten(0, z.shape[:2])

    def log_prior(self, z: Tensor, y: Tensor | None) -> Tensor:
        r"""Return log p(z), or log p(z | y) of a fitted prior, ``(n, K)`` for z ``(n, K, k)``."""
        if "pseudo_inputs" in self.networks_:
            return log_vamp(z, *self._coded(self._pseudo_inputs))
        if not hasattr(self, "prior_"):
            return log_normal(z, torch.zeros_like(z), torch.zeros_like(z))
        label = None if y is None else y.repeat_interleave(z.shape[1], 0).cpu().numpy()
        log_p = self.prior_.score_samples(z.flatten(0, 1).double().cpu().numpy(), label)
        return torch.from_numpy(log_p).to(z).unflatten(0, z.shape[:2])

    def log_ratio(self, z: Tensor, y: Tensor | None, mean: Tensor, log_variance: Tensor) -> Tensor:
        r"""Return log p(z) − log q(z | x) of draws z ``(n, K, k)``, ``(n, K)``."""
        return self.log_prior(z, y) - log_normal(z, mean[:, None], log_variance[:, None])

    @property
    def observation(self) -> Likelihood:
        r"""p(x | z)."""
        return cast(Likelihood, self.networks_["likelihood"])

    @property
    def _pseudo_inputs(self) -> Tensor:
        return cast(_PseudoInputs, self.networks_["pseudo_inputs"]).rows

    # --- loss ---------------------------------------------------------------------------------

    def objectives(self) -> list[Objective]:
        r"""Return the one objective, the negative bound."""
        return [Objective(self.loss, [*self.networks_.parameters()])]

    def prepare(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> Batch:
        r"""Return rows as the encoder will see them later, without fillers."""
        return (self.observation.without_fillers(x),)

    def loss(
        self, batch: Batch, y: Tensor | None, progress: float, generator: torch.Generator
    ) -> Tensor:
        r"""Return the mean over rows of −ELBO, or of −log 1/k Σ_i w_i for k draws."""
        (x,) = batch
        beta = self.beta * min(1.0, progress / self.kl_warm_up) if self.kl_warm_up else self.beta
        mean, log_variance = self.posterior(x)
        shape = (len(x), self.n_importance_train, self.latent_dim_)
        z = reparameterised(mean, log_variance, _randn(shape, generator, mean))
        out = self.decoded(z, y)
        if self._has_closed_rate:
            rate = kl_to_normal(mean, log_variance).mean(0).clamp_min(self.free_bits).sum()
            log_p = self.observation.settled_log_prob(out, x, torch.ones_like(z[:, :, 0]))
            return beta * rate - log_p.mean()
        log_ratio = beta * self.log_ratio(z, y, mean, log_variance)
        with torch.no_grad():  # a step of EM over the draws, from the σ of the step before
            weight = (self.observation.log_prob(out, x) + log_ratio).softmax(1)
        log_p = self.observation.settled_log_prob(out, x, weight)
        return -importance_bound(log_p + log_ratio).mean()

    @property
    def _has_closed_rate(self) -> bool:
        return self.n_importance_train == 1 and self.prior != "vamp"

    # --- networks -----------------------------------------------------------------------------

    @property
    def code_columns(self) -> int:
        r"""Mean and log-variance: 2k."""
        return 2 * self.latent_dim_

    @property
    def decoded_shape(self) -> tuple[int, ...]:
        r"""The shape of what the likelihood wants for a row."""
        return self._new_likelihood().out_shape

    def build(self) -> nn.ModuleDict:
        r"""Return encoder, decoder, moments, likelihood, and what else the prior takes."""
        networks = super().build()
        networks["likelihood"] = self._new_likelihood()
        if self.prior_kind_ == "vamp":
            networks["pseudo_inputs"] = _PseudoInputs(self.encoding_.model_shape)
        return networks

    def _new_likelihood(self) -> Likelihood:
        encoding = self.encoding_
        if self.likelihood_ == "columns":
            flat = cast(FlatEncoding, encoding)
            return Columns(flat.gates, flat.cardinalities)
        return _LIKELIHOODS[self.likelihood_](encoding.model_shape)

    def _chosen_likelihood(self) -> str:
        encoding, name = self.encoding_, self.likelihood
        mixed = bool(encoding.cardinalities)
        if name == "auto":
            return "columns" if mixed or encoding.kind == "table" else "gaussian"
        if name == "columns" and encoding.kind == "images":
            raise DataError('likelihood="columns" is for vectors and tables; use "gaussian".')
        if name != "columns" and mixed:
            raise DataError(
                f'likelihood="{name}" cannot describe categories or missing entries, which the'
                ' data has. Use likelihood="columns".'
            )
        if name == "discretised-logistic" and not _is_8_bit(encoding):
            raise DataError(
                'likelihood="discretised-logistic" is for images of dtype uint8. Use "gaussian".'
            )
        return name

    def measure(self, rows: Tensor) -> None:
        r"""Take mean and spread of packed rows, and rows to start pseudo-inputs from."""
        super().measure(rows)
        self.observation.measure(self.moments)
        if self.prior_kind_ == "vamp":
            rng = torch_rng(self.score_seed_, _PSEUDO)
            some = rows[torch.randint(len(rows), (PSEUDO_INPUTS,), generator=rng)]
            some = self.moments.standardise(some.to(self.moments.mean))
            noise = 0.1 * torch.randn(some.shape, generator=rng)
            self._pseudo_inputs.data.copy_(some + noise.to(some))

    # --- fitting ------------------------------------------------------------------------------

    def _check_arguments(self) -> None:
        super()._check_arguments()
        for name, low, high in (
            ("beta", 0.0, math.inf),
            ("free_bits", 0.0, math.inf),
            ("kl_warm_up", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not (is_number(value) and low <= value <= high and value < math.inf):
                raise ValueError(
                    f"{name} must be a finite number from {low:g} to {high:g}, got {value!r}."
                )
        for name in ("n_importance_train", "n_importance_score"):
            value = getattr(self, name)
            if not (is_whole(value) and value >= 1):
                raise ValueError(f"{name} must be a positive int, got {value!r}.")
        if self.observation_noise not in ("auto", True, False):
            raise ValueError(
                f'observation_noise must be "auto", True or False, got {self.observation_noise!r}.'
            )
        if self.free_bits and not self._has_closed_rate:
            raise ValueError(
                "free_bits needs the KL of each dimension by itself: n_importance_train=1 and"
                ' another prior than "vamp".'
            )

    def _check_named_prior(self) -> None:
        if not isinstance(self.prior, str) or self.prior not in ("normal", "vamp"):
            raise ValueError(
                'prior must be "normal", "vamp" or a model such as'
                f" GaussianMixture(n_components=10), got {self.prior!r}."
            )

    def _learn(self, X: Any, y: np.ndarray | None, budget: Budget | None, seed: int) -> None:
        self.likelihood_ = self._chosen_likelihood()
        # What was learnt stays what it is, also if the argument is changed after the fit.
        self.prior_kind_ = self.prior if isinstance(self.prior, str) else "fitted"
        self.score_seed_ = seed_of(seed, _SCORE) % 2**31
        super()._learn(X, y, budget, seed)

    def _train(
        self, rows: TrainingRows, check: TrainingRows, budget: Budget, seed: int, born: float
    ) -> None:
        if isinstance(self.observation, Bernoulli):
            self.observation.set_values(*two_values(rows.X, rows.encoding))
        try:
            super()._train(rows, check, budget, seed, born)
        finally:
            if hasattr(self, "history_"):  # the networks are trained, perhaps not to the end
                self._settle_whole(rows, seed)

    def _settle_whole(self, rows: TrainingRows, seed: int) -> None:
        r"""Settle, whatever signal comes meanwhile."""
        begun = time.monotonic()
        with Interrupts() as interrupts:
            self._settle(rows, seed)
        self.fit_seconds_ += time.monotonic() - begun
        self.interrupted_ = self.interrupted_ or interrupts.received is not None
        interrupts.again()

    @torch.no_grad()
    def _settle(self, rows: TrainingRows, seed: int) -> None:
        r"""Fix σ and count active units, on training rows, with the weights that were kept."""
        draws = self.n_importance_train
        decoded = draws * max(math.prod(self.observation.out_shape), _SETTLED_WIDTH)
        most = min(_SETTLED_ROWS, max(_SETTLED_ROWS // 16, _SETTLED_NUMBERS // decoded))
        index = numpy_rng(seed, _SETTLE).permutation(len(rows))[:most]
        size = max(8, min(256, _DECODED_ROWS // draws))
        for turn in range(1 if draws == 1 else 2):  # EM over the draws has to settle too
            total: Tensor | float = 0.0
            means = []
            for start in range(0, len(index), size):
                some = index[start : start + size]
                x, y = self._taken(rows, some, numpy_rng(seed, _SETTLE, start))
                x = self.observation.without_fillers(x)
                mean, log_variance = self.posterior(x)
                rng = torch_rng(seed, _SETTLE, turn, start)
                noise = torch.randn(len(x), draws, self.latent_dim_, generator=rng).to(mean)
                z = reparameterised(mean, log_variance, noise)
                out, log_ratio = self.decoded(z, y), self.log_ratio(z, y, mean, log_variance)
                weight = (self.observation.log_prob(out, x) + log_ratio).softmax(1)
                total = total + self.observation.spread(out, x, weight)
                means.append(mean)
            self.observation.set_spread(torch.as_tensor(total))
        variance = torch.cat(means).var(0, correction=0)
        self.n_active_units_ = int((variance > ACTIVE).sum())
        if self.n_active_units_ == 0 and self.status_ == "ok":
            self.status_ = "collapsed"
            self.status_reason_ = (
                f"0 of {self.latent_dim_} units are active: the decoder ignores the code"
            )

    # --- codes and draws ----------------------------------------------------------------------

    def code(self, x: Tensor) -> Tensor:
        r"""Return the mean of q(z | x)."""
        return self.posterior(x)[0]

    def draw_code(self, x: Tensor, noise: Tensor) -> Tensor:
        r"""Return a draw of q(z | x): a prior fitted on means alone would break the bound."""
        mean, log_variance = self.posterior(x)
        return reparameterised(mean, log_variance, noise[:, None])[:, 0]

    def generate(self, z: Tensor, y: Tensor | None) -> Tensor:
        r"""Return the mean of p(x | z)."""
        return self.observation.mean(self.decoded(z[:, None], y)[:, 0])

    def _observed(self, z: Tensor, y: Tensor | None, noise: Tensor) -> Tensor:
        return self.observation.draw(self.decoded(z[:, None], y)[:, 0], noise)

    def _draw(self, seed: int, block: int, n: int, y: np.ndarray | None) -> Encoded:
        if not self._shows_noise:
            return super()._draw(seed, block, n, y)
        z = self._draw_codes(seed, block, n, y)
        noise = self.observation.noise(BLOCK, torch_rng(seed, _OBSERVE, block))[:n]
        return self.encoding_.unpack(self._in_blocks(self._observed, z, y, noise.numpy()))

    @property
    def _shows_noise(self) -> bool:
        noisy = self.observation_noise
        return self.encoding_.kind != "images" if noisy == "auto" else bool(noisy)

    def _draw_codes(self, seed: int, block: int, n: int, y: np.ndarray | None) -> np.ndarray:
        if "pseudo_inputs" not in self.networks_:
            return super()._draw_codes(seed, block, n, y)
        rng = torch_rng(seed, block)
        which = torch.randint(PSEUDO_INPUTS, (BLOCK,), generator=rng)
        noise = torch.randn(BLOCK, self.latent_dim_, generator=rng)
        mean, log_variance = (part.cpu()[which] for part in self._coded(self._pseudo_inputs))
        z = reparameterised(mean, log_variance, noise[:, None])[:, 0]
        return z[:n].numpy()

    # --- imputing -----------------------------------------------------------------------------

    def draw_broad(self, u: Tensor, noise: Tensor) -> Tensor:
        r"""Return draws of p(z), or of N(0, I) where p(z) is a fitted model, ``(n, S, k)``."""
        if "pseudo_inputs" not in self.networks_:
            return noise
        mean, log_variance = self._coded(self._pseudo_inputs)
        which = (u * PSEUDO_INPUTS).long().clamp_max(PSEUDO_INPUTS - 1)
        return mean[which] + (0.5 * log_variance[which]).exp() * noise

    def log_broad(self, z: Tensor) -> Tensor:
        r"""Return the log-density of :meth:`draw_broad`, ``(n, S)``."""
        if "pseudo_inputs" in self.networks_:
            return log_vamp(z, *self._coded(self._pseudo_inputs))
        return log_normal(z, torch.zeros_like(z), torch.zeros_like(z))

    def _impute(
        self, partial: Partial, y: np.ndarray | None, rows: np.ndarray, seed: int
    ) -> Encoded:
        x, known = packed_known(self.encoding_, partial)
        if self.condition_ is not None and not self.condition_.n_classes:
            y = self._needed(y, len(x))

        @torch.no_grad()
        def function(x: Tensor, y: Tensor | None, known: Tensor, row: Tensor) -> Tensor:
            return conditional_rows(
                self,
                x,
                known,
                [(y, 0.0)] if y is not None else self._every_label(row),
                RowNoise(seed, row, x),
                filler=self.moments.mean,
                noisy=self._shows_noise,
            )

        drawn = self._in_blocks(function, x, y, known, rows, share=4)
        return unpacked(self.encoding_, drawn, x, known)

    def _every_label(self, row: Tensor) -> list[tuple[Tensor | None, float]]:
        r"""Return each class for all rows, and its log-share in training."""
        if self.condition_ is None or self.labels_ is None:
            return [(None, 0.0)]
        share = self.labels_ / self.labels_.sum()
        return [(torch.full_like(row, c), math.log(p)) for c, p in enumerate(share) if p > 0]

    # --- density ------------------------------------------------------------------------------

    @property
    def _score_kind(self) -> ScoreKind:
        r"""``"lower_bound"``: in the mean over draws the score is at most log p(x)."""
        return "lower_bound"

    def _log_prob(self, encoded: Encoded, y: np.ndarray | None) -> np.ndarray:
        x, seeds = self.encoding_.pack(encoded), row_seeds(encoded, self.score_seed_)
        log_p = self._in_blocks(self.bound, x, y, seeds)
        if not self.observation.is_mass:
            return log_p
        return log_p - self.encoding_.log_det(encoded)  # a mass has no unit

    @torch.no_grad()
    def bound(self, x: Tensor, y: Tensor | None, seeds: Tensor) -> Tensor:
        r"""Return log 1/S Σ_s p(x | z_s) p(z_s) / q(z_s | x), float64 ``(n,)``.

        Args:
            x: Packed rows ``(n, *model_shape)``.
            y: Conditions.
            seeds: Of the draws of each row, ``(n,)``.
        """
        mean, log_variance = self.posterior(x)
        noise = _draws(seeds, self.n_importance_score, self.latent_dim_).to(mean)
        numbers = _DECODED_NUMBERS // math.prod(self.observation.out_shape)
        parts = []
        for part in noise.split(max(1, min(_DECODED_ROWS, numbers) // len(x)), dim=1):
            z = reparameterised(mean, log_variance, part)
            low = self.precision == "bfloat16"
            with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=low):
                log_p = self.observation.log_prob(self.decoded(z, y), x)
            log_ratio = self.log_ratio(z, y, mean, log_variance)
            parts.append(log_p.double() + log_ratio.double())
        bound = importance_bound(torch.cat(parts, dim=1))
        # A row so far out that its code overflows has no probability that could be written down.
        possible = self.observation.supports(x) & ~bound.isnan()
        return torch.where(possible, bound, -math.inf)

    def _cannot(self, name: str) -> str | None:
        drawn_from = ("sample", "sample_iter", "score_samples", "score", "impute")
        prior = getattr(self, "prior_", self.prior)
        fitted = getattr(self, "prior_kind_", None) == "fitted" and hasattr(self, "networks_")
        if name in drawn_from and fitted and not hasattr(self, "prior_"):
            return (
                f"This VAE has no {name}: its codes have no fitted prior, because the fit was"
                " interrupted before. Fit it again; encode, decode and reconstruct work as it is."
                ' VAE(prior="normal") has one from the start.'
            )
        if name in ("score_samples", "score", "impute") and isinstance(prior, NeuralModel):
            return (
                f"VAE has no {name} with prior={type(prior).__name__}: each of the"
                " importance draws would take a solution of the prior's ODE, or has no density"
                ' at all. VAE with prior="normal", "vamp" or GaussianMixture has one.'
            )
        return super()._cannot(name)

    # --- saving -------------------------------------------------------------------------------

    def _state(self) -> Tree:
        return {**super()._state(), **{name: getattr(self, name) for name in _LEARNT}}

    def _restore(self, state: Tree) -> None:
        for name in _LEARNT:
            setattr(self, name, state[name])
        super()._restore(state)


# --- formulas -----------------------------------------------------------------------------------


def reparameterised(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    r"""Return z = μ + σ ε for noise ``(n, K, k)``.

    Example:
        >>> reparameterised(torch.ones(1, 2), torch.zeros(1, 2), torch.zeros(1, 3, 2)).shape
        torch.Size([1, 3, 2])
    """
    return mean[:, None] + (0.5 * log_variance).exp()[:, None] * noise


def kl_to_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""Return KL(N(μ, σ²) ‖ N(0, 1)) = ½ (μ² + σ² − 1 − log σ²) of each dimension.

    Example:
        >>> kl_to_normal(torch.tensor([1.0]), torch.tensor([0.0]))
        tensor([0.5000])
    """
    # σ² − 1 by expm1: near σ = 1 the difference of float32 numbers would be mostly rounding.
    return 0.5 * (mean.square() + torch.expm1(log_variance) - log_variance)


def log_normal(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""Return log N(z; μ, diag σ²), summed over the last axis.

    Example:
        >>> log_normal(torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1, 2))
        tensor([-1.8379])
    """
    scaled = (z - mean).square() * (-log_variance).exp()
    return -0.5 * (scaled + log_variance + math.log(2 * math.pi)).sum(-1)


def log_vamp(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""Return log 1/M Σ_m N(z; μ_m, diag σ_m²), ``(n, K)``, for the codes of M pseudo-inputs.

    Example:
        >>> one = torch.zeros(1, 2)
        >>> log_vamp(torch.zeros(4, 3, 2), one, one).shape
        torch.Size([4, 3])
    """
    each = log_normal(z[:, :, None], mean, log_variance)  # (n, K, M)
    return each.logsumexp(2) - math.log(len(mean))


def importance_bound(log_weights: Tensor) -> Tensor:
    r"""Return log 1/K Σ_i w_i, ``(n,)`` (Burda 2016, eq. 8).

    Example:
        >>> importance_bound(torch.zeros(2, 5))
        tensor([0., 0.])
    """
    return log_weights.logsumexp(1) - math.log(log_weights.shape[1])


def row_seeds(encoded: Encoded, seed: int) -> np.ndarray:
    r"""Return a seed a row that depends on nothing but the row and ``seed``, ``(n,)``.

    Values are rounded to 2⁻²⁰ of their spread: the same row in other units has the same seed.

    Example:
        >>> rows = Encoded(np.ones((2, 3)), np.zeros((2, 0), int), np.ones((2, 3), bool))
        >>> seeds = row_seeds(rows, 0)
        >>> bool(seeds[0] == seeds[1])
        True
    """
    key = seed.to_bytes(8, "little")
    values = np.rint(encoded.values.reshape(len(encoded), -1) * 2.0**20)
    values = np.clip(values, -(2.0**62), 2.0**62).astype(np.int64)
    rows = np.concatenate([values, encoded.codes], axis=1)
    digests = [hashlib.blake2b(row.tobytes(), digest_size=4, key=key).digest() for row in rows]
    return np.frombuffer(b"".join(digests), np.uint32).astype(np.int64)


def _draws(seeds: Tensor, draws: int, k: int) -> Tensor:
    r"""Return N(0, I) noise ``(n, draws, k)``, each row from its own seed."""
    noise, generator = torch.empty(len(seeds), draws, k), torch.Generator()
    for row, seed in zip(noise, seeds.tolist(), strict=True):
        row.normal_(generator=generator.manual_seed(seed))
    return noise


def _randn(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)


def _is_8_bit(encoding: Any) -> bool:
    return encoding.kind == "images" and encoding.dtype == "uint8"


class _PseudoInputs(nn.Module):
    r"""Standardised rows that are learnt; their codes make the prior."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(PSEUDO_INPUTS, *shape))


_LIKELIHOODS: dict[str, type[Gaussian] | type[Bernoulli] | type[DiscretisedLogistic]] = {
    "gaussian": Gaussian,
    "bernoulli": Bernoulli,
    "discretised-logistic": DiscretisedLogistic,
}
