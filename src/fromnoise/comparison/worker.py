r"""One family, one process: ``python -m fromnoise.comparison.worker FOLDER``.

The worker reads its job and the split, fits, saves, draws, scores the held-out rows, and writes
``result.json`` last. It tells the parent that the fit is over by the file ``fitted``, so that a
fit that hangs can be told from a model that is slow to draw from.

While it fits, ``run/`` holds its checkpoints. A worker that finds some goes on from there; one
whose fit had ended, but not what comes after it, comes to the same end from the last of them.
"""

__all__ = ["main", "run_job"]

import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from fromnoise import data, families
from fromnoise.base import GenerativeModel
from fromnoise.comparison.codes import codes_of
from fromnoise.comparison.jobs import (
    Job,
    Split,
    read_split,
    restored_arguments,
    write_codes,
    write_samples,
)
from fromnoise.comparison.journeys import journey_of, write_journey
from fromnoise.comparison.resuming import run_folder
from fromnoise.errors import ArtifactError, DataError
from fromnoise.persistence import write_text

logger = logging.getLogger("fromnoise")

SCORED_ROWS = 2000  # exact likelihood by an ODE costs a second a few hundred rows
CAPABILITIES = {
    "samples": "sample",
    "density": "score_samples",
    "encode": "encode",
    "reconstruct": "reconstruct",
}


def main(folder: str) -> int:
    r"""Run the job in ``folder``; returns the exit status of the process."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    path = Path(folder)
    job = Job.read(path)
    run_job(path, job, families.make(job.family, **restored_arguments(job.arguments)))
    shutil.rmtree(run_folder(path), ignore_errors=True)
    return 0


def run_job(folder: Path, job: Job, model: GenerativeModel) -> None:
    r"""Fit ``model``, and write model, samples and ``result.json`` into ``folder``."""
    split = read_split(Path(job.split))
    if not job.conditional:
        split = split.joined(job.label)
    try:
        result = _fitted(folder, job, model, split)
    except Exception as error:  # whatever one family does, the others go on
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        result = {"status": "failed", "reason": reason}
    write_text(folder / "result.json", json.dumps(result, indent=1))


def _fitted(folder: Path, job: Job, model: GenerativeModel, split: Split) -> dict[str, Any]:
    fit_seconds = _fit(run_folder(folder), job, model, split)
    model.save(folder / "model", overwrite=True)
    write_text(folder / "fitted", "")
    draws = hasattr(model, "sample")
    sample_seconds = _drawn(folder, job, model, split) if draws else None
    each = None if sample_seconds is None else sample_seconds / job.n_samples
    codes = codes_of(model, split, each)
    if codes is not None:
        write_codes(folder / "codes", codes)
    journey = journey_of(model, split, each)
    if journey is not None:
        write_journey(folder / "journey", journey)
    shown = {"samples": draws, "codes": codes is not None, "journey": journey is not None}
    return {
        "left": ["model", *(name for name, is_there in shown.items() if is_there)],
        "status": model.status_,
        "reason": model.status_reason_ or ("" if draws else _why_silent(model)),
        "seconds": {"fit": fit_seconds, "sample": sample_seconds},
        "arguments": _shown(model),
        "parameters": model.n_parameters_,
        "evaluations": model.n_evaluations if draws else None,
        "peak_memory_mb": _peak_memory(),
        "history": [{k: v for k, v in line.items() if v is not None} for line in model.history_],
        "capabilities": _capabilities(model),
        "likelihood": model.score_kind_ if hasattr(model, "score_samples") else None,
    }


def _peak_memory() -> float | None:
    r"""Return the most memory that this process has held, in MB; None where nobody counts it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _fit(run: Path, job: Job, model: GenerativeModel, split: Split) -> float:
    r"""Fit, or go on with a fit; returns the seconds that it took in all."""
    started, begun = time.monotonic(), run.exists()
    (run / "manifest.json").unlink(missing_ok=True)  # a fit that has ended takes no other
    model.set_params(budget=job.budget, random_state=job.seed, run_dir=run)
    try:
        model.fit(split.train, split.train_y)
    except (ArtifactError, FileExistsError) as error:  # of what an earlier start left
        if not begun:
            raise
        logger.warning("%s is damaged, so it is fitted from the start: %s", run, error)
        shutil.rmtree(run)
        model.fit(split.train, split.train_y)
    model.set_params(run_dir=None)
    return max(time.monotonic() - started, model.fit_seconds_)


def _drawn(folder: Path, job: Job, model: GenerativeModel, split: Split) -> float:
    r"""Draw and write what the model is measured by; returns the seconds that drawing took."""
    started = time.monotonic()
    conditional = split.train_y is not None
    drawn = model.sample(job.n_samples, random_state=job.seed, return_y=conditional)
    X, y = drawn if conditional else (drawn, None)
    seconds = time.monotonic() - started
    write_samples(folder / "samples", X, y, _log_p(model, split, job))
    return seconds


def _why_silent(model: GenerativeModel) -> str:
    r"""Return why the model has no samples, in its own words."""
    try:
        model.sample  # noqa: B018 - asked for the sentence that it answers with
    except AttributeError as error:
        return str(error)
    return ""


def _capabilities(model: GenerativeModel) -> dict[str, bool | str]:
    able: dict[str, bool | str] = {
        name: hasattr(model, method) for name, method in CAPABILITIES.items()
    }
    if able["density"]:
        able["density"] = model.score_kind_.replace("_", " ")
    return {**able, "conditional": True}


def _log_p(model: GenerativeModel, split: Split, job: Job) -> np.ndarray | None:
    r"""Return log p(x) of held-out rows, where it is a density of continuous columns.

    Not for images: pixels are rounded, and the density of rounded numbers is a matter of how
    much a model is smoothed. Nor where the label is a column: log p(x, y) is no log p(x | y).
    """
    encoding = model.encoding_
    if not job.conditional and job.label is not None:
        return None
    if encoding.kind == "images" or not encoding.is_continuous:
        return None
    if not hasattr(model, "score_samples") or model.score_kind_ != "exact":
        return None  # a bound or an estimate does not compare with the density itself
    index = np.arange(min(SCORED_ROWS, data.n_rows(split.test)))
    y = None if split.test_y is None else data.take(split.test_y, index)
    try:
        return model.score_samples(data.take(split.test, index), y)
    except DataError:
        return None  # a held-out row lies where the training rows leave no density at all


def _shown(model: GenerativeModel) -> dict[str, Any]:
    r"""Return the arguments that are not defaults, for the report."""
    defaults = type(model)().get_params(deep=False)
    return {
        name: value if isinstance(value, str | int | float | bool | None) else repr(value)[:80]
        for name, value in model.get_params(deep=False).items()
        if name not in ("budget", "random_state", "run_dir", "checkpoint_every")
        and value is not defaults[name]
        and not (isinstance(value, str | int | float) and value == defaults[name])
    }


def _obey_parent() -> None:
    r"""End, with the state saved, when the parent says so or is no more.

    Ctrl-C reaches every process of a terminal, and is the parent's to pass on.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    os.read(0, 1)  # nothing comes; it returns when the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    _obey_parent()
    sys.exit(main(sys.argv[1]))
