r"""Diffusion (Ho 2020; Song 2021; Karras 2022).

    z → x       remove the noise step by step, by an ODE or with fresh noise, from z at t = 0
    loss        E w ‖F(x_t, t) − target‖²,   x_t = α_t x_1 + σ_t x_0; the target is the noise x_0,
                the data x_1, or the velocity on the arc, cos θ x_1 − sin θ x_0, tan θ = α_t/σ_t
    x → z       the ODE backwards
    log p(x)    log N(x_0; 0, I) − ∫ div v dt, exact up to the solver

A path fades data into noise. A network that sees the mixture learns what went in, and the three
targets say the same of it (``transport.paths.convert``), as does the score of the density of x_t,
∇ log p_t = −E[x_0 | x_t] / σ_t, after which such models are called as well.

All paths are one arc walked at different speeds (``transport.paths``), so everything happens on
it: the network sees sin θ x_1 + cos θ x_0 and the time 2θ/π. A ``path`` only says which noise
levels are learnt when times are drawn evenly, and which a uniform grid of the sampler visits.
"""

__all__ = ["Diffusion"]

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from fromnoise.base import TransportModel, field
from fromnoise.base.arguments import is_number
from fromnoise.networks import TimeEmbedding
from fromnoise.networks.layers import Zero
from fromnoise.training import Batch, Objective
from fromnoise.transport.paths import LINEAR, PATHS, VP_COSINE, Path, angle, bridge, convert
from fromnoise.transport.times import TIME_SAMPLERS
from fromnoise.transport.weightings import WEIGHTINGS, error_share

_QUARTER = math.pi / 2
_LAST = 1 - 1e-3  # time after which a guess of the data tells no velocity any more
_LEAST = 1 / 160  # angle of z: where 160 parts of noise meet one of data, nothing can be told


@dataclass(kw_only=True, eq=False, repr=False)
class Diffusion(TransportModel):
    r"""Learns to take noise away.

    Args:
        path: How data fade into noise: ``"linear"``, ``"vp-linear"`` (Ho), ``"vp-cosine"``
            (Nichol) or ``"edm"`` (Karras).
        prediction: What the network learns: ``"noise"``, ``"data"``, or ``"velocity"``, whose
            input and target have unit size at every noise level.
        weighting: Of the noise levels in the loss: ``"simple"`` (Ho), ``"min-snr"``, ``"edm"``
            (Karras), or ``"uncertainty"``, learnt.
        time_sampling: How the times of the loss are drawn: ``"uniform"`` on the path, ``"steps"``
            for Ho's 1,000 steps, or by the noise itself, ``"logit-normal"``, ``"log-normal"``.
        solver: How samples are drawn. Without fresh noise: ``"adams"``, ``"dpm++2m"``,
            ``"dpm++3m"``, ``"ddim"`` and ``"euler"``, with one evaluation a step; ``"heun"``,
            ``"midpoint"``, ``"edm"``, ``"rk4"``; and ``"dopri5"``, which is adaptive. With it:
            ``"ancestral"``, ``"ancestral-large"`` (the larger variance), and those below.
        churn: Fresh noise of ``"ddim"`` (η: 0 none, 1 ancestral) and ``"edm"`` (S_churn).

    Attributes:
        history_: One dictionary a record: step, progress, seconds, loss, learning_rate,
            validation.
        status_: ``"ok"`` or ``"diverged"``, with ``status_reason_``.
        networks_: The trained network under the key ``"network"``.

    Example:
        >>> import fromnoise as fn
        >>> X = fn.data.load("moons").X[:500]
        >>> model = fn.Diffusion(budget="30 steps", network="small", random_state=0).fit(X)
        >>> model.sample(3, random_state=1).shape
        (3, 2)
        >>> model.decode(model.encode(X[:4])).shape, model.score_samples(X[:4]).shape
        ((4, 2), (4,))
    """

    family: ClassVar[str] = "diffusion"
    _after_fit: ClassVar[tuple[str, ...]] = (*TransportModel._after_fit, "churn")
    _of_fit: ClassVar[tuple[str, ...]] = ("path", "prediction")

    path: Literal["vp-linear", "vp-cosine", "edm", "linear"] = "linear"
    prediction: Literal["noise", "data", "velocity"] = "velocity"
    weighting: Literal["simple", "min-snr", "edm", "uncertainty"] = "edm"
    time_sampling: Literal["uniform", "steps", "logit-normal", "log-normal"] = "log-normal"
    solver: Literal[
        "euler",
        "midpoint",
        "heun",
        "rk4",
        "adams",
        "dopri5",
        "ddim",
        "ancestral",
        "ancestral-large",
        "dpm++2m",
        "dpm++3m",
        "edm",
    ] = "adams"
    churn: float = 0.0

    @property
    def route(self) -> Path:
        r"""The arc, at even speed."""
        return VP_COSINE

    @property
    def clock(self) -> Path:
        r"""The path of the model."""
        return PATHS[self.path]

    @property
    def start(self) -> float:
        r"""Where the path begins on the arc."""
        first = angle(self.clock, torch.zeros((), dtype=torch.float64)).item()
        return max(first, _LEAST) / _QUARTER

    def exact_times(self) -> Tensor:
        r"""Return times that are even on the arc, or in ln tan θ where its ends are stiff.

        What the network predicts is divided by cos θ where it is the data, and by sin θ where it
        is the noise, on the way to a velocity.
        """
        if self.prediction == "velocity":
            return super().exact_times()
        ends = torch.tensor([self.start, _LAST], dtype=torch.float64) * _QUARTER
        first, last = ends.tan().log().tolist()
        tangents = torch.linspace(first, last, field.EXACT_STEPS, dtype=torch.float64).exp()
        return torch.cat([tangents.atan() / _QUARTER, torch.ones(1, dtype=torch.float64)])

    @property
    def fresh_noise(self) -> float:
        r"""The argument ``churn``."""
        return self.churn

    def build(self) -> nn.ModuleDict:
        r"""Return the network, and one for w where the weighting is learnt."""
        networks = super().build()
        if self.weighting == "uncertainty":
            networks["log_variance"] = nn.Sequential(TimeEmbedding(32), Zero(32, 1))
        return networks

    def velocity(self, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        r"""Return v(x, t | y) on the arc, from what the network predicts."""
        guess = self._ask(x, t, y)
        if self.prediction == "velocity":
            return _QUARTER * guess.to(x.dtype)
        if self.prediction == "data":
            t = t.clamp_max(_LAST)
        return convert(VP_COSINE, x, t, guess.to(x.dtype), self.prediction, "velocity")

    def objectives(self) -> list[Objective]:
        r"""Return the one objective."""
        return [Objective(self.loss, [*self.networks_.parameters()])]

    def prepare(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> Batch:
        r"""Standardise each row to x_1, and draw noise x_0."""
        x = self.moments.standardise(x)
        return torch.randn(x.shape, generator=generator), x

    def loss(
        self, batch: Batch, y: Tensor | None, progress: float, generator: torch.Generator
    ) -> Tensor:
        r"""Return the mean over rows of w ‖F(x_t, t) − target‖² / d."""
        x_0, x_1 = batch
        theta = self._angles(len(x_1), generator)
        t = theta / _QUARTER
        x_t, u_t = bridge(VP_COSINE, x_0, x_1, t)
        target = {"noise": x_0, "data": x_1, "velocity": u_t / _QUARTER}[self.prediction]
        guess = self._ask(x_t, t, self._hidden(y, generator))
        error = (guess - target).square().flatten(1).mean(1)
        error = error / error_share(self.prediction, theta).clamp_min(1e-6)
        if self.weighting == "uncertainty":
            w = self.networks_["log_variance"](t).squeeze(1)
            return (error * (-w).exp() + w).mean()
        return (WEIGHTINGS[self.weighting](theta) * error).mean()

    def _angles(self, n: int, generator: torch.Generator) -> Tensor:
        r"""Return the places on the arc at which the loss is taken."""
        of_path = self.time_sampling in ("uniform", "steps")
        t = TIME_SAMPLERS[self.time_sampling](n, generator)
        return angle(self.clock if of_path else LINEAR, t).clamp_min(_LEAST)

    def _check_arguments(self) -> None:
        super()._check_arguments()
        if not is_number(self.churn) or not 0 <= self.churn < math.inf:
            raise ValueError(f"churn must be a number of at least 0, got {self.churn!r}.")
        if self.churn and self.solver not in ("ddim", "edm"):
            raise ValueError(
                f'churn is for solver="ddim" or "edm"; with {self.solver!r} leave it at 0, got'
                f" {self.churn!r}."
            )
        if self.solver == "ddim" and self.churn > 1:
            raise ValueError(f'churn is η with solver="ddim", at most 1; got {self.churn!r}.')
