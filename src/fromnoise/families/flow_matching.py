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
total squared distance within a block, which makes paths straighter (Tong 2024, section 3.2).

**Few steps** (``objective="mean-flow"``, Geng 2025): the network learns the mean velocity from t
to s, u(x_t, t, s) = (x_s − x_t) / (s − t), from what its slope along the flow must be,

    u = v + (s − t) du/dt,   du/dt = v ∂u/∂x + ∂u/∂t,

so that one step may lead from noise to data. (There time runs the other way, and r is our s.)

Nothing above needs x_0 to be noise. With rows as ``source`` the flow carries their distribution
to that of the data (Albergo 2023; Tong 2024), and has no density, as nobody knows theirs.
"""

__all__ = ["FlowMatching"]

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from fromnoise.base import TransportModel, capability
from fromnoise.base.arguments import is_number
from fromnoise.base.sources import SourceRows, transported, why_absent
from fromnoise.base.transport import STD_FLOOR
from fromnoise.errors import DataError
from fromnoise.networks import Moments
from fromnoise.persistence import Tree
from fromnoise.training import Batch, Objective, torch_rng
from fromnoise.transport.couplings import optimal_transport
from fromnoise.transport.densities import load_forward_mode
from fromnoise.transport.paths import VP_COSINE, Path, bridge, detour, gaussian_flow, linear
from fromnoise.transport.solvers import MeanStep, Method
from fromnoise.transport.times import TIME_SAMPLERS

_COUPLED_COLUMNS = 100
_MEASURED_ROWS, _MEASURE = 10_000, 31  # of the source, and their random stream


@dataclass(kw_only=True, eq=False, repr=False)
class FlowMatching(TransportModel):
    r"""Learns the velocity that carries noise, or rows of a source, to data.

    Args:
        source: Rows like those of X, any number of them; the flow then starts from their
            distribution instead of noise. ``sample`` draws from them, :meth:`transport` moves
            given ones, and codes are places among them, in units of the data's spread.
        objective: ``"velocity"``, or ``"mean-flow"`` for one to four steps of ``solver="mean"``;
            vectors and tables only, and a step of the fit takes two to three times as long.
        coupling: ``"independent"``; ``"optimal-transport"``, with y within classes, or near a
            row's numbers; or ``"auto"``: optimal transport from a source to unconditional vectors
            and tables of at most 100 columns, independent otherwise.
        time_sampling: How the times of the loss are drawn: ``"uniform"``; ``"logit-normal"``
            with more weight on the middle of the path; or ``"log-normal"``, beyond the middle.
        path: ``"linear"``, or ``"vp-cosine"``, which keeps the variance.
        sigma_min: Noise that the linear path leaves on standardised data at t = 1.
        bridge_noise: Size γ of noise γ sin² πt on the way between source and data
            (:func:`fromnoise.transport.paths.detour`).
        solver: How the ODE is solved when sampling; ``"dopri5"`` is adaptive and ignores
            ``steps``, ``"adams"`` takes one evaluation a step; ``"mean"`` takes a mean velocity.

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
    _of_fit: ClassVar[tuple[str, ...]] = ("objective", "path", "sigma_min", "bridge_noise")

    source: Any = None
    objective: Literal["velocity", "mean-flow"] = "velocity"
    coupling: Literal["auto", "independent", "optimal-transport"] = "auto"
    time_sampling: Literal["uniform", "logit-normal", "log-normal"] = "uniform"
    path: Literal["linear", "vp-cosine"] = "linear"
    sigma_min: float = 0.0
    bridge_noise: float = 0.0
    solver: Literal["euler", "midpoint", "heun", "rk4", "adams", "dopri5", "mean"] = "midpoint"

    @property
    def route(self) -> Path:
        r"""The path of the model."""
        straight = linear(self.sigma_min) if self.path == "linear" else VP_COSINE
        return detour(straight, self.bridge_noise) if self.bridge_noise else straight

    def build(self) -> nn.ModuleDict:
        r"""Return the network of the velocity, and the moments of the source if there is one."""
        networks = super().build()
        if self.source is not None:
            networks["source"] = Moments(self.encoding_.model_shape)
        return networks

    def velocity(self, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        r"""Return v(x, t | y): the flow of a Gaussian, and what the network adds to it."""
        if self.n_times == 1:
            u, spread, x = gaussian_flow(self.route, x, t, **self._start_law())
            return u + spread * self._ask(x, t, y)
        t, s = (t[:, 0], t[:, 1]) if t.ndim == 2 else (t, t)
        u, spread, x = gaussian_flow(self.route, x, t, until=s, **self._start_law())
        return u + spread * self._ask(x, torch.stack([t, s - t], 1), y)

    @property
    def n_times(self) -> int:
        r"""Two for a mean velocity: t, and the length of the step from there."""
        return 2 if self.objective == "mean-flow" else 1

    def objectives(self) -> list[Objective]:
        r"""Return the one objective, E ‖v(x_t, t) − (x_1 − x_0)‖²."""
        if self.objective == "mean-flow" and self.encoding_.kind == "images":
            raise DataError('objective="mean-flow" is for vectors and tables, not for images.')
        if self.objective == "mean-flow":
            load_forward_mode()
            return [Objective(self.mean_loss, [*self.networks_.parameters()])]
        return [Objective(self.loss, [*self.networks_.parameters()])]

    def prepare(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> Batch:
        r"""Standardise each row to x_1, and pair it with noise x_0."""
        x = self.moments.standardise(x)
        x_0 = self.draw_starts(len(x), generator)
        if self._coupled():
            x_0 = optimal_transport(x_0, x, y)
        return x_0, x

    def loss(
        self, batch: Batch, y: Tensor | None, progress: float, generator: torch.Generator
    ) -> Tensor:
        r"""Return the mean over rows of ‖v(x_t, t) − (x_1 − x_0)‖² / d."""
        x_0, x_1 = batch
        t = TIME_SAMPLERS[self.time_sampling](len(x_1), generator)
        z = self._way_noise(x_1, generator)
        x_t, u_t = bridge(self.route, x_0, x_1, t, z)
        v = self.velocity(x_t, t, self._hidden(y, generator))
        return (v - u_t).square().mean()

    def mean_loss(
        self, batch: Batch, y: Tensor | None, progress: float, generator: torch.Generator
    ) -> Tensor:
        r"""Return the mean over rows of ln(‖u − (v + (s − t) du/dt)‖² / d + 0.01).

        v = x_1 − x_0 stands for the velocity, as in :meth:`loss`; half the rows have s = t. The
        logarithm gives rows with large errors less weight (Geng 2025, section 4.3).
        """
        x_0, x_1 = batch
        n, y = len(x_1), self._hidden(y, generator)
        one, other = torch.rand(2, n, generator=generator, device=x_1.device).unbind()
        other = torch.where(torch.arange(n, device=one.device) % 2 == 0, one, other)
        t, s = torch.minimum(one, other), torch.maximum(one, other)
        x_t, v = bridge(self.route, x_0, x_1, t)

        def mean_velocity(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
            return self.velocity(x, torch.stack([t, s], 1), y)

        along = (v, torch.ones_like(t), torch.zeros_like(s))
        answer = torch.func.jvp(mean_velocity, (x_t, t, s), along)
        u, slope = answer[0], answer[1]
        target = (v + (s - t)[:, None] * slope).detach()
        return ((u - target).square().flatten(1).mean(1) + 0.01).log().mean()

    def _check_arguments(self) -> None:
        super()._check_arguments()
        if not is_number(self.sigma_min) or not 0 <= self.sigma_min < 1:
            raise ValueError(f"sigma_min must be a number in [0, 1), got {self.sigma_min!r}.")
        if self.sigma_min and self.path != "linear":
            raise ValueError(
                f'sigma_min is where path="linear" ends; leave it at 0 with {self.path!r}, got'
                f" {self.sigma_min!r}."
            )
        if not is_number(self.bridge_noise) or not 0 <= self.bridge_noise < math.inf:
            raise ValueError(f"bridge_noise must be at least 0, got {self.bridge_noise!r}.")
        self._check_mean_flow()
        if self.bridge_noise and self.guidance_rescale:
            raise ValueError(
                "guidance_rescale needs a guess of the data, and a velocity tells none where"
                " bridge_noise is on the way. Set one of them to 0."
            )
        if self.source is not None and self.temperature != 1:
            raise ValueError(
                "temperature scales noise, and a model with a source has none: leave it at 1."
            )

    def _check_mean_flow(self) -> None:
        straight = self.path == "linear" and not self.bridge_noise
        if self.objective == "mean-flow" and not straight:
            raise ValueError('objective="mean-flow" needs path="linear" and no bridge_noise.')
        if self.objective == "mean-flow" and self.time_sampling != "uniform":
            raise ValueError(
                'objective="mean-flow" draws pairs of times, uniformly: leave time_sampling at'
                f' "uniform", got {self.time_sampling!r}.'
            )
        if self.solver != "mean":
            return
        if self.objective != "mean-flow":
            raise ValueError('solver="mean" needs a model fitted with objective="mean-flow".')
        if self.guidance != 1 or self.autoguidance != 1:
            raise ValueError('guidance adds velocities at one time: solver="mean" has none.')

    def _coupled(self) -> bool:
        coupling = self.fit_arguments_["coupling"]  # the argument may have changed since
        if coupling != "auto":
            return bool(coupling == "optimal-transport")
        if "source" not in self.networks_ or self.condition_ is not None:
            return False
        shape = self.encoding_.model_shape
        return len(shape) == 1 and shape[0] <= _COUPLED_COLUMNS

    def _method(self) -> Method:
        return MeanStep() if self.solver == "mean" else super()._method()

    def _way_noise(self, x: Tensor, generator: torch.Generator) -> Tensor | None:
        if not self.bridge_noise:
            return None
        return torch.randn(x.shape, generator=generator, device=x.device)

    # --- a source of rows ---------------------------------------------------------------------

    @capability
    def transport(self, X: Any, y: Any = None, *, backwards: bool = False) -> Any:
        r"""Move rows of the source to where the flow carries them.

        Args:
            X: Rows like those of ``source``.
            y: Labels for a conditional model, one for all or one a row.
            backwards: Whether to move rows of the data to the source instead.

        Returns:
            The rows at the other end, of the kind that ``fit`` was given. Like codes, and unlike
            samples, they always take 64 Runge–Kutta steps and no guidance.

        Example:
            >>> import numpy as np
            >>> low, high = np.random.default_rng(0).normal(size=(2, 500, 1)) + [[[0.0]], [[9.0]]]
            >>> model = FlowMatching(source=low, budget="9 steps", random_state=0).fit(high)
            >>> int(model.transport(low).mean().round())
            9
            >>> bool(np.allclose(model.transport(model.transport(low), backwards=True), low,
            ...                  atol=1e-3))
            True
        """
        self._check_usable()
        return transported(self, X, y, backwards=backwards)

    def draw_starts(self, n: int, generator: torch.Generator) -> Tensor:
        r"""Return n points x_0: noise, or rows of the source drawn with replacement."""
        if self._source_ is None:
            return super().draw_starts(n, generator)
        return self.moments.standardise(self._source_.draw(n, generator))

    def measure(self, rows: Tensor) -> None:
        r"""Take mean and standard deviation of packed rows, and of the source in their units."""
        super().measure(rows)
        self._read_source()
        if self._source_ is not None:
            starts = self.draw_starts(_MEASURED_ROWS, torch_rng(_MEASURE))
            self._start_moments.set(starts, floor=STD_FLOOR)

    def _read_source(self) -> None:
        there = self.source is not None
        self._source_ = SourceRows(self.source, self.encoding_) if there else None

    @property
    def _start_moments(self) -> Moments:
        return cast(Moments, self.networks_["source"])

    def _start_law(self) -> dict[str, Tensor]:
        if "source" not in self.networks_:
            return {}
        return {"mean": self._start_moments.mean, "std": self._start_moments.std}

    def _restore(self, state: Tree) -> None:
        super()._restore(state)
        self._read_source()

    def _cannot(self, name: str) -> str | None:
        fitted = hasattr(self, "networks_")
        has_source = "source" in self.networks_ if fitted else self.source is not None
        absent = why_absent(name, has_source) or super()._cannot(name)
        return absent or (self._cannot_impute() if name == "impute" else None)

    def _cannot_impute(self) -> str | None:
        r"""Return why the velocity does not tell the score of data blurred by noise."""
        given = getattr(self, "fit_arguments_", vars(self))
        if given["bridge_noise"]:
            return (
                "FlowMatching has no impute with bridge_noise: its velocity does not tell the"
                " score. FlowMatching without it has it, and so has Diffusion."
            )
        fitted = hasattr(self, "encoding_")
        if self._coupled() if fitted else self.coupling == "optimal-transport":
            return (
                "FlowMatching has no impute with the optimal-transport coupling: its noise is"
                " chosen by the data, so its velocity does not tell the score of noisy data."
                ' FlowMatching(coupling="independent") has it, and so has Diffusion.'
            )
        return None
