r"""What parent and worker hand to each other: folders with files, never live objects.

FOLDER/split/        the training and held-out rows, one bundle, read-only
FOLDER/jobs/NAME/    job.json      what to fit, under which budget and seed
                     model/        the fitted model
                     samples/      what it drew, a bundle
                     result.json   numbers: seconds, status, log-likelihoods
"""

__all__ = [
    "Job",
    "Split",
    "job_folder",
    "read_samples",
    "read_split",
    "with_label",
    "write_samples",
    "write_split",
]

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

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

    def joined(self, label: str | None) -> "Split":
        r"""Return the split without labels.

        Args:
            label: Column of a table that the labels become; None drops them.

        Returns:
            A new split.

        Example:
            >>> Split([[1.0]], ["a"], [[2.0]], ["b"]).joined(None)
            Split(train=[[1.0]], train_y=None, test=[[2.0]], test_y=None)
        """
        if label is None or self.train_y is None:
            return Split(self.train, None, self.test, None)
        train = with_label(self.train, self.train_y, label)
        return Split(train, None, with_label(self.test, self.test_y, label), None)


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
        conditional: Whether labels, if there are any, are a condition. If not, they are one more
            column of a table, and left out elsewhere.
        label: Name of that column; None where the data are no table.
    """

    name: str
    family: str
    arguments: dict[str, Any]
    budget: str
    seed: int
    n_samples: int
    split: str
    conditional: bool = True
    label: str | None = None

    def write(self, folder: Path) -> None:
        r"""Write ``job.json`` into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "job.json", json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, folder: Path) -> Self:
        r"""Read ``job.json`` from ``folder``."""
        return cls(**json.loads((folder / "job.json").read_text()))


def job_folder(report: Path, name: str, seed: int) -> Path:
    r"""Return the folder of one fit.

    Args:
        report: The folder of the report.
        name: The row's name; whatever it holds, the folder lies inside ``report/jobs``.
        seed: Number of the fit, from 0.

    Returns:
        The folder.

    Example:
        >>> job_folder(Path("report"), "../a b", 0).as_posix()
        'report/jobs/..%2Fa%20b-0'
    """
    return report / "jobs" / f"{quote(name, safe='', errors='backslashreplace')}-{seed}"


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


def with_label(X: Any, y: Any, label: str) -> Any:
    r"""Return a DataFrame with the label column at its end.

    Args:
        X: A pandas or polars DataFrame.
        y: One label a row.
        label: Name of the column.

    Returns:
        A new DataFrame of the same library.

    Example:
        >>> import pandas as pd
        >>> with_label(pd.DataFrame({"a": [1]}), ["x"], "b").columns.tolist()
        ['a', 'b']
    """
    if hasattr(X, "with_columns"):
        import polars as pl

        return X.with_columns(pl.Series(label, y))
    return X.assign(**{label: np.asarray(y) if not hasattr(y, "array") else y.array})
