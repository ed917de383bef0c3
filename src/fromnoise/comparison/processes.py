r"""One process a family: started, watched, and ended when it takes too long.

A process that is killed, runs out of memory or hangs leaves a result too, written here. When
the parent is interrupted, it ends the worker, which first saves its state. When the parent dies,
the worker's standard input ends, and so does the worker, in the same way.
"""

__all__ = ["run_worker"]

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from fromnoise.comparison.jobs import Job
from fromnoise.persistence import write_text
from fromnoise.training import Budget

START_SECONDS, SAMPLE_SECONDS = 60.0, 1800.0
GRACE_SECONDS = 30.0  # to end a step and save


def run_worker(folder: Path, job: Job, lock: int | None = None) -> None:
    r"""Run the job in a process of its own; a result is always left behind.

    Args:
        folder: Folder of the job, where ``job.json`` lies.
        job: The job, for its budget.
        lock: The open lock of the report's folder: the worker holds it too, so that nobody else
            writes there while a worker outlives its parent.
    """
    # -P: a file torch.py in the user's folder is not the torch that is meant.
    command = [sys.executable, "-P", "-m", "fromnoise.comparison.worker", str(folder)]
    held = () if lock is None or os.name == "nt" else (lock,)
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=held
    )
    try:
        reason = _awaited(process, folder, Budget.parse(job.budget))
    except BaseException:
        _end(process)
        raise
    finally:
        process.stdin.close()  # type: ignore[union-attr]
    if not (folder / "result.json").exists():
        code = process.returncode
        status = "timeout" if reason else "failed"
        killed = code == -9
        why = "killed, likely out of memory" if killed else f"the process ended with status {code}"
        result = {"status": status, "reason": reason or why}
        write_text(folder / "result.json", json.dumps(result))


def _end(process: "subprocess.Popen[bytes]") -> None:
    r"""Let a process save what it has; one that does not end by itself is killed."""
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    finally:  # a second Ctrl-C too
        process.kill()
        process.wait()


def _awaited(process: "subprocess.Popen[bytes]", folder: Path, budget: Budget | None) -> str:
    r"""Wait for the worker; returns why it was killed, or an empty text."""
    limited = budget is not None and budget.unit == "seconds"
    fit_limit = 1.5 * budget.amount + START_SECONDS if limited and budget else float("inf")
    started, fitted_at = time.monotonic(), None
    while process.poll() is None:
        now = time.monotonic()
        if fitted_at is None and (folder / "fitted").exists():
            fitted_at = now
        late_fit = fitted_at is None and now - started > fit_limit
        late_draw = fitted_at is not None and now - fitted_at > SAMPLE_SECONDS
        if late_fit or late_draw:
            process.kill()
            process.wait()
            what = f"the fit took more than {fit_limit:.0f} s" if late_fit else "drawing took"
            return what if late_fit else f"{what} more than {SAMPLE_SECONDS:.0f} s"
        time.sleep(0.05)
    return ""
