r"""A comparison that was cut goes on: what it began with, and which of its fits are over.

What it began with (arguments, versions, a digest of all rows) stands beside the split, in the
same bundle, so there is the one exactly where there is the other. A fit is over once it has left
``result.json``, which the worker writes last; it is kept if all it left is sound. Of the one
under way there is a run (see :mod:`fromnoise.training.checkpoint`) to go on from. Everything
else is begun anew.
"""

__all__ = ["begun_in", "can_go_on", "clear", "kept_result", "run_folder", "sweep", "told"]

import json
import logging
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fromnoise import data
from fromnoise.base import GenerativeModel
from fromnoise.comparison.jobs import Split, read_told, written_arguments
from fromnoise.data.sinks import check_writable
from fromnoise.errors import ArtifactError
from fromnoise.persistence import Tree, read_bundle
from fromnoise.training import digest, fingerprint

logger = logging.getLogger("fromnoise")

VERSIONS = ("fromnoise", "torch", "scikit-learn")
_MARKS = (".lock", "split", "report.json")  # that a folder is a comparison's
_LEFT = ("model", "samples", "codes", "journey")  # bundles that a fit leaves
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
    return read_told(path / "split") if resume else {}


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
    for name in ("index.html", "report.json", "results.csv", "split/manifest.json"):
        (path / name).unlink(missing_ok=True)
    for name in ("jobs", "split"):
        shutil.rmtree(path / name, ignore_errors=True)


def sweep(path: Path) -> None:
    r"""Remove files that a process was killed over.

    Example:
        >>> sweep(Path("no/such/report"))
    """
    for file in [*path.glob(".*.tmp"), *path.glob("jobs/*/.*.tmp")]:
        file.unlink()


def can_go_on(path: Path) -> bool:
    r"""Return whether a folder holds a fit that is over, or a checkpoint of one.

    Example:
        >>> can_go_on(Path("no/such/report"))
        False
    """
    over = any(path.glob("jobs/*/result.json"))
    return over or any(path.glob("jobs/*/run/step-*/manifest.json"))


def run_folder(folder: Path) -> Path:
    r"""Return where the fit of a job keeps its checkpoints while it is under way.

    Example:
        >>> run_folder(Path("jobs/gmm-0")).as_posix()
        'jobs/gmm-0/run'
    """
    return folder / "run"


def kept_result(folder: Path) -> dict[str, Any] | None:
    r"""Return the result of a fit that is over; None if it has to be fitted, or to go on.

    A fit that failed is tried again. What a damaged one left is removed, with a warning.

    Example:
        >>> kept_result(Path("no/such/job")) is None
        True
    """
    try:
        result: dict[str, Any] = json.loads((folder / "result.json").read_text())
        if result["status"] in ("failed", "timeout"):
            return None
        drawn = ["samples"] if result["capabilities"]["samples"] else []
        for name in _LEFT:
            if name in ("model", *drawn) or (folder / name).exists():
                read_bundle(folder / name)
    except FileNotFoundError:
        return None
    except (ArtifactError, ValueError, KeyError, TypeError) as error:
        logger.warning("What a fit left is damaged, so it is fitted again: %s", error)
        shutil.rmtree(folder)
        return None
    return result
