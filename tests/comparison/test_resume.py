r"""A comparison that is cut goes on: to the same report, from what is sound, or not at all."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import fromnoise as fn
from fromnoise.comparison import plan, resuming, worker
from fromnoise.comparison.jobs import Job, Split, read_told, write_split
from fromnoise.errors import ArtifactError, DataError
from fromnoise.persistence import read_bundle, write_bundle
from fromnoise.training import digest, locks, sole_writer

pytestmark = pytest.mark.usefixtures("few_trees")

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(-3, 1, (60, 2)), RNG.normal(3, 1, (60, 2))])
Y = np.repeat([0, 1], 60)
QUICK = {"budget": "9 steps", "n_samples": 40}
TIMES = {"seconds", "fit_seconds", "fit_seconds_"}


class Net(nn.Module):
    r"""A network of the user's own, so that the model is fitted where the comparison runs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x, t):
        return self.layer(torch.cat([x, t.reshape(-1, 1)], 1))


def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net()


def models():
    often = {"checkpoint_every": "2 steps", "steps": 3}
    return {
        "two": fn.GaussianMixture(n_components=2, checkpoint_every="2 steps"),
        "flow": fn.FlowMatching(network="small", **often),
        "own": fn.FlowMatching(network=net(), **often),
    }


def here(folder, job, lock):
    r"""Run a worker in this process, from the same files: seconds less, and nothing else."""
    worker.main(str(folder))


class Unmeasured:
    r"""Stands in for the measuring and drawing, which takes longer than all the fits."""

    def __init__(self, source, split, seed, n_samples, done, path, *rest):
        self.path, self.protocol = path, done

    def write(self, runs):
        rows = [{"name": name, "role": "family", "metrics": {}, "status": seeds[0][1]["status"]}
                for name, seeds in runs.items()]  # fmt: skip
        for name in ("report.json", "index.html"):
            (self.path / name).write_text("")
        return {"rows": rows, "protocol": self.protocol, "verdict": {"best": None}}


@pytest.fixture
def fitted(monkeypatch):
    r"""Return the names of what is fitted, in turn, in this process; nothing is measured."""
    names = []

    def run(folder, job, lock):
        names.append(job.name)
        worker.main(str(folder))

    monkeypatch.setattr(plan, "run_worker", run)
    monkeypatch.setattr(plan, "Assembly", Unmeasured)
    return names


def compared(out, **more):
    return fn.compare(X, families=models(), out=out, **{**QUICK, **more})


def timeless(tree):
    if isinstance(tree, dict):
        return {k: timeless(v) for k, v in tree.items() if k not in TIMES}
    return [timeless(part) for part in tree] if isinstance(tree, list) else tree


def bundles(out):
    r"""Return digests of all models and what they drew, seconds apart.

    Not of journeys: how long they are depends on how quickly a model draws.
    """
    return {
        f"{folder.name}/{name}": digest(timeless(read_bundle(folder / name)))
        for folder in (out / "jobs").iterdir()
        for name in ("model", "samples")
        if (folder / name).exists()
    }


def end(out):
    r"""Return what a report holds, seconds and memory apart."""
    report = json.loads((out / "report.json").read_text())
    told = report["verdict"]["why"].split(". ")
    report["verdict"]["why"] = [text for text in told if "to fit and draw" not in text]
    rows = [{k: v for k, v in row.items() if k != "peak_memory_mb"} for row in report["rows"]]
    return timeless({**report, "rows": rows})


def killed_at_commit(n, out):
    r"""Go on with the comparison in a process that is killed at its n-th renaming of a file."""
    child = os.fork()
    if child == 0:
        left, replace = [n], os.replace

        def counted(*paths):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(*paths)

        os.replace = counted
        plan.run_worker = here
        try:
            compared(out, resume=True)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_killed_again_and_again_it_ends_with_the_report_of_one_that_was_not(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "run_worker", here)
    compared(tmp_path / "whole")
    kills = 0
    # Ever later, because what is fitted again takes as many commits again.
    while killed_at_commit(6 * (kills + 1), tmp_path / "cut"):
        kills += 1
        assert not (tmp_path / "cut" / "index.html").exists()
    assert kills >= 5
    assert end(tmp_path / "cut") == end(tmp_path / "whole")
    assert bundles(tmp_path / "cut") == bundles(tmp_path / "whole")
    assert bundles(tmp_path / "whole").keys() >= {"two-0/model", "flow-0/samples"}
    left = {str(path.relative_to(tmp_path / "cut")) for path in (tmp_path / "cut").rglob("*")}
    assert not {name for name in left if "run" in name or ".tmp" in name or ".lock" in name}


def cut(out, at="flow", **more):
    r"""Leave a comparison that was interrupted when it came to a family."""

    def interrupted(folder, job, lock):
        if job.name == at:
            raise KeyboardInterrupt
        worker.main(str(folder))

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(plan, "run_worker", interrupted)
        compared(out, **more)


# --- what is kept -----------------------------------------------------------------------------


def test_fits_that_are_over_are_kept_and_the_rest_is_fitted(tmp_path, fitted, caplog):
    caplog.set_level("INFO", "fromnoise")
    cut(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    result = compared(tmp_path / "there", resume=True)
    assert fitted == ["flow", "gaussian"] and "two: ok, kept" in caplog.messages
    assert isinstance(result.models["own"].network, Net)
    assert result.models["own"].run_dir is None
    assert {row["status"] for row in result.report["rows"]} == {"ok"}


def test_a_fit_that_was_cut_when_it_drew_comes_to_the_same_end(
    tmp_path, monkeypatch, caplog, fitted
):
    caplog.set_level("INFO", "fromnoise")
    draw = worker._drawn

    def drawn(folder, job, *rest):
        if job.name == "flow":
            raise KeyboardInterrupt
        return draw(folder, job, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(worker, "_drawn", drawn)
        compared(tmp_path / "cut")
    assert (tmp_path / "cut" / "jobs" / "flow-0" / "fitted").exists()
    compared(tmp_path / "cut", resume=True)
    (told,) = [text for text in caplog.messages if "goes on after step" in text]
    assert "flow-0" in told and told.endswith("after step 9.")
    compared(tmp_path / "whole")
    assert bundles(tmp_path / "cut") == bundles(tmp_path / "whole")


@pytest.mark.parametrize("name", ["model", "samples"])
def test_what_is_damaged_is_fitted_again(tmp_path, fitted, caplog, name):
    cut(tmp_path)
    (file,) = (tmp_path / "jobs" / "two-0" / name).glob("weights-*")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    compared(tmp_path, resume=True)
    assert fitted == ["two", "flow", "gaussian"]
    assert f"jobs/two-0/{name}" in caplog.text and "fitted again" in caplog.text


@pytest.mark.parametrize("text", ["[1", '{"status": "failed"}'])
def test_a_result_that_is_none_is_no_reason_to_keep_a_fit(tmp_path, fitted, text):
    cut(tmp_path)
    (tmp_path / "jobs" / "two-0" / "result.json").write_text(text)
    assert compared(tmp_path, resume=True).report["rows"][0]["status"] == "ok"
    assert fitted[0] == "two"


def test_damaged_rows_are_refused_and_stay(tmp_path, fitted):
    cut(tmp_path)
    (file,) = (tmp_path / "split").glob("weights-*")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="damaged"):
        compared(tmp_path, resume=True)
    assert (tmp_path / "jobs" / "two-0" / "result.json").exists() and fitted == []


@pytest.fixture
def copy(tmp_path, unfinished):
    r"""A comparison that was cut and moved elsewhere."""
    return shutil.copytree(unfinished, tmp_path / "moved")


def without(tree, *names):
    return {name: value for name, value in tree.items() if name not in names}


RESULTS = {
    "no JSON": lambda result: "[1",
    "deep": lambda result: "[" * 100_000,
    "a list": lambda result: [result],
    "another status": lambda result: {**result, "status": "fine"},
    "no seconds": lambda result: without(result, "seconds"),
    "no seconds of the fit": lambda result: {**result, "seconds": {"sample": 1.0}},
    "words for seconds": lambda result: {**result, "seconds": {"fit": "1", "sample": 1.0}},
    "None for seconds": lambda result: {**result, "seconds": {"fit": None, "sample": None}},
    "NaN for seconds": lambda result: {**result, "seconds": {"fit": math.nan, "sample": 1.0}},
    "an infinite memory": lambda result: {**result, "peak_memory_mb": math.inf},
    "words in the history": lambda result: {**result, "history": [{"step": 1, "loss": "low"}]},
    "a number in the history": lambda result: {**result, "history": [3]},
    "no arguments": lambda result: without(result, "arguments"),
    "words for parameters": lambda result: {**result, "parameters": "many"},
    "no list of files": lambda result: without(result, "left"),
    "files elsewhere": lambda result: {**result, "left": [*result["left"], "../../split"]},
    "no samples": lambda result: {**result, "left": ["model"]},
    "codes that are not there": lambda result: {**result, "left": [*result["left"], "codes"]},
}


@pytest.mark.parametrize("damage", RESULTS.values(), ids=RESULTS)
def test_a_damaged_result_keeps_no_fit(copy, caplog, damage):
    folder = copy / "jobs" / "two-0"
    job, result = Job.read(folder), json.loads((folder / "result.json").read_text())
    assert resuming.kept_result(folder, job) == result
    damaged = damage(result)
    text = damaged if isinstance(damaged, str) else json.dumps(damaged)
    (folder / "result.json").write_text(text)
    assert resuming.kept_result(folder, job) is None and not folder.exists()
    assert f"{folder} is damaged, so it is fitted again: " in caplog.text


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", "other"])
def test_a_job_that_is_damaged_or_another_keeps_no_fit(copy, caplog, text):
    folder = copy / "jobs" / "two-0"
    job = Job.read(folder)
    if text is None:
        (folder / "job.json").unlink()
    elif text == "other":
        replace(job, seed=7).write(folder)
    else:
        (folder / "job.json").write_text(text)
    assert resuming.kept_result(folder, job) is None and "fitted again" in caplog.text


@pytest.mark.parametrize("name", ["model", "samples"])
def test_a_file_that_is_missing_keeps_no_fit(copy, caplog, name):
    folder = copy / "jobs" / "two-0"
    shutil.rmtree(folder / name)
    assert resuming.kept_result(folder, Job.read(folder)) is None
    assert f"two-0/{name}" in caplog.text


DAMAGE = {
    "cut off": lambda manifest: manifest.write_text(manifest.read_text()[:99]),
    "a list": lambda manifest: manifest.write_text("[]"),
    "missing": lambda manifest: manifest.unlink(),
    "told nothing": lambda manifest: write_bundle(manifest.parent, {"told": 3}, overwrite=True),
    "no seed": lambda manifest: write_bundle(
        manifest.parent, {"told": {"budget": "9 steps"}}, overwrite=True
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_it_began_with_is_told_to_be_damaged_and_stays(copy, fitted, damage):
    damage(copy / "split" / "manifest.json")
    before = files(copy)
    for seed in (0, None):
        with pytest.raises(ArtifactError, match=r"moved cannot be continued: .*\(--force\)"):
            compared(copy, resume=True, random_state=seed)
    assert files(copy) == before and fitted == []


@pytest.mark.parametrize("part", ["weights-*", "manifest.json"])
def test_a_fit_whose_checkpoints_are_all_damaged_begins_again(tmp_path, caplog, part):
    write_split(tmp_path / "split", Split(X, None, X[:20], None))
    given = {"name": "a", "family": "flow", "arguments": {"network": "small"}, "seed": 0}
    job = Job(**given, budget="9 steps", n_samples=9, split=str(tmp_path / "split"))
    job.write(tmp_path / "job")
    run = resuming.run_folder(tmp_path / "job")
    fn.FlowMatching(network="small", budget="4 steps", random_state=0, run_dir=run).fit(X)
    for file in run.glob(f"step-*/{part}"):
        file.write_bytes(file.read_bytes()[:-9])
    worker.main(str(tmp_path / "job"))
    result = json.loads((tmp_path / "job" / "result.json").read_text())
    assert result["status"] == "ok" and result["history"][-1]["step"] == 9
    assert "job/run is damaged, so it is fitted from the start" in caplog.text


def test_without_a_seed_it_goes_on_with_the_one_it_drew(tmp_path, fitted):
    cut(tmp_path, random_state=None)
    seed = read_told(tmp_path / "split")["random_state"]
    result = compared(tmp_path, resume=True, random_state=None)
    assert result.report["protocol"]["random_state"] == seed
    assert fitted == ["flow", "gaussian"]


# --- what is refused --------------------------------------------------------------------------

MOVED = X.copy()
MOVED[77, 1] = np.nextafter(MOVED[77, 1], np.inf)
CHANGES = {
    "budget": ({"budget": "8 steps"}, "budget: '9 steps', and now '8 steps'"),
    "seeds": ({"seeds": 2}, "seeds: 1, and now 2"),
    "rows drawn": ({"n_samples": 41}, "n_samples: 40"),
    "held out": ({"test_fraction": 0.3}, "test_fraction"),
    "seed": ({"random_state": 1}, "random_state"),
    "features": ({"features": np.log}, "features: 'auto', and now 'log'"),
    "fewer": ({"families": {"two": models()["two"]}}, "families"),
    "names": ({"families": {**models(), "two": "flow"}}, "model of two"),
    "arguments": ({"families": {**models(), "flow": fn.FlowMatching(steps=4)}}, "model of flow"),
    "rows": ({"source": X[:-1]}, "shape of X"),
    "types": ({"source": X.astype(np.float32)}, "dtypes of X"),
    "a bit": ({"source": MOVED}, "rows of X"),
    "labels": ({"y": Y}, "y: "),
}  # fmt: skip


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    out = tmp_path_factory.mktemp("cut") / "report"
    cut(out)
    return out


def files(folder):
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*")}


@pytest.mark.parametrize(("change", "named"), CHANGES.values(), ids=CHANGES)
def test_another_comparison_is_refused_by_what_differs(unfinished, fitted, change, named):
    given = {"source": X, "families": models(), **QUICK, **change}
    before = files(unfinished)
    with pytest.raises(DataError, match=f"unfinished comparison with another {re.escape(named)}"):
        fn.compare(**given, out=unfinished, resume=True)
    assert files(unfinished) == before and fitted == []


def test_another_version_is_refused(unfinished, monkeypatch):
    monkeypatch.setattr(resuming, "version", lambda name: "0.0.1")
    with pytest.raises(DataError, match=f"version of fromnoise: '{fn.__version__}', and now"):
        compared(unfinished, resume=True)


def test_an_unfinished_comparison_is_refused_with_the_ways_out(unfinished):
    with pytest.raises(FileExistsError, match=r"unfinished.*--resume.*--force"):
        compared(unfinished)


def test_a_finished_report_takes_no_other_and_anything_else_stays(tmp_path, fitted):
    compared(tmp_path / "report", resume=True)  # begins where there is nothing
    assert fitted == ["two", "flow", "gaussian"]
    before = files(tmp_path)
    for resume in (False, True):
        with pytest.raises(FileExistsError, match=r"finished report.*--force"):
            compared(tmp_path / "report", resume=resume)
    (tmp_path / "thesis.txt").write_text("three years of work")
    for given in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(FileExistsError, match="holds no report"):
            compared(tmp_path, **given)
    assert files(tmp_path).keys() == before.keys() | {"thesis.txt"}


def test_arguments_that_contradict_each_other_are_refused(tmp_path):
    with pytest.raises(ValueError, match="choose one"):
        compared(tmp_path / "r", resume=True, overwrite=True)
    with pytest.raises(ValueError, match="pass out"):
        compared(None, resume=True)


def test_a_folder_that_somebody_writes_is_locked_and_left_alone(tmp_path, unfinished, fitted):
    before = files(unfinished)
    with sole_writer(unfinished):
        for given in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(BlockingIOError, match=f"process {os.getpid()} "):
                compared(unfinished, **given)
    assert files(unfinished).keys() == before.keys() and fitted == []


# --- signals ----------------------------------------------------------------------------------

SCRIPT = """
import signal, sys
from fromnoise.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(sys.argv[1:]))
"""
WORDS = ["compare", "moons", "--families", "flow", "--budget", "4000 steps", "--resume"]


def lines(run):
    r"""Return how many records a fit has written so far."""
    try:
        return (run / "history.jsonl").read_text().count("\n")
    except FileNotFoundError:
        return 0


@contextmanager
def started(out):
    r"""Start a comparison of one long fit in a group of its own, and give it in mid-fit."""
    words = [sys.executable, "-c", SCRIPT, *WORDS, "--out", str(out)]
    run = out / "jobs" / "flow-0" / "run"
    before = lines(run)
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        until(lambda: lines(run) > before)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


def until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_free(out):
    try:
        with sole_writer(out):
            return True
    except BlockingIOError:
        return False


def steps(out):
    return sorted(int(path.name[5:]) for path in (out / "jobs/flow-0/run").glob("step-*"))


def test_a_worker_saves_its_state_when_its_parent_is_no_more(tmp_path):
    write_split(tmp_path / "split", Split(X, None, X[:20], None))
    given = {"name": "a", "family": "flow", "arguments": {"network": "small"}, "seed": 0}
    job = Job(**given, budget="4000 steps", n_samples=9, split=str(tmp_path / "split"))
    job.write(tmp_path / "job")
    command = [sys.executable, "-P", "-m", "fromnoise.comparison.worker", str(tmp_path / "job")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        run = tmp_path / "job" / "run"
        until(lambda: lines(run) > 0)
        process.send_signal(signal.SIGINT)  # a terminal sends it to all; the parent decides
        seen = lines(run)
        until(lambda: lines(run) > seen)
        process.stdin.close()  # as when the parent is killed
        assert process.wait(60) == 128 + signal.SIGTERM
    assert fn.load(run).interrupted_ and list(run.glob("step-*"))
    assert not (tmp_path / "job" / "result.json").exists()


@pytest.mark.slow
def test_no_worker_outlives_its_parent_for_long(tmp_path):
    out = tmp_path / "report"
    with started(out) as process:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of it
        told = process.communicate(timeout=60)[1]
        assert process.returncode == 130 and "--resume goes on" in told, told
    (first,) = steps(out)
    with started(out) as process:
        with pytest.raises(BlockingIOError, match=str(process.pid)), sole_writer(out):
            pass
        process.kill()  # the parent alone
        told = process.communicate(timeout=60)[1]
        assert f"goes on after step {first}." in told and "Traceback" not in told
        until(lambda: is_free(out))
    assert steps(out)[-1] > first
    assert not (out / "jobs" / "flow-0" / "result.json").exists()


def test_what_stands_where_a_folder_should_goes_or_is_told(tmp_path):
    job = Job("a", "gmm", {}, "9s", 0, 40, "split")
    (tmp_path / "split").mkdir()
    (tmp_path / "jobs").write_text("a file")
    with pytest.raises(ArtifactError, match=r"jobs in it is no folder\. Begin again"):
        resuming.begun_in(tmp_path, overwrite=False, resume=True)
    resuming.clear(tmp_path)
    assert [*tmp_path.iterdir()] == []
    (tmp_path / "x").write_text("a file")
    assert resuming.kept_result(tmp_path / "x", job) is None and not (tmp_path / "x").exists()
    (tmp_path / ".y.tmp").mkdir()
    resuming.sweep(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_of_a_damaged_job_that_is_a_link_only_the_link_goes(tmp_path):
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "result.json").write_text("{")
    (tmp_path / "x").symlink_to(tmp_path / "else")
    assert resuming.kept_result(tmp_path / "x", Job("a", "gmm", {}, "9s", 0, 40, "split")) is None
    assert not (tmp_path / "x").is_symlink() and (tmp_path / "else" / "result.json").exists()


def test_a_folder_in_place_of_the_lock_is_told(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(FileExistsError, match="where the file of a lock should stand"):
        locks.locked(tmp_path)
