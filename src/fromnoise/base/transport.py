r"""What diffusion and flow matching share: a velocity field between noise and data.

Sampling follows dx/dt = v(x, t) from z at t = 0 to x at t = 1 with the ``solver`` and ``steps``
of the model. Coding and scoring do not depend on those: they always take 64 steps of the
classical Runge–Kutta method, forwards to decode, backwards to encode, and backwards with the
divergence of v for log p(x).
"""

__all__ = ["TransportModel"]

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from fromnoise.base.neural import NeuralModel
from fromnoise.data import Encoded
from fromnoise.networks import Moments, default_network, null_condition
from fromnoise.persistence import Tree
from fromnoise.transport.guidance import guided
from fromnoise.transport.solvers import SOLVERS, Field, integrate, log_density

EXACT_STEPS = 64
MAX_DENSITY_COLUMNS = 64
STD_FLOOR = 0.05  # of a column in model space: what hardly varies is not blown up


@dataclass(kw_only=True, eq=False, repr=False)
class TransportModel(NeuralModel):
    r"""Base of the families that move noise to data along a path.

    Args:
        solver: How the ODE is solved when sampling.
        steps: Steps of the solver when sampling.
        guidance: Strength g of classifier-free guidance when sampling; 1 is p(x | y) as learnt.
        temperature: Scale of the noise that sampling starts from; 1 is the model as learnt.
        condition_dropout: Share of the rows whose label is hidden in training, so that
            guidance has an unconditional model to lean on.
    """

    solver: Literal["euler", "midpoint", "heun", "rk4"] = "midpoint"
    steps: int = 20
    guidance: float = 1.0
    temperature: float = 1.0
    condition_dropout: float = 0.1

    @abstractmethod
    def velocity(self, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        r"""Return v(x, t | y), shaped like x, for times t ``(n,)``."""

    @property
    def noise_shape(self) -> tuple[int, ...]:
        r"""Noise has the shape of the data."""
        return self.encoding_.model_shape

    @property
    def n_evaluations(self) -> int:
        r"""How often the network is evaluated to draw a sample."""
        twice = 2 if self.guidance != 1 and self.condition_ is not None else 1
        return self.steps * len(SOLVERS[self.solver].b) * twice

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
        self.moments.set(rows.to(self._device()), floor=STD_FLOOR)

    @property
    def moments(self) -> Moments:
        r"""Mean and standard deviation of the training rows in model space."""
        return cast(Moments, self.networks_["moments"])

    @torch.no_grad()
    def generate(self, z: Tensor, y: Tensor | None) -> Tensor:
        r"""Solve the ODE from noise to data with the model's solver, steps and guidance."""
        times = torch.linspace(0, 1, self.steps + 1)
        x = integrate(self._guided(y), self.temperature * z, times, SOLVERS[self.solver])
        return self.moments.restore(x)

    def _check_arguments(self) -> None:
        super()._check_arguments()
        whole = isinstance(self.steps, int | np.integer) and not isinstance(self.steps, bool)
        if not whole or self.steps < 1:
            raise ValueError(f"steps must be a positive int, got {self.steps!r}.")
        _check_number("condition_dropout", self.condition_dropout, 0.0, float(np.nextafter(1, 0)))
        _check_number("temperature", self.temperature, 0.0, math.inf)
        _check_number("guidance", self.guidance, -math.inf, math.inf)

    def _cannot(self, name: str) -> str | None:
        if name not in ("score_samples", "score") or not hasattr(self, "encoding_"):
            return super()._cannot(name)
        if not self.encoding_.is_continuous:
            return (
                f"{type(self).__name__} has no {name} here: the data has categories, integers or"
                " missing values, and the density of a flow is defined for continuous columns"
                " only. GaussianMixture has one for such data."
            )
        width = int(np.prod(self.encoding_.model_shape))
        if width > MAX_DENSITY_COLUMNS:
            return (
                f"{type(self).__name__} has no {name} here: the exact divergence costs one"
                f" backward pass a dimension and is offered up to {MAX_DENSITY_COLUMNS}"
                f" dimensions; the data has {width}. GaussianMixture has one for any width."
            )
        return super()._cannot(name)

    def _hidden(self, y: Tensor | None, generator: torch.Generator) -> Tensor | None:
        r"""Hide the label of some rows, as classifier-free guidance asks of training."""
        if y is None or self.condition_ is None or self.condition_dropout == 0:
            return y
        draws = torch.rand(len(y), generator=generator, device=y.device)
        return null_condition(y, self.condition_.n_classes, draws < self.condition_dropout)

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
        return guided(self._field(y), self._field(null), self.guidance)

    def _backwards(self, x: Tensor, y: Tensor | None) -> Tensor:
        times = torch.linspace(1, 0, EXACT_STEPS + 1)
        return integrate(self._field(y), self.moments.standardise(x), times, SOLVERS["rk4"])

    def _forwards(self, z: Tensor, y: Tensor | None) -> Tensor:
        times = torch.linspace(0, 1, EXACT_STEPS + 1)
        return self.moments.restore(integrate(self._field(y), z, times, SOLVERS["rk4"]))

    def _likelihood(self, x: Tensor, y: Tensor | None) -> Tensor:
        times, x = torch.linspace(1, 0, EXACT_STEPS + 1), self.moments.standardise(x)
        log_p = log_density(self._field(y), x, times, SOLVERS["rk4"])
        return log_p.double() - self.moments.std.double().log().sum()

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


def _check_number(name: str, value: object, low: float, high: float) -> None:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not (number and low <= float(value) <= high):  # type: ignore[arg-type]
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}.")


def _with_condition(velocity: Any, y: Tensor | None, x: Tensor, t: Tensor) -> Tensor:
    result: Tensor = velocity(x, t, y)
    return result
