r"""What a comparison does: split, fit one after another, measure, write the report."""

__all__ = ["Plan"]

import json
import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from fromnoise import data
from fromnoise import families as registry
from fromnoise.base import GenerativeModel
from fromnoise.comparison.assemble import Assembly, protocol
from fromnoise.comparison.extractors import Features, check_features, name_of
from fromnoise.comparison.jobs import Job, Split, job_folder, write_split, written_arguments
from fromnoise.comparison.processes import run_worker
from fromnoise.comparison.requests import REFERENCES
from fromnoise.comparison.resuming import can_go_on, clear, kept_result, run_folder, sweep, told
from fromnoise.comparison.verdict import SILENT
from fromnoise.comparison.worker import run_job
from fromnoise.data import Condition
from fromnoise.errors import DataError, did_you_mean, shown
from fromnoise.persistence import Tree
from fromnoise.training import Budget, numpy_rng

logger = logging.getLogger("fromnoise")

MOST_SAMPLES = {"vectors": 10_000, "table": 10_000, "images": 2_000}
FEWEST_SAMPLES = 1_000
MOST_TEST = 10_000
FEWEST_MEASURED = 12  # rows of the smallest set that every metric can work with
_NOT_TOLD = ("random_state", "budget", "run_dir")
_SPLIT = 40  # what a random stream is for


@dataclass
class Plan:
    r"""One comparison under way.

    Args:
        source: The data.
        y: Labels, or None.
        models: What is fitted, by name.
        budget: As in :func:`fromnoise.compare`.
        seeds: As there.
        test_fraction: As there.
        n_samples: As there.
        seed: Seed of the split and of the first fit.
        features: As there.
        target: As there.
        own: Models that were fitted here, because no file can hold them.
        lock: The open lock of the report's folder.
    """

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
    lock: int | None = None

    def _arguments(self) -> dict[str, Any]:
        r"""Return, as JSON, the arguments that a comparison which goes on must have."""
        chosen = self.features
        return {
            "budget": self.budget,
            "seeds": self.seeds,
            "test_fraction": self.test_fraction,
            "n_samples": self.n_samples,
            "random_state": self.seed,
            "features": chosen if isinstance(chosen, str) else name_of(chosen),
            "target": self.target,
            "label": self._label(),
        }

    def told(self, split: Split) -> Tree:
        r"""Return what a comparison that goes on must have in common with its start."""
        return told(self.source.X, split, self.models, self._arguments())

    def run(self, split: Split, began: Tree, path: Path, keep: bool) -> dict[str, Any]:
        r"""Fit, draw, measure, write the report into a folder, and return it.

        Args:
            split: What :meth:`split` returned.
            began: What :meth:`told` returned.
            path: The folder; it is empty, or holds what a comparison that began so has left.
            keep: Whether fits that are over, and checkpoints, stay when something goes wrong:
                they took long, and can be gone on from. Anything less is of no use.

        Returns:
            The content of ``report.json``.
        """
        sweep(path)
        try:
            if not (path / "split" / "manifest.json").exists():
                write_split(path / "split", split, began)
            return self._run(split, path)
        except BaseException:
            if not keep or not can_go_on(path):
                clear(path)
            raise

    def _run(self, split: Split, path: Path) -> dict[str, Any]:
        n_samples, label = self._n_samples(), self._label()
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
        report = assembly.write(runs)
        for folder in path.glob("jobs/*"):
            shutil.rmtree(run_folder(folder), ignore_errors=True)
        return report

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
                " Hold out more with test_fraction (--test-fraction), or add rows."
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
        # A model of the user's own cannot be loaded without it: its last checkpoint is taken.
        kept = None if arguments is None else kept_result(folder, job)
        if kept is not None:
            logger.info("%s: %s, kept", name, kept["status"])
            return folder, kept
        job.write(folder)
        for mark in ("fitted", "result.json"):
            (folder / mark).unlink(missing_ok=True)
        logger.info("fitting %s", name)
        if arguments is not None:
            run_worker(folder, job, self.lock)
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
