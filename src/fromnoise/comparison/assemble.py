r"""From what the workers left to ``report.json``, ``results.csv`` and the page."""

__all__ = ["Assembly", "protocol"]

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from fromnoise import data
from fromnoise.comparison.exhibits import Material
from fromnoise.comparison.extractors import Features
from fromnoise.comparison.jobs import Codes, Job, Split, read_codes, read_samples
from fromnoise.comparison.journeys import Journey, read_journey
from fromnoise.comparison.measure import Measure, likelihood
from fromnoise.comparison.report import write_report
from fromnoise.comparison.results import results_csv
from fromnoise.comparison.verdict import COPYING_LIMIT, SILENT, Scored, combined, verdict
from fromnoise.errors import DataError
from fromnoise.families import PRESETS
from fromnoise.metrics import Result
from fromnoise.persistence import write_text

SHOWN = 1_000
Metrics = dict[str, Result]


@dataclass
class Assembly:
    r"""Measures and writes one comparison.

    Args:
        source: The data.
        split: Its training and held-out rows.
        seed: Seed of the comparison.
        n_samples: Rows that each model drew.
        protocol: What ``report.json`` says of how it was done.
        path: Folder of the report.
        label: Column that the labels of a conditional table are measured as; None otherwise.
        known: Labels of the held-out rows, to colour them by, even where no model is given them.
        features: What distances are measured in, see :func:`fromnoise.compare`.
        target: Column of a table that drawn rows are to teach to predict.
    """

    source: data.Data
    split: Split
    seed: int
    n_samples: int
    protocol: dict[str, Any]
    path: Path
    label: str | None
    known: Any = None
    features: Features = "auto"
    target: str | None = None

    def __post_init__(self) -> None:
        self.measure = Measure(
            self.source.kind, self.split, self.label, self.seed, self.features, self.target
        )
        self.material: dict[str, Material] = {}
        self.unmeasured: dict[str, str] = {}  # why what was drawn has no numbers

    def write(self, runs: dict[str, list[tuple[Path, dict[str, Any]]]]) -> dict[str, Any]:
        r"""Measure all runs, write the report's files, and return ``report.json``.

        Args:
            runs: For each family and for ``"gaussian"``, the folder and result of each seed.

        Returns:
            The content of ``report.json``.
        """
        measured = {
            name: [self._measured(name, *run) for run in seeds] for name, seeds in runs.items()
        }
        rows = [self._row(name, runs[name], measured[name]) for name in runs]
        rows += [self._real(), self._copier()]
        report = {
            "format": 1,
            "data": self._data(),
            "protocol": {
                **self.protocol,
                "features": self.measure.features.name,
                "simple_features": self.measure.simple.name,
                "target": self.measure.target,
                "ranked_by": self.measure.ranked_by,
            },
            "verdict": self._verdict(rows, measured),
            "rows": rows,
        }
        write_text(self.path / "report.json", json.dumps(report, indent=1, allow_nan=False))
        write_text(self.path / "results.csv", results_csv(report))
        write_report(self.path, report, self.material, self._held_out())
        return report

    def _verdict(
        self, rows: list[dict[str, Any]], measured: dict[str, list[Metrics]]
    ) -> dict[str, Any]:
        ranked = self.measure.ranked_by
        able = [
            Scored(row["name"], tuple(m[ranked] for m in measured[row["name"]]), _cost(row))
            for row in rows
            if row["role"] == "family"
            and row["status"] == "ok"
            and not row["flags"]
            and all(ranked in m for m in measured[row["name"]])
        ]
        trees = "c2st" + self.measure.simple.ending
        told = {row["name"]: row["metrics"].get(trees, {}) for row in rows}
        gaussian = tuple(m[ranked] for m in measured["gaussian"] if ranked in m)
        return verdict(
            able,
            ranked,
            all_silent=_all_silent(rows),
            told=told,
            gaussian=Scored("gaussian", gaussian) if gaussian else None,
        )

    def _measured(self, name: str, folder: Path, result: dict[str, Any]) -> Metrics:
        if result["status"] in ("failed", "timeout"):
            return {}
        codes = read_codes(folder / "codes")
        material = Material(
            history=result["history"],
            capabilities=result["capabilities"],
            journey=self._seen(read_journey(folder / "journey")),
        )
        found: Metrics = {}
        if (folder / "samples" / "manifest.json").exists():
            material, found = self._with_samples(name, material, *read_samples(folder / "samples"))
        if codes is not None and codes.reconstructed is not None:
            error = self.measure.reconstruction(codes.reconstructed)
            found |= {} if error is None else {"reconstruction_error": error}
        self.material.setdefault(name, replace(material, codes=self._shown(codes)))
        return found

    def _with_samples(
        self, name: str, material: Material, X: Any, y: Any, log_p: np.ndarray | None
    ) -> tuple[Material, Metrics]:
        r"""Return the material with what was drawn, and the metrics of it."""
        try:
            fake = self.measure.sample(X, y)
        except DataError as error:  # what a diverged model draws need not be finite
            self.unmeasured[name] = f"What it drew cannot be measured: {error}"
            return material, {}
        found = self.measure.metrics(fake)
        exact = None if log_p is None else likelihood(log_p)
        if exact is not None:
            found["log_likelihood"] = exact
        few = np.arange(min(SHOWN, len(fake)))
        label = None if y is None else data.take(y, few)
        drawn = replace(
            material,
            samples=self.measure.rows(data.take(X, few), label),
            labels=_texts(label),
            neighbours=self.measure.neighbours(fake, X, y, self.split),
        )
        return drawn, found

    def _seen(self, journey: Journey | None) -> Journey | None:
        r"""Return a journey with its rows as the report wants them."""
        if journey is None or journey.images is None:
            return journey
        return replace(journey, images=self.measure.rows(journey.images))

    def _shown(self, codes: Codes | None) -> Codes | None:
        r"""Return codes with their rows as the report wants them."""
        if codes is None:
            return None
        parts = (codes.reconstructed, codes.traversed, codes.between)
        rows = [None if X is None else self.measure.rows(X) for X in parts]
        return replace(codes, reconstructed=rows[0], traversed=rows[1], between=rows[2])

    def _row(
        self, name: str, runs: Sequence[tuple[Path, dict[str, Any]]], measured: list[Metrics]
    ) -> dict[str, Any]:
        results = [result for _, result in runs]
        bad = [r for r in results if r["status"] != "ok"]
        first = (bad or results)[0]
        shared = [key for key in measured[0] if all(key in m for m in measured)]
        metrics = {key: combined([m[key] for m in measured]) for key in shared}
        copied = metrics.get(self.measure.copying)
        seconds = [r["seconds"] for r in results if "seconds" in r]
        return {
            "name": name,
            "role": "reference" if name == "gaussian" else "family",
            "family": PRESETS[Job.read(runs[0][0]).family][0],
            "arguments": first.get("arguments", {}),
            "status": first["status"],
            "reason": first["reason"] or self.unmeasured.get(name, ""),
            "flags": _flags(copied, first),
            "metrics": {key: _json(key, result) for key, result in metrics.items()},
            "seconds": {
                "budget": self.protocol["budget"],
                "fit": _mean([s["fit"] for s in seconds]),
                "sample": _mean([s["sample"] for s in seconds if s["sample"] is not None]),
            },
            "parameters": first.get("parameters"),
            "evaluations": first.get("evaluations"),
            "peak_memory_mb": first.get("peak_memory_mb"),
        }

    def _real(self) -> dict[str, Any]:
        metrics = self.measure.real(self.n_samples)
        return self._reference("real", "held-out rows, one half against the other", metrics)

    def _copier(self) -> dict[str, Any]:
        metrics = self.measure.copier(self.n_samples)
        return self._reference("copier", "training rows, handed out again", metrics)

    def _reference(self, name: str, why: str, metrics: Metrics) -> dict[str, Any]:
        return {
            "name": name,
            "role": "reference",
            "family": None,
            "arguments": {},
            "status": "ok",
            "reason": why,
            "flags": [],
            "metrics": {key: _json(key, result) for key, result in metrics.items()},
            "seconds": {"budget": None, "fit": None, "sample": None},
            "parameters": None,
            "evaluations": None,
            "peak_memory_mb": None,
        }

    def _held_out(self) -> Material:
        few = np.arange(min(SHOWN, data.n_rows(self.split.test)))
        y = None if self.split.test_y is None else data.take(self.split.test_y, few)
        X = data.take(self.split.test, few)
        rows = None if self.label is None else self.measure.rows(X)
        return Material(self.measure.rows(X, y), _texts(y), unlabelled=rows, known=self.known)

    def _data(self) -> dict[str, Any]:
        rows = self.measure.rows(self.split.test, self.split.test_y)
        columns = [str(c) for c in rows.columns] if hasattr(rows, "columns") else None
        return {
            "kind": self.source.kind,
            "name": self.source.name,
            "rows": data.n_rows(self.source.X),
            "shape": list(rows.shape[1:]),
            "columns": columns,
            "label": self.source.label,
            "notes": list(self.source.note),
        }


def protocol(split: Split, budget: str, seeds: int, seed: int, n_samples: int) -> dict[str, Any]:
    r"""Return how the comparison was done, for ``report.json``."""
    return {
        "train_rows": data.n_rows(split.train),
        "held_out_rows": data.n_rows(split.test),
        "samples": n_samples,
        "budget": budget,
        "seeds": seeds,
        "random_state": seed,
        "conditional": split.train_y is not None,
        "versions": {name: version(name) for name in ("fromnoise", "torch", "scikit-learn")},
    }


def _flags(copied: Result | None, result: dict[str, Any]) -> list[str]:
    copies = copied is not None and copied.low > COPYING_LIMIT
    draws = result.get("capabilities", {}).get("samples", True)
    return ["copying"] * copies + [SILENT] * (not draws)


def _cost(row: dict[str, Any]) -> float:
    return float(row["seconds"]["fit"] or 0) + float(row["seconds"]["sample"] or 0)


def _all_silent(rows: Sequence[dict[str, Any]]) -> bool:
    return all(SILENT in row["flags"] for row in rows if row["role"] == "family")


def _json(name: str, result: Result) -> dict[str, Any]:
    value: dict[str, Any] = result.to_json()
    # A likelihood has no value that a perfect model would reach.
    return {**value, "target": None} if name == "log_likelihood" else value


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _texts(labels: Any) -> list[str] | None:
    return None if labels is None else [str(label) for label in np.asarray(labels).tolist()]
