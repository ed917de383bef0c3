r"""Flow matching (Lipman 2023; Liu 2022; Tong 2024).

    z → x       dx/dt = v(x, t) from x_0 = z ~ N(0, I) at t = 0 to data at t = 1
    loss        E ‖v(x_t, t) − (x_1 − x_0)‖²,   x_t = (1 − t) x_0 + t x_1
    x → z       the same ODE backwards
    log p(x)    log N(x_0; 0, I) − ∫ div v dt, exact up to the solver

x_0 is noise, x_1 is data, t is drawn at random. The minimiser of the loss is the conditional
mean E[x_1 − x_0 | x_t], and that is the velocity of a flow whose marginals are those of x_t
(Lipman 2023, theorems 1 and 2). The loss at its minimum is the variance that is left, not zero:
its value says how one model does over time, not how good it is.

Which x_0 meets which x_1 is free (``coupling``): independently, or by the assignment of least
total squared distance within blocks of 64, which makes paths straighter (Tong 2024, section 3.2).
"""

__all__ = ["FlowMatching"]

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fromnoise.base import TransportModel
from fromnoise.base.arguments import is_number
from fromnoise.training import Batch, Objective
from fromnoise.transport.couplings import optimal_transport
from fromnoise.transport.paths import VP_COSINE, Path, bridge, gaussian_flow, linear
from fromnoise.transport.times import TIME_SAMPLERS

_COUPLED_COLUMNS = 100


@dataclass(kw_only=True, eq=False, repr=False)
class FlowMatching(TransportModel):
    r"""Learns the velocity that carries noise to data.

    Args:
        coupling: ``"independent"``; ``"optimal-transport"``, within classes if there are any;
            or ``"auto"``: optimal transport for unconditional vectors and tables of at most
            100 columns, independent otherwise.
        time_sampling: How the times of the loss are drawn: ``"uniform"``; ``"logit-normal"``
            with more weight on the middle of the path; or ``"log-normal"``, beyond the middle.
        path: ``"linear"``, or ``"vp-cosine"``, which keeps the variance.
        sigma_min: Noise that the linear path leaves on standardised data at t = 1.
        solver: How the ODE is solved when sampling; ``"dopri5"`` is adaptive and ignores
            ``steps``, ``"adams"`` takes one evaluation a step.

    Attributes:
        history_: One dictionary a record: step, progress, seconds, loss, learning_rate,
            validation.
        status_: ``"ok"`` or ``"diverged"``, with ``status_reason_``.
        networks_: The trained network under the key ``"network"``.

    Example:
        >>> import fromnoise as fn
        >>> X = fn.data.load("moons").X[:500]
        >>> model = fn.FlowMatching(budget="30 steps", network="small", random_state=0).fit(X)
        >>> model.sample(3, random_state=1).shape
        (3, 2)
        >>> model.decode(model.encode(X[:4])).shape, model.score_samples(X[:4]).shape
        ((4, 2), (4,))
    """

    family: ClassVar[str] = "flow"

    coupling: Literal["auto", "independent", "optimal-transport"] = "auto"
    time_sampling: Literal["uniform", "logit-normal", "log-normal"] = "uniform"
    path: Literal["linear", "vp-cosine"] = "linear"
    sigma_min: float = 0.0
    solver: Literal["euler", "midpoint", "heun", "rk4", "adams", "dopri5"] = "midpoint"

    @property
    def route(self) -> Path:
        r"""The path of the model."""
        return linear(self.sigma_min) if self.path == "linear" else VP_COSINE

    def velocity(self, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        r"""Return v(x, t | y): the flow of a Gaussian, and what the network adds to it."""
        u, spread, x = gaussian_flow(self.route, x, t)
        return u + spread * self._ask(x, t, y)

    def objectives(self) -> list[Objective]:
        r"""Return the one objective, E ‖v(x_t, t) − (x_1 − x_0)‖²."""
        if self.coupling == "optimal-transport" and self.condition_ and self.condition_.width:
            raise ValueError(
                'coupling="optimal-transport" would tie the noise to a continuous y, and samples'
                ' of p(x | y) would be wrong. Use coupling="independent" or classes.'
            )
        return [Objective(self.loss, [*self.networks_.parameters()])]

    def prepare(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> Batch:
        r"""Standardise each row to x_1, and pair it with noise x_0."""
        x = self.moments.standardise(x)
        x_0 = torch.randn(x.shape, generator=generator)
        if self._coupled():
            classes = y if y is not None and y.ndim == 1 else None
            x_0 = optimal_transport(x_0, x, classes)
        return x_0, x

    def loss(
        self, batch: Batch, y: Tensor | None, progress: float, generator: torch.Generator
    ) -> Tensor:
        r"""Return the mean over rows of ‖v(x_t, t) − (x_1 − x_0)‖² / d."""
        x_0, x_1 = batch
        t = TIME_SAMPLERS[self.time_sampling](len(x_1), generator)
        x_t, u_t = bridge(self.route, x_0, x_1, t)
        v = self.velocity(x_t, t, self._hidden(y, generator))
        return (v - u_t).square().mean()

    def _check_arguments(self) -> None:
        super()._check_arguments()
        if not is_number(self.sigma_min) or not 0 <= self.sigma_min < 1:
            raise ValueError(f"sigma_min must be a number in [0, 1), got {self.sigma_min!r}.")

    def _coupled(self) -> bool:
        if self.coupling != "auto":
            return self.coupling == "optimal-transport"
        shape = self.encoding_.model_shape
        few = len(shape) == 1 and shape[0] <= _COUPLED_COLUMNS
        return few and self.condition_ is None
