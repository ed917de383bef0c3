r"""What a fit leaves behind while it runs, so that it can go on after whatever ended it.

    RUN/step-0000123/   a checkpoint: the state after step 123, a bundle of its own
    RUN/history.jsonl   one line a record; a fit that goes on cuts it back to its checkpoint
    RUN/manifest.json   the model, once the fit has ended or was interrupted
    RUN/.lock           held by the one process that writes here, let go by the system if it dies

A checkpoint is sound or it does not exist: its manifest is written last (see
:mod:`fromnoise.persistence`), read back, and removed first. The newest two sound ones stay, and
the one whose averaged weights did best in validation; a damaged one is passed over, with a
warning. Which is the newest is the step in its name, never the date of a file.

A fit goes on only with the family, arguments and data that it began with: a fingerprint of these
stands in every checkpoint.
"""

__all__ = ["Journal", "RunFolder", "is_finished", "open_journal", "replacing"]

import contextlib
import json
import logging
import math
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from fromnoise.errors import ArtifactError, DataError, shown
from fromnoise.persistence import Tree, read_bundle, write_bundle, write_text
from fromnoise.training.budget import Budget
from fromnoise.training.fingerprints import refuse_another
from fromnoise.training.locks import NAME as LOCK
from fromnoise.training.locks import locked

FAILURES = 3  # checkpoints in a row that may fail before the fit does
ROOM = 2.2  # free space that a fit needs, in checkpoints
_NAME = re.compile(r"step-\d{7,}")
_HISTORY, _MANIFEST, _PRIOR = "history.jsonl", "manifest.json", "prior"
_BEFORE = ".before"
_KEYS = {"told", "seed", "step", "validation", "history", "machine", "state"}

logger = logging.getLogger("fromnoise")


class Journal:
    r"""What a fit tells as it goes; this one remembers the records and nothing else.

    Example:
        >>> with Journal() as journal:
        ...     journal.record({"step": 1, "loss": 2.0})
        ...     journal.save(1, {}, 2.0)
        >>> journal.history, journal.state
        ([{'step': 1, 'loss': 2.0}], None)
    """

    def __init__(self) -> None:
        self.history: list[dict[str, Any]] = []
        self.state: Tree | None = None  # of an earlier start, to go on from
        self.save_seconds = 0.0  # that the last checkpoint took

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def seed(self, fresh: int) -> int:
        r"""Return the seed of the fit: that of its first start, or ``fresh`` if this is it."""
        return fresh

    def check(self, told: Callable[[], Tree]) -> None:
        r"""Refuse to go on with a fit of other arguments or data; ``told`` gives them as JSON."""

    def expect(self, n_bytes: int) -> None:
        r"""Refuse to begin where checkpoints of ``n_bytes`` find no room."""

    def record(self, line: dict[str, Any]) -> None:
        r"""Take a record."""
        self.history.append(line)

    def due(self, step: int) -> bool:
        r"""Return whether a checkpoint is due after ``step`` steps."""
        return False

    def save(self, step: int, state: Tree, validation: float) -> None:
        r"""Take the state after ``step`` steps, and what its averaged weights are worth."""

    def finish(self, model: Callable[[], Tree]) -> None:
        r"""Take the model that the fit has ended with."""

    def part(self, name: str) -> "Journal":
        r"""Return the journal of a fit within this fit."""
        return Journal()


class RunFolder(Journal):
    r"""A journal in a folder: a context that one process holds at a time.

    Args:
        path: The folder; made if it is missing.
        every: Seconds or steps between checkpoints.

    Raises:
        BlockingIOError: On entry, if another process writes there.
        DataError: On entry, if it holds a finished fit.
        ArtifactError: On entry, if it holds checkpoints and all of them are damaged.
        FileExistsError: On entry, if it holds something that no fit has written.

    Example:
        >>> import tempfile
        >>> path, every = Path(tempfile.mkdtemp()), Budget.parse("10 steps")
        >>> with RunFolder(path, every) as journal:
        ...     journal.due(9), journal.due(10)
        ...     journal.save(10, {"weights": np.ones(2)}, validation=0.5)
        (False, True)
        >>> with RunFolder(path, every) as journal:
        ...     journal.state["weights"]
        array([1., 1.])
    """

    def __init__(self, path: str | Path, every: Budget) -> None:
        super().__init__()
        self.path, self.every = Path(path), every
        self.saved = False  # whether this process has written a checkpoint
        self._told: Tree = {}
        self._seed: int | None = None
        self._sound: dict[int, float] = {}  # steps of the sound checkpoints, and their worth
        self._failed = 0
        self._last, self._last_step = time.monotonic(), 0
        self._lock: int | None = None

    def __enter__(self) -> Self:
        _refuse_strange(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = locked(self.path)
        try:
            _refuse_finished(self.path)
            self._go_on()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lock is None:
            return
        if not _saved(self.path):
            # Nothing to go on from: a name that was free before is free again.
            for name in (_HISTORY, LOCK):
                (self.path / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # other files may lie there
                self.path.rmdir()
        os.close(self._lock)

    def seed(self, fresh: int) -> int:
        r"""Return the seed of the checkpoint, or ``fresh``, which stands in the next one."""
        self._seed = fresh if self._seed is None else self._seed
        return self._seed

    def check(self, told: Callable[[], Tree]) -> None:
        r"""Refuse to go on with a fit of other arguments or data; ``told`` gives them as JSON."""
        fresh = json.loads(json.dumps(told()))  # tuples are lists in a manifest
        if self.state is not None:
            refuse_another(f"{self.path} holds an unfinished fit", self._told, fresh)
        self._told = fresh
        if self.state is not None:
            logger.info("The fit in %s goes on after step %d.", self.path, self._last_step)

    def expect(self, n_bytes: int) -> None:
        r"""Raise an OSError where there is no room for two checkpoints of ``n_bytes``."""
        free = shutil.disk_usage(self.path).free
        if free < ROOM * n_bytes:
            raise OSError(
                f"{self.path} has {free / 1e6:.0f} MB free, and checkpoints need about"
                f" {ROOM * n_bytes / 1e6:.0f} MB. Free some space, or choose another run_dir."
            )

    def record(self, line: dict[str, Any]) -> None:
        r"""Take a record, and write it to ``history.jsonl``."""
        super().record(line)
        # A full disk shows at the next checkpoint, and the whole history is written at the end.
        with contextlib.suppress(OSError), open(self.path / _HISTORY, "a") as file:
            file.write(_line(line))

    def due(self, step: int) -> bool:
        r"""Return whether ``every`` has passed since the last checkpoint, or the start."""
        if self.every.unit == "steps":
            return step - self._last_step >= self.every.amount
        return time.monotonic() - self._last >= self.every.amount

    def save(self, step: int, state: Tree, validation: float) -> None:
        r"""Write a checkpoint, and remove those that are no longer needed.

        A disk that is full or broken is logged as an error; only when that happens three times
        in a row, the error is raised. What was saved before stays.
        """
        begun, folder = time.monotonic(), self._folder(step)
        tree = {
            "told": self._told,
            "seed": self._seed,
            "step": step,
            "validation": np.array(validation, np.float64),
            "history": [_exact(line) for line in self.history],
            "machine": _machine(),
            "state": state,
        }
        self._last, self._last_step = begun, step
        try:
            write_bundle(folder, tree, overwrite=True)
        except (OSError, ArtifactError) as error:
            self._fail(step, error)
            return
        self._failed, self.saved, self._sound[step] = 0, True, validation
        self._prune()
        self.save_seconds = time.monotonic() - begun

    def finish(self, model: Callable[[], Tree]) -> None:
        r"""Write the whole history and the model."""
        self._write_history()
        write_bundle(self.path, model(), overwrite=True)

    def part(self, name: str) -> Journal:
        r"""Return the journal of a fit within this fit, in a folder below."""
        return _Part(self, name)

    def _folder(self, step: int) -> Path:
        return self.path / f"step-{step:07d}"

    def _go_on(self) -> None:
        r"""Take the newest sound checkpoint; remove what a crash has left half-written."""
        newest: Tree | None = None
        damaged = False
        for folder in reversed(_checkpoints(self.path)):
            if not (folder / _MANIFEST).exists():
                _remove(folder)
                continue
            try:
                tree = _read(folder)
            except ArtifactError as error:
                logger.warning("A damaged checkpoint is passed over: %s", error)
                damaged = True
                continue
            self._sound[tree["step"]] = float(tree["validation"])
            newest = newest or tree
        if newest is not None:
            self._take(newest)
        elif damaged:
            raise ArtifactError(
                f"Every checkpoint in {self.path} is damaged. Remove the folder to start again."
            )
        self._write_history()

    def _take(self, tree: Tree) -> None:
        self.state, self._told, self._seed = tree["state"], tree["told"], tree["seed"]
        self.history[:] = [_read_exact(line) for line in tree["history"]]
        self._last_step = tree["step"]
        if tree["machine"] != _machine():
            logger.warning(
                "The fit in %s was begun on %s and goes on with %s: as good, but not bit for bit.",
                self.path,
                tree["machine"],
                _machine(),
            )

    def _fail(self, step: int, error: Exception) -> None:
        folder = self._folder(step)
        logger.error("Step %d could not be saved in %s: %s", step, folder, error)
        self._failed += 1
        if step not in self._sound:
            _remove(folder)
        if self._failed == FAILURES:
            raise error

    def _prune(self) -> None:
        kept = set(sorted(self._sound)[-2:])
        worth = {step: v for step, v in self._sound.items() if math.isfinite(v)}
        if worth:
            kept.add(min(worth, key=lambda step: (worth[step], -step)))
        for folder in _checkpoints(self.path):
            if int(folder.name.partition("-")[2]) not in kept:
                _remove(folder)
        self._sound = {step: v for step, v in self._sound.items() if step in kept}

    def _write_history(self) -> None:
        write_text(self.path / _HISTORY, "".join(map(_line, self.history)))


class _Part(RunFolder):
    r"""The folder of a fit within a fit: under its lock, with nothing to compare or to finish."""

    def __init__(self, whole: RunFolder, name: str) -> None:
        super().__init__(whole.path / name, whole.every)
        self._begins = whole.saved  # what came before is new, so an older state does not fit

    def __enter__(self) -> Self:
        if self._begins and self.path.exists():
            shutil.rmtree(self.path)
        self.path.mkdir(exist_ok=True)
        self._go_on()
        return self

    def check(self, told: Callable[[], Tree]) -> None:
        r"""Accept: the whole has been compared."""

    def finish(self, model: Callable[[], Tree]) -> None:
        r"""Leave the model to the whole."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[None]:
    r"""Set aside the run in a folder while another is begun there; other files stay.

    The old run lies in ``.before`` within the folder. It comes back if what is done in the context
    raises before anything was saved, and is removed otherwise.

    Args:
        path: The folder of the run; it need not exist.

    Raises:
        BlockingIOError: If another process writes there.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with RunFolder(folder, Budget.parse("1 step")) as journal:
        ...     journal.save(1, {}, validation=0.5)
        >>> with contextlib.suppress(ValueError), replacing(folder):
        ...     print((folder / "step-0000001").exists())
        ...     raise ValueError("a bad argument")
        False
        >>> (folder / "step-0000001").exists()
        True
    """
    folder = Path(path)
    if not folder.exists():
        yield
        return
    before = folder / _BEFORE
    lock = locked(folder)
    try:
        _tidy(folder)  # a process may have been killed here
        before.mkdir()
        # The manifest goes first, and comes back last: half a run is no model.
        for child in _parts(folder):
            child.rename(before / child.name)
    finally:
        os.close(lock)
    try:
        yield
    finally:
        _tidy(folder)


def _tidy(folder: Path) -> None:
    r"""Take back a run that was set aside if there is no other; else remove it."""
    if not _saved(folder):
        for child in reversed(_parts(folder / _BEFORE)):
            os.replace(child, folder / child.name)
    _remove(folder / _BEFORE)


def _saved(folder: Path) -> bool:
    return bool(_checkpoints(folder)) or (folder / _MANIFEST).exists()


def _parts(folder: Path) -> list[Path]:
    r"""Return what a run consists of, the manifest first."""
    named = [folder / _MANIFEST, folder / _HISTORY, folder / _PRIOR]
    found = [*named, *folder.glob("weights-*.safetensors"), *_checkpoints(folder)]
    return [child for child in found if child.exists()]


def open_journal(run_dir: str | os.PathLike[str] | None, every: str) -> Journal:
    r"""Return the journal of a fit.

    Args:
        run_dir: Folder; None for a journal that keeps nothing.
        every: Time or steps between checkpoints, such as ``"60s"`` or ``"500 steps"``.

    Returns:
        A context.

    Raises:
        ValueError: If ``every`` is neither.

    Example:
        >>> type(open_journal(None, "60s")).__name__
        'Journal'
    """
    try:
        budget = Budget.parse(every)
    except ValueError:
        budget = None
    if budget is None or budget.unit == "epochs":
        raise ValueError(
            'checkpoint_every must be a time or a number of steps, such as "60s" or "500 steps",'
            f" got {shown(every)}."
        )
    return Journal() if run_dir is None else RunFolder(os.fspath(run_dir), budget)


def _refuse_strange(path: Path) -> None:
    if not path.exists():
        return
    names = {child.name for child in path.iterdir()} if path.is_dir() else {path.name}
    if names and not names & {LOCK, _MANIFEST}:
        raise FileExistsError(f"{path} holds something else than a fit. Choose another run_dir.")


def is_finished(path: str | os.PathLike[str]) -> bool:
    r"""Return whether a folder holds the model of a fit that has come to its end.

    Raises:
        ArtifactError: If the model there is damaged.

    Example:
        >>> import tempfile
        >>> is_finished(tempfile.mkdtemp())
        False
    """
    found = (Path(path) / _MANIFEST).exists()
    return found and not read_bundle(Path(path)).get("interrupted", False)


def _refuse_finished(path: Path) -> None:
    if is_finished(path):
        raise DataError(
            f"{path} holds a finished fit; fromnoise.load reads it. Choose another run_dir for"
            " a new one."
        )


def _checkpoints(path: Path) -> list[Path]:
    r"""Return the folders of checkpoints, in the order of their steps."""
    found = [child for child in path.glob("step-*") if _NAME.fullmatch(child.name)]
    return sorted(found, key=lambda child: int(child.name.partition("-")[2]))


def _read(folder: Path) -> Tree:
    tree = read_bundle(folder)
    if tree.keys() != _KEYS:
        raise ArtifactError(f"{folder} is no checkpoint of this version of fromnoise.")
    return tree


def _remove(folder: Path) -> None:
    # The manifest first: without one, what a crash leaves here is no checkpoint.
    with contextlib.suppress(OSError):
        (folder / _MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder)


def _machine() -> str:
    threads = torch.get_num_threads()
    return f"{platform.machine()}, torch {torch.__version__}, {threads} thread(s)"


def _line(record: dict[str, Any]) -> str:
    finite = {k: v if v is None or math.isfinite(v) else None for k, v in record.items()}
    return json.dumps(finite) + "\n"


def _exact(record: dict[str, Any]) -> dict[str, Any]:
    r"""Return a record as strict JSON; what is not finite is told by its name."""
    return {k: v if v is None or math.isfinite(v) else repr(float(v)) for k, v in record.items()}


def _read_exact(record: dict[str, Any]) -> dict[str, Any]:
    return {k: float(v) if isinstance(v, str) else v for k, v in record.items()}
