r"""Compare families: one split, one budget, one process a family, one report.

The parent reads and splits once, writes the split as files, and starts the workers one after
another; what they drew comes back as files and is measured here, all families and the reference
rows by the same metrics on the same held-out rows:

    real        one half of the held-out rows against the other: what a perfect model would get
    gaussian    a single Gaussian (a mixture of one component)
    copier      the training rows again
"""

__all__ = ["Comparison", "compare"]

import json
import logging
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from fromnoise import data
from fromnoise import families as registry
from fromnoise.base import GenerativeModel
from fromnoise.comparison.assemble import Assembly, protocol
from fromnoise.comparison.extractors import Features, check_features
from fromnoise.comparison.jobs import Job, Split, job_folder, write_split, written_arguments
from fromnoise.comparison.processes import run_worker
from fromnoise.comparison.requests import (
    REFERENCES,
    auto,
    check_arguments,
    check_out,
    chosen_models,
)
from fromnoise.comparison.verdict import SILENT
from fromnoise.comparison.worker import run_job
from fromnoise.data import Condition
from fromnoise.errors import DataError, did_you_mean, shown
from fromnoise.training import Budget, entropy, numpy_rng

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("fromnoise")

MOST_SAMPLES = {"vectors": 10_000, "table": 10_000, "images": 2_000}
FEWEST_SAMPLES = 1_000
MOST_TEST = 10_000
FEWEST_MEASURED = 12  # rows of the smallest set that every metric can work with
_NOT_TOLD = ("random_state", "budget")
_SPLIT = 40  # what a random stream is for


@dataclass
class Comparison:
    r"""What :func:`compare` returns.

    Attributes:
        report: The content of ``report.json``.
        path: The folder of the report.
    """

    report: dict[str, Any]
    path: Path
    _own: dict[str, GenerativeModel] = field(default_factory=dict, repr=False)

    @property
    def best(self) -> str | None:
        r"""Name of the family to use; None if none could be ranked."""
        best: str | None = self.report["verdict"]["best"]
        return best

    @property
    def models(self) -> dict[str, GenerativeModel]:
        r"""The fitted models by name, loaded from the report's folder (first seed)."""
        names = [row["name"] for row in self.report["rows"] if row["role"] == "family"]
        folders = {name: job_folder(self.path, name, 0) / "model" for name in names}
        return {
            name: self._own[name] if name in self._own else registry.load(path)
            for name, path in folders.items()
            if (path / "manifest.json").exists()
        }

    def table(self) -> "pd.DataFrame":
        r"""Return the metrics as a DataFrame, a row a family or reference."""
        import pandas as pd

        names = dict.fromkeys(name for row in self.report["rows"] for name in row["metrics"])
        rows = [
            {
                "name": row["name"],
                "role": row["role"],
                "status": row["status"],
                "flags": ", ".join(row["flags"]),
                **{name: row["metrics"].get(name, {}).get("value") for name in names},
                **{
                    f"{name}_seconds": value
                    for name, value in row["seconds"].items()
                    if isinstance(value, float)
                },
            }
            for row in self.report["rows"]
        ]
        return pd.DataFrame(rows).set_index("name")


def compare(
    source: Any,
    y: Any = None,
    *,
    families: str | Sequence[str] | Mapping[str, GenerativeModel] = "auto",
    budget: str = "auto",
    seeds: int = 1,
    label: str | None = None,
    target: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    encoding: str = "utf-8",
    test_fraction: float = 0.2,
    n_samples: int | str = "auto",
    features: Features = "auto",
    out: str | Path | None = None,
    overwrite: bool = False,
    random_state: Any = 0,
) -> Comparison:
    r"""Train families on the same rows under the same budget, and report which one to use.

    Args:
        source: An array, a DataFrame, images, or what :func:`fromnoise.data.load` takes.
        y: Labels; the models are then conditional.
        families: ``"auto"`` for gmm, autoencoder, vae, gan, latent-flow (images only), flow and
            diffusion; names; or a mapping from names of yours to estimators. A family that does
            not sample is shown with its reconstructions and never ranked.
        budget: Budget of each fit, for instance ``"2m"``; ``"auto"`` is each family's own.
        seeds: How often each family is fitted.
        label: Column of a table, or ``"target"`` of a built-in set, that becomes y.
        target: Column of a table that boosted trees learn to predict from drawn rows, to be
            scored on held-out ones (``train_on_synthetic``); None for the label, if there is one.
        image_size: For a folder of images of several sizes: what they are resized to.
        encoding: Of a CSV file without a byte order mark.
        test_fraction: Share of the rows that is held out.
        n_samples: How many rows each model draws; ``"auto"`` is as many as are held out, at
            least 1,000 and at most 10,000 (2,000 images).
        features: What distances are measured in. Images: ``"pixels"``, ``"pca"`` (64 principal
            components of the pixels), ``"enetlite0"`` (EfficientNet-Lite0, from the extra
            ``eval``); ``"auto"`` is the last for images of at least 32 pixels a side, where it is
            installed, else ``"pca"``. All kinds: a function from rows as they were given to an
            array (n, d). The numbers are named for it, for instance ``mmd_enetlite0``.
        out: Folder of the report; None for a temporary one that lives as long as the result.
        overwrite: Whether a report in ``out`` may be replaced.
        random_state: Seed of the split and of the first fit.

    Returns:
        The comparison.

    Raises:
        DataError: If the data cannot be used.
        FileExistsError: If ``out`` holds something and ``overwrite`` is False.
        ValueError: If an argument is wrong.

    Example:
        >>> import fromnoise as fn
        >>> result = fn.compare("moons", families=["gmm"], budget="5 steps", n_samples=200)
        >>> result.best, (result.path / "index.html").exists()
        ('gmm', True)
    """
    check_arguments(budget, seeds, test_fraction)
    if not callable(features):
        check_features(features, "images")  # of another kind is known when the data are read
    if y is not None and label is not None:
        raise ValueError("y and label both say what the labels are; pass one of them.")
    chosen = None if isinstance(families, str) and families == "auto" else chosen_models(families)
    if out is not None:
        check_out(Path(out), overwrite)
    loaded = data.load(source, label=label, image_size=image_size, encoding=encoding)
    plan = _Plan(
        loaded,
        y if y is not None else loaded.y if label is not None else None,
        chosen_models(auto(loaded.kind)) if chosen is None else chosen,
        budget,
        seeds,
        test_fraction,
        n_samples,
        entropy(random_state),
        features,
        target,
    )
    split = plan.split()
    path = Path(tempfile.mkdtemp(prefix="fromnoise-") if out is None else out)
    _clear(path)
    try:
        result = Comparison(plan.run(split, path), path, plan.own)
    except BaseException:
        # Fits that are over took long and can be loaded; anything less is of no use.
        if out is None or not any(path.glob("jobs/*/result.json")):
            _clear(path)
            with suppress(OSError):
                path.rmdir()
        raise
    if out is None:
        weakref.finalize(result, shutil.rmtree, path, ignore_errors=True)
    return result


def _clear(path: Path) -> None:
    r"""Remove what a comparison writes, and nothing else."""
    for name in ("split", "jobs"):
        shutil.rmtree(path / name, ignore_errors=True)
    for name in ("report.json", "results.csv", "index.html"):
        (path / name).unlink(missing_ok=True)


@dataclass
class _Plan:
    r"""One comparison under way."""

    source: data.Data
    y: Any
    models: dict[str, str | GenerativeModel]
    budget: str
    seeds: int
    test_fraction: float
    n_samples: int | str
    seed: int
    features: Features
    target: str | None
    own: dict[str, GenerativeModel] = field(default_factory=dict)

    def run(self, split: Split, path: Path) -> dict[str, Any]:
        r"""Fit, draw, measure, write the report into the folder ``path``, and return it."""
        n_samples, label = self._n_samples(), self._label()
        write_split(path / "split", split)
        done = protocol(split, self.budget, self.seeds, self.seed, n_samples)
        known = self._known()
        assembly = Assembly(
            self.source,
            split,
            self.seed,
            n_samples,
            done,
            path,
            label,
            known,
            self.features,
            self.target,
        )
        self._announce()
        gaussian = registry.make("gmm", n_components=1)
        runs = {
            name: [self._fitted(name, model, seed, path) for seed in range(self.seeds)]
            for name, model in [*self.models.items(), ("gaussian", gaussian)]
        }
        return assembly.write(runs)

    def split(self) -> Split:
        r"""Return the split; all that is wrong with data and arguments is found here."""
        X, y = self.source.X, self.y
        check_features(self.features, self.source.kind)
        self._check_target()
        encoding = data.fit_encoding(X, missing="model")
        if self.source.kind == "vectors" and encoding.cardinalities:
            raise DataError(
                "The array holds NaN, which can be compared in tables only: pass a DataFrame."
            )
        n = data.n_rows(X)
        held_out = self._held_out(n)
        if held_out < 2 * FEWEST_MEASURED or n - held_out < FEWEST_MEASURED:
            raise DataError(
                f"{n} rows are too few to hold out {self.test_fraction:.0%} of them: expected at"
                f" least {2 * FEWEST_MEASURED} held-out and {FEWEST_MEASURED} training rows."
                " Change test_fraction, or add rows."
            )
        self._n_samples()
        if y is not None:
            Condition.fit(y, n).check_encode(y, n)
            if self.source.kind == "table" and np.ndim(y) > 1:
                raise DataError(f"y must be one column for a table, got shape {np.shape(y)}.")
        train, test = self._index()
        labels = [None if y is None else data.take(y, index) for index in (train, test)]
        return Split(data.take(X, train), labels[0], data.take(X, test), labels[1])

    def _check_target(self) -> None:
        if self.target is None:
            return
        if self.source.kind != "table":
            raise ValueError(
                f"target names a column of a table, but the data are {self.source.kind}; pass a"
                " DataFrame."
            )
        columns = [*map(str, self.source.X.columns), *filter(None, [self._label()])]
        if self.target not in columns:
            raise DataError(
                f"There is no column {shown(self.target)}.{did_you_mean(self.target, columns)}"
            )

    def _index(self) -> tuple[np.ndarray, np.ndarray]:
        r"""Return which rows are for training and which are held out."""
        n = data.n_rows(self.source.X)
        order, held_out = numpy_rng(self.seed, _SPLIT).permutation(n), self._held_out(n)
        return np.sort(order[held_out:]), np.sort(order[:held_out])

    def _known(self) -> Any:
        r"""Return the labels of the held-out rows, whether models are given them or not."""
        y = self.source.y if self.y is None else self.y
        if y is None or data.n_rows(y) != data.n_rows(self.source.X):
            return None
        return data.take(y, self._index()[1])

    def _held_out(self, n: int) -> int:
        return min(round(n * self.test_fraction), MOST_TEST)

    def _n_samples(self) -> int:
        if self.n_samples == "auto":
            held_out = self._held_out(data.n_rows(self.source.X))
            return min(max(held_out, FEWEST_SAMPLES), MOST_SAMPLES[self.source.kind])
        if not isinstance(self.n_samples, int) or self.n_samples < FEWEST_MEASURED:
            raise ValueError(
                f'n_samples must be "auto" or at least {FEWEST_MEASURED}, got {self.n_samples!r}.'
            )
        return self.n_samples

    def _label(self) -> str | None:
        r"""Return the column that the labels of a table are; None where there is none."""
        if self.y is None or self.source.kind != "table":
            return None
        label = self.source.label or str(getattr(self.y, "name", None) or "label")
        while label in [str(name) for name in self.source.X.columns]:
            label += "_"
        return label

    def _announce(self) -> None:
        fits = len(self.models) * self.seeds
        count = "1 fit" if fits == 1 else f"{fits} fits"
        logger.info("%s of %s: %s.", count, ", ".join(self.models), self._length(fits))

    def _length(self, fits: int) -> str:
        r"""Return how long all fits may take, as far as their budget says."""
        budget = Budget.parse(self.budget)
        if budget is None:
            return "each family's own budget"
        if budget.unit != "seconds":
            return f"budget {self.budget}"
        total = fits * budget.amount
        time = f"{total:.0f} s" if total < 120 else f"{total / 60:.1f} min"
        return f"{budget.amount:g} s each, at most {time} of fitting"

    def _fitted(
        self, name: str, model: str | GenerativeModel, seed: int, path: Path
    ) -> tuple[Path, dict[str, Any]]:
        folder = job_folder(path, name, seed)
        arguments = {} if isinstance(model, str) else _plain_arguments(model)
        job = Job(
            name=name,
            family=model if isinstance(model, str) else model.family,
            arguments=arguments or {},
            budget=self.budget,
            seed=self.seed + seed,
            n_samples=self._n_samples(),
            split=str(path.absolute() / "split"),
            conditional=name not in REFERENCES,
            label=self._label(),
        )
        job.write(folder)
        logger.info("fitting %s", name)
        if arguments is not None:
            run_worker(folder, job)
        else:
            # A module or callback of the user's cannot go through files; it is fitted here.
            own: GenerativeModel = clone(model)
            run_job(folder, job, own)
            self.own.setdefault(name, own)
        result: dict[str, Any] = json.loads((folder / "result.json").read_text())
        silent = result["status"] == "ok" and result["seconds"]["sample"] is None
        reason = SILENT if silent else result["reason"]
        logger.info("%s: %s%s", name, result["status"], f", {reason}" if reason else "")
        return folder, result


def _plain_arguments(model: GenerativeModel) -> dict[str, Any] | None:
    r"""Return a model's arguments as JSON; None if it has to be fitted as the object it is.

    Its seed, and where it is fitted, are the comparison's.
    """
    if type(model) is not registry.FAMILIES.get(model.family):
        return None
    arguments = model.get_params(deep=False)
    return written_arguments({k: v for k, v in arguments.items() if k not in _NOT_TOLD})
