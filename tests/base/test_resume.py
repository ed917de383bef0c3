r"""Fits that stop and go on: to the bit what an uninterrupted one is, family by family."""

import json
import math
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import fromnoise as fn
from contract_cases import CASES
from fromnoise import families
from fromnoise.base import LatentModel
from fromnoise.errors import ArtifactError, DataError
from fromnoise.families import gan
from fromnoise.persistence import read_bundle
from fromnoise.training import RunFolder, checkpoint, digest, engine

ROOT = Path(__file__).parents[2]
TIMES = {"seconds", "fit_seconds", "fit_seconds_", "elapsed", "first", "step_seconds"}
TIMES |= {"check_seconds", "checkpoint_every", "callbacks"}


class Stopped(Exception):
    r"""What a test stops a fit with, as a crash would."""


def stop_at(step):
    def callback(record):
        if record.step >= step:
            raise Stopped

    return callback


def timeless(tree):
    r"""Return a tree without what a clock has written into it."""
    if isinstance(tree, dict):
        return {k: timeless(v) for k, v in tree.items() if k not in TIMES}
    return [timeless(part) for part in tree] if isinstance(tree, list) else tree


def steps(folder):
    return sorted(int(path.name[5:]) for path in folder.glob("step-*"))


def newest(folder):
    r"""Return the newest checkpoint, times apart: weights, averages, optimisers, history."""
    return timeless(read_bundle(folder / f"step-{steps(folder)[-1]:07d}"))


def end(folder):
    r"""Return all that a finished run holds, times apart, each as a few digits."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    parts = {"state": newest(folder), "history": timeless(lines)}
    if (folder / "prior").exists():
        parts["prior"] = newest(folder / "prior")
    parts["model"] = timeless(read_bundle(folder))
    return {name: digest(part) for name, part in parts.items()}


class Dropping(nn.Module):
    r"""A velocity whose dropout draws from torch's own stream."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))

    def forward(self, x, t):
        return self.net(torch.cat([x, t[:, None]], dim=1))


def dropping():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Dropping()


VECTORS, LABELS = CASES["vectors"].X, CASES["vectors-classes"].y
SMALL = {"network": "small", "budget": "40 steps", "random_state": 0, "batch_size": 16}
CODES = {**SMALL, "latent_dim": 2}
MIXTURE = fn.GaussianMixture(n_components=2, n_init=2, tol=1e-9, max_iter=5)
RUNS = {
    "flow": ("flow", {**SMALL, "ema": 0.9}, VECTORS, LABELS),
    "flow-dropout": ("flow", {**SMALL, "network": dropping()}, VECTORS, None),
    "flow-epochs": ("flow", {**SMALL, "budget": "8 epochs"}, VECTORS, None),
    "diffusion": ("diffusion", SMALL, VECTORS, None),
    "gan": ("gan", {**SMALL, "critic_steps": 3}, VECTORS, None),
    "gan-images": ("gan", {**SMALL, "spectral_norm": True}, CASES["images-float"].X, None),
    "wgan": ("wgan", SMALL, VECTORS, LABELS),
    "vae": ("vae", CODES, CASES["table"].X, None),
    "iwae": ("iwae", {**CODES, "n_importance_train": 3, "prior": "vamp"}, VECTORS, None),
    "autoencoder": ("autoencoder", {**CODES, "noise": 0.1}, VECTORS, None),
    "autoencoder-gmm": ("autoencoder", {**CODES, "prior": MIXTURE}, VECTORS, None),
    "latent-flow": ("latent-flow", {**CODES, "prior": fn.FlowMatching()}, VECTORS, LABELS),
    "gmm": ("gmm", {"tol": 1e-9, "n_init": 2, "max_iter": 5}, VECTORS, None),
}


def fitted(name, folder, **more):
    family, arguments, X, y = RUNS[name]
    arguments = {"checkpoint_every": "7 steps", "random_state": 0, **arguments, **more}
    return families.make(family, **arguments, run_dir=folder).fit(X, y)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    r"""Return the end of a fit that nothing interrupts; each is fitted once."""

    @cache
    def fit(name):
        folder = tmp_path_factory.mktemp(name)
        fitted(name, folder)
        return end(folder)

    return fit


@pytest.mark.parametrize(
    ("name", "at"),
    [*((name, 31) for name in RUNS if name not in ("gmm", "autoencoder-gmm", "latent-flow")),
     ("flow", 1), ("flow", 19), ("gan", 8), ("latent-flow", 15)],
)  # fmt: skip
def test_a_fit_that_goes_on_is_the_fit_that_never_stopped(tmp_path, whole, name, at):
    with pytest.raises(Stopped):
        fitted(name, tmp_path, callbacks=[stop_at(at)])
    assert steps(tmp_path) == [7 * k for k in range(1, 6) if at - 15 < 7 * k < at] or at == 31
    again = fitted(name, tmp_path)
    assert end(tmp_path) == whole(name)
    assert [line["step"] for line in again.history_] == sorted({r["step"] for r in again.history_})
    assert again.n_steps_ == again.history_[-1]["step"] and not again.interrupted_


@pytest.mark.parametrize("at", [3, 9, 15])
def test_a_flow_as_prior_goes_on_from_where_it_was(tmp_path, whole, at):
    prior = fn.FlowMatching(callbacks=[stop_at(at)])
    with pytest.raises(Stopped):
        fitted("latent-flow", tmp_path, prior=prior)
    assert steps(tmp_path)[-1] == 24  # 60 % of 40
    assert steps(tmp_path / "prior") == [7 * k for k in (1, 2) if 7 * k < at]
    fitted("latent-flow", tmp_path)
    assert end(tmp_path) == whole("latent-flow")


@pytest.mark.parametrize(
    ("name", "n"),
    [("gmm", 1), ("gmm", 7), ("gmm", 15), ("gmm", 23), ("autoencoder-gmm", 29),
     ("autoencoder-gmm", 33)],
)  # fmt: skip
def test_a_mixture_goes_on_within_a_start(tmp_path, monkeypatch, whole, name, n):
    record, left = RunFolder.record, [n]

    def stop(self, line):
        record(self, line)
        left[0] -= 1
        if left[0] == 0:
            raise Stopped

    with monkeypatch.context() as context, pytest.raises(Stopped):
        context.setattr(RunFolder, "record", stop)
        fitted(name, tmp_path, checkpoint_every="2 steps")
    fitted(name, tmp_path, checkpoint_every="2 steps")
    assert end(tmp_path) == whole(name)


def test_a_gans_augmentation_goes_on_too(tmp_path, monkeypatch):
    monkeypatch.setattr(gan, "OVERFITTED", -math.inf)  # it grows at every check
    monkeypatch.setattr(engine, "APART", 1)
    fitted("gan-images", tmp_path / "whole")
    with pytest.raises(Stopped):
        fitted("gan-images", tmp_path / "part", callbacks=[stop_at(12)])
    model = fitted("gan-images", tmp_path / "part")
    seen = [line["augmentation"] for line in model.history_ if "augmentation" in line]
    assert len(set(seen)) > 5
    assert end(tmp_path / "part") == end(tmp_path / "whole")


def test_a_fit_may_stop_again_and_again(tmp_path, whole):
    for at in (8, 9, 16, 23, 38):
        with pytest.raises(Stopped):
            fitted("flow", tmp_path, callbacks=[stop_at(at)])
    fitted("flow", tmp_path)
    assert end(tmp_path) == whole("flow")


def test_without_a_seed_a_fit_goes_on_with_the_one_it_drew(tmp_path):
    with pytest.raises(Stopped):
        fitted("flow", tmp_path, random_state=None, callbacks=[stop_at(31)])
    seed = newest(tmp_path)["seed"]
    fitted("flow", tmp_path, random_state=None)
    fitted("flow", tmp_path / "whole", random_state=seed)
    ends = end(tmp_path), end(tmp_path / "whole")
    assert ends[0]["history"] == ends[1]["history"]
    states = [newest(folder)["state"] for folder in (tmp_path, tmp_path / "whole")]
    assert digest(states[0]) == digest(states[1])


def test_checkpoints_change_no_bit_of_a_fit(tmp_path, whole):
    fitted("flow", tmp_path, checkpoint_every="1 steps")
    assert end(tmp_path) == whole("flow")
    family, arguments, X, y = RUNS["flow"]
    bare = families.make(family, **arguments).fit(X, y)
    kept = fn.load(tmp_path)
    assert np.array_equal(bare.sample(9, random_state=1), kept.sample(9, random_state=1))
    assert not list(Path.cwd().glob("step-*"))


# --- what a run holds -------------------------------------------------------------------------


def test_a_finished_run_is_a_model(tmp_path):
    model = fitted("flow", tmp_path)
    kept = fn.load(tmp_path)
    assert np.array_equal(kept.sample(5, LABELS[:5], random_state=0),
                          model.sample(5, LABELS[:5], random_state=0))  # fmt: skip
    assert kept.run_dir is None and not kept.interrupted_
    names = {path.name for path in tmp_path.iterdir()}
    (weights,) = (name for name in names if name.startswith("weights-"))
    assert names - {weights} == {
        ".lock", "history.jsonl", "manifest.json", "step-0000035", "step-0000040",
        *(path.name for path in tmp_path.glob("step-*")),
    }  # fmt: skip
    assert 2 <= len(steps(tmp_path)) <= 3
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == model.history_


def test_a_finished_run_takes_no_other_fit_and_stays(tmp_path):
    fitted("flow", tmp_path)
    before = end(tmp_path)
    with pytest.raises(DataError, match="finished"):
        fitted("flow", tmp_path)
    assert end(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"budget": "41 steps"}, "budget"),
        ({"learning_rate": 0.5}, "learning_rate"),
        ({"batch_size": 17}, "batch_size"),
        ({"random_state": 1}, "random_state"),
        ({"network": "medium"}, "network"),
        ({"network": dropping()}, "network"),
    ],
)
def test_other_arguments_are_refused_by_name(tmp_path, change, named):
    with pytest.raises(Stopped):
        fitted("flow", tmp_path, callbacks=[stop_at(20)])
    before = newest(tmp_path)
    with pytest.raises(DataError, match=f"another {named}:"):
        fitted("flow", tmp_path, **change)
    assert digest(newest(tmp_path)) == digest(before)
    fitted("flow", tmp_path, verbose=True, steps=3, device="cpu")  # these change nothing learnt


def test_other_data_is_refused_by_what_differs(tmp_path):
    X, y = VECTORS, LABELS
    one = X.copy()
    one[11, 1] = np.nextafter(one[11, 1], np.inf)

    def fit(X, y):
        arguments = {**SMALL, "checkpoint_every": "7 steps", "callbacks": [stop_at(9)]}
        return fn.FlowMatching(run_dir=tmp_path, **arguments).fit(X, y)

    with pytest.raises(Stopped):
        fit(X, y)
    for other, label, named in [
        (X[:-1], y[:-1], "shape of X"),
        (X.astype(np.float32), y, "dtypes of X"),
        (one, y, "rows of X"),
        (X, y[::-1], "y"),
        (X, None, "y"),
        (torch.from_numpy(X), y, "container of X"),
        (CASES["table"].X, y, "kind of X"),
    ]:
        with pytest.raises(DataError, match=f"another {named}:"):
            fit(other, label)
    with pytest.raises(Stopped):
        fit(X.copy(order="F"), list(y))


def test_another_module_of_the_same_class_is_refused_by_its_shapes(tmp_path):
    with pytest.raises(Stopped):
        fitted("flow-dropout", tmp_path, callbacks=[stop_at(20)])
    wider = dropping()
    wider.net = nn.Sequential(nn.Linear(4, 17), nn.ReLU(), nn.Dropout(0.5), nn.Linear(17, 3))
    with pytest.raises(DataError, match=r"other networks.*net\.0\.weight"):
        fitted("flow-dropout", tmp_path, network=wider)


def test_a_damaged_checkpoint_costs_an_interval_and_no_bit(tmp_path, whole, caplog):
    with pytest.raises(Stopped):
        fitted("flow", tmp_path, callbacks=[stop_at(31)])
    (file,) = (tmp_path / "step-0000028").glob("weights-*")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    fitted("flow", tmp_path)
    assert "passed over" in caplog.text and "step-0000028" in caplog.text
    assert end(tmp_path) == whole("flow")


def test_a_run_dir_is_a_path_and_belongs_to_the_outer_model(tmp_path):
    for wrong in (3, True, ["a"]):
        with pytest.raises(ValueError, match="run_dir must be a path"):
            fn.FlowMatching(run_dir=wrong).fit(VECTORS)
    prior = fn.GaussianMixture(run_dir=tmp_path)
    with pytest.raises(ValueError, match="prior's run_dir must not be set"):
        fn.AutoEncoder(prior=prior).fit(VECTORS)
    with pytest.raises(ValueError, match="checkpoint_every"):
        fn.FlowMatching(checkpoint_every="2 epochs").fit(VECTORS)


def test_a_curve_does_not_write_into_the_run(tmp_path):
    model = families.make("autoencoder", **CODES, run_dir=tmp_path / "run")
    model.explained_variance_curve(VECTORS, [1])
    assert not (tmp_path / "run").exists()


def test_a_failed_model_leaves_a_usable_estimator_and_an_error(tmp_path, monkeypatch):
    def full(path, tree, *, overwrite=False):
        raise OSError(28, "No space left on device")

    model = fn.FlowMatching(**SMALL, run_dir=tmp_path)
    monkeypatch.setattr(checkpoint, "write_bundle", full)
    with pytest.raises(OSError, match="No space left"):
        model.fit(VECTORS)
    assert model.sample(2).shape == (2, 3)
    with pytest.raises(ArtifactError):
        fn.load(tmp_path)


def test_weighted_rows_are_data_too(tmp_path, monkeypatch):
    def fit(weight):
        mixture = fn.GaussianMixture(n_components=2, budget="3 steps", random_state=0)
        mixture.set_params(run_dir=tmp_path, checkpoint_every="1 step")
        return mixture.fit(VECTORS, sample_weight=weight)

    with monkeypatch.context() as context, pytest.raises(Stopped):
        context.setattr(RunFolder, "_prune", lambda self: (_ for _ in ()).throw(Stopped()))
        fit(np.arange(80.0))
    with pytest.raises(DataError, match="another sample_weight"):
        fit(np.arange(80.0)[::-1])
    fit(np.arange(80.0))


# --- the clock --------------------------------------------------------------------------------


class Slow(nn.Module):
    r"""A velocity that takes a twentieth of a second of a clock that stands still otherwise."""

    def __init__(self, now):
        super().__init__()
        self.layer, self.now = nn.Linear(4, 3), now

    def __deepcopy__(self, memo):
        return type(self)(self.now)  # the clock is one

    def forward(self, x, t):
        self.now[0] += 0.05
        return self.layer(torch.cat([x, t[:, None]], dim=1))


@pytest.fixture
def now(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return clock


@pytest.mark.parametrize("half", [0.3, 1.5, 2.7])
def test_a_budget_in_seconds_is_what_is_left_of_it(tmp_path, now, half):
    begun, left = now[0], []

    def fit(**more):
        model = fn.FlowMatching(budget="3s", network=Slow(now), random_state=0, run_dir=tmp_path,
                                checkpoint_every="1 step", **more)  # fmt: skip
        return model.fit(VECTORS)

    def killed(record):
        if now[0] - begun >= half:
            raise Stopped

    with pytest.raises(Stopped):
        fit(callbacks=[killed])
    tree = read_bundle(tmp_path / f"step-{steps(tmp_path)[-1]:07d}")
    kept = tree["state"]["clock"]["elapsed"]
    assert kept == pytest.approx(half, abs=0.3)
    now[0] += 86_400.0  # a day goes by
    again = now[0]
    model = fit(callbacks=[left.append])
    spent = now[0] - again
    assert 0.95 * 3 <= kept + spent <= 1.05 * 3 + 0.1  # a step, and the loss beside it
    # The network is tried once more, as at the first start, before the clock goes on.
    assert model.fit_seconds_ == pytest.approx(kept + spent - 0.05)
    # Progress, and the learning rate with it, goes on where it was.
    line = tree["history"][-1]
    assert line["progress"] < left[0].progress < line["progress"] + 0.1
    assert 0.85 < left[-1].progress <= 1  # the last check takes the rest


def test_a_mixture_too_spends_what_is_left(tmp_path, now, monkeypatch):
    record = RunFolder.record

    def slow(self, line):
        record(self, line)
        now[0] += 0.05
        if now[0] - begun >= 1.5 and len(again) == 0:
            raise Stopped

    monkeypatch.setattr(RunFolder, "record", slow)
    begun, again = now[0], []

    def fit():
        model = fn.GaussianMixture(n_components=3, budget="3s", tol=0.0, n_init=1000,
                                   max_iter=10**6, run_dir=tmp_path, checkpoint_every="1 step",
                                   random_state=0)  # fmt: skip
        return model.fit(VECTORS)

    with pytest.raises(Stopped):
        fit()
    kept = read_bundle(tmp_path / f"step-{steps(tmp_path)[-1]:07d}")["state"]["elapsed"]
    assert kept == pytest.approx(1.5, abs=0.11)
    now[0] += 86_400.0
    again.append(now[0])
    model = fit()
    assert 0.95 * 3 <= kept + now[0] - again[0] <= 1.05 * 3
    assert model.fit_seconds_ == pytest.approx(kept + now[0] - again[0], abs=0.11)


# --- signals ----------------------------------------------------------------------------------


def interrupt_at(step, number=signal.SIGINT, times=1):
    def callback(record):
        if record.step == step:
            for _ in range(times):
                signal.raise_signal(number)

    return callback


def test_ctrl_c_saves_the_state_and_leaves_a_model_that_goes_on(tmp_path, whole):
    family, arguments, X, y = RUNS["flow"]
    arguments = {"checkpoint_every": "1000 steps", "random_state": 0, **arguments}
    model = families.make(family, **arguments, run_dir=tmp_path, callbacks=[interrupt_at(17)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.interrupted_ and model.n_steps_ == 17 and model.sample(3).shape == (3, 3)
    assert steps(tmp_path) == [17] and fn.load(tmp_path).interrupted_
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    fitted("flow", tmp_path)
    assert end(tmp_path)["state"] == whole("flow")["state"]
    assert not fn.load(tmp_path).interrupted_


def test_a_signal_during_a_save_waits_for_its_end(tmp_path, monkeypatch, whole):
    save = RunFolder.save

    def interrupted(self, step, state, validation):
        if step == 14:
            signal.raise_signal(signal.SIGINT)
        save(self, step, state, validation)

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(RunFolder, "save", interrupted)
        fitted("flow", tmp_path)
    assert steps(tmp_path)[-1] in (14, 15)
    fitted("flow", tmp_path)
    assert end(tmp_path) == whole("flow")


def test_a_second_signal_acts_at_once_and_the_run_goes_on_from_before(tmp_path, whole):
    with pytest.raises(KeyboardInterrupt):
        fitted("flow", tmp_path, callbacks=[interrupt_at(17, times=2)])
    assert steps(tmp_path) == [7, 14] and not (tmp_path / "manifest.json").exists()
    fitted("flow", tmp_path)
    assert end(tmp_path) == whole("flow")


@pytest.fixture
def terminated():
    r"""Let SIGTERM end the program as the command line does."""
    old = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    yield
    signal.signal(signal.SIGTERM, old)


@pytest.mark.usefixtures("terminated")
@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_within_the_prior_saves_both(tmp_path, whole, number, error):
    prior = fn.FlowMatching(callbacks=[interrupt_at(5, number)])
    with pytest.raises(error):
        fitted("latent-flow", tmp_path, prior=prior)
    assert steps(tmp_path)[-1] == 24 and steps(tmp_path / "prior") == [5]
    stopped = fn.load(tmp_path)
    assert stopped.interrupted_ and stopped.prior_.n_steps_ == 5
    fitted("latent-flow", tmp_path)
    assert end(tmp_path)["state"] == whole("latent-flow")["state"]
    assert end(tmp_path)["prior"] == whole("latent-flow")["prior"]


@pytest.mark.usefixtures("terminated")
def test_a_signal_between_the_networks_and_the_prior_saves_the_networks(tmp_path, monkeypatch):
    def signalled(self, X, seed):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(LatentModel, "_training_codes", signalled)
    with pytest.raises(SystemExit):
        fitted("latent-flow", tmp_path)
    stopped = fn.load(tmp_path)
    assert stopped.interrupted_ and not hasattr(stopped, "prior_")


def test_ctrl_c_within_a_mixture_saves_the_iteration(tmp_path, monkeypatch, whole):
    record = RunFolder.record

    def interrupted(self, line):
        record(self, line)
        if line["step"] == 12:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(RunFolder, "record", interrupted)
        fitted("gmm", tmp_path)
    assert steps(tmp_path)[-1] == 12
    fitted("gmm", tmp_path)
    assert end(tmp_path)["model"] == whole("gmm")["model"]


# --- kills ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "families",
    [
        ["flow"],
        pytest.param(["gmm", "diffusion", "gan", "vae", "latent-flow"], marks=pytest.mark.slow),
    ],
    ids=["flow", "others"],
)
def test_a_kill_at_any_moment_costs_no_bit(families):
    script = ROOT / "benchmarks" / "kill_resume.py"
    command = [sys.executable, str(script), "--kills", "3", "--steps", "80"]
    command += ["--families", *families]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("| 3 of 3 |") == len(families)
