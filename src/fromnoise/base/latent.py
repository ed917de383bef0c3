r"""What auto-encoder and VAE share: an encoder, a decoder, and a law of the codes between them.

    x → z       the encoder
    z → x       the decoder
    p(z)        N(0, I), or any model of this library fitted on the codes of the training rows

Only p(z) makes such a model generative: where nothing says how codes are distributed, nothing
can be drawn. A model as ``prior`` is cloned and takes 40 % of the budget (Ghosh 2020, section 4:
ex-post density estimation).

The encoder sees rows alone, never their labels, so that ``transform`` works where y is what a
later step has to predict; the decoder and the law of the codes are given y. In a ``Pipeline``
labels are not even learnt from: see :meth:`LatentModel.fit_transform`.
"""

__all__ = ["LatentModel", "row_errors"]

import copy
import time
from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils import Tags
from torch import Tensor, nn

from fromnoise import data
from fromnoise.base.arguments import is_whole
from fromnoise.base.generative import BLOCK, GenerativeModel
from fromnoise.base.neural import NeuralModel
from fromnoise.data import Encoded
from fromnoise.errors import DataError
from fromnoise.networks import Moments, defaults
from fromnoise.persistence import Tree
from fromnoise.training import Budget, normal_rows, seed_of, torch_rng

PRIOR_SHARE = 0.4
_SPREAD_FLOOR = 1e-4  # of all pixels together, in model space
_STD_FLOOR = 0.05  # of one column
_CODES, _PRIOR, _DRAW = 24, 25, 26  # what a random stream is for


@dataclass(kw_only=True, eq=False, repr=False)
class LatentModel(ClassNamePrefixFeaturesOutMixin, TransformerMixin, NeuralModel):
    r"""Base of the families that code a row by a few numbers.

    Args:
        latent_dim: Length of a code; ``"auto"`` is a fixed function of the data's shape, or what
            an encoder of your own returns.
        prior: The law of the codes: a model that is fitted on them. It is cloned and takes its
            seed from this model's; its own ``budget``, ``device`` and ``run_dir`` must not be
            set.
    """

    _pair: ClassVar[tuple[str, str] | None] = ("encoder", "decoder")

    latent_dim: int | Literal["auto"] = "auto"
    prior: Any = None

    # --- what a family writes -----------------------------------------------------------------

    @abstractmethod
    def code(self, x: Tensor) -> Tensor:
        r"""Return the codes ``(n, k)`` of packed rows x ``(n, *model_shape)``."""

    def draw_code(self, x: Tensor, noise: Tensor) -> Tensor:
        r"""Return codes as the prior is to learn them; noise is N(0, I), ``(n, k)``."""
        return self.code(x)

    @property
    def code_columns(self) -> int:
        r"""How many numbers the encoder returns for a row."""
        return self.latent_dim_

    @property
    def decoded_shape(self) -> tuple[int, ...]:
        r"""The shape of what the decoder returns for a row."""
        return self.encoding_.model_shape

    # --- arguments ----------------------------------------------------------------------------

    def _check_arguments(self) -> None:
        super()._check_arguments()
        k = self.latent_dim
        if k != "auto" and not (is_whole(k) and k >= 1):
            raise ValueError(f'latent_dim must be "auto" or a positive int, got {k!r}.')
        if not isinstance(self.prior, GenerativeModel):
            self._check_named_prior()
            return
        for name, unset in (("budget", "auto"), ("device", "auto"), ("run_dir", None)):
            if getattr(self.prior, name, unset) != unset:
                raise ValueError(
                    f"The prior's {name} must not be set, got {getattr(self.prior, name)!r}: it"
                    f" is given a share of this model's {name}."
                )
        if not hasattr(self.prior, "sample"):
            raise ValueError(
                f"prior={type(self.prior).__name__}() cannot be sampled from. Use a model that"
                " can, such as GaussianMixture(n_components=10) or FlowMatching()."
            )
        self.prior._check_arguments()

    def _check_named_prior(self) -> None:
        if self.prior is not None:
            raise ValueError(
                "prior must be None or a model such as GaussianMixture(n_components=10) or"
                f" FlowMatching(), got {self.prior!r}."
            )

    # --- networks -----------------------------------------------------------------------------

    def build(self) -> nn.ModuleDict:
        r"""Return encoder, decoder and the moments of the training rows."""
        shape, condition = self.encoding_.model_shape, self.condition_
        if isinstance(self.network, tuple):
            encoder, decoder = self._own_pair(*self.network)
        else:
            encoder = defaults.default_encoder(shape, self.network_size_, self.code_columns)
            decoder = defaults.default_decoder(
                self.latent_dim_,
                self.decoded_shape,
                self.network_size_,
                n_classes=condition.n_classes if condition else 0,
                n_columns=condition.width if condition else 0,
            )
        return nn.ModuleDict({"encoder": encoder, "decoder": decoder, "moments": Moments(shape)})

    def _own_pair(self, encoder: nn.Module, decoder: nn.Module) -> tuple[nn.Module, nn.Module]:
        x = torch.zeros(2, *self.encoding_.model_shape)
        z = torch.zeros(2, self.latent_dim_)
        y = [] if self.condition_ is None else [self._example(self.condition_)]
        encoder = self._own_network(encoder, x, out=(self.code_columns,), name="The encoder")
        return encoder, self._own_network(
            decoder, z, *y, out=self.decoded_shape, name="The decoder"
        )

    def measure(self, rows: Tensor) -> None:
        r"""Take mean and spread of packed rows; all pixels of images share one spread."""
        self.moments.set(rows, floor=_STD_FLOOR)
        if self.encoding_.kind == "images":
            spread = (rows - rows.mean(0)).square().mean().sqrt().clamp_min(_SPREAD_FLOOR)
            self.moments.std.fill_(spread.item())

    @property
    def noise_shape(self) -> tuple[int, ...]:
        r"""(k,), the shape of one code."""
        return (self.latent_dim_,)

    @property
    def n_evaluations(self) -> int:
        r"""How often a network is evaluated to draw a sample."""
        return 1 + int(getattr(getattr(self, "prior_", None), "n_evaluations", 0))

    def _code_width(self) -> int:
        return self.latent_dim_

    @property
    def _n_features_out(self) -> int:
        return self.latent_dim_

    # --- fitting ------------------------------------------------------------------------------

    def _learn(self, X: Any, y: np.ndarray | None, budget: Budget | None, seed: int) -> None:
        self.latent_dim_ = self._latent_dim()
        if not isinstance(self.prior, GenerativeModel):
            super()._learn(X, y, budget, seed)
            return
        super()._learn(X, y, _share(budget, 1 - PRIOR_SHARE), seed)
        started = time.monotonic()
        try:
            codes = self._training_codes(X, seed)
            # Not all of it in this process, where an earlier one had begun the fit.
            spent = self.fit_seconds_ + time.monotonic() - started
            self._fit_prior(codes, y, _rest(budget, spent), seed)
        except (KeyboardInterrupt, SystemExit):  # the latter is what SIGTERM becomes, see cli
            self.interrupted_ = True  # the networks are trained, and stay usable without a prior
            raise

    def _latent_dim(self) -> int:
        if self.latent_dim != "auto":
            return int(self.latent_dim)
        shape = self.encoding_.model_shape
        if isinstance(self.network, tuple) and np.prod(shape):
            result = _tried(self.network[0], torch.zeros(2, *shape))
            if isinstance(result, Tensor) and result.ndim == 2:
                return max(1, result.shape[1] // self._numbers_a_code)
        return defaults.default_latent_dim(shape)

    _numbers_a_code: ClassVar[int] = 1  # of the encoder, for each number of a code

    def _training_codes(self, X: Any, seed: int) -> np.ndarray:
        r"""Return a code of every row that was given to ``fit``, ``(n, k)``."""
        parts = []
        for start in range(0, data.n_rows(X), BLOCK):
            index = np.arange(start, min(start + BLOCK, data.n_rows(X)))
            packed = self.encoding_.pack(self.encoding_.encode(data.take(X, index)))
            rng = torch_rng(seed, _CODES, start)
            noise = normal_rows(len(index), self.latent_dim_, generator=rng)
            parts.append(self._in_blocks(_without_y(self.draw_code), packed, None, noise.numpy()))
        return np.concatenate(parts)

    def _fit_prior(self, codes: np.ndarray, y: np.ndarray | None, budget: str, seed: int) -> None:
        prior = clone(self.prior).set_params(
            budget=budget, random_state=seed_of(seed, _PRIOR) % 2**31
        )
        if isinstance(prior, NeuralModel):
            prior.device = self.device
        try:
            with self._journal.part("prior") as journal:
                prior._fit_into(journal, codes, y)
        except DataError as error:
            raise DataError(f"The prior cannot be fitted on the codes: {error}") from error
        except (KeyboardInterrupt, SystemExit):
            if getattr(prior, "interrupted_", False):
                self._take_prior(prior)
            raise
        self._take_prior(prior)

    def _take_prior(self, prior: GenerativeModel) -> None:
        self.prior_ = prior
        self.n_parameters_ += prior.n_parameters_
        self.fit_seconds_ += prior.fit_seconds_
        if prior.status_ != "ok":
            self.status_ = prior.status_
            self.status_reason_ = f"prior: {prior.status_reason_}"

    # --- codes and draws ----------------------------------------------------------------------

    def reconstruct(self, X: Any, y: Any = None) -> Any:
        r"""Return the decoder's answer to the code of each row, x̂ = Decoder(Encoder(x)).

        Args:
            X: Rows like those of ``fit``.
            y: Labels for a conditional model.

        Returns:
            Rows of the kind that ``fit`` was given.
        """
        return self.decode(self.encode(X), y)

    def reconstruction_error(self, X: Any, y: Any = None) -> np.ndarray:
        r"""Return how far each row is from its reconstruction.

        Args:
            X: Rows like those of ``fit``.
            y: Labels for a conditional model.

        Returns:
            The squared distance in model space, ``(n,)``: columns in units of their spread,
            pixels from −1 to 1; plus one for each category that comes back as another. Missing
            entries have no error.
        """
        self._check_usable()
        X = self.encoding_.check(X)
        n = data.n_rows(X)

        def errors(X: Any, codes: np.ndarray | None) -> np.ndarray:
            encoded = self.encoding_.encode(X)
            return row_errors(encoded, self._from_noise(self._to_noise(encoded, None), codes))

        return self._by_parts(errors, X, self._needed(self._given(y, n), n))

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        r"""Fit without labels, and return :meth:`transform` of X.

        Args:
            X: Rows as for ``fit``.
            y: Ignored. A ``Pipeline`` hands on here what its last step is to predict, and a
                decoder that is told y leaves the codes free not to say it. For p(x | y) there is
                ``fit(X, y)``.

        Returns:
            Codes ``(n, k)``.
        """
        codes: np.ndarray = self.fit(X).transform(X)
        return codes

    # scikit-learn's set_output wraps what stands in the class itself, not what it inherits.
    def transform(self, X: Any) -> np.ndarray:
        r"""Return :meth:`encode` of X; the name that a ``Pipeline`` looks for.

        Args:
            X: Rows like those of ``fit``.

        Returns:
            Codes ``(n, k)``.
        """
        return self.encode(X)

    def _draw_codes(self, seed: int, block: int, n: int, y: np.ndarray | None) -> np.ndarray:
        if not hasattr(self, "prior_"):
            rng = torch_rng(seed, block)
            return normal_rows(n, *self.noise_shape, generator=rng).numpy()
        given = None if y is None else self.prior_._given(y, n)
        encoded = self.prior_._draw(seed_of(seed, _DRAW), block, n, given)
        return np.asarray(self.prior_.encoding_.decode(encoded), dtype=np.float32)

    def _draw(self, seed: int, block: int, n: int, y: np.ndarray | None) -> Encoded:
        z = self._draw_codes(seed, block, n, y)
        return self.encoding_.unpack(self._in_blocks(self.generate, z, y))

    def _to_noise(self, encoded: Encoded, y: np.ndarray | None) -> np.ndarray:
        return self._in_blocks(_without_y(self.code), self.encoding_.pack(encoded), None)

    def _from_noise(self, z: np.ndarray, y: np.ndarray | None) -> Encoded:
        return self.encoding_.unpack(self._in_blocks(self.generate, z, y))

    def encode(self, X: Any, y: Any = None) -> np.ndarray:
        r"""Return the code of each row, z = Encoder(x).

        Args:
            X: Rows like those of ``fit``.
            y: Not needed: the encoder sees rows alone. It is checked if given.

        Returns:
            Codes ``(n, k)``, float32.
        """
        self._check_usable()
        X = self.encoding_.check(X)
        self._given(y, data.n_rows(X))
        return self._by_parts(self._codes, X, None)

    # --- saving -------------------------------------------------------------------------------

    def _state(self) -> Tree:
        prior = self.prior_._to_tree() if hasattr(self, "prior_") else None
        return {**super()._state(), "latent_dim": self.latent_dim_, "prior": prior}

    def _restore(self, state: Tree) -> None:
        self.latent_dim_ = int(state["latent_dim"])
        super()._restore(state)
        if state["prior"] is not None:
            self.prior_ = state["prior"]  # a model by now: the registry has built it
            self.n_parameters_ += self.prior_.n_parameters_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


def row_errors(truth: Encoded, guess: Encoded) -> np.ndarray:
    r"""Return the squared distance over the values that exist, plus one a wrong code, ``(n,)``.

    Args:
        truth: Rows in model space.
        guess: What is held against them.

    Example:
        >>> def rows(value, code):
        ...     return Encoded(np.array([[value]]), np.array([[code]]), np.ones((1, 1), bool))
        >>> row_errors(rows(1.0, 0), rows(3.0, 2)).tolist()
        [5.0]
    """
    error = np.where(truth.observed, truth.values - guess.values, 0.0)
    squares = np.square(error, dtype=np.float64).reshape(len(truth), -1).sum(1)
    return np.asarray(squares + (truth.codes != guess.codes).sum(1))


def _tried(network: nn.Module, x: Tensor) -> Any:
    r"""Return what a module answers, None if it cannot; the module itself stays as it is."""
    try:
        with torch.no_grad():
            return copy.deepcopy(network).eval()(x)
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None  # what is wrong is said where its shapes are checked


def _share(budget: Budget | None, share: float) -> Budget | None:
    if budget is None:
        return None
    amount = budget.amount * share
    return Budget(amount if budget.unit == "seconds" else max(1, round(amount)), budget.unit)


def _rest(budget: Budget | None, spent: float) -> str:
    r"""Return the prior's budget as an argument: what the clock has left, or its share."""
    if budget is None:
        return "auto"
    if budget.unit == "seconds":
        return f"{max(budget.amount - spent, 0.01):.3f}s"
    return f"{max(1, round(budget.amount * PRIOR_SHARE))} {budget.unit}"


def _without_y(function: Any) -> Any:
    return partial(_ignoring_y, function)


def _ignoring_y(function: Any, x: Tensor, _: Tensor | None, *more: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = function(x, *more)
    return result
