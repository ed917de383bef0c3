r"""The one training loop.

It is given objectives, each a loss over some parameters, and takes a step of each in turn: one
objective for most families, two for an adversarial pair. AdamW; a learning rate that warms up
over the first 2 % of the budget and falls to zero along a cosine; gradients clipped to norm 1;
weights averaged in float32 with a power-law window (Karras 2024, eq. 2), whose length grows
with the number of steps taken, so that it suits every budget.

Same bits: the rows of a batch, their noise and their times are pure functions of (seed, step),
so one seed gives one result on one machine, and a later start at step k needs no replay.

A loss or gradient that is not finite is never applied: the step is skipped, and after ten in a
row the fit ends as ``"diverged"`` with the best averaged weights so far.
"""

__all__ = ["Batch", "Objective", "Outcome", "Rows", "Settings", "learning_rate_factor", "train"]

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fromnoise.training.budget import Clock
from fromnoise.training.callbacks import Callback, Record
from fromnoise.training.interrupts import Interrupts
from fromnoise.training.seeds import numpy_rng, torch_rng

Batch = tuple[Tensor, ...]
Loss = Callable[[Batch, Tensor | None, float, torch.Generator], Tensor]

WARM_UP = 0.02
SKIPS = 10
RECORDS = 100
CHECKS = 20
_ORDER, _ROWS, _STEP = 1, 2, 3  # what a random stream is for


class Rows(Protocol):
    r"""What the engine needs to know of the data."""

    def __len__(self) -> int:
        r"""Return the number of rows."""
        ...

    def take(self, index: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor | None]:
        r"""Return rows in model space, with fresh dequantisation noise, and their conditions."""
        ...


@dataclass
class Objective:
    r"""One player: a loss, and the parameters that lower it.

    Args:
        loss: Called with (batch, y, progress, generator); returns a scalar.
        parameters: What its gradient moves.
        every: Takes a step every so many steps.
        learning_rate: Of this player; None for the fit's.
        betas: Of AdamW; or a function of progress that returns them.
        clip: Largest norm of its gradient, ``math.inf`` for any; None for the fit's.
        after_step: Called after each of its steps, for instance to clip weights.
        name: With one, history has the columns ``NAME_loss`` and ``NAME_gradient``, the means of
            its loss and of the norm of its gradient, before clipping, since the last record.
    """

    loss: Loss
    parameters: Sequence[nn.Parameter]
    every: int = 1
    learning_rate: float | None = None
    betas: tuple[float, float] | Callable[[float], tuple[float, float]] = (0.9, 0.99)
    clip: float | None = None
    after_step: Callable[[], None] | None = None
    name: str = ""


@dataclass(frozen=True)
class Settings:
    r"""How to train.

    Args:
        batch_size: Rows a step; all of them where there are fewer.
        learning_rate: Peak learning rate.
        ema: Decay of the averaged weights a step, or ``"auto"`` for the power-law window.
        seed: Seed of every random stream.
        device: Where the networks live.
        precision: Of the networks in training; weights and averages stay in float32.
        weight_decay: Of AdamW.
        clip: Largest norm of a gradient.
    """

    batch_size: int
    learning_rate: float
    ema: float | Literal["auto"] = "auto"
    seed: int = 0
    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    weight_decay: float = 1e-4
    clip: float = 1.0


@dataclass
class Outcome:
    r"""What training left behind; the networks hold the averaged weights that were kept."""

    history: list[dict[str, Any]] = field(default_factory=list)
    n_steps: int = 0
    seconds: float = 0.0
    status: Literal["ok", "diverged"] = "ok"
    reason: str = ""
    interrupts: Interrupts = field(default_factory=Interrupts)


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


def train(
    networks: nn.ModuleDict,
    objectives: Sequence[Objective],
    rows: Rows,
    clock: Clock,
    settings: Settings,
    *,
    prepare: Callable[[Tensor, Tensor | None, torch.Generator], Batch],
    validate: Callable[[], float],
    observe: Callable[[], dict[str, float]] = dict,
    callbacks: Sequence[Callback] = (),
) -> Outcome:
    r"""Train ``networks`` in place and leave the best averaged weights in them.

    Args:
        networks: The networks, on the device of ``settings``.
        objectives: The players, taken in turn each step.
        rows: The training rows.
        clock: Measures the budget; its birth is the start of the fit.
        settings: How to train.
        prepare: Turns rows into what the losses want (say, pairs of noise and data). It runs
            one batch ahead, in a thread.
        validate: Loss on held-out rows with the weights that the networks hold now.
        observe: Returns columns of its own for each record.
        callbacks: Called with every record.

    Returns:
        History, status and the signal that was held back, if any.
    """
    loop = _Loop(networks, objectives, clock, settings, validate, observe, callbacks)
    with Interrupts() as loop.outcome.interrupts, ThreadPoolExecutor(1) as ahead:
        clock.start()
        for x, y in _ahead(ahead, _batches(rows, settings, prepare)):
            loop.step(x, y)
            if loop.finished():
                break
    loop.close()
    return loop.outcome


class _Loop:
    r"""The state of one fit between steps."""

    def __init__(
        self,
        networks: nn.ModuleDict,
        objectives: Sequence[Objective],
        clock: Clock,
        settings: Settings,
        validate: Callable[[], float],
        observe: Callable[[], dict[str, float]],
        callbacks: Sequence[Callback],
    ) -> None:
        self.players = [_Player(o, settings) for o in objectives]
        self.average = _Average(networks)
        self.clock, self.settings = clock, settings
        self.validate, self.observe, self.callbacks = validate, observe, callbacks
        self.outcome = Outcome()
        self.done = self.skipped = 0
        self.judged = -1  # steps done at the last check
        self.losses: list[float] = []
        self.recorded = self.checked = 0.0
        self.step_seconds = self.check_seconds = self.last = 0.0

    def step(self, batch: Batch, y: Tensor | None) -> None:
        begun, progress = self.clock.elapsed(), self.clock.progress(self.done)
        generator = torch_rng(self.settings.seed, _STEP, self.done, device=self.settings.device)
        losses = [
            player.step(batch, y, progress, generator)
            for player in self.players
            if self.done % player.objective.every == 0
        ]
        self.done += 1
        if all(map(math.isfinite, losses)):
            self.skipped = 0
            self.losses += [sum(losses)] if losses else []  # no player may be due at this step
            self.average.update(ema_decay(self.done, self.settings.ema))
        else:
            self.skipped += 1
        self.step_seconds = max(0.9 * self.step_seconds, self.clock.elapsed() - begun)
        self.report(self.clock.progress(self.done))

    def report(self, progress: float) -> None:
        # The last record is close()'s, which judges the last average too.
        if progress >= 1 or progress - self.recorded < 1 / RECORDS or not self.losses:
            return
        check = progress - self.checked >= 1 / CHECKS
        validation = self.check(progress) if check else None
        self.record(progress, validation)

    def check(self, progress: float) -> float:
        begun, self.checked = self.clock.elapsed(), progress
        value, self.judged = self.average.judge(self.validate), self.done
        self.check_seconds = self.clock.elapsed() - begun
        return value

    def record(self, progress: float, validation: float | None) -> None:
        rate = self.players[0].rate(progress)
        loss = math.fsum(self.losses) / len(self.losses)
        more = {k: v for player in self.players for k, v in player.measured().items()}
        more |= self.observe()
        line = Record(self.done, progress, self.clock.elapsed(), loss, rate, validation, more)
        self.recorded, self.losses = progress, []
        self.outcome.history.append(line.to_dict())
        for callback in self.callbacks:
            callback(line)

    def finished(self) -> bool:
        if self.skipped >= SKIPS:
            self.outcome.status = "diverged"
            self.outcome.reason = f"the loss was not finite for {SKIPS} steps in a row"
            return True
        reserve = self.step_seconds + self.check_seconds
        interrupted = self.outcome.interrupts.received is not None
        return interrupted or self.clock.over(self.done, reserve)

    def close(self) -> None:
        if self.judged != self.done:  # else the last step's average has been judged already
            value = self.check(1.0)
            if self.losses:
                self.record(self.clock.progress(self.done), value)
        self.average.restore_best()
        self.outcome.n_steps, self.outcome.seconds = self.done, self.clock.elapsed()


class _Player:
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
        return self.peak * learning_rate_factor(progress)

    def betas(self, progress: float) -> tuple[float, float]:
        betas = self.objective.betas
        return betas(progress) if callable(betas) else betas

    def measured(self) -> dict[str, float]:
        if not self.objective.name or not self.seen:
            return {}
        loss, norm = (math.fsum(values) / len(values) for values in zip(*self.seen, strict=True))
        self.seen = []
        return {f"{self.objective.name}_loss": loss, f"{self.objective.name}_gradient": norm}

    def step(
        self, batch: Batch, y: Tensor | None, progress: float, generator: torch.Generator
    ) -> float:
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


class _Average:
    r"""Averaged weights, and the best of them by validation."""

    def __init__(self, networks: nn.ModuleDict) -> None:
        self.live: list[Tensor] = [*networks.parameters()]
        self.mean = [p.detach().clone() for p in self.live]
        self.best = [m.clone() for m in self.mean]
        self.best_value = math.inf

    @torch.no_grad()
    def update(self, decay: float) -> None:
        torch._foreach_lerp_(self.mean, self.live, 1 - decay)

    @torch.no_grad()
    def judge(self, validate: Callable[[], float]) -> float:
        kept = [p.detach().clone() for p in self.live]
        torch._foreach_copy_(self.live, self.mean)
        value = validate()
        torch._foreach_copy_(self.live, kept)
        if value <= self.best_value:
            self.best_value = value
            torch._foreach_copy_(self.best, self.mean)
        return value

    @torch.no_grad()
    def restore_best(self) -> None:
        torch._foreach_copy_(self.live, self.best)


def _batches(
    rows: Rows, settings: Settings, prepare: Callable[..., Batch]
) -> Iterator[tuple[Batch, Tensor | None]]:
    r"""Yield prepared batches for ever; batch k is a pure function of (seed, k)."""
    size = min(settings.batch_size, len(rows))
    for step, index in enumerate(_order(len(rows), size, settings.seed)):
        x, y = rows.take(index, numpy_rng(settings.seed, _ROWS, step))
        batch = prepare(x, y, torch_rng(settings.seed, _ROWS, step))
        yield (
            tuple(part.to(settings.device, non_blocking=True) for part in batch),
            None if y is None else y.to(settings.device, non_blocking=True),
        )


def _order(n: int, size: int, seed: int) -> Iterator[np.ndarray]:
    r"""Yield the rows of each batch: one permutation an epoch, cut into batches end to end."""
    epoch, left = 0, np.empty(0, np.int64)
    while True:
        while len(left) < size:
            left = np.concatenate([left, numpy_rng(seed, _ORDER, epoch).permutation(n)])
            epoch += 1
        yield left[:size]
        left = left[size:]


def _ahead(
    pool: ThreadPoolExecutor, batches: Iterator[tuple[Batch, Tensor | None]]
) -> Iterator[tuple[Batch, Tensor | None]]:
    r"""Yield from ``batches`` while a thread already makes the next one."""
    coming = pool.submit(next, batches)
    while True:
        ready = coming.result()
        coming = pool.submit(next, batches)
        yield ready
