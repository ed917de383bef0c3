r"""A comparison that was cut goes on: what it began with, and which of its fits are over.

What it began with (arguments, versions, a digest of all rows) stands beside the split, in the
same bundle, so there is the one exactly where there is the other. A fit is over once it has left
``result.json``, which the worker writes last; it is kept if all it left is sound. Of the one
under way there is a run (see :mod:`fromnoise.training.checkpoint`) to go on from. Everything
else is begun anew.
"""

__all__ = [
    "begun_in",
    "can_go_on",
    "clear",
    "kept_result",
    "left_in",
    "mark_of",
    "run_folder",
    "sweep",
    "told",
]

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fromnoise import data
from fromnoise.base import GenerativeModel
from fromnoise.comparison.jobs import (
    Job,
    Split,
    read_codes,
    read_samples,
    read_told,
    written_arguments,
)
from fromnoise.comparison.journeys import read_journey
from fromnoise.data.sinks import check_writable
from fromnoise.errors import ArtifactError, shown
from fromnoise.persistence import Tree, read_bundle
from fromnoise.training import digest, fingerprint

logger = logging.getLogger("fromnoise")

VERSIONS = ("fromnoise", "torch", "scikit-learn")
_MARKS = (".lock", "split", "report.json")  # that a folder is a comparison's
_COMMITS = ("index.html", "report.json", "results.csv", "split/manifest.json")
_AGAIN, _OVER = ("failed", "timeout"), ("ok", "diverged", "collapsed")  # what a fit may come to
# What a fit leaves, and how it is read.
_LEFT: dict[str, Callable[[Path], Any]] = {
    "model": read_bundle,
    "samples": read_samples,
    "codes": read_codes,
    "journey": read_journey,
}
_KINDS: dict[str, Any] = {
    "reason": str,
    "arguments": dict,
    "parameters": int,
    "evaluations": int | None,
    "peak_memory_mb": float | None,
    "history": list,
    "capabilities": dict,
    "seconds": dict,
    "left": list,
}
# Arguments of a model that a comparison decides itself, or that change nothing learnt.
_FREE = {"random_state", "budget", "run_dir", "checkpoint_every", "verbose", "device", "callbacks"}


def told(
    X: Any,
    split: Split,
    models: dict[str, str | GenerativeModel],
    arguments: dict[str, Any],
) -> Tree:
    r"""Return, as JSON, what a comparison that goes on must have in common with its start.

    Args:
        X: All rows, for what is said of them.
        split: The same rows, split: every one of them counts.
        models: What is fitted, by name.
        arguments: Of :func:`fromnoise.compare`, as JSON.

    Returns:
        Names and values; where several differ, the first ones are the reason of the others.

    Example:
        >>> X = np.zeros((4, 2))
        >>> found = told(X, Split(X[:3], None, X[3:], None), {"a": "gmm"}, {"budget": "9s"})
        >>> found["families"], found["model of a"], found["shape of X"]
        (['a'], 'gmm', [4, 2])
    """
    rows, labels = (split.train, split.test), (split.train_y, split.test_y)
    states = [[data.to_state(part) for part in parts if part is not None]
              for parts in (rows, labels)]  # fmt: skip
    tree = {
        **{f"version of {name}": version(name) for name in VERSIONS},
        "families": list(models),
        **{f"model of {name}": _told(model) for name, model in models.items()},
        **arguments,
        **{f"{name} of X": value for name, value in fingerprint(X).items()},
        "rows of X": digest(states[0]),
        "y": digest(states[1]),
    }
    found: Tree = json.loads(json.dumps(tree))  # tuples are lists in a manifest
    return found


def _told(model: str | GenerativeModel) -> Any:
    if isinstance(model, str):
        return model
    given = {k: v for k, v in model.get_params(deep=False).items() if k not in _FREE}
    return {"class": type(model).__qualname__, **{k: _mark(v) for k, v in given.items()}}


def _mark(value: Any) -> Any:
    r"""Return a value as JSON; arrays by a digest, modules and the like by their class."""
    written = written_arguments({"": value})
    if written is not None:
        return written[""]
    return digest(value) if isinstance(value, np.ndarray) else type(value).__qualname__


def begun_in(path: Path | None, overwrite: bool, resume: bool) -> Tree:
    r"""Return what the comparison that is to be continued in a folder began with.

    Args:
        path: The folder, which need not exist; None for a temporary one.
        overwrite: Whether a report in it, or an unfinished comparison, may be replaced.
        resume: Whether an unfinished comparison in it is to be continued.

    Returns:
        What :func:`told` returned then; nothing if a comparison is to be begun.

    Raises:
        ArtifactError: If what there is to be continued is damaged.
        FileExistsError: If the folder holds something that is not to be replaced.
        OSError: If it cannot be written to.
        ValueError: If the arguments contradict each other.

    Example:
        >>> begun_in(Path(__file__).parent, overwrite=True, resume=False)
        Traceback (most recent call last):
        FileExistsError: ...comparison exists and holds no report. Choose another folder.
    """
    if resume and overwrite:
        raise ValueError("resume continues what is in out and overwrite replaces it; choose one.")
    if path is None:
        if resume:
            raise ValueError("resume continues what is in out; pass out.")
        return {}
    _check_out(path, overwrite, resume)
    return _begun(path) if resume else {}


def _begun(path: Path) -> Tree:
    anew = "Begin again with overwrite=True (--force), or choose another folder."
    if (path / "jobs").exists() and not (path / "jobs").is_dir():
        raise ArtifactError(f"{path} cannot be continued: jobs in it is no folder. {anew}")
    try:
        begun = read_told(path / "split")
    except ArtifactError as error:
        raise ArtifactError(f"{path} cannot be continued: {error} {anew}") from error
    if not begun and _holds_fits(path):
        raise ArtifactError(
            f"{path} cannot be continued: it holds fits, but split/manifest.json, which says of"
            f" what, is missing. {anew}"
        )
    return begun


def _check_out(path: Path, overwrite: bool, resume: bool) -> None:
    held = _held(path)
    replaced = "or replace it with overwrite=True (--force)."
    if held == "else":
        raise FileExistsError(f"{path} exists and holds no report. Choose another folder.")
    if held == "report" and not overwrite:
        raise FileExistsError(f"{path} holds a finished report. Choose another folder, {replaced}")
    if held == "unfinished" and not (overwrite or resume):
        raise FileExistsError(
            f"{path} holds an unfinished comparison. Choose another folder, continue it with"
            f" resume=True (--resume), {replaced}"
        )
    check_writable(path)


def _held(path: Path) -> Literal["nothing", "report", "unfinished", "else"]:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return "nothing"
    if (path / "index.html").exists() and (path / "report.json").exists():
        return "report"  # the page is written last
    return "unfinished" if any((path / mark).exists() for mark in _MARKS) else "else"


def clear(path: Path) -> None:
    r"""Remove what a comparison writes, and nothing else; what makes it one goes first.

    Example:
        >>> clear(Path("no/such/report"))
    """
    for name in _COMMITS:
        (path / name).unlink(missing_ok=True)
    for name in ("jobs", "split"):
        _remove(path / name)


def sweep(path: Path) -> None:
    r"""Remove files that a process was killed over.

    Example:
        >>> sweep(Path("no/such/report"))
    """
    for left in [*path.glob(".*.tmp"), *path.glob("jobs/*/.*.tmp")]:
        _remove(left)


def _remove(path: Path) -> None:
    r"""Remove what is there, whatever it is; of a link the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def can_go_on(path: Path) -> bool:
    r"""Return whether a folder holds a fit that is over, or a checkpoint of one, and its rows.

    Example:
        >>> can_go_on(Path("no/such/report"))
        False
    """
    return (path / "split" / "manifest.json").exists() and _holds_fits(path)


def _holds_fits(path: Path) -> bool:
    over = any(path.glob("jobs/*/result.json"))
    return over or any(path.glob("jobs/*/run/step-*/manifest.json"))


def mark_of(path: Path) -> dict[str, int]:
    r"""Return what tells a report or comparison in a folder from one that replaces it.

    Example:
        >>> mark_of(Path("no/such/report"))
        {}
    """
    files = [path / name for name in _COMMITS]
    return {file.name: file.stat().st_mtime_ns for file in files if file.exists()}


def left_in(path: Path, before: dict[str, int]) -> str:
    r"""Return what to say of a folder when a comparison was interrupted there.

    Args:
        path: The folder.
        before: What :func:`mark_of` returned when the comparison was asked to replace what there
            was; nothing if it was not.

    Returns:
        A sentence; empty where nothing is left.

    Example:
        >>> left_in(Path("no/such/report"), {})
        ''
    """
    if before and mark_of(path) == before:
        return f"{path} holds what it held before."
    held = _held(path)
    if held == "report":
        return f"{path} holds a finished report."
    if held == "unfinished" and can_go_on(path):
        return f"What was fitted so far is kept in {path}; --resume goes on."
    return ""


def run_folder(folder: Path) -> Path:
    r"""Return where the fit of a job keeps its checkpoints while it is under way.

    Example:
        >>> run_folder(Path("jobs/gmm-0")).as_posix()
        'jobs/gmm-0/run'
    """
    return folder / "run"


def kept_result(folder: Path, job: Job) -> dict[str, Any] | None:
    r"""Return the result of a fit that is over; None if it has to be fitted, or to go on.

    A fit that failed is tried again. What a damaged one left is removed, with a warning.

    Example:
        >>> job = Job("a", "gmm", {}, "9s", 0, 40, "split")
        >>> kept_result(Path("no/such/job"), job) is None
        True
    """
    if not (folder / "result.json").exists():
        if not folder.is_dir():
            _remove(folder)
        return None
    try:
        result = json.loads((folder / "result.json").read_text())
        _check_result(result)
        if result["status"] in _AGAIN:
            return None
        if _told_of(Job.read(folder)) != _told_of(job):
            raise ArtifactError("job.json is of another fit.")
        for name in result["left"]:
            if _LEFT[name](folder / name) is None:
                raise ArtifactError(f"{name} is missing.")
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        logger.warning("%s is damaged, so it is fitted again: %s", folder, error)
        _remove(folder)
        return None
    return dict(result)


def _told_of(job: Job) -> Tree:
    r"""Return a job as JSON, but where the split lies: a report may have been moved."""
    told: Tree = json.loads(json.dumps(asdict(replace(job, split=""))))
    return told


def _check_result(result: Any) -> None:
    r"""Raise a ValueError where a result is not what a worker writes."""
    if not isinstance(result, dict) or result.get("status") not in (*_AGAIN, *_OVER):
        raise ValueError("result.json holds no result.")
    if result["status"] in _AGAIN:
        return
    wrong = [name for name, kind in _KINDS.items() if not isinstance(result.get(name), kind)]
    if wrong:
        raise ValueError(f"{wrong[0]} in result.json is {shown(result.get(wrong[0]))}.")
    left, lines = result["left"], [result["seconds"], *result["history"]]
    if {*left} - {*_LEFT} or ("samples" in left) != result["capabilities"].get("samples"):
        raise ValueError("result.json names other files than it should.")
    spent = result["seconds"]
    if "model" not in left or "sample" not in spent or spent.get("fit") is None:
        raise ValueError("result.json is not whole.")
    for line in lines:
        if not isinstance(line, dict) or not all(map(_is_number, line.values())):
            raise ValueError(f"result.json holds {shown(line)} where numbers should stand.")
    json.dumps({**result, "history": []}, allow_nan=False)  # of NaN no report can be written


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, float | int)
