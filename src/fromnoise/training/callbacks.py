r"""Callbacks: what wants to know how training goes.

A callback is any callable that takes a :class:`Record`. The engine calls it whenever it writes
a line of history, about a hundred times a fit.
"""

__all__ = ["Callback", "ProgressBar", "Record"]

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

logger = logging.getLogger("fromnoise")
CLOSE, FAR = 5.0, 60.0  # seconds between two lines of a log, at least and about at most


@dataclass(frozen=True)
class Record:
    r"""One line of a fit's history.

    Args:
        step: Steps done.
        progress: Share of the budget spent, in [0, 1].
        seconds: Seconds since the fit began.
        loss: Mean training loss since the last record; several objectives are summed.
        learning_rate: Of the first objective.
        validation: Loss on held-out rows with averaged weights; None where not measured.
        more: Further columns, by name.

    Example:
        >>> line = Record(1, 0.5, 0.1, 2.0, 1e-3, more={"critic_loss": 1.5}).to_dict()
        >>> line["loss"], line["critic_loss"]
        (2.0, 1.5)
    """

    step: int
    progress: float
    seconds: float
    loss: float
    learning_rate: float
    validation: float | None = None
    more: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        r"""Return the record as a dictionary, for ``history_``."""
        line = asdict(self)
        more: dict[str, float] = line.pop("more")
        return line | more


Callback = Callable[[Record], object]


class ProgressBar:
    r"""A progress bar on standard error; plain log lines where that is no terminal.

    There is a line at every tenth, or every minute where a tenth takes longer, and never two
    within five seconds.

    Args:
        label: What is being fitted.

    Example:
        >>> with ProgressBar("FlowMatching") as bar:
        ...     bar(Record(1, 1.0, 0.1, 2.0, 1e-3))
    """

    def __init__(self, label: str) -> None:
        from rich.console import Console
        from rich.progress import Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._terminal = console.is_terminal
        self._label, self._tenth, self._last = label, 0, 0.0
        columns = (*Progress.get_default_columns()[:3], TimeRemainingColumn())
        text = TextColumn("loss {task.fields[loss]}")
        self._bar = Progress(*columns, text, console=console, transient=True)
        self._task = self._bar.add_task(label, total=1.0, loss="–")

    def __enter__(self) -> "ProgressBar":
        if self._terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal:
            self._bar.stop()

    def __call__(self, record: Record) -> None:
        r"""Show a record."""
        if self._terminal:
            self._bar.update(self._task, completed=record.progress, loss=f"{record.loss:.4g}")
        elif self._is_due(record):
            self._tenth, self._last = int(record.progress * 10), record.seconds
            logger.info(
                "%s: %3.0f %%, step %d, loss %.4g, %.1f s%s",
                self._label,
                100 * record.progress,
                record.step,
                record.loss,
                record.seconds,
                _left(record),
            )

    def _is_due(self, record: Record) -> bool:
        is_new = int(record.progress * 10) > self._tenth
        return record.seconds - self._last >= (CLOSE if is_new else FAR)


def _left(record: Record) -> str:
    r"""Return how long the rest will take if it goes on as it did."""
    seconds = record.seconds * (1 - record.progress) / record.progress
    if seconds <= 0:
        return ""
    return f", {seconds:.0f} s left" if seconds < 120 else f", {seconds / 60:.0f} min left"
