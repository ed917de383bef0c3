r"""``fit`` that stops and goes on: ``--resume``, ``--force``, signals, locks, and their codes."""

import json
import os
import signal
from contextlib import suppress

import numpy as np
import pytest

import fromnoise as fn
from fromnoise.cli import main
from fromnoise.training import Budget, RunFolder, replacing

WORDS = ["fit", "flow", "moons", "--budget", "40 steps", "--network", "small", "--quiet",
         "--random-state", "0", "--checkpoint-every", "10 steps"]  # fmt: skip


@pytest.fixture
def stopped(forked):
    r"""Return what fits in a process that gets a signal at step 17."""

    def run(number, out):
        def fit():
            record = RunFolder.record

            def signalled(self, line):
                record(self, line)
                if line["step"] == 17:
                    os.kill(os.getpid(), number)

            RunFolder.record = signalled  # in the copy alone
            return main([*WORDS, "--out", str(out)])

        return forked(fit)

    return run


def history(out):
    return [json.loads(line)["step"] for line in (out / "history.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("number", "code", "steps"),
    [(signal.SIGTERM, 143, {10, 17}), (signal.SIGKILL, -9, {10})],
)
def test_a_fit_that_was_ended_is_continued_to_the_same_model(
    tmp_path, capsys, stopped, number, code, steps
):
    ended, told = stopped(number, tmp_path / "run")
    assert ended == code and "Traceback" not in told
    assert {int(path.name[5:]) for path in (tmp_path / "run").glob("step-*")} == steps
    assert ("--resume goes on" in told) == (number == signal.SIGTERM)
    assert main([*WORDS, "--out", str(tmp_path / "run")]) == 73
    assert "--resume" in capsys.readouterr().err
    assert main([*WORDS, "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert main([*WORDS, "--out", str(tmp_path / "whole")]) == 0
    one, other = (fn.load(tmp_path / name) for name in ("run", "whole"))
    assert np.array_equal(one.sample(9, random_state=0), other.sample(9, random_state=0))
    if number == signal.SIGKILL:  # a signal that is heard adds the record of its own end
        assert history(tmp_path / "run") == history(tmp_path / "whole")


def test_resume_begins_where_there_is_nothing_and_refuses_what_is_done(tmp_path, capsys):
    words = [*WORDS, "--out", str(tmp_path / "run"), "--resume"]
    assert main(words) == 0
    assert main(words) == 73
    told = capsys.readouterr().err
    assert "has ended" in told and "run_dir" not in told
    assert main(words[:-1]) == 73
    assert "--resume" not in capsys.readouterr().err


def test_a_fit_that_was_interrupted_is_said_to_be(tmp_path, capsys, stopped):
    stopped(signal.SIGTERM, tmp_path / "run")
    assert main(["info", str(tmp_path / "run")]) == 0
    assert "interrupted before its end" in capsys.readouterr().out
    assert main([*WORDS, "--out", str(tmp_path / "run")]) == 73
    assert "continue its fit with --resume" in capsys.readouterr().err


def test_another_fit_is_refused_by_name(tmp_path, capsys, stopped):
    stopped(signal.SIGKILL, tmp_path / "run")
    words = [*WORDS, "--out", str(tmp_path / "run"), "--resume"]
    assert main([*words, "--learning-rate", "0.5"]) == 65
    told = capsys.readouterr().err
    assert "learning_rate" in told and "goes on" not in told
    assert main(["fit", "diffusion", *words[2:]]) == 65
    assert "another family" in capsys.readouterr().err
    words[2] = "8gaussians"
    assert main(words) == 65
    assert "of X" in capsys.readouterr().err


def test_force_begins_again(tmp_path, stopped):
    stopped(signal.SIGKILL, tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    words = [*WORDS, "--out", str(tmp_path / "run"), "--force"]
    words[4] = "5 steps"
    for _ in range(2):  # over an unfinished fit, and over a model
        assert main(words) == 0
    assert fn.load(tmp_path / "run").n_steps_ == 5
    assert [path.name for path in (tmp_path / "run").glob("step-*")] == ["step-0000005"]
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def files(folder):
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_force_keeps_the_old_model_where_the_new_fit_is_refused(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["fit", "gmm", "wine", "--out", str(run), "--n-components", "2"]) == 0
    (run / "note.txt").write_text("mine")
    before = files(run)
    words = ["fit", "gmm", "wine", "--out", str(run), "--force"]
    for refused in (["--n-components", "0"], ["--n-components", "500"]):
        assert main([*words, *refused]) in (2, 65)
        assert files(run) == before
    # A process that is killed between the two leaves the old model to the next one.
    with suppress(SystemExit), replacing(run):
        os.rename(run / ".before", tmp_path / "kept")
        raise SystemExit
    os.rename(tmp_path / "kept", run / ".before")
    assert main([*words, "--n-components", "0"]) == 2
    assert files(run) == before
    assert main([*words, "--n-components", "3"]) == 0
    assert not (run / ".before").exists()
    assert (run / "note.txt").read_text() == "mine"
    assert fn.load(run).n_components == 3


def test_resume_and_force_contradict_each_other(tmp_path, capsys):
    assert main([*WORDS, "--out", str(tmp_path / "run"), "--resume", "--force"]) == 2
    assert "choose one" in capsys.readouterr().err


def test_a_run_that_somebody_writes_is_locked(tmp_path, capsys):
    with RunFolder(tmp_path / "run", Budget(1, "steps")):
        assert main([*WORDS, "--out", str(tmp_path / "run"), "--resume"]) == 75
        assert main([*WORDS, "--out", str(tmp_path / "run"), "--force"]) == 75
    assert "Another process writes" in capsys.readouterr().err


def test_a_run_of_damaged_checkpoints_is_66(tmp_path, capsys, stopped):
    stopped(signal.SIGKILL, tmp_path / "run")
    (file,) = (tmp_path / "run" / "step-0000010").glob("weights-*")
    file.write_bytes(file.read_bytes()[:-1])
    assert main([*WORDS, "--out", str(tmp_path / "run"), "--resume"]) == 66
    assert "damaged" in capsys.readouterr().err


def test_a_disk_that_is_full_at_the_end_is_74(tmp_path, monkeypatch, capsys):
    def full(path, tree, *, overwrite=False):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fromnoise.training.checkpoint.write_bundle", full)
    assert main([*WORDS, "--out", str(tmp_path / "run")]) == 74
    told = capsys.readouterr().err
    assert "No space left" in told and "Saved" not in told


def test_the_folder_is_no_flag_of_its_own(capsys):
    assert main(["fit", "flow", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--run-dir" not in text and "--checkpoint-every" in text and "--resume" in text
