r"""The state of a fit between two steps: what a step changes, and nothing else.

    networks    weights and buffers
    average     averaged weights, and the best of them by validation
    players     moments of each optimiser, and what it saw since the last record
    memory      what the family itself adapts while it trains
    count       steps done, and where the last record and the last check were
    clock       seconds spent, and when the first step began
    random      torch's own stream, which dropout draws from

All else follows from the arguments, the data and the seed: the rows of a batch, their noise and
their times are functions of (seed, step), learning rate and averaging are functions of progress.
So a fit that is handed its state goes on as if it had never stopped, to the bit.
"""

__all__ = ["Average", "Memory", "Player", "State", "ema_decay", "learning_rate_factor"]

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fromnoise.errors import DataError
from fromnoise.persistence import Tree
from fromnoise.training.budget import Clock
from fromnoise.training.objectives import Batch, Objective, Settings

WARM_UP = 0.02


class Memory(Protocol):
    r"""Something with a state of its own that a fit carries along."""

    def remember(self) -> Tree:
        r"""Return the state as a tree."""
        ...

    def recall(self, tree: Tree) -> None:
        r"""Take back what :meth:`remember` returned."""
        ...


@dataclass
class Count:
    r"""How far a fit is."""

    done: int = 0  # steps
    skipped: int = 0  # of the last steps, because something was not finite
    judged: int = -1  # steps done at the last check
    recorded: float = 0.0  # progress at the last record
    checked: float = 0.0  # and at the last check
    step_seconds: float = 0.0
    check_seconds: float = 0.0


class State:
    r"""The state of one fit.

    Args:
        networks: The networks, on the device of ``settings``.
        objectives: The players.
        clock: Measures the budget.
        settings: How to train.
        memory: What the family adapts while it trains, if anything.

    Example:
        >>> from fromnoise.training import Budget
        >>> def new(weight):
        ...     net = nn.ModuleDict({"net": nn.Linear(1, 1)})
        ...     net["net"].weight.data.fill_(weight)
        ...     clock = Clock(Budget(4, "steps"), 4)
        ...     return State(net, [], clock, Settings(batch_size=1, learning_rate=1.0))
        >>> one, other = new(1.0), new(2.0)
        >>> one.count.done = 3
        >>> other.from_tree(one.to_tree())
        >>> other.networks["net"].weight.item(), other.count.done
        (1.0, 3)
    """

    def __init__(
        self,
        networks: nn.ModuleDict,
        objectives: Sequence[Objective],
        clock: Clock,
        settings: Settings,
        memory: Memory | None = None,
    ) -> None:
        self.networks, self.clock, self.memory = networks, clock, memory
        self.device = torch.device(settings.device)
        self.players = [Player(objective, settings) for objective in objectives]
        self.average = Average(networks)
        self.count = Count()
        self.losses: list[float] = []  # since the last record

    @property
    def n_bytes(self) -> int:
        r"""How many bytes of arrays :meth:`to_tree` holds, about: weights, and four like them."""
        return 5 * sum(p.numel() * p.element_size() for p in self.networks.state_dict().values())

    def to_tree(self) -> Tree:
        r"""Return the state as a tree; arrays may share the memory of what they were made from."""
        weights = self.networks.state_dict()
        return {
            "networks": {name: _array(value) for name, value in weights.items()},
            "average": self.average.to_tree(),
            "players": [player.to_tree() for player in self.players],
            "memory": {} if self.memory is None else self.memory.remember(),
            "count": asdict(self.count),
            "losses": np.array(self.losses, dtype=np.float64),
            "clock": {"elapsed": self.clock.elapsed(), "first": self.clock.first},
            "random": self._random(),
        }

    def from_tree(self, tree: Tree) -> None:
        r"""Take back what :meth:`to_tree` returned.

        Raises:
            DataError: If it is the state of other networks.
        """
        try:
            self.networks.load_state_dict({k: _tensor(v) for k, v in tree["networks"].items()})
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"The unfinished fit has other networks than this one: {reason}"
            ) from error
        self.average.from_tree(tree["average"])
        for player, part in zip(self.players, tree["players"], strict=True):
            player.from_tree(part)
        if self.memory is not None:
            self.memory.recall(tree["memory"])
        self.count = Count(**tree["count"])
        self.losses = tree["losses"].tolist()
        self.clock.resume(**tree["clock"])
        torch.set_rng_state(_tensor(tree["random"]["cpu"]))
        if self.device.type == "cuda" and "cuda" in tree["random"]:
            torch.cuda.set_rng_state(_tensor(tree["random"]["cuda"]), self.device)

    def _random(self) -> Tree:
        streams = {"cpu": torch.get_rng_state().numpy()}
        if self.device.type == "cuda":
            streams["cuda"] = torch.cuda.get_rng_state(self.device).numpy()
        return streams


class Player:
    r"""An objective and the optimiser that lowers it."""

    def __init__(self, objective: Objective, settings: Settings) -> None:
        self.objective, self.settings = objective, settings
        self.peak = objective.learning_rate or settings.learning_rate
        self.clip = settings.clip if objective.clip is None else objective.clip
        self.seen: list[tuple[float, float]] = []  # loss and gradient norm since the last record
        self.optimizer = torch.optim.AdamW(
            objective.parameters,
            lr=self.peak,
            betas=self.betas(0.0),
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def rate(self, progress: float) -> float:
        r"""Return the learning rate."""
        return self.peak * learning_rate_factor(progress)

    def betas(self, progress: float) -> tuple[float, float]:
        r"""Return the decays of the optimiser's moments."""
        betas = self.objective.betas
        return betas(progress) if callable(betas) else betas

    def measured(self) -> dict[str, float]:
        r"""Return the columns of a named player since they were last asked for."""
        if not self.objective.name or not self.seen:
            return {}
        loss, norm = (math.fsum(values) / len(values) for values in zip(*self.seen, strict=True))
        self.seen = []
        return {f"{self.objective.name}_loss": loss, f"{self.objective.name}_gradient": norm}

    def step(
        self, batch: Batch, y: Tensor | None, progress: float, generator: torch.Generator
    ) -> float:
        r"""Take a step; return the loss, or NaN if it was not taken as something is not finite."""
        device = torch.device(self.settings.device).type
        low = self.settings.precision == "bfloat16"
        with torch.autocast(device, dtype=torch.bfloat16, enabled=low):
            loss = self.objective.loss(batch, y, progress, generator)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss, inputs=list(self.objective.parameters))
        gradients = [p.grad for p in self.objective.parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        value = loss.item() if math.isfinite(norm.item()) else math.nan
        if math.isfinite(value):
            if norm.item() > self.clip:
                torch._foreach_mul_(gradients, self.clip / (norm + 1e-6))
            self._apply(progress)
            if self.objective.name:
                self.seen.append((value, norm.item()))
        return value

    def _apply(self, progress: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"], group["betas"] = self.rate(progress), self.betas(progress)
        self.optimizer.step()
        if self.objective.after_step is not None:
            self.objective.after_step()

    def to_tree(self) -> Tree:
        r"""Return the optimiser's moments, parameter by parameter, and what was seen."""
        state = self.optimizer.state
        moments = [
            {name: _array(value) for name, value in state.get(p, {}).items()}
            for p in self.objective.parameters
        ]
        return {"moments": moments, "seen": np.array(self.seen, np.float64).reshape(-1, 2)}

    def from_tree(self, tree: Tree) -> None:
        r"""Take back what :meth:`to_tree` returned."""
        parts = zip(self.objective.parameters, tree["moments"], strict=True)
        state = {
            i: {name: _laid_out(_tensor(value), p) for name, value in moments.items()}
            for i, (p, moments) in enumerate(parts)
            if moments  # a parameter without a gradient has none
        }
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        self.seen = [(loss, norm) for loss, norm in tree["seen"].tolist()]


class Average:
    r"""Averaged weights, and the best of them by validation."""

    def __init__(self, networks: nn.ModuleDict) -> None:
        self.live: list[Tensor] = [*networks.parameters()]
        self.mean = [p.detach().clone() for p in self.live]
        self.best = [m.clone() for m in self.mean]
        self.value = self.best_value = math.inf  # at the last check, and the least

    @torch.no_grad()
    def update(self, decay: float) -> None:
        r"""Move the average towards the weights."""
        torch._foreach_lerp_(self.mean, self.live, 1 - decay)

    @torch.no_grad()
    def judge(self, validate: Callable[[], float]) -> float:
        r"""Return the validation of the average, and keep it if there was no better one."""
        kept = [p.detach().clone() for p in self.live]
        torch._foreach_copy_(self.live, self.mean)
        self.value = validate()
        torch._foreach_copy_(self.live, kept)
        if self.value <= self.best_value:
            self.best_value = self.value
            torch._foreach_copy_(self.best, self.mean)
        return self.value

    @torch.no_grad()
    def restore_best(self) -> None:
        r"""Put the best average into the networks."""
        torch._foreach_copy_(self.live, self.best)

    def to_tree(self) -> Tree:
        r"""Return both averages and what they are worth."""
        return {
            "mean": [_array(value) for value in self.mean],
            "best": [_array(value) for value in self.best],
            "values": np.array([self.value, self.best_value], np.float64),
        }

    @torch.no_grad()
    def from_tree(self, tree: Tree) -> None:
        r"""Take back what :meth:`to_tree` returned."""
        torch._foreach_copy_(self.mean, [_tensor(value) for value in tree["mean"]])
        torch._foreach_copy_(self.best, [_tensor(value) for value in tree["best"]])
        self.value, self.best_value = tree["values"].tolist()


def learning_rate_factor(progress: float) -> float:
    r"""Return the learning rate at ``progress`` as a share of its peak.

    Linear over the first 2 %, then half a cosine down to zero.

    Example:
        >>> learning_rate_factor(0.02), round(learning_rate_factor(0.51), 6)
        (1.0, 0.5)
    """
    if progress < WARM_UP:
        return 0.05 + 0.95 * progress / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def ema_decay(step: int, ema: float | Literal["auto"]) -> float:
    r"""Return the decay of the averaged weights at step 1, 2, ….

    ``"auto"`` is (1 − 1/step)^(γ + 1) with γ = 16.97: a window of 5 % of the steps so far.

    Example:
        >>> ema_decay(1, "auto"), ema_decay(1, 0.999)
        (0.0, 0.999)
    """
    return (1 - 1 / step) ** 17.97 if ema == "auto" else ema


def _array(value: Any) -> np.ndarray:
    array: np.ndarray = value.detach().cpu().numpy()
    return array


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array))


def _laid_out(value: Tensor, like: Tensor) -> Tensor:
    # The fused optimiser walks through memory, so moments have to lie as their parameter does.
    return value if value.shape != like.shape else torch.empty_like(like).copy_(value)
