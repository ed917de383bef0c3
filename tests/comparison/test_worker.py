r"""A worker knows its files and nothing else; whatever becomes of it, a result is left behind."""

import json
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import fromnoise as fn
from fromnoise.comparison import processes, worker
from fromnoise.comparison.jobs import Job, Split, read_samples, write_split
from fromnoise.comparison.processes import run_worker

RNG = np.random.default_rng(0)


def prepared(folder, split, **options):
    write_split(folder / "split", split)
    given = {"name": "a", "family": "gmm", "arguments": {"n_components": 1}, "budget": "5 steps",
             "seed": 0, "n_samples": 30, "split": str(folder / "split"), **options}  # fmt: skip
    job = Job(**given)
    job.write(folder / "job")
    return folder / "job", job


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def vectors():
    X = RNG.normal(size=(60, 2))
    return Split(X[:40], None, X[40:], None)


def test_a_process_fits_from_files_alone(tmp_path, monkeypatch):
    # A file of that name in the user's folder is not the torch that is meant.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torch.py").write_text("raise SystemExit('the wrong torch')")
    split = vectors()
    folder, job = prepared(tmp_path, split, arguments={"n_components": 2, "tol": 0.01})
    before = {path: path.read_bytes() for path in (tmp_path / "split").iterdir()}
    run_worker(folder, job)
    result = result_of(folder)
    assert result["status"] == "ok" and result["arguments"] == {"n_components": 2, "tol": 0.01}
    assert {"fit", "sample"} == set(result["seconds"]) and result["peak_memory_mb"] > 1
    assert (folder / "fitted").exists()
    assert before == {path: path.read_bytes() for path in (tmp_path / "split").iterdir()}
    model = fn.load(folder / "model")
    X, y, log_p = read_samples(folder / "samples")
    assert np.array_equal(X, model.sample(30, random_state=0)) and y is None
    assert np.allclose(log_p, model.score_samples(split.test))
    same = fn.GaussianMixture(n_components=2, tol=0.01, budget="5 steps", random_state=0)
    assert np.array_equal(same.fit(split.train).means_, model.means_)


SCRIPTS = {
    "killed": ("kill -9 $$", "9s", "failed", "out of memory"),
    "exit": ("exit 3", "9s", "failed", "status 3"),
    "hung": ("sleep 60", "0.1s", "timeout", "fit took more than"),
    "slow to draw": ('touch "$4/fitted"; sleep 60', "9s", "timeout", "drawing took more"),
}


@pytest.mark.parametrize(("script", "budget", "status", "reason"), SCRIPTS.values(), ids=SCRIPTS)
def test_a_worker_that_ends_badly_leaves_a_result(
    tmp_path, monkeypatch, script, budget, status, reason
):
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/sh\n{script}\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(processes, "sys", SimpleNamespace(executable=str(stand_in)))
    monkeypatch.setattr(processes, "START_SECONDS", 0.2)
    monkeypatch.setattr(processes, "SAMPLE_SECONDS", 0.2)
    folder, job = prepared(tmp_path, vectors(), budget=budget)
    started = time.monotonic()
    run_worker(folder, job)
    assert time.monotonic() - started < 10
    assert result_of(folder)["status"] == status
    assert reason in result_of(folder)["reason"]


def test_budgets_in_steps_have_no_clock(tmp_path, monkeypatch):
    stand_in = tmp_path / "python"
    stand_in.write_text('#!/bin/sh\nsleep 0.5\necho "{}" > "$4/result.json"\n')
    stand_in.chmod(0o755)
    monkeypatch.setattr(processes, "sys", SimpleNamespace(executable=str(stand_in)))
    monkeypatch.setattr(processes, "START_SECONDS", 0.0)
    folder, job = prepared(tmp_path, vectors(), budget="5 steps")
    run_worker(folder, job)
    assert result_of(folder) == {}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [({"n_components": 999}, "DataError: n_components=999"), ({"tol": "x"}, "Error: ")],
)
def test_a_fit_that_fails_says_why(tmp_path, arguments, reason):
    folder, _ = prepared(tmp_path, vectors(), arguments=arguments)
    assert worker.main(str(folder)) == 0
    result = result_of(folder)
    assert result["status"] == "failed" and reason in result["reason"]
    assert not (folder / "samples").exists()


def test_the_status_of_a_model_is_that_of_its_row(tmp_path, monkeypatch):
    learn = fn.GaussianMixture._learn

    def diverges(self, *args):
        learn(self, *args)
        self.status_, self.status_reason_ = "diverged", "the loss was not finite"

    monkeypatch.setattr(fn.GaussianMixture, "_learn", diverges)
    folder, _ = prepared(tmp_path, vectors())
    worker.main(str(folder))
    result = result_of(folder)
    assert (result["status"], result["reason"]) == ("diverged", "the loss was not finite")


def table():
    frame = pd.DataFrame({"a": RNG.normal(size=60), "b": RNG.normal(size=60)})
    y = pd.Series(np.where(frame["a"] > 0, "p", "q"), name="kind")
    return Split(frame[:40], y[:40], frame[40:], y[40:])


def test_a_table_is_learnt_given_its_label(tmp_path):
    folder, _ = prepared(tmp_path, table(), label="kind")
    worker.main(str(folder))
    X, y, log_p = read_samples(folder / "samples")
    assert X.columns.tolist() == ["a", "b"] and set(y) == {"p", "q"} and len(log_p) == 20
    assert fn.load(folder / "model").condition_ is not None


def test_without_a_condition_the_label_is_a_column(tmp_path):
    folder, _ = prepared(tmp_path, table(), label="kind", conditional=False)
    worker.main(str(folder))
    X, y, log_p = read_samples(folder / "samples")
    assert X.columns.tolist() == ["a", "b", "kind"] and set(X["kind"]) == {"p", "q"}
    assert y is None and log_p is None  # log p(x, y) does not compare with log p(x | y)
    assert fn.load(folder / "model").condition_ is None


def test_without_a_condition_vectors_have_one_gaussian(tmp_path):
    X = np.concatenate([RNG.normal(-5, 1, (30, 2)), RNG.normal(5, 1, (30, 2))])
    y = np.repeat([0, 1], 30)
    folder, _ = prepared(tmp_path, Split(X, y, X[:5], y[:5]), conditional=False)
    worker.main(str(folder))
    model = fn.load(folder / "model")
    assert model.condition_ is None and len(model.means_) == 1
    assert read_samples(folder / "samples")[2].shape == (5,)


def test_a_bound_is_no_likelihood(tmp_path, monkeypatch):
    monkeypatch.setattr(fn.GaussianMixture, "score_kind_", "lower_bound")
    folder, _ = prepared(tmp_path, vectors())
    worker.main(str(folder))
    assert read_samples(folder / "samples")[2] is None
    assert result_of(folder)["capabilities"]["density"] == "lower bound"
