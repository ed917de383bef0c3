r"""The auto-encoder (Hinton & Salakhutdinov 2006): a non-linear principal component analysis.

    x → z       the encoder
    z → x       the decoder, for codes drawn from a ``prior``, if there is one
    loss        E ‖x − Decoder(Encoder(x))‖²
    log p(x)    none

Linear networks reach the subspace of the first k principal components and their error, the sum
of the eigenvalues left out (Baldi & Hornik 1989); others bend it.

Nothing in this loss puts a distribution on the codes, so by itself an auto-encoder is not
generative: a random z need not lie where any code lies. Fitted to the codes afterwards, a prior
tells where they lie (ex-post density estimation, Ghosh 2020, section 4). Variants:

    denoising (Vincent 2008)       Encoder(x + s ε) in place of Encoder(x), the target stays x
    regularised (Ghosh 2020)       + a ‖z‖² + b ‖θ‖² + c ‖∂Decoder/∂z‖²,  θ the decoder's weights
"""

__all__ = ["AutoEncoder"]

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional

from fromnoise import data
from fromnoise.base import LatentModel
from fromnoise.base.arguments import is_number
from fromnoise.base.latent import row_errors
from fromnoise.data import Encoding
from fromnoise.errors import DataError
from fromnoise.training import Batch, Objective, entropy, numpy_rng

_CURVE = 27  # what a random stream is for
_HELD_OUT = 5  # one row in so many


@dataclass(kw_only=True, eq=False, repr=False)
class AutoEncoder(LatentModel):
    r"""Learns a short code for every row, and the way back.

    Args:
        noise: Standard deviation of Gaussian noise on what the encoder sees in training, in model
            space: 1 is about the spread of a column, 2 the range of a pixel.
        code_l2: Weight of ‖z‖². Alone it only shrinks the codes, as the decoder can stretch them
            again; it takes ``decoder_l2`` or ``decoder_gradient`` beside it.
        decoder_l2: Weight of the decoder's squared weights, for smoothness.
        decoder_gradient: Weight of ‖∂Decoder/∂z‖², for smoothness where codes lie. Training
            then takes about twice as long.

    Attributes:
        latent_dim_: Length of a code.
        prior_: The fitted law of the codes, where a ``prior`` was given.
        history_: One dictionary a record: step, progress, seconds, loss, learning_rate,
            validation.
        status_: ``"ok"`` or ``"diverged"``, with ``status_reason_``.
        networks_: The trained networks ``"encoder"`` and ``"decoder"``.

    Example:
        >>> import fromnoise as fn
        >>> X = fn.data.load("digits").X[:200]
        >>> prior = fn.GaussianMixture(n_components=2)
        >>> model = AutoEncoder(latent_dim=4, prior=prior, budget="30 steps", random_state=0)
        >>> model = model.fit(X)
        >>> model.encode(X[:3]).shape, model.reconstruct(X[:3]).shape, model.sample(2).shape
        ((3, 4), (3, 8, 8), (2, 8, 8))
    """

    family: ClassVar[str] = "autoencoder"

    noise: float = 0.0
    code_l2: float = 0.0
    decoder_l2: float = 0.0
    decoder_gradient: float = 0.0

    # --- the model ----------------------------------------------------------------------------

    def code(self, x: Tensor) -> Tensor:
        r"""Return Encoder(x)."""
        z: Tensor = self.networks_["encoder"](self.moments.standardise(x))
        return z

    def generate(self, z: Tensor, y: Tensor | None) -> Tensor:
        r"""Return Decoder(z)."""
        decoder = self.networks_["decoder"]
        return self.moments.restore(decoder(z) if y is None else decoder(z, y))

    def objectives(self) -> list[Objective]:
        r"""Return the one objective: reconstruction, and the penalties that were asked for."""
        return [Objective(self.loss, [*self.networks_.parameters()])]

    def prepare(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> Batch:
        r"""Return rows as the encoder will see them later, and which entries are no fillers."""
        if not self.encoding_.cardinalities:
            return x, torch.ones(1)
        observed = torch.from_numpy(self.encoding_.unpack(x.numpy()).observed)
        groups = torch.ones(len(x), x.shape[1] - observed.shape[1])
        observed = torch.cat([observed, groups], dim=1)
        return x * observed, observed

    def loss(
        self, batch: Batch, y: Tensor | None, progress: float, generator: torch.Generator
    ) -> Tensor:
        r"""Return the mean over rows of (‖x − x̂‖² + penalties) / d."""
        x, observed = batch
        seen = x
        if self.noise:
            noise = torch.randn(x.shape, generator=generator, device=x.device)
            seen = (x + self.noise * noise) * observed
        z = self.code(seen)
        loss = self._errors(x, self.generate(z, y), observed).mean()
        if self.code_l2:
            loss = loss + self.code_l2 * z.square().sum(1).mean()
        if self.decoder_l2:
            weights = self.networks_["decoder"].parameters()
            loss = loss + self.decoder_l2 * sum(w.square().sum() for w in weights)
        if self.decoder_gradient:
            loss = loss + self.decoder_gradient * self._steepness(z, y, generator)
        return loss / math.prod(self.encoding_.model_shape)

    def _errors(self, x: Tensor, x_hat: Tensor, observed: Tensor) -> Tensor:
        r"""Return the error of each row, ``(n,)``; what is missing has none."""
        if not self.encoding_.cardinalities:
            return (x - x_hat).square().flatten(1).sum(1)
        d = self.encoding_.shape[0]
        error = ((x - x_hat) * observed)[:, :d].square().sum(1)
        for a, b in pairwise(d + np.cumsum((0, *self.encoding_.cardinalities))):
            # Not a squared error: the largest entry is taken, and that it is larger still than
            # the target is no fault.
            level = x[:, a:b].argmax(1)
            error = error + functional.cross_entropy(x_hat[:, a:b], level, reduction="none")
        return error

    def _steepness(self, z: Tensor, y: Tensor | None, generator: torch.Generator) -> Tensor:
        r"""Return the mean of ‖vᵀ ∂Decoder/∂z‖² with v ~ N(0, I), that is of ‖∂Decoder/∂z‖²."""
        with torch.enable_grad(), torch.autocast(z.device.type, enabled=False):
            z = z.float().requires_grad_()  # validation comes without gradients
            x_hat = self.generate(z, y)
            v = torch.randn(x_hat.shape, generator=generator, device=z.device)
            (slope,) = torch.autograd.grad(x_hat, z, v, create_graph=True)
        return slope.square().sum(1).mean()

    # --- arguments and capabilities -----------------------------------------------------------

    def _check_arguments(self) -> None:
        super()._check_arguments()
        for name in ("noise", "code_l2", "decoder_l2", "decoder_gradient"):
            value = getattr(self, name)
            if not (is_number(value) and 0 <= value < math.inf):
                raise ValueError(f"{name} must be a number, 0 or more, got {value!r}.")

    def _cannot(self, name: str) -> str | None:
        if name in ("sample", "sample_iter"):
            return self._cannot_sample(name)
        if name == "score_samples":
            return (
                "AutoEncoder has no score_samples: nothing puts a density on its codes, and its"
                " decoder gives a point, not a distribution. GaussianMixture has an exact density,"
                " FlowMatching one that is exact up to the solver, and VAE a lower bound."
                " reconstruction_error tells how far a row is from what the model knows."
            )
        if name == "score":
            return (
                "AutoEncoder has no score: without a density there is no one measure of both"
                " codes and samples. For model selection, GridSearchCV has scoring=, for instance"
                " scoring=lambda model, X: -model.reconstruction_error(X).mean(), or minus a"
                " distance of fromnoise.metrics between X and model.sample(len(X))."
            )
        if name == "impute":
            return (
                "AutoEncoder has no impute: its decoder gives a point, not a distribution, so"
                " nothing says how well a code agrees with what is seen. VAE has it, and"
                " GaussianMixture, Diffusion and FlowMatching."
            )
        return super()._cannot(name)

    def _cannot_sample(self, name: str) -> str | None:
        if hasattr(self, "prior_"):
            return None
        if self.prior is None:
            return (
                f"AutoEncoder has no {name}: nothing puts a distribution on its codes, so there is"
                " nothing to draw them from. A prior has one:"
                " AutoEncoder(prior=GaussianMixture(n_components=10)) fits a mixture to the codes"
                " (ex-post density estimation), AutoEncoder(prior=FlowMatching()) a flow (latent"
                " flow). Or use VAE(), whose codes are trained to be N(0, I)."
            )
        if hasattr(self, "networks_"):
            return (
                f"This AutoEncoder has no {name}: its codes have no fitted prior, because prior="
                " was set after the fit or the fit was interrupted before. Fit it again; encode,"
                " decode and reconstruct work as it is."
            )
        return None

    # --- how many numbers a code needs --------------------------------------------------------

    def explained_variance_curve(
        self, X: Any, latent_dims: Sequence[int]
    ) -> dict[str, np.ndarray]:
        r"""Measure the error of reconstruction against the length of the code, beside PCA's.

        A fifth of the rows is held out. For each length a clone without prior is fitted to the
        others, each with the whole ``budget``, and so is PCA, in the same model space. Errors
        are :meth:`reconstruction_error`, averaged over the held-out rows. This model is neither
        needed fitted nor changed.

        Args:
            X: Rows as for ``fit``.
            latent_dims: Lengths of codes, m positive ints.

        Returns:
            ``"latent_dim"`` ``(m,)``; ``"autoencoder"`` and ``"pca"``, mean errors ``(m,)``; and
            ``"mean"``, the error of answering the mean row always, ``()``. The explained variance
            is 1 − error / mean.

        Raises:
            ValueError: If a length is no positive int, or the networks are your own.
            DataError: If there are fewer than 10 rows.

        Example:
            >>> import fromnoise as fn
            >>> X = fn.data.load("wine").X
            >>> model = AutoEncoder(budget="100 steps", random_state=0)
            >>> curve = model.explained_variance_curve(X, [1, 5])
            >>> bool(curve["autoencoder"][1] < curve["autoencoder"][0] < curve["mean"])
            True
        """
        dims = self._lengths(latent_dims)
        seed = entropy(self.random_state)
        X = np.asarray(X) if isinstance(X, list | tuple) else X
        n = data.n_rows(X)
        if n < 2 * _HELD_OUT:
            raise DataError(f"A curve needs at least {2 * _HELD_OUT} rows, got {n}.")
        order = numpy_rng(seed, _CURVE).permutation(n)
        train, test = (data.take(X, np.sort(p)) for p in np.split(order, [n - n // _HELD_OUT]))
        errors = []
        for k in dims:
            model = clone(self).set_params(
                latent_dim=k, prior=None, random_state=seed % 2**31, run_dir=None
            )
            errors.append(model.fit(train).reconstruction_error(test).mean())
        mean, *pca = _pca_errors(model.encoding_, train, test, [0, *dims], seed % 2**31)
        return {
            "latent_dim": np.array(dims),
            "autoencoder": np.array(errors),
            "pca": np.array(pca),
            "mean": np.array(mean),
        }

    def _lengths(self, latent_dims: Sequence[int]) -> list[int]:
        if not isinstance(self.network, str):
            raise ValueError(
                "Networks of your own have one length of code; use a size, such as"
                ' network="small", for a curve over several.'
            )
        given = latent_dims if isinstance(latent_dims, Iterable) else [latent_dims]
        dims = [int(k) if isinstance(k, np.integer) else k for k in given]
        if not dims or not all(type(k) is int and k >= 1 for k in dims):
            raise ValueError(f"latent_dims must be positive ints, at least one, got {dims}.")
        return dims


def _pca_errors(
    encoding: Encoding, train: Any, test: Any, dims: list[int], seed: int
) -> list[float]:
    r"""Return the mean error on held-out rows of the first k principal components, for each k."""
    truth = encoding.encode(encoding.check(test))
    rows, held_out = (encoding.pack(encoding.encode(encoding.check(X))) for X in (train, test))
    rows, flat = rows.reshape(len(rows), -1), held_out.reshape(len(held_out), -1)
    pca = PCA(min(max(dims), *rows.shape), random_state=seed).fit(rows)
    errors = []
    for k in dims:
        directions = pca.components_[:k]
        back = pca.mean_ + (flat - pca.mean_) @ directions.T @ directions
        guess = encoding.unpack(back.reshape(held_out.shape).astype(np.float32))
        errors.append(float(row_errors(truth, guess).mean()))
    return errors
