r"""The one training loop.

It is given objectives, each a loss over some parameters, and takes a step of each in turn: one
objective for most families, two for an adversarial pair. AdamW; a learning rate that warms up
over the first 2 % of the budget and falls to zero along a cosine; gradients clipped to norm 1;
weights averaged in float32 with a power-law window (Karras 2024, eq. 2), whose length grows
with the number of steps taken, so that it suits every budget.

Same bits: the rows of a batch, their noise and their times are pure functions of (seed, step),
so one seed gives one result on one machine, and a later start at step k needs no replay: what
a journal keeps of the :class:`~fromnoise.training.state.State` after a step is all it takes.

A loss or gradient that is not finite is never applied: the step is skipped, and after ten in a
row the fit ends as ``"diverged"`` with the best averaged weights so far. To know it before the
step, and to hold a budget in seconds, the loop waits for the device once a step.
"""

__all__ = ["Outcome", "Rows", "train"]

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fromnoise.training.budget import Clock
from fromnoise.training.callbacks import Callback, Record
from fromnoise.training.checkpoint import Journal
from fromnoise.training.interrupts import Interrupts
from fromnoise.training.objectives import Batch, Objective, Settings
from fromnoise.training.seeds import numpy_rng, torch_rng
from fromnoise.training.state import Memory, State, ema_decay

SKIPS = 10
RECORDS = 100
CHECKS, APART = 20, 10  # checks in all, and steps between two at least
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
class Outcome:
    r"""What training left behind; the networks hold the averaged weights that were kept."""

    history: list[dict[str, Any]] = field(default_factory=list)
    n_steps: int = 0
    seconds: float = 0.0
    status: Literal["ok", "diverged"] = "ok"
    reason: str = ""
    interrupts: Interrupts = field(default_factory=Interrupts)


def train(
    networks: nn.ModuleDict,
    objectives: Sequence[Objective],
    rows: Rows,
    clock: Clock,
    settings: Settings,
    *,
    prepare: Callable[[Tensor, Tensor | None, torch.Generator], Batch],
    validate: Callable[[float], float],
    observe: Callable[[], dict[str, float]] = dict,
    callbacks: Sequence[Callback] = (),
    memory: Memory | None = None,
    journal: Journal | None = None,
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
        validate: Loss on held-out rows with the averaged weights, which the networks hold while
            it is called; it is told the progress.
        observe: Returns columns of its own for each record.
        callbacks: Called with every record.
        memory: What the family adapts while it trains, beside the networks.
        journal: Keeps the records and, if it is a folder's, the state; a fit that it knows the
            state of goes on from there.

    Returns:
        History, status and the signal that was held back, if any.
    """
    journal = Journal() if journal is None else journal
    state = State(networks, objectives, clock, settings, memory)
    loop = _Loop(state, settings, journal, validate, observe, callbacks)
    with Interrupts() as loop.outcome.interrupts, ThreadPoolExecutor(1) as ahead:
        journal.expect(state.n_bytes)
        over = loop.begin()
        batches = _batches(rows, settings, prepare, start=state.count.done)
        for x, y in () if over else _ahead(ahead, batches):
            loop.step(x, y)
            if loop.finished():
                break
            if journal.due(state.count.done):
                loop.keep()
        if not over:
            loop.keep()
        loop.close()
    return loop.outcome


class _Loop:
    r"""What happens between steps: records, checks, checkpoints, the end."""

    def __init__(
        self,
        state: State,
        settings: Settings,
        journal: Journal,
        validate: Callable[[float], float],
        observe: Callable[[], dict[str, float]],
        callbacks: Sequence[Callback],
    ) -> None:
        self.state, self.settings, self.journal = state, settings, journal
        self.validate, self.observe, self.callbacks = validate, observe, callbacks
        self.outcome = Outcome(history=journal.history)

    def begin(self) -> bool:
        r"""Start, or take the state of an earlier start; return whether there is nothing to do."""
        if self.journal.state is None:
            self.state.clock.start()
            return False
        self.state.from_tree(self.journal.state)
        return self.finished()

    def step(self, batch: Batch, y: Tensor | None) -> None:
        state, clock, count = self.state, self.state.clock, self.state.count
        begun, progress = clock.elapsed(), clock.progress(count.done)
        generator = torch_rng(self.settings.seed, _STEP, count.done, device=self.settings.device)
        losses = [
            player.step(batch, y, progress, generator)
            for player in state.players
            if count.done % player.objective.every == 0
        ]
        count.done += 1
        if all(map(math.isfinite, losses)):
            count.skipped = 0
            state.losses += [sum(losses)] if losses else []  # no player may be due at this step
            state.average.update(ema_decay(count.done, self.settings.ema))
        else:
            count.skipped += 1
        count.step_seconds = max(0.9 * count.step_seconds, clock.elapsed() - begun)
        self.report(clock.progress(count.done))

    def report(self, progress: float) -> None:
        # The last record is close()'s, which judges the last average too.
        count = self.state.count
        if progress >= 1 or progress - count.recorded < 1 / RECORDS or not self.state.losses:
            return
        apart = count.judged < 0 or count.done - count.judged >= APART  # the first tells its time
        due = apart and progress - count.checked >= 1 / CHECKS
        validation = self.check(progress) if due else None
        self.record(progress, validation)

    def check(self, progress: float) -> float:
        clock, count = self.state.clock, self.state.count
        begun, count.checked = clock.elapsed(), progress
        value = self.state.average.judge(partial(self.validate, progress))
        count.judged = count.done
        count.check_seconds = clock.elapsed() - begun
        return value

    def record(self, progress: float, validation: float | None) -> None:
        state, done, seconds = self.state, self.state.count.done, self.state.clock.elapsed()
        rate = state.players[0].rate(progress)
        loss = math.fsum(state.losses) / len(state.losses)
        more = {k: v for player in state.players for k, v in player.measured().items()}
        more |= self.observe()
        line = Record(done, progress, seconds, loss, rate, validation, more)
        state.count.recorded, state.losses = progress, []
        self.journal.record(line.to_dict())
        for callback in self.callbacks:
            callback(line)

    def finished(self) -> bool:
        count = self.state.count
        if count.skipped >= SKIPS:
            self.outcome.status = "diverged"
            self.outcome.reason = f"the loss was not finite for {SKIPS} steps in a row"
            return True
        reserve = count.step_seconds + count.check_seconds + self.journal.save_seconds
        interrupted = self.outcome.interrupts.received is not None
        return interrupted or self.state.clock.over(count.done, reserve)

    def keep(self) -> None:
        self.journal.save(self.state.count.done, self.state.to_tree(), self.state.average.value)

    def close(self) -> None:
        state, count = self.state, self.state.count
        if count.judged != count.done:  # else the last step's average has been judged already
            value = self.check(1.0)
            if state.losses:
                self.record(state.clock.progress(count.done), value)
        state.average.restore_best()
        self.outcome.n_steps, self.outcome.seconds = count.done, state.clock.elapsed()


def _batches(
    rows: Rows, settings: Settings, prepare: Callable[..., Batch], start: int = 0
) -> Iterator[tuple[Batch, Tensor | None]]:
    r"""Yield prepared batches from number ``start`` on, for ever.

    Batch k is a pure function of (seed, k).
    """
    size = min(settings.batch_size, len(rows))
    for step, index in enumerate(_order(len(rows), size, settings.seed, start), start):
        x, y = rows.take(index, numpy_rng(settings.seed, _ROWS, step))
        batch = prepare(x, y, torch_rng(settings.seed, _ROWS, step))
        yield (
            tuple(part.to(settings.device, non_blocking=True) for part in batch),
            None if y is None else y.to(settings.device, non_blocking=True),
        )


def _order(n: int, size: int, seed: int, start: int) -> Iterator[np.ndarray]:
    r"""Yield the rows of each batch: one permutation an epoch, cut into batches end to end."""
    epoch, position = divmod(start * size, n)
    left = numpy_rng(seed, _ORDER, epoch).permutation(n)[position:]
    while True:
        while len(left) < size:
            epoch += 1
            left = np.concatenate([left, numpy_rng(seed, _ORDER, epoch).permutation(n)])
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
