r"""The folder of a run: crashes at every step of a save, full disks, damage, locks, pruning."""

import contextlib
import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fromnoise import persistence
from fromnoise.errors import ArtifactError, DataError
from fromnoise.persistence import read_bundle, write_bundle
from fromnoise.training import Budget, Journal, RunFolder, checkpoint, open_journal

EVERY = Budget(10, "steps")


def state(step):
    return {"weights": np.full(1000, step, np.float32), "step": step}


def run(path, *steps, worth=None):
    r"""Save steps in a run of one start; worth is the validation of each."""
    with RunFolder(path, EVERY) as journal:
        journal.seed(5)
        journal.check(lambda: {"budget": "1 step"})
        for k in steps:
            journal.record({"step": k, "loss": 1.0 / k, "validation": None})
            journal.save(k, state(k), (worth or {}).get(k, 1.0 / k))
    return journal


def steps(path):
    return sorted(int(folder.name[5:]) for folder in path.glob("step-*"))


def found(path):
    r"""Return the step that a run goes on from; 0 if from the start."""
    with RunFolder(path, EVERY) as journal:
        return 0 if journal.state is None else journal.state["step"]


def flip(folder, what="weights-*"):
    (file,) = folder.glob(what)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


# --- what is kept -----------------------------------------------------------------------------


def test_a_run_goes_on_from_its_newest_checkpoint(tmp_path):
    run(tmp_path / "run", 10, 20)
    with RunFolder(tmp_path / "run", EVERY) as journal:
        assert journal.state["step"] == 20
        assert np.array_equal(journal.state["weights"], state(20)["weights"])
        assert journal.seed(9) == 5
        assert [line["step"] for line in journal.history] == [10, 20]
        assert [journal.due(k) for k in (29, 30)] == [False, True]


def test_the_newest_two_and_the_best_stay(tmp_path):
    worth = {1: 5.0, 2: 1.0, 3: 4.0, 4: 3.0, 5: 2.0}
    run(tmp_path, 1, 2, 3, 4, 5, worth=worth)
    assert steps(tmp_path) == [2, 4, 5]
    run(tmp_path, 6, worth={6: 7.0})  # the best is known from before
    assert steps(tmp_path) == [2, 5, 6]
    run(tmp_path, 7, worth={7: 0.5})
    assert steps(tmp_path) == [6, 7]


def test_a_worth_that_is_no_number_is_never_the_best(tmp_path):
    run(tmp_path, 1, 2, 3, 4, worth={1: np.inf, 2: 2.0, 3: np.nan, 4: np.inf})
    assert steps(tmp_path) == [2, 3, 4]


def test_history_is_cut_back_to_the_checkpoint_and_keeps_what_is_not_finite(tmp_path):
    lines = [
        {"step": 1, "loss": 0.1, "validation": np.nan},
        {"step": 2, "loss": 1 / 3, "validation": None},
    ]
    with RunFolder(tmp_path, EVERY) as journal:
        for line in lines:
            journal.record(line)
        journal.save(2, state(2), np.nan)
        journal.record({"step": 3, "loss": 9.0, "validation": -np.inf})
    text = (tmp_path / "history.jsonl").read_text()
    assert [json.loads(line)["step"] for line in text.splitlines()] == [1, 2, 3]
    assert json.loads(text.splitlines()[0])["validation"] is None  # strict JSON for everybody
    with RunFolder(tmp_path, EVERY) as journal:
        assert repr(journal.history) == repr(lines)
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 2


def test_a_torn_last_line_of_the_history_does_no_harm(tmp_path):
    run(tmp_path, 1)
    with open(tmp_path / "history.jsonl", "a") as file:
        file.write('{"step": 2, "lo')
    run(tmp_path, 2)
    text = (tmp_path / "history.jsonl").read_text()
    assert [json.loads(line)["step"] for line in text.splitlines()] == [1, 2]


def test_a_finished_run_holds_the_model_and_takes_no_other(tmp_path):
    with RunFolder(tmp_path, EVERY) as journal:
        journal.record({"step": 1, "loss": 1.0})
        journal.finish(lambda: {"interrupted": False, "weights": np.ones(1)})
    assert read_bundle(tmp_path)["weights"] == 1
    with pytest.raises(DataError, match="finished"), RunFolder(tmp_path, EVERY):
        pass


def test_an_interrupted_run_holds_a_model_and_goes_on(tmp_path):
    with RunFolder(tmp_path, EVERY) as journal:
        journal.save(3, state(3), 1.0)
        journal.finish(lambda: {"interrupted": True})
    assert found(tmp_path) == 3 and read_bundle(tmp_path) == {"interrupted": True}


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(FileExistsError, match="something else"), RunFolder(tmp_path, EVERY):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(FileExistsError), RunFolder(tmp_path / "thesis.txt", EVERY):
        pass


def test_the_first_difference_is_named(tmp_path):
    def told(**new):
        return {"family": "flow", "steps": 4, "pair": (0, 1), "rows of X": "abc"} | new

    with RunFolder(tmp_path, EVERY) as journal:
        journal.check(told)
        journal.save(1, state(1), 1.0)
    with RunFolder(tmp_path, EVERY) as journal:
        journal.check(told)
        for new in ({"steps": 5}, {"pair": (0, 2)}, {"rows of X": "d"}, {"more": 1}):
            with pytest.raises(DataError, match=f"another {next(iter(new))}:"):
                journal.check(partial(told, **new))


def test_without_a_checkpoint_there_is_nothing_to_differ_from(tmp_path):
    with RunFolder(tmp_path, EVERY) as journal:
        journal.check(lambda: {"budget": "1 step"})
    with RunFolder(tmp_path, EVERY) as journal:
        journal.check(lambda: {"budget": "2 steps"})


@pytest.mark.parametrize("every", ["auto", "2 epochs", "60", 60, None])
def test_every_is_a_time_or_steps(tmp_path, every):
    with pytest.raises(ValueError, match="checkpoint_every must be"):
        open_journal(tmp_path, every)


def test_a_time_is_measured_from_the_start_and_from_the_last_save(tmp_path, monkeypatch):
    now = [50.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    with open_journal(tmp_path, "60s") as journal:
        now[0] += 59
        assert not journal.due(10**9)
        now[0] += 1
        assert journal.due(0)
        journal.save(1, state(1), 1.0)
        assert not journal.due(10**9)
        now[0] += 60
        assert journal.due(0)


def test_a_journal_without_a_folder_only_remembers(tmp_path):
    with open_journal(None, "60s") as journal, journal.part("prior") as part:
        for each in (journal, part):
            each.record({"step": 1})
            each.save(1, state(1), 1.0)
            assert each.history == [{"step": 1}] and each.state is None and not each.due(10**9)
    assert type(journal) is Journal and not list(tmp_path.iterdir())


def test_a_part_goes_on_unless_the_whole_has_moved(tmp_path):
    def both(whole, part):
        with RunFolder(tmp_path, EVERY) as journal:
            if whole:
                journal.save(whole, state(whole), 1.0)
            with journal.part("prior") as prior:
                seen = 0 if prior.state is None else prior.state["step"]
                prior.save(part, state(part), 1.0)
                prior.finish(lambda: {})
        return seen

    assert [both(1, 1), both(0, 2), both(0, 3), both(2, 1), both(0, 2)] == [0, 1, 2, 0, 1]
    assert not (tmp_path / "prior" / "manifest.json").exists()


# --- the order of checkpoints -----------------------------------------------------------------


def test_order_is_that_of_the_steps_whatever_the_clock_and_the_files_say(tmp_path, monkeypatch):
    run(tmp_path, 9_999_999)
    monkeypatch.setattr(time, "time", lambda: -1e9)
    run(tmp_path, 10_000_000)
    for k, folder in enumerate(sorted(tmp_path.glob("step-*"))):
        for path in (folder, *folder.iterdir()):
            os.utime(path, (4e9 - k, 4e9 - k) if "9999999" in folder.name else (0, 0))
    assert found(tmp_path) == 10_000_000
    assert run(tmp_path).save_seconds >= 0


# --- crashes ----------------------------------------------------------------------------------


KILLER = """
import os, sys
import numpy as np
from pathlib import Path
from fromnoise.training import Budget, RunFolder

path, out = Path(sys.argv[1]), sys.argv[2]
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}
left = [0]

def count(event, arguments):
    if event in EVENTS and left[0] > 0:
        left[0] -= 1
        if left[0] == 0:
            os._exit(9)

sys.addaudithook(count)
# fsync is no audited event.
sync = os.fsync
os.fsync = lambda descriptor: (count("open", ()), sync(descriptor))[1]

def save(n):
    with RunFolder(path, Budget(1, "steps")) as journal:
        k = journal.state["step"] + 1
        left[0] = n
        journal.record({"step": k, "loss": 1.0})
        journal.save(k, {"step": k, "weights": np.full(99, k)}, 1.0 / k)
    left[0] = 0

with RunFolder(path, Budget(1, "steps")) as journal:
    for k in (1, 2, 3):
        journal.save(k, {"step": k, "weights": np.full(99, k)}, 1.0 / k)
n, killed, found = 0, True, []
while killed:
    n += 1
    child = os.fork()
    if child == 0:
        save(n)
        os._exit(0)
    killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    torn = len(list(path.rglob(".*.tmp")))
    with RunFolder(path, Budget(1, "steps")) as journal:
        weights = journal.state["weights"]
        whole = bool((weights == journal.state["step"]).all())
        found.append([journal.state["step"], whole, torn, len(list(path.rglob(".*.tmp")))])
print(found)
"""


def test_a_kill_at_every_step_of_a_save_leaves_this_checkpoint_or_the_one_before(tmp_path):
    source = str(Path(persistence.__file__).parents[1])
    process = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path / "run"), ""],
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout.lower())
    assert len(found) > 20  # a save has many steps, and each was tried
    for (before, *_), (step, whole, torn, left) in zip([[3], *found], found, strict=False):
        assert whole and step in (before, before + 1) and torn <= 1 and left == 0
    assert found[-1][0] > 4


@contextlib.contextmanager
def failing(monkeypatch, error, n=1):
    r"""Let the n-th and every later sync of a file fail."""
    count = [0]

    def fsync(descriptor):
        count[0] += 1
        if count[0] >= n:
            raise error

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", fsync)
        yield


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_save_that_fails_is_told_and_tried_again(tmp_path, monkeypatch, caplog, n, number):
    with RunFolder(tmp_path, EVERY) as journal:
        journal.save(1, state(1), 1.0)
        caplog.clear()
        with failing(monkeypatch, OSError(number, os.strerror(number)), n):
            journal.save(2, state(2), 1.0)
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert "step-0000002" in record.getMessage() and os.strerror(number) in record.getMessage()
        assert steps(tmp_path) == [1] and not list(tmp_path.rglob("*.tmp"))
        assert not journal.due(11) and journal.due(12)
        journal.save(12, state(12), 1.0)
    assert found(tmp_path) == 12 and steps(tmp_path) == [1, 12]


def test_three_failures_in_a_row_end_the_fit_and_two_do_not(tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    with RunFolder(tmp_path, EVERY) as journal:
        journal.save(1, state(1), 1.0)
        for start in (10, 20):
            with failing(monkeypatch, full):
                journal.save(start, state(start), 1.0)
                journal.save(start + 1, state(start + 1), 1.0)
            journal.save(start + 2, state(start + 2), 1.0)
        with failing(monkeypatch, full):
            journal.save(30, state(30), 1.0)
            journal.save(31, state(31), 1.0)
            with pytest.raises(OSError, match="No space left"):
                journal.save(32, state(32), 1.0)
    assert found(tmp_path) == 22


def test_the_model_that_cannot_be_saved_is_an_error_at_once(tmp_path, monkeypatch):
    with (
        RunFolder(tmp_path, EVERY) as journal,
        failing(monkeypatch, OSError(errno.ENOSPC, "No space left on device")),
        pytest.raises(OSError, match="No space"),
    ):
        journal.finish(lambda: {"interrupted": False})


FULL = """
import resource, sys, signal, logging
import numpy as np
from fromnoise.training import Budget, RunFolder

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with RunFolder(sys.argv[1], Budget(1, "steps")) as journal:
    journal.save(1, {"step": 1, "weights": np.ones(1000)}, 1.0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    journal.save(2, {"step": 2, "weights": np.ones(100_000)}, 1.0)
"""


def test_a_file_that_may_grow_no_further_leaves_the_checkpoint_before(tmp_path):
    source = str(Path(persistence.__file__).parents[1])
    process = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "run")],
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 0 and "Step 2 could not be saved" in process.stderr
    assert found(tmp_path / "run") == 1 and steps(tmp_path / "run") == [1]


def test_no_fit_begins_where_checkpoints_find_no_room(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: usage(9e6, 0, 2e6))
    with RunFolder(tmp_path, EVERY) as journal:
        journal.expect(900_000)
        with pytest.raises(OSError, match="2 MB free, and checkpoints need about 3 MB"):
            journal.expect(1_200_000)


def test_a_folder_that_cannot_be_made_or_written_is_an_error_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError), RunFolder(tmp_path / "file" / "run", EVERY):
        pass

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")  # root may write everywhere

    monkeypatch.setattr(checkpoint.os, "open", refuse)
    with pytest.raises(PermissionError), RunFolder(tmp_path / "run", EVERY):
        pass


# --- damage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["weights-*", "manifest.json"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, caplog, what):
    run(tmp_path, 1, 2)
    flip(tmp_path / "step-0000002", what)
    assert found(tmp_path) == 1
    (warning,) = (r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    assert "passed over" in warning and "step-0000002" in warning
    if what == "weights-*":
        assert "SHA-256" in warning
    run(tmp_path, 2, 3)
    assert found(tmp_path) == 3 and steps(tmp_path) == [2, 3]


def test_a_flipped_bit_anywhere_in_a_manifest_is_damage(tmp_path):
    run(tmp_path, 1)
    file = tmp_path / "step-0000001" / "manifest.json"
    sound = file.read_bytes()
    for position in range(0, len(sound), 3):
        content = bytearray(sound)
        content[position] ^= 1 << position % 7
        file.write_bytes(bytes(content))
        with pytest.raises(ArtifactError):
            read_bundle(file.parent)


def test_a_damaged_checkpoint_is_not_counted_among_the_two_that_stay(tmp_path):
    run(tmp_path, 1, 2, 3, worth={1: 1.0, 2: 2.0, 3: 3.0})
    flip(tmp_path / "step-0000003")
    run(tmp_path, 4, worth={4: 4.0})
    assert steps(tmp_path) == [1, 2, 4]


def test_a_run_of_damaged_checkpoints_is_refused_and_left_as_it_is(tmp_path):
    run(tmp_path, 1, 2)
    for folder in tmp_path.glob("step-*"):
        flip(folder)
    with pytest.raises(ArtifactError, match="Every checkpoint"), RunFolder(tmp_path, EVERY):
        pass
    assert steps(tmp_path) == [1, 2]
    with pytest.raises(ArtifactError), RunFolder(tmp_path, EVERY):  # the lock was let go of
        pass


def test_a_bundle_of_something_else_is_no_checkpoint(tmp_path):
    run(tmp_path, 1)
    write_bundle(tmp_path / "step-0000002", {"step": 2})
    assert found(tmp_path) == 1


def test_what_a_crash_left_is_swept_without_a_word(tmp_path, caplog):
    run(tmp_path, 1, 2)
    shutil.copytree(tmp_path / "step-0000002", tmp_path / "step-0000003")
    (tmp_path / "step-0000003" / "manifest.json").unlink()
    (tmp_path / "step-0000003" / ".manifest.json.1.tmp").write_text("{")
    assert found(tmp_path) == 2 and steps(tmp_path) == [1, 2]
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_another_machine_goes_on_and_says_that_bits_may_differ(tmp_path, monkeypatch, caplog):
    run(tmp_path, 1)
    monkeypatch.setattr(checkpoint.torch, "get_num_threads", lambda: 64)
    assert found(tmp_path) == 1
    assert "not bit for bit" in caplog.text and "64 thread" in caplog.text


# --- one writer -------------------------------------------------------------------------------


HOLDER = """
import sys, time
from fromnoise.training import Budget, RunFolder
with RunFolder(sys.argv[1], Budget(1, "steps")):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_until_the_first_dies(tmp_path):
    source = str(Path(persistence.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")],
        env=os.environ | {"PYTHONPATH": source},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError) as error, RunFolder(tmp_path / "run", EVERY):
            pass
        assert f"process {process.pid} on {os.uname().nodename}" in str(error.value)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert found(tmp_path / "run") == 0


def test_two_fits_of_one_process_are_two_writers(tmp_path):
    with (
        RunFolder(tmp_path, EVERY),
        pytest.raises(BlockingIOError, match=f"process {os.getpid()}"),
        RunFolder(tmp_path, EVERY),
    ):
        pass
    assert found(tmp_path) == 0


def test_a_fit_that_fails_before_its_first_checkpoint_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path / "run", EVERY) as journal:
        journal.record({"step": 1, "loss": 1.0})
        raise ZeroDivisionError
    assert not (tmp_path / "run").exists()
    run(tmp_path / "run", 1)
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path / "run", EVERY):
        raise ZeroDivisionError
    assert found(tmp_path / "run") == 1


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError), RunFolder(tmp_path / "run", EVERY):
        pass
    assert not (tmp_path / "elsewhere").exists()
