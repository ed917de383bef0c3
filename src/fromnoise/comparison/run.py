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
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fromnoise import data
from fromnoise import families as registry
from fromnoise.base import GenerativeModel
from fromnoise.comparison.assemble import Assembly, protocol
from fromnoise.comparison.jobs import Job, Split, write_split
from fromnoise.comparison.worker import run_job
from fromnoise.errors import DataError, did_you_mean
from fromnoise.persistence import write_text
from fromnoise.training import Budget, entropy, numpy_rng

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("fromnoise")

AUTO = ("gmm", "flow")
REFERENCES = ("real", "gaussian", "copier")
MOST_SAMPLES = {"vectors": 10_000, "table": 10_000, "images": 2_000}
FEWEST_SAMPLES = 1_000
MOST_TEST = 10_000
_START_SECONDS, _SAMPLE_SECONDS = 60.0, 1800.0
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

    @property
    def best(self) -> str | None:
        r"""Name of the family to use; None if none could be ranked."""
        best: str | None = self.report["verdict"]["best"]
        return best

    @property
    def models(self) -> dict[str, GenerativeModel]:
        r"""The fitted models by name, loaded from the report's folder (first seed)."""
        folders = {
            row["name"]: self.path / "jobs" / f"{row['name']}-0" / "model"
            for row in self.report["rows"]
            if row["role"] == "family"
        }
        return {
            name: registry.load(path)
            for name, path in folders.items()
            if (path / "manifest.json").exists()
        }

    def table(self) -> "pd.DataFrame":
        r"""Return the metrics as a DataFrame, a row a family or reference."""
        import pandas as pd

        rows = [
            {
                "name": row["name"],
                "role": row["role"],
                "status": row["status"],
                **{name: m["value"] for name, m in row["metrics"].items()},
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
    image_size: int | tuple[int, int] | None = None,
    test_fraction: float = 0.2,
    n_samples: int | str = "auto",
    out: str | Path | None = None,
    overwrite: bool = False,
    random_state: Any = 0,
) -> Comparison:
    r"""Train families on the same rows under the same budget, and report which one to use.

    Args:
        source: An array, a DataFrame, images, or what :func:`fromnoise.data.load` takes.
        y: Labels; the models are then conditional.
        families: ``"auto"`` for all, names, or a mapping from names of yours to estimators.
        budget: Budget of each fit, for instance ``"2m"``; ``"auto"`` is each family's own.
        seeds: How often each family is fitted.
        label: Column of a table, or ``"target"`` of a built-in set, that becomes y.
        image_size: For a folder of images of several sizes: what they are resized to.
        test_fraction: Share of the rows that is held out.
        n_samples: How many rows each model draws; ``"auto"`` is as many as are held out, at
            least 1,000 and at most 10,000 (2,000 images).
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
    Budget.parse(budget)
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1, got {test_fraction}.")
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}.")
    models = _models(families)
    loaded = data.load(source, label=label, image_size=image_size)
    path = Path(tempfile.mkdtemp(prefix="fromnoise-")) if out is None else Path(out)
    if out is not None:
        _prepare(path, overwrite)
    plan = _Plan(
        loaded,
        y if y is not None else loaded.y if label is not None else None,
        models,
        budget,
        seeds,
        test_fraction,
        n_samples,
        entropy(random_state),
        path,
    )
    result = Comparison(plan.run(), path)
    if out is None:
        weakref.finalize(result, shutil.rmtree, path, ignore_errors=True)
    return result


def _models(
    wanted: str | Sequence[str] | Mapping[str, GenerativeModel],
) -> dict[str, str | GenerativeModel]:
    if isinstance(wanted, Mapping):
        chosen: dict[str, str | GenerativeModel] = dict(wanted)
    else:
        names = AUTO if wanted == "auto" else [wanted] if isinstance(wanted, str) else wanted
        chosen = {name: name for name in names}
        for name in chosen:
            if name not in registry.PRESETS:
                hint = did_you_mean(name, registry.PRESETS)
                raise ValueError(f"There is no family {name!r}.{hint}")
    taken = sorted(set(chosen) & set(REFERENCES))
    if not chosen or taken:
        raise ValueError(
            f"These names are kept for the reference rows: {taken}."
            if taken
            else "families names no family."
        )
    return chosen


def _prepare(path: Path, overwrite: bool) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        if not overwrite:
            raise FileExistsError(f"{path} exists. Choose another folder, or overwrite it.")
        if not (path / "report.json").exists():
            raise FileExistsError(f"{path} exists and holds no report; it is not overwritten.")
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)


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
    path: Path

    def run(self) -> dict[str, Any]:
        r"""Fit, draw, measure, write the report, and return it."""
        split = self._split()
        n_samples = self._n_samples(data.n_rows(split.test))
        write_split(self.path / "split", split)
        done = protocol(split, self.budget, self.seeds, self.seed, n_samples)
        assembly = Assembly(self.source, split, self.seed, n_samples, done, self.path)
        self._announce()
        gaussian = registry.make("gmm", n_components=1)
        runs = {
            name: [self._fitted(name, model, n_samples, seed) for seed in range(self.seeds)]
            for name, model in [*self.models.items(), ("gaussian", gaussian)]
        }
        return assembly.write(runs)

    def _split(self) -> Split:
        n = data.n_rows(self.source.X)
        held_out = min(max(round(n * self.test_fraction), 1), MOST_TEST)
        if held_out < 4 or n - held_out < 2:
            raise DataError(
                f"{n} rows are too few to hold out {self.test_fraction:.0%} of them for a"
                " comparison; at least 4 held-out rows are needed."
            )
        order = numpy_rng(self.seed, _SPLIT).permutation(n)
        test, train = np.sort(order[:held_out]), np.sort(order[held_out:])
        X, y = self.source.X, self.y
        data.fit_encoding(X, missing="auto", index=train)  # refuses bad data before any training
        labels = [None if y is None else data.take(y, index) for index in (train, test)]
        return Split(data.take(X, train), labels[0], data.take(X, test), labels[1])

    def _n_samples(self, n_test: int) -> int:
        if self.n_samples == "auto":
            most = MOST_SAMPLES[self.source.kind]
            return min(max(n_test, FEWEST_SAMPLES), most)
        if not isinstance(self.n_samples, int) or self.n_samples < 4:
            raise ValueError(f'n_samples must be "auto" or at least 4, got {self.n_samples!r}.')
        return self.n_samples

    def _announce(self) -> None:
        fits = len(self.models) * self.seeds
        budget = Budget.parse(self.budget)
        if budget is not None and budget.unit == "seconds":
            each = (
                f"{budget.amount:g} s each, at most {fits * budget.amount / 60:.1f} min of fitting"
            )
        else:
            each = f"budget {self.budget}"
        logger.info("%d fits of %s: %s.", fits, ", ".join(self.models), each)

    def _fitted(
        self, name: str, model: str | GenerativeModel, n_samples: int, seed: int
    ) -> tuple[Path, dict[str, Any]]:
        folder = self.path / "jobs" / f"{name}-{seed}"
        family, arguments = _description(model)
        job = Job(
            name=name,
            family=family,
            arguments=arguments,
            budget=self.budget,
            seed=self.seed + seed,
            n_samples=n_samples,
            split=str(self.path / "split"),
        )
        job.write(folder)
        logger.info("fitting %s", name)
        if isinstance(model, str) or _is_plain(model):
            _run_worker(folder, job)
        else:
            # A module or callback of the user's cannot go through files; it is fitted here.
            run_job(folder, job, model.__sklearn_clone__())
        result: dict[str, Any] = json.loads((folder / "result.json").read_text())
        logger.info("%s: %s %s", name, result["status"], result["reason"])
        return folder, result


def _description(model: str | GenerativeModel) -> tuple[str, dict[str, Any]]:
    if isinstance(model, str):
        return model, {}
    arguments = model._saved_arguments()
    return model.family, {k: v for k, v in arguments.items() if k != "random_state"}


def _is_plain(model: GenerativeModel) -> bool:
    return all(
        value is None or isinstance(value, bool | int | float | str) or value == ()
        for value in model.get_params(deep=False).values()
    )


def _run_worker(folder: Path, job: Job) -> None:
    r"""Run the job in a process of its own; a result is always left behind."""
    command = [sys.executable, "-m", "fromnoise.comparison.worker", str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        reason = _awaited(process, folder, Budget.parse(job.budget))
    except BaseException:
        process.kill()
        process.wait()
        raise
    if not (folder / "result.json").exists():
        code = process.returncode
        status = "timeout" if reason else "failed"
        killed = code == -signal.SIGKILL
        why = "killed, likely out of memory" if killed else f"the process ended with status {code}"
        result = {"status": status, "reason": reason or why}
        write_text(folder / "result.json", json.dumps(result))


def _awaited(process: "subprocess.Popen[bytes]", folder: Path, budget: Budget | None) -> str:
    r"""Wait for the worker; returns why it was killed, or an empty text."""
    limited = budget is not None and budget.unit == "seconds"
    fit_limit = 1.5 * budget.amount + _START_SECONDS if limited and budget else float("inf")
    started, fitted_at = time.monotonic(), None
    while process.poll() is None:
        now = time.monotonic()
        if fitted_at is None and (folder / "fitted").exists():
            fitted_at = now
        late_fit = fitted_at is None and now - started > fit_limit
        late_draw = fitted_at is not None and now - fitted_at > _SAMPLE_SECONDS
        if late_fit or late_draw:
            process.kill()
            process.wait()
            what = f"the fit took more than {fit_limit:.0f} s" if late_fit else "drawing took"
            return what if late_fit else f"{what} more than {_SAMPLE_SECONDS:.0f} s"
        time.sleep(0.05)
    return ""
