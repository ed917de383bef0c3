r"""What parent and worker hand to each other: folders with files, never live objects.

FOLDER/split/        the training and held-out rows, and what the comparison began with: one
                     bundle, read-only
FOLDER/jobs/NAME/    job.json      what to fit, under which budget and seed
                     run/          checkpoints, until the fit is over
                     model/        the fitted model
                     samples/      what it drew, a bundle
                     codes/        what became of held-out rows on the way through its codes
                     journey/      a few samples on their way from noise to data
                     result.json   numbers: seconds, status, log-likelihoods
"""

__all__ = [
    "Codes",
    "Job",
    "Split",
    "job_folder",
    "read_codes",
    "read_samples",
    "read_split",
    "read_told",
    "restored_arguments",
    "with_label",
    "write_codes",
    "write_samples",
    "write_split",
    "written_arguments",
]

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import numpy as np

from fromnoise import data, families
from fromnoise.base import GenerativeModel
from fromnoise.errors import ArtifactError
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
        arguments: Arguments of the family as JSON, see :func:`written_arguments`.
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


def written_arguments(arguments: dict[str, Any]) -> dict[str, Any] | None:
    r"""Return arguments as JSON: a model among them by its family and its own arguments.

    Args:
        arguments: Names and values.

    Returns:
        What :func:`restored_arguments` reads; None if one cannot be written down, such as a
        module, an array, or a model of a class that is not registered.

    Example:
        >>> from fromnoise import GaussianMixture
        >>> written = written_arguments({"prior": GaussianMixture(n_components=3)})
        >>> written["prior"]["family"], written["prior"]["arguments"]["n_components"]
        ('gmm', 3)
    """
    try:
        return {name: _written(value) for name, value in arguments.items()}
    except TypeError:
        return None


def restored_arguments(written: dict[str, Any]) -> dict[str, Any]:
    r"""Return the arguments that :func:`written_arguments` wrote.

    Args:
        written: JSON; the names in it are looked up in the registry.

    Returns:
        Names and values.

    Example:
        >>> prior = {"family": "gmm", "arguments": {"n_components": 3}}
        >>> restored_arguments({"prior": prior, "shape": [1, 2]})
        {'prior': GaussianMixture(n_components=3), 'shape': (1, 2)}
    """
    return {name: _unwritten(value) for name, value in written.items()}


def _written(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_written(part) for part in value]
    if isinstance(value, GenerativeModel) and type(value) is families.FAMILIES.get(value.family):
        # A seed that is a generator cannot be written, and is not needed: the model around it
        # seeds what it fits.
        told = {k: v for k, v in value.get_params(deep=False).items() if k != "random_state"}
        return {"family": value.family, "arguments": {k: _written(v) for k, v in told.items()}}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(f"{type(value).__name__} cannot be written down.")


def _unwritten(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_unwritten(part) for part in value)
    if isinstance(value, dict):
        return families.make(value["family"], **restored_arguments(value["arguments"]))
    return value


_SPLIT = tuple(field.name for field in fields(Split))


def write_split(folder: Path, split: Split, told: Tree | None = None) -> None:
    r"""Write a split for the workers, and what the comparison began with."""
    tree = {name: _state(getattr(split, name)) for name in _SPLIT}
    write_bundle(folder, {"told": told or {}, **tree}, overwrite=True)


def read_split(folder: Path) -> Split:
    r"""Read what :func:`write_split` wrote."""
    tree = read_bundle(folder)
    return Split(**{name: _restored(tree[name]) for name in _SPLIT})


def read_told(folder: Path) -> Tree:
    r"""Read what a comparison began with; nothing if there is none.

    Raises:
        ArtifactError: If it is damaged.
    """
    if not (folder / "manifest.json").exists():
        return {}
    told = read_bundle(folder).get("told")
    if not isinstance(told, dict) or (told and type(told.get("random_state")) is not int):
        raise ArtifactError(f"{folder} does not say what the comparison began with.")
    return told


def write_samples(folder: Path, X: Any, y: Any, log_p: np.ndarray | None) -> None:
    r"""Write what a model drew, and its log-densities of the held-out rows."""
    write_bundle(folder, {"X": _state(X), "y": _state(y), "log_p": log_p}, overwrite=True)


def read_samples(folder: Path) -> tuple[Any, Any, np.ndarray | None]:
    r"""Read what :func:`write_samples` wrote."""
    tree = read_bundle(folder)
    return _restored(tree["X"]), _restored(tree["y"]), tree["log_p"]


@dataclass(frozen=True)
class Codes:
    r"""What a model's codes have to show; rows are of the kind that the model was fitted on.

    Args:
        size: Length of a code.
        reconstructed: The first held-out rows, decoded from their codes; None where a model
            does not reconstruct.
        points: The same rows' codes in the plane, `(n, 2)`; None where there is no plane.
        explained: Share of the codes' variance that the plane holds; None where codes have no
            more than two numbers.
        traversed: Images decoded from the code of the first held-out image, with a number of the
            code replaced: as many rows of images as ``dimensions``.
        dimensions: Which numbers of the code were replaced.
        between: Images decoded from codes between two held-out images: as many rows of images as
            ``ends``.
        ends: Indices of those held-out images, in pairs.
        spherical: Whether codes in between lie on an arc, not on a straight line.
        failure: Why there is nothing to show of a model that has codes; empty if there is.

    Example:
        >>> Codes(size=3).reconstructed is None
        True
    """

    size: int
    reconstructed: Any = None
    points: np.ndarray | None = None
    explained: float | None = None
    traversed: Any = None
    dimensions: tuple[int, ...] = ()
    between: Any = None
    ends: tuple[tuple[int, int], ...] = ()
    spherical: bool = False
    failure: str = ""


_CODED_ROWS = ("reconstructed", "traversed", "between")


def write_codes(folder: Path, codes: Codes) -> None:
    r"""Write what a model's codes have to show."""
    tree = {field.name: getattr(codes, field.name) for field in fields(codes)}
    rows = {name: _state(tree[name]) for name in _CODED_ROWS}
    lists = {"dimensions": list(codes.dimensions), "ends": [list(pair) for pair in codes.ends]}
    write_bundle(folder, {**tree, **rows, **lists}, overwrite=True)


def read_codes(folder: Path) -> Codes | None:
    r"""Read what :func:`write_codes` wrote; None if it wrote nothing there."""
    if not (folder / "manifest.json").exists():
        return None
    tree = read_bundle(folder)
    rows = {name: _restored(tree[name]) for name in _CODED_ROWS}
    lists = {
        "dimensions": tuple(tree["dimensions"]),
        "ends": tuple((int(i), int(j)) for i, j in tree["ends"]),
    }
    return Codes(**{**tree, **rows, **lists})


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
