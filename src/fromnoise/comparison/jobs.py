r"""What parent and worker hand to each other: folders with files, never live objects.

FOLDER/split/        the training and held-out rows, one bundle, read-only
FOLDER/jobs/NAME/    job.json      what to fit, under which budget and seed
                     model/        the fitted model
                     samples/      what it drew, a bundle
                     result.json   numbers: seconds, status, log-likelihoods
"""

__all__ = ["Job", "Split", "read_samples", "read_split", "write_samples", "write_split"]

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from fromnoise import data
from fromnoise.persistence import Tree, read_bundle, write_bundle, write_text


@dataclass(frozen=True)
class Split:
    r"""Training and held-out rows, with labels or None."""

    train: Any
    train_y: Any
    test: Any
    test_y: Any


@dataclass(frozen=True)
class Job:
    r"""One family, to be fitted once.

    Args:
        name: The row of the report.
        family: A name of the registry.
        arguments: Arguments of the family, scalars only.
        budget: The budget of the fit.
        seed: Random state of the fit, and of the samples.
        n_samples: How many rows to draw.
        split: Folder of the split.
    """

    name: str
    family: str
    arguments: dict[str, Any]
    budget: str
    seed: int
    n_samples: int
    split: str

    def write(self, folder: Path) -> None:
        r"""Write ``job.json`` into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "job.json", json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, folder: Path) -> Self:
        r"""Read ``job.json`` from ``folder``."""
        return cls(**json.loads((folder / "job.json").read_text()))


def write_split(folder: Path, split: Split) -> None:
    r"""Write a split for the workers."""
    tree = {name: _state(getattr(split, name)) for name in ("train", "test")}
    labels = {name: _state(getattr(split, name)) for name in ("train_y", "test_y")}
    write_bundle(folder, {**tree, **labels}, overwrite=True)


def read_split(folder: Path) -> Split:
    r"""Read what :func:`write_split` wrote."""
    tree = read_bundle(folder)
    return Split(**{name: _restored(state) for name, state in tree.items()})


def write_samples(folder: Path, X: Any, y: Any, log_p: np.ndarray | None) -> None:
    r"""Write what a model drew, and its log-densities of the held-out rows."""
    write_bundle(folder, {"X": _state(X), "y": _state(y), "log_p": log_p}, overwrite=True)


def read_samples(folder: Path) -> tuple[Any, Any, np.ndarray | None]:
    r"""Read what :func:`write_samples` wrote."""
    tree = read_bundle(folder)
    return _restored(tree["X"]), _restored(tree["y"]), tree["log_p"]


def _state(X: Any) -> Tree | None:
    return None if X is None else data.to_state(X)


def _restored(state: Tree | None) -> Any:
    return None if state is None else data.from_state(state)
