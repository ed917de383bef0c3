r"""What diffusion and flow matching share: a velocity field between noise and data.

Sampling follows dx/dt = v(x, t) from z at t = 0 to x at t = 1 with the ``solver``, ``steps`` and
``grid`` of the model. Coding and scoring do not depend on those: they always take 64 steps of the
classical Runge–Kutta method, forwards to decode, backwards to encode, and backwards with the
divergence of v for log p(x). Beyond 64 columns the divergence is estimated by 8 random probes a
row, drawn from the row itself, so that a row has one score.

The state of a solver is in float64, the network in float32. Fresh noise of a stochastic solver
is drawn for each padded block of rows from (seed, block), so rows do not depend on their number.
"""

__all__ = ["TransportModel"]

import hashlib
import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from fromnoise.base.arguments import is_number, is_whole
from fromnoise.base.generative import BLOCK, ScoreKind
from fromnoise.base.neural import NeuralModel
from fromnoise.data import Encoded
from fromnoise.networks import Moments, default_network, null_condition
from fromnoise.persistence import Tree
from fromnoise.training import torch_rng
from fromnoise.transport.densities import log_density
from fromnoise.transport.guidance import guided
from fromnoise.transport.paths import Path, angle, time_at
from fromnoise.transport.samplers import SOLVERS, churned
from fromnoise.transport.solvers import RUNGE_KUTTA, Field, Method, integrate
from fromnoise.transport.times import grid

EXACT_STEPS = 64
EXACT_COLUMNS = 64  # beyond them the divergence is estimated
PROBES = 8
STD_FLOOR = 0.05  # of a column in model space: what hardly varies is not blown up
_FRESH = 30  # stream of the noise that stochastic solvers add


@dataclass(kw_only=True, eq=False, repr=False)
class TransportModel(NeuralModel):
    r"""Base of the families that move noise to data along a path.

    Args:
        solver: How samples are drawn; a name of :data:`fromnoise.transport.samplers.SOLVERS`.
        steps: Steps of the solver; ``"dopri5"`` chooses its own.
        grid: Where the steps are: ``"uniform"`` in the path's time; ``"rho"`` and
            ``"log-snr"`` take shorter ones near the data.
        guidance: Strength g of classifier-free guidance when sampling; 1 is p(x | y) as learnt.
        guidance_interval: First and last time at which to guide, from 0 (noise) to 1 (data).
        guidance_rescale: From 0 (off) to 1: how far the size of the guided guess of the data is
            brought back to that of the unguided one.
        temperature: Scale of the noise in sampling; 1 is the model as learnt.
        condition_dropout: Share of the rows whose label is hidden in training, so that
            guidance has an unconditional model to lean on.
    """

    _after_fit: ClassVar[tuple[str, ...]] = (
        "solver",
        "steps",
        "grid",
        "guidance",
        "guidance_interval",
        "guidance_rescale",
        "temperature",
    )

    solver: str = "midpoint"
    steps: int = 20
    grid: Literal["uniform", "rho", "log-snr"] = "uniform"
    guidance: float = 1.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    guidance_rescale: float = 0.0
    temperature: float = 1.0
    condition_dropout: float = 0.1

    # --- what a family writes -----------------------------------------------------------------

    @abstractmethod
    def velocity(self, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        r"""Return v(x, t | y), shaped like x, for times t ``(n,)``."""

    @property
    @abstractmethod
    def route(self) -> Path:
        r"""The path whose velocity :meth:`velocity` is."""

    @property
    def clock(self) -> Path:
        r"""The path whose time a uniform grid cuts evenly."""
        return self.route

    @property
    def start(self) -> float:
        r"""The time of the route at which z stands: 0, or a little later."""
        return 0.0

    @property
    def fresh_noise(self) -> float:
        r"""How much noise a stochastic solver adds (``transport.samplers.churned``)."""
        return 0.0

    # --- networks -----------------------------------------------------------------------------

    @property
    def noise_shape(self) -> tuple[int, ...]:
        r"""Noise has the shape of the data."""
        return self.encoding_.model_shape

    def build(self) -> nn.ModuleDict:
        r"""Return the network of the velocity."""
        shape, condition = self.encoding_.model_shape, self.condition_
        if isinstance(self.network, nn.Module):
            x, t = torch.zeros(2, *shape), torch.zeros(2)
            y = [] if condition is None else [self._example(condition)]
            network = self._own_network(self.network, x, t, *y, out=shape)
            return nn.ModuleDict({"network": network, "moments": Moments(shape)})
        network = default_network(
            shape,
            self.network_size_,
            n_classes=condition.n_classes if condition else 0,
            n_columns=condition.width if condition else 0,
        )
        return nn.ModuleDict({"network": network, "moments": Moments(shape)})

    def measure(self, rows: Tensor) -> None:
        r"""Take mean and standard deviation of packed rows; the path ends in standardised rows."""
        self.condition_dropout_ = self.condition_dropout  # sampling asks what was learnt
        self.moments.set(rows, floor=STD_FLOOR)

    def _ask(self, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        r"""Return what the network says, in its own precision."""
        network = self.networks_["network"]
        x, t = x.float(), t.float()
        result: Tensor = network(x, t) if y is None else network(x, t, y)
        return result

    def _hidden(self, y: Tensor | None, generator: torch.Generator) -> Tensor | None:
        r"""Hide the label of some rows, as classifier-free guidance asks of training."""
        if y is None or self.condition_ is None or self.condition_dropout == 0:
            return y
        draws = torch.rand(len(y), generator=generator, device=y.device)
        return null_condition(y, self.condition_.n_classes, draws < self.condition_dropout)

    # --- sampling -----------------------------------------------------------------------------

    @property
    def n_evaluations(self) -> int:
        r"""How often the network is evaluated to draw a sample.

        Counted by drawing one where it depends on the field or on the times.
        """
        guides = self.guidance != 1 and self.condition_ is not None
        if self.solver == "dopri5" or (guides and self.guidance_interval != (0.0, 1.0)):
            return self._counted()
        return self._method().evaluations(self.steps) * (2 if guides else 1)

    def _counted(self) -> int:
        calls: list[None] = []
        hook = self.networks_["network"].register_forward_hook(lambda *_: calls.append(None))
        try:
            self._draw(0, 0, 1, self._draw_labels(0, 0, 1))
        finally:
            hook.remove()
        return len(calls)

    def _method(self) -> Method:
        return churned(SOLVERS[self.solver], self.fresh_noise, self.steps)

    def _times(self) -> Tensor:
        r"""Return the times of the route that sampling visits."""
        if self.solver == "dopri5":
            return torch.tensor([self.start, 1.0], dtype=torch.float64)
        if self.grid == "uniform" and self.clock is self.route:
            return torch.linspace(self.start, 1, self.steps + 1, dtype=torch.float64)
        end = angle(self.route, torch.ones((), dtype=torch.float64)).item()
        times = time_at(self.route, grid(self.clock, self.grid, self.steps, end))
        times[0], times[-1] = self.start, 1.0
        return times.clamp_min(self.start)

    def generate(self, z: Tensor, y: Tensor | None) -> Tensor:
        r"""Solve the ODE from noise to data with the model's solver, steps and guidance."""
        return self._generate(z, y, torch.zeros(1, dtype=torch.int64))

    @torch.no_grad()
    def _generate(self, z: Tensor, y: Tensor | None, row: Tensor, *key: int) -> Tensor:
        r"""Draw packed rows; fresh noise comes from ``key`` and the number of the first row."""
        generator = torch_rng(*key, _FRESH, int(row[0]))

        def draw(x: Tensor) -> Tensor:
            noise = torch.randn(x.shape, generator=generator)
            return self.temperature * noise.to(x.device, x.dtype)

        x = self.temperature * _precise(z)
        x = integrate(
            self._guided(y), x, self._times(), self._method(), path=self.route, draw=draw
        )
        return self.moments.restore(x).float()

    def _draw(self, seed: int, block: int, n: int, y: np.ndarray | None) -> Encoded:
        noise = torch.randn(BLOCK, *self.noise_shape, generator=torch_rng(seed, block))[:n]

        def function(z: Tensor, y: Tensor | None, row: Tensor) -> Tensor:
            return self._generate(z, y, row, seed, block)

        return self.encoding_.unpack(self._in_blocks(function, noise.numpy(), y, np.arange(n)))

    def _field(self, y: Tensor | None) -> Field:
        return partial(_with_condition, self.velocity, y)

    def _guided(self, y: Tensor | None) -> Field:
        if y is None or self.condition_ is None:
            return self._field(None)
        if self.guidance != 1 and self.condition_dropout_ == 0:
            raise ValueError(
                "guidance needs a model that was fitted with condition_dropout above 0; this one"
                " never learnt what p(x) without y is."
            )
        null = null_condition(y, self.condition_.n_classes)
        return guided(
            self._field(y),
            self._field(null),
            self.guidance,
            interval=self.guidance_interval,
            rescale=self.guidance_rescale,
            path=self.route,
        )

    # --- codes and densities ------------------------------------------------------------------

    @property
    def _score_kind(self) -> ScoreKind:
        r"""Whether ``score_samples`` is exact up to the solver, or by random probes."""
        return "exact" if self._width() <= EXACT_COLUMNS else "estimate"

    def _width(self) -> int:
        return int(np.prod(self.encoding_.model_shape))

    def _walk(self, x: Tensor, y: Tensor | None, first: float, last: float) -> Tensor:
        times = torch.linspace(first, last, EXACT_STEPS + 1, dtype=torch.float64)
        return integrate(self._field(y), x, times, RUNGE_KUTTA["rk4"])

    def _backwards(self, x: Tensor, y: Tensor | None) -> Tensor:
        x = self.moments.standardise(_precise(x))
        return self._walk(x, y, 1, self.start).float()

    def _forwards(self, z: Tensor, y: Tensor | None) -> Tensor:
        return self.moments.restore(self._walk(_precise(z), y, self.start, 1)).float()

    def _likelihood(self, x: Tensor, y: Tensor | None) -> Tensor:
        probes = None if self._score_kind == "exact" else self._probes(x)
        times = torch.linspace(1, self.start, EXACT_STEPS + 1, dtype=torch.float64)
        x = self.moments.standardise(_precise(x))
        log_p = log_density(self._field(y), x, times, RUNGE_KUTTA["rk4"], probes)
        return log_p.double() - self.moments.std.double().log().sum()

    def _probes(self, x: Tensor) -> Tensor:
        r"""Return 8 vectors of ±1 a row, a function of the row's bytes and ``random_state``."""
        state = self.random_state if is_whole(self.random_state) else 0
        salt = int(state).to_bytes(16, "little")
        bits = [
            _random_bits(row.tobytes(), salt, PROBES * self._width()) for row in x.cpu().numpy()
        ]
        signs = torch.from_numpy(2 * np.stack(bits).astype(np.float32) - 1)
        return signs.reshape(len(x), PROBES, -1).to(x.device)

    def _log_prob(self, encoded: Encoded, y: np.ndarray | None) -> np.ndarray:
        return self._in_blocks(self._likelihood, self.encoding_.pack(encoded), y)

    @torch.no_grad()
    def _to_noise(self, encoded: Encoded, y: np.ndarray | None) -> np.ndarray:
        z = self._in_blocks(self._backwards, self.encoding_.pack(encoded), y)
        return z.reshape(len(z), -1)

    @torch.no_grad()
    def _from_noise(self, z: np.ndarray, y: np.ndarray | None) -> Encoded:
        z = z.reshape(len(z), *self.noise_shape)
        return self.encoding_.unpack(self._in_blocks(self._forwards, z, y))

    # --- arguments, capabilities, saving ------------------------------------------------------

    def _check_arguments(self) -> None:
        super()._check_arguments()
        if not is_whole(self.steps) or self.steps < 1:
            raise ValueError(f"steps must be a positive int, got {self.steps!r}.")
        _check_number("condition_dropout", self.condition_dropout, 0.0, float(np.nextafter(1, 0)))
        _check_number("temperature", self.temperature, 0.0, math.inf)
        _check_number("guidance", self.guidance, -math.inf, math.inf)
        _check_number("guidance_rescale", self.guidance_rescale, 0.0, 1.0)
        interval = self.guidance_interval
        if not (isinstance(interval, tuple | list) and len(interval) == 2):
            raise ValueError(f"guidance_interval must be two times, got {interval!r}.")
        for bound in interval:
            _check_number("guidance_interval", bound, 0.0, 1.0)

    def _cannot(self, name: str) -> str | None:
        if name not in ("score_samples", "score") or not hasattr(self, "encoding_"):
            return super()._cannot(name)
        if not self.encoding_.is_continuous:
            return (
                f"{type(self).__name__} has no {name} here: the data has categories, integers or"
                " missing values, and the density of a flow is defined for continuous columns"
                " only. GaussianMixture has one for such data."
            )
        return super()._cannot(name)

    def _no_condition(self, n: int) -> np.ndarray:
        if self.condition_ is None or self.condition_dropout_ == 0:
            return super()._no_condition(n)
        if self.condition_.n_classes:
            return np.full(n, self.condition_.n_classes)
        return np.full((n, self.condition_.width), np.nan, dtype=np.float32)

    def _state(self) -> Tree:
        return {**super()._state(), "condition_dropout": self.condition_dropout_}

    def _restore(self, state: Tree) -> None:
        super()._restore(state)
        self.condition_dropout_ = state["condition_dropout"]


def _precise(x: Tensor) -> Tensor:
    r"""Return x in float64, where the device has it."""
    return x if x.device.type == "mps" else x.double()


def _random_bits(row: bytes, salt: bytes, n: int) -> np.ndarray:
    seed = int.from_bytes(hashlib.blake2b(row, digest_size=16, salt=salt).digest(), "little")
    return np.unpackbits(np.frombuffer(np.random.Philox(seed).random_raw(-(-n // 64)), np.uint8))[
        :n
    ]


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if not (is_number(value) and math.isfinite(value) and low <= value <= high):
        raise ValueError(
            f"{name} must be a finite number from {low:g} to {high:g}, got {value!r}."
        )


def _with_condition(velocity: Any, y: Tensor | None, x: Tensor, t: Tensor) -> Tensor:
    result: Tensor = velocity(x, t, y)
    return result
