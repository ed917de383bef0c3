r"""Ctrl-C and SIGTERM: the step ends, the state is kept, and only then the signal counts.

While training runs in the main thread, the first signal only raises a flag. A second one acts
at once, as it would without us. In any other thread nothing is installed.
"""

__all__ = ["Interrupts"]

import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    r"""A context in which signals set ``received`` instead of ending the process.

    SIGTERM is only held back where somebody (the command line) handles it already.

    Example:
        >>> with Interrupts() as interrupts:
        ...     signal.raise_signal(signal.SIGINT)
        ...     interrupts.received == signal.SIGINT
        True
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._old: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if callable(signal.getsignal(number)):
                    self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def again(self) -> None:
        r"""Deliver the signal that was held back, to whoever handled it before.

        Called after the context, once everything worth keeping is kept.
        """
        if self.received is not None:
            signal.raise_signal(self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old = {}
