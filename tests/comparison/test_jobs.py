r"""What parent and worker hand to each other survives the way through files."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import fromnoise as fn
from fromnoise.comparison.jobs import (
    Codes,
    Job,
    Split,
    job_folder,
    read_codes,
    read_samples,
    read_split,
    restored_arguments,
    with_label,
    write_codes,
    write_samples,
    write_split,
    written_arguments,
)

FRAME = pd.DataFrame({
    "a": pd.Categorical(["u", None, "v"], categories=["v", "u", "w"]),
    "b": [1.5, np.nan, 2.5],
    "c\n😀": ["=1", None, "x"],
    "d": pd.to_datetime(["2020-01-01", None, "2021-01-01"]),
})  # fmt: skip


def test_a_job_is_what_was_written(tmp_path):
    job = Job("a/b", "gmm", {"n_components": 3, "x": None}, "9s", 5, 100, "split", False, "y")
    job.write(tmp_path / "deep")
    assert Job.read(tmp_path / "deep") == job
    assert json.loads((tmp_path / "deep" / "job.json").read_text())["conditional"] is False


@pytest.mark.parametrize("name", ["..", "../../x", "/etc", "a/b", "\udcff", "é😀", "a" * 80])
def test_no_name_leads_out_of_the_report(tmp_path, name):
    folder = job_folder(tmp_path, name, 3)
    folder.mkdir(parents=True)
    assert folder.resolve().parent == (tmp_path / "jobs").resolve()


def test_names_do_not_share_a_folder():
    names = ["a/b", "a%2Fb", "a_b", "a-1", "a"]
    assert len({job_folder(Path(), name, seed) for name in names for seed in (0, 1)}) == 10


@pytest.mark.parametrize(
    "rows", [np.arange(6.0).reshape(3, 2), np.zeros((3, 2, 2), np.uint8), FRAME]
)
def test_a_split_comes_back_with_its_types(tmp_path, rows):
    y = pd.Series(["p", "q", "p"], name="label", dtype="category")
    write_split(tmp_path / "s", Split(rows, y, rows[:2], y[:2]))
    read = read_split(tmp_path / "s")
    if isinstance(rows, pd.DataFrame):
        pd.testing.assert_frame_equal(read.train, rows)
    else:
        assert read.train.dtype == rows.dtype and np.array_equal(read.train, rows)
    pd.testing.assert_series_equal(read.train_y, y)
    assert len(read.test) == len(read.test_y) == 2


def test_torch_and_polars_come_back_as_such(tmp_path):
    write_split(tmp_path / "t", Split(torch.ones(3, 2), None, torch.ones(2, 2), None))
    read = read_split(tmp_path / "t")
    assert isinstance(read.train, torch.Tensor) and read.train_y is None
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
    write_split(tmp_path / "p", Split(frame, frame["a"], frame, frame["a"]))
    assert read_split(tmp_path / "p").test.equals(frame)


def test_samples_come_back(tmp_path):
    write_samples(tmp_path / "s", FRAME, None, np.array([-np.inf, 1.0, 2.0]))
    X, y, log_p = read_samples(tmp_path / "s")
    pd.testing.assert_frame_equal(X, FRAME)
    assert y is None and log_p.tolist() == [-np.inf, 1.0, 2.0]


def test_labels_join_a_table_as_its_last_column_and_leave_the_rest():
    y = pd.Series(["p", "q", "p"], name="kind", index=[7, 8, 9], dtype="category")
    joined = Split(FRAME, y, FRAME[:1], y[:1]).joined("kind")
    assert joined.train.columns.tolist() == [*FRAME.columns, "kind"]
    assert joined.train["kind"].tolist() == ["p", "q", "p"]
    assert joined.train["kind"].dtype == y.dtype
    assert joined.train_y is None and joined.test_y is None
    assert "kind" not in FRAME
    X = np.ones((3, 2))
    dropped = Split(X, y, X[:1], y[:1]).joined(None)
    assert dropped.train is X and dropped.train_y is None


def test_labels_join_polars():
    frame = pl.DataFrame({"a": [1, 2]})
    assert with_label(frame, np.array([3, 4]), "b").to_dict(as_series=False) == {
        "a": [1, 2],
        "b": [3, 4],
    }


# --- arguments --------------------------------------------------------------------------------


def through_json(arguments):
    return restored_arguments(json.loads(json.dumps(written_arguments(arguments))))


def test_models_among_arguments_come_back_as_models():
    inner = fn.AutoEncoder(prior=fn.GaussianMixture(n_components=3, tol=0.5), latent_dim=2)
    back = through_json({"prior": inner, "noise": 0.5, "interval": (0.0, 1.0), "network": None})
    assert isinstance(back["prior"], fn.AutoEncoder) and back["prior"].latent_dim == 2
    assert back["prior"].prior.get_params() == inner.prior.get_params()
    assert (back["noise"], back["interval"], back["network"]) == (0.5, (0.0, 1.0), None)


class Own(fn.GaussianMixture):
    pass


@pytest.mark.parametrize(
    "value", [np.zeros(2), torch.nn.Linear(1, 1), Own(), (1, np.zeros(1)), len, [1], np.float64(1)]
)
def test_what_cannot_be_written_down_is_not(value):
    assert written_arguments({"a": value}) is None
    if not isinstance(value, np.ndarray):
        assert written_arguments({"prior": fn.AutoEncoder(prior=value)}) is None


def test_the_seed_of_a_prior_is_the_models_around_it():
    prior = fn.GaussianMixture(random_state=np.random.default_rng(0))
    assert through_json({"prior": prior})["prior"].random_state is None


# --- codes ------------------------------------------------------------------------------------


def test_codes_come_back(tmp_path):
    codes = Codes(9, FRAME, np.ones((3, 2)), 0.25, FRAME[:2], (4, 1), FRAME[1:], ((0, 5),), True)
    write_codes(tmp_path / "c", codes)
    read = read_codes(tmp_path / "c")
    for name in ("reconstructed", "traversed", "between"):
        expected = getattr(codes, name).reset_index(drop=True)
        pd.testing.assert_frame_equal(getattr(read, name), expected)
    assert np.array_equal(read.points, codes.points)
    assert (read.size, read.explained, read.dimensions) == (9, 0.25, (4, 1))
    assert read.ends == ((0, 5),) and read.spherical is True


def test_no_codes_are_none(tmp_path):
    assert read_codes(tmp_path / "nothing") is None
    write_codes(tmp_path / "c", Codes(3))
    assert read_codes(tmp_path / "c") == Codes(3)
