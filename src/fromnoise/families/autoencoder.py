r"""The auto-encoder (Hinton & Salakhutdinov 2006): a non-linear principal component analysis.

    x → z       the encoder
    z → x       the decoder, for codes drawn from a ``prior``, if there is one
    loss        E ‖x − Decoder(Encoder(x))‖²
    log p(x)    none

Nothing in this loss puts a distribution on the codes, so by itself an auto-encoder is not
generative: a random z need not lie where any code lies.
"""

__all__ = ["AutoEncoder"]

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fromnoise.base import LatentModel
from fromnoise.training import Batch, Objective


@dataclass(kw_only=True, eq=False, repr=False)
class AutoEncoder(LatentModel):
    r"""Learns a short code for every row, and the way back.

    Example:
        >>> import fromnoise as fn
        >>> X = fn.data.load("digits").X[:200]
        >>> prior = fn.GaussianMixture(n_components=2)
        >>> model = AutoEncoder(latent_dim=4, prior=prior, budget="30 steps", random_state=0).fit(X)
        >>> model.encode(X[:3]).shape, model.reconstruct(X[:3]).shape, model.sample(2).shape
        ((3, 4), (3, 8, 8), (2, 8, 8))
    """

    family: ClassVar[str] = "autoencoder"

    def code(self, x: Tensor) -> Tensor:
        r"""Return Encoder(x)."""
        z: Tensor = self.networks_["encoder"](self.moments.standardise(x))
        return z

    def generate(self, z: Tensor, y: Tensor | None) -> Tensor:
        r"""Return Decoder(z)."""
        decoder = self.networks_["decoder"]
        return self.moments.restore(decoder(z) if y is None else decoder(z, y))

    def objectives(self) -> list[Objective]:
        r"""Return the one objective, the squared error of the reconstruction."""
        return [Objective(self.loss, [*self.networks_.parameters()])]

    def loss(
        self, batch: Batch, y: Tensor | None, progress: float, generator: torch.Generator
    ) -> Tensor:
        r"""Return the mean over rows of ‖x − x̂‖²."""
        (x,) = batch
        error = x - self.generate(self.code(x), y)
        return error.square().flatten(1).sum(1).mean()

    def _cannot(self, name: str) -> str | None:
        if name in ("sample", "sample_iter") and self.prior is None:
            return "no"
        if name in ("score_samples", "score"):
            return "no density"
        return super()._cannot(name)
