r"""What diffusion and flow matching share: a velocity field, and samples that follow it.

Sampling follows dx/dt = v(x, t) from z at t = 0 to x at t = 1 with the ``solver``, ``steps`` and
``grid`` of the model, with its guidance and its temperature. Codes and densities know nothing of
those (:mod:`fromnoise.base.field`).

The state of a solver is in float64, the network in float32. Fresh noise of a stochastic solver
is drawn for each padded block of rows from (seed, block), so rows do not depend on their number.
"""

__all__ = ["TransportModel"]

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from fromnoise.base.arguments import is_number, is_whole
from fromnoise.base.earlier import EarlierNetwork
from fromnoise.base.field import FieldModel, precise
from fromnoise.base.imputing import RowNoise, packed_known, unpacked
from fromnoise.data import Encoded
from fromnoise.data.transforms import Partial
from fromnoise.networks import Moments, default_network, null_condition
from fromnoise.networks.defaults import evaluation_rows
from fromnoise.persistence import Tree
from fromnoise.training import normal_rows, torch_rng
from fromnoise.transport.guidance import guided
from fromnoise.transport.inpainting import inpaint, inpainting_times
from fromnoise.transport.paths import Path, angle, time_at
from fromnoise.transport.samplers import SOLVERS, churned
from fromnoise.transport.solvers import Field, Method, integrate
from fromnoise.transport.times import grid

IMPUTE_STEPS = 64
PARTICLES, IMAGE_PARTICLES = 16, 4  # a row that lacks something
STD_FLOOR = 0.05  # of a column in model space: what hardly varies is not blown up
_FRESH = 30  # stream of the noise that stochastic solvers add


@dataclass(kw_only=True, eq=False, repr=False)
class TransportModel(EarlierNetwork, FieldModel):
    r"""Base of the families that move noise to data along a path.

    Args:
        solver: How samples are drawn; a name of :data:`fromnoise.transport.samplers.SOLVERS`.
        steps: Steps of the solver; ``"dopri5"`` chooses its own.
        grid: Where the steps are: ``"uniform"`` in the path's time; ``"rho"`` and
            ``"log-snr"`` take shorter ones near the data.
        guidance: Strength g of classifier-free guidance when sampling; 1 is p(x | y) as learnt.
        guidance_interval: First and last time at which to guide, from 0 (noise) to 1 (data), by
            y or by the earlier network.
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
        "autoguidance",
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

    @property
    @abstractmethod
    def route(self) -> Path:
        r"""The path whose velocity :meth:`velocity` is."""

    @property
    def clock(self) -> Path:
        r"""The path whose time a uniform grid cuts evenly."""
        return self.route

    @property
    def n_times(self) -> int:
        r"""How many times a row the network is told: t, or t and how far from it (2)."""
        return 1

    @property
    def fresh_noise(self) -> float:
        r"""How much noise a stochastic solver adds (``transport.samplers.churned``)."""
        return 0.0

    def draw_starts(self, n: int, generator: torch.Generator) -> Tensor:
        r"""Return n points x_0 at t = 0, ``(n, *noise_shape)``: noise, unless a family differs.

        The first ones do not depend on n.
        """
        return normal_rows(n, *self.noise_shape, generator=generator)

    # --- networks -----------------------------------------------------------------------------

    def build(self) -> nn.ModuleDict:
        r"""Return the network of the velocity."""
        shape, condition = self.encoding_.model_shape, self.condition_
        if isinstance(self.network, nn.Module):
            x, t = torch.zeros(2, *shape), torch.zeros(*[2] * self.n_times)
            y = [] if condition is None else [self._example(condition)]
            network = self._own_network(self.network, x, t, *y, out=shape)
            return nn.ModuleDict({"network": network, "moments": Moments(shape)})
        network = default_network(
            shape,
            self.network_size_,
            n_classes=condition.n_classes if condition else 0,
            n_columns=condition.width if condition else 0,
            n_times=self.n_times,
        )
        return nn.ModuleDict({"network": network, "moments": Moments(shape)})

    def measure(self, rows: Tensor) -> None:
        r"""Take mean and standard deviation of packed rows; the path ends in standardised rows."""
        self.condition_dropout_ = self.condition_dropout  # sampling asks what was learnt
        self._check_guidance()
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
        guides = (self.guidance != 1 and self.condition_ is not None) + (self.autoguidance != 1)
        if self.solver == "dopri5" or (guides and self.guidance_interval != (0.0, 1.0)):
            return self._counted()
        steps = len(self._times().unique()) - 1  # a grid may visit a time twice
        return self._method().evaluations(steps) * (1 + guides)

    def _counted(self) -> int:
        calls: list[None] = []
        networks = [n for n in (self.networks_["network"], self.earlier_) if n is not None]
        hooks = [n.register_forward_hook(lambda *_: calls.append(None)) for n in networks]
        try:
            self._draw(0, 0, 1, self._draw_labels(0, 0, 1))
        finally:
            for hook in hooks:
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
        return self._generate(z, y, torch.arange(len(z)))

    def _generate(self, z: Tensor, y: Tensor | None, row: Tensor, *key: int) -> Tensor:
        r"""Draw packed rows; fresh noise comes from ``key`` and the number of the first row."""
        return self._moved(z, y, row, self._times(), self._method(), *key)

    @torch.no_grad()
    def _moved(
        self,
        z: Tensor,
        y: Tensor | None,
        row: Tensor,
        times: Tensor,
        method: Method,
        *key: int,
    ) -> Tensor:
        r"""Return the packed rows that a method makes of noise along ``times``."""
        # Blocks differ between devices and the noise does not: it is drawn as a processor would.
        size = evaluation_rows(self.encoding_.model_shape)
        generators = [torch_rng(*key, _FRESH, int(first)) for first in row[::size]]

        def draw(x: Tensor) -> Tensor:
            parts = zip(x.split(size), generators, strict=True)
            noise = torch.cat([torch.randn(part.shape, generator=g) for part, g in parts])
            return self.temperature * noise.to(x.device, x.dtype)

        x = self.temperature * precise(z)
        x = integrate(self._guided(y), x, times, method, path=self.route, draw=draw)
        return self.moments.restore(x).float()

    def _draw(self, seed: int, block: int, n: int, y: np.ndarray | None) -> Encoded:
        starts = self.draw_starts(n, torch_rng(seed, block))

        def function(z: Tensor, y: Tensor | None, row: Tensor) -> Tensor:
            return self._generate(z, y, row, seed, block)

        return self.encoding_.unpack(self._in_blocks(function, starts.numpy(), y, np.arange(n)))

    def _check_guidance(self) -> None:
        if self.guidance == 1:
            return
        if self.condition_ is None:
            raise ValueError(
                "guidance leads towards the label of a row, and this fit has no y: leave it at 1,"
                f" got {self.guidance!r}."
            )
        if self.condition_dropout_ == 0:
            raise ValueError(
                "guidance needs a model that was fitted with condition_dropout above 0; this one"
                " never learns what p(x) without y is."
            )

    def _guided(self, y: Tensor | None) -> Field:
        self._check_guidance()
        others = []
        if y is not None and self.condition_ is not None and self.guidance != 1:
            unlabelled = null_condition(y, self.condition_.n_classes)
            others.append((self._field(unlabelled), self.guidance))
        if self.autoguidance != 1:
            others.append((self._earlier()._field(y), self.autoguidance))
        return guided(
            self._field(y),
            others,
            interval=self.guidance_interval,
            rescale=self.guidance_rescale,
            path=self.route,
        )

    # --- imputing -----------------------------------------------------------------------------

    def _impute(
        self, partial: Partial, y: np.ndarray | None, rows: np.ndarray, seed: int
    ) -> Encoded:
        x, known = packed_known(self.encoding_, partial)
        y = self._needed(y, len(x))  # without a label, the field of p(x)

        def function(x: Tensor, y: Tensor | None, known: Tensor, row: Tensor) -> Tensor:
            return self._inpainted(x, y, known, RowNoise(seed, row, precise(x)))

        drawn = self._in_blocks(function, x, y, known, rows, share=4)
        return unpacked(self.encoding_, drawn, x, known)

    @torch.no_grad()
    def _inpainted(self, x: Tensor, y: Tensor | None, known: Tensor, noise: RowNoise) -> Tensor:
        r"""Draw what is not known of packed rows, by the plain field, with steps of its own."""
        particles = IMAGE_PARTICLES if self.encoding_.kind == "images" else PARTICLES
        drawn = inpaint(
            self._field(None if y is None else y.repeat_interleave(particles, 0)),
            self.moments.standardise(precise(x)),
            known,
            inpainting_times(self.route, IMPUTE_STEPS, self.start),
            path=self.route,
            particles=particles,
            normal=noise.normal,
            uniform=noise.uniform,
        )
        return self.moments.restore(drawn).float()

    # --- arguments, capabilities, saving ------------------------------------------------------

    def _check_arguments(self) -> None:
        super()._check_arguments()
        if not is_whole(self.steps) or self.steps < 1:
            raise ValueError(f"steps must be a positive int, got {self.steps!r}.")
        dropout = self.condition_dropout
        if not is_number(dropout) or not 0 <= dropout < 1:
            raise ValueError(f"condition_dropout must be a number in [0, 1), got {dropout!r}.")
        _check_number("temperature", self.temperature, 0.0, math.inf)
        _check_number("guidance", self.guidance, -math.inf, math.inf)
        _check_number("guidance_rescale", self.guidance_rescale, 0.0, 1.0)
        interval = self.guidance_interval
        if not (isinstance(interval, tuple | list) and len(interval) == 2):
            raise ValueError(f"guidance_interval must be two times, got {interval!r}.")
        for bound in interval:
            _check_number("guidance_interval", bound, 0.0, 1.0)
        if interval[0] > interval[1]:
            raise ValueError(f"guidance_interval must be in order of time, got {interval!r}.")

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


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if not (is_number(value) and math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} must be a finite number{_range(low, high)}, got {value!r}.")


def _range(low: float, high: float) -> str:
    if math.isinf(low):
        return ""
    return f" of at least {low:g}" if math.isinf(high) else f" from {low:g} to {high:g}"
