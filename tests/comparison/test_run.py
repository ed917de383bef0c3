r"""The comparison as a whole: what is split, who is fitted, what the report's folder holds."""

import csv
import gc
import inspect
import json
import re
import tempfile

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from torch import nn

import fromnoise as fn
from fromnoise import cli
from fromnoise.comparison import assemble, plan, worker
from fromnoise.comparison.jobs import Job, read_split

pytestmark = pytest.mark.usefixtures("few_trees")
RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(-3, 1, (60, 2)), RNG.normal(3, 1, (60, 2))])
Y = np.repeat([0, 1], 60)
QUICK = {"budget": "5 steps", "n_samples": 40}
ONE = fn.GaussianMixture(n_components=1)
TWO = fn.GaussianMixture(n_components=2)


@pytest.fixture
def here(monkeypatch):
    r"""Run workers in this process, from the same files: seconds less, and nothing else."""
    monkeypatch.setattr(plan, "run_worker", lambda folder, job, lock: worker.main(str(folder)))


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    r"""One comparison; the family of the odd name is fitted in a process, as everybody runs it."""
    run, processes = plan.run_worker, []

    def odd_ones(folder, job, lock):
        if job.name == "../two <b>":
            processes.append(job.name)
            run(folder, job, lock)
        else:
            worker.main(str(folder))

    out = tmp_path_factory.mktemp("compared") / "report"
    models = {"one": ONE, "../two <b>": TWO}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "run_worker", odd_ones)
        result = fn.compare(X, families=models, out=out, **QUICK)
    assert processes == ["../two <b>"]
    return result


def row(result, name):
    return next(row for row in result.report["rows"] if row["name"] == name)


# --- the report -------------------------------------------------------------------------------


def test_the_folder_holds_what_is_promised(compared):
    names = sorted(path.name for path in compared.path.iterdir())
    assert names == ["index.html", "jobs", "report.json", "results.csv", "split"]
    assert [path.name for path in compared.path.parent.iterdir()] == ["report"]
    assert json.loads((compared.path / "report.json").read_text()) == compared.report
    with (compared.path / "results.csv").open(newline="") as file:
        assert [line["name"] for line in csv.DictReader(file)] == compared.table().index.tolist()


def test_report_json_is_as_designed(compared):
    report = compared.report
    assert list(report) == ["format", "data", "protocol", "verdict", "rows"]
    assert report["format"] == 1
    assert set(report["verdict"]) == {"best", "tied", "why"}
    assert isinstance(report["verdict"]["tied"], list)
    for one in report["rows"]:
        assert list(one) == [
            "name", "role", "family", "arguments", "status", "reason", "flags", "metrics",
            "seconds", "parameters", "evaluations", "peak_memory_mb",
        ]  # fmt: skip
        assert one["role"] in ("family", "reference")
        assert one["status"] in ("ok", "diverged", "collapsed", "failed", "timeout")
        assert set(one["seconds"]) == {"budget", "fit", "sample"}
        assert isinstance(one["flags"], list) and isinstance(one["arguments"], dict)
        for metric in one["metrics"].values():
            assert list(metric) == ["value", "low", "high", "n", "better", "target"]
            assert metric["low"] <= metric["value"] <= metric["high"]
            assert metric["better"] in ("lower", "higher", "target")
    roles = {one["name"]: one["role"] for one in report["rows"]}
    references = dict.fromkeys(("gaussian", "real", "copier"), "reference")
    assert roles == {"one": "family", "../two <b>": "family", **references}


def test_rows_say_what_was_fitted(compared):
    two = row(compared, "../two <b>")
    assert (two["family"], two["arguments"], two["status"]) == ("gmm", {"n_components": 2}, "ok")
    assert two["seconds"]["budget"] == "5 steps" and two["seconds"]["fit"] > 0
    assert two["parameters"] == 2 * 2 + 2 * 3 + 1 and two["peak_memory_mb"] > 1
    assert two["metrics"]["log_likelihood"]["target"] is None


def test_rows_are_measured_as_they_should_come_out(compared):
    metrics = {one["name"]: one["metrics"] for one in compared.report["rows"]}
    energy = {name: found["energy_distance"]["value"] for name, found in metrics.items()}
    assert energy["../two <b>"] < energy["one"]
    assert compared.best == "../two <b>"
    # The reference is the same single Gaussian as the family.
    assert metrics["gaussian"] == metrics["one"]
    assert metrics["copier"]["copying"]["value"] == 1.0
    assert "copying" not in metrics["real"]
    assert energy["real"] < energy["one"]


def test_the_comparison_is_at_hand_in_python(compared):
    table = compared.table()
    assert table.loc["one", "status"] == "ok" and table.loc["real", "role"] == "reference"
    assert (
        table.loc["one", "energy_distance"]
        == (row(compared, "one")["metrics"]["energy_distance"]["value"])
    )
    assert table["fit_seconds"].notna().sum() == 3
    models = compared.models
    assert list(models) == ["one", "../two <b>"]
    assert len(models["../two <b>"].means_) == 2


def test_the_split_is_disjoint_and_whole(compared):
    split = read_split(compared.path / "split")
    assert len(split.test) == 24 and split.train_y is None
    together = np.concatenate([split.train, split.test])
    assert np.array_equal(np.unique(together, axis=0), np.unique(X, axis=0))
    assert len(together) == len(X)


def test_workers_see_files_only(compared):
    job = Job.read(compared.path / "jobs" / "one-0")
    assert (job.split, job.family, job.n_samples) == (str(compared.path / "split"), "gmm", 40)
    assert "random_state" not in job.arguments and "budget" not in job.arguments


def test_the_same_comparison_gives_the_same_numbers(compared, here):
    again = fn.compare(X, families={"one": ONE, "../two <b>": TWO}, **QUICK)
    for one, other in zip(compared.report["rows"], again.report["rows"], strict=True):
        assert one["metrics"] == other["metrics"]
    for one in (compared.report["verdict"], again.report["verdict"]):
        one["why"] = re.sub(r"It took \S+ s to", "It took … s to", one["why"])
    assert compared.report["verdict"] == again.report["verdict"]
    other = fn.compare(X, families={"one": ONE}, random_state=1, **QUICK)
    assert row(other, "one")["metrics"] != row(compared, "one")["metrics"]


def test_a_temporary_folder_disappears_with_its_result(here, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = fn.compare(X, families={"one": ONE}, **QUICK)
    assert (result.path / "index.html").exists() and result.path.parent == tmp_path
    del result
    gc.collect()
    assert not list(tmp_path.iterdir())


# --- kinds of data ----------------------------------------------------------------------------


def table(n=130):
    a = RNG.normal(size=n)
    b = np.where(RNG.random(n) < 0.2, np.nan, a + 3)
    return {"a": a, "b": b, "kind": np.where(a > 0, "p", "q"), "label": RNG.integers(0, 3, n)}


@pytest.mark.parametrize("library", [pd, pl])
def test_a_table_is_measured_with_its_label(here, library):
    frame = library.DataFrame(table())
    result = fn.compare(frame, families={"one": ONE}, label="kind", **QUICK)
    assert result.report["data"]["columns"] == ["a", "b", "label", "kind"]
    assert result.report["data"]["label"] == "kind"
    assert result.report["verdict"]["best"] == "one"
    assert type(result.models["one"].sample(2)).__module__.startswith(library.__name__)
    # A Gaussian for each class, and a single one for all.
    assert result.models["one"].condition_ is not None
    reference = fn.load(result.path / "jobs" / "gaussian-0" / "model")
    assert reference.condition_ is None
    assert "kind" in reference.sample(2).columns
    assert row(result, "gaussian")["metrics"] != row(result, "one")["metrics"]


def test_labels_without_a_name_overwrite_no_column(here):
    frame = pd.DataFrame(table())
    result = fn.compare(frame[["a", "label"]], frame["kind"].to_numpy(), families={"one": ONE},
                        **QUICK)  # fmt: skip
    assert result.report["data"]["columns"] == ["a", "label", "label_"]


def test_numbers_as_column_names(here):
    frame = pd.DataFrame(X)
    result = fn.compare(frame, Y, families={"one": ONE}, **QUICK)
    assert result.report["data"]["columns"] == ["0", "1", "label"]
    assert result.models["one"].sample(2).columns.tolist() == [0, 1]


def test_torch_stays_torch(here):
    result = fn.compare(torch.tensor(X), torch.tensor(Y), families={"one": ONE}, **QUICK)
    assert isinstance(result.models["one"].sample(2), torch.Tensor)
    assert result.report["protocol"]["conditional"] is True


def test_images_with_classes(here):
    pixels = RNG.integers(0, 256, (130, 5, 7, 3)).astype(np.uint8)
    result = fn.compare(pixels, np.arange(130) % 2, families={"one": ONE}, **QUICK)
    assert result.report["protocol"]["ranked_by"] == "mmd_pca"
    assert row(result, "one")["status"] == "ok"
    assert "mmd_pca" in row(result, "gaussian")["metrics"]
    assert not any("log_likelihood" in one["metrics"] for one in result.report["rows"])


# --- features and target ----------------------------------------------------------------------


def test_numbers_are_named_for_the_features_and_the_protocol_says_which(here):
    def first(rows):
        return rows[:, :1]

    result = fn.compare(X, families={"one": ONE, "two": TWO}, features=first, **QUICK)
    protocol = result.report["protocol"]
    assert (protocol["features"], protocol["simple_features"]) == ("first", "standardised")
    assert protocol["ranked_by"] == "energy_distance_first" and result.best is not None
    assert {"mmd_first", "density_first", "c2st", "copying"} <= set(result.table().columns)
    assert row(result, "copier")["metrics"]["copying"]["value"] == 1.0
    page = (result.path / "index.html").read_text("utf-8")
    assert "features of the name first; c2st and copying see standardised features" in page
    header = (result.path / "results.csv").read_text().partition("\n")[0].split(",")
    assert {"energy_distance_first", "energy_distance_first_low", "c2st_high"} <= set(header)


def test_images_by_pixels(here):
    pixels = RNG.integers(0, 256, (130, 3, 3)).astype(np.uint8)
    result = fn.compare(pixels, families={"one": ONE}, features="pixels", **QUICK)
    assert result.report["protocol"]["ranked_by"] == "mmd_pixels"
    for one in result.report["rows"]:
        assert {"mmd_pixels", "fd_pixels", "c2st_pca"} <= set(one["metrics"]), one["name"]


def test_drawn_rows_are_asked_what_they_teach(here):
    frame = pd.DataFrame(table(300))
    found = fn.compare(frame, families={"one": ONE}, target="kind", **QUICK | {"n_samples": 99})
    taught = {one["name"]: one["metrics"]["train_on_synthetic"] for one in found.report["rows"]}
    assert set(taught) == {"one", "gaussian", "real", "copier"}
    assert taught["real"]["value"] > 0.95 and taught["copier"]["value"] > 0.95
    assert found.report["protocol"]["target"] == "kind"
    for one in found.report["rows"]:
        assert {"column_shapes", "pair_trends"} <= set(one["metrics"])
    labelled = fn.compare(frame, families={"one": ONE}, label="kind", **QUICK)
    assert labelled.report["protocol"]["target"] == "kind"
    assert "train_on_synthetic" in row(labelled, "one")["metrics"]
    plain = fn.compare(frame, families={"one": ONE}, **QUICK)
    assert "train_on_synthetic" not in row(plain, "one")["metrics"]


@pytest.mark.parametrize(
    ("source", "given", "error", "words"),
    [
        (X, {"features": "pca"}, ValueError, "is for images"),
        (X, {"features": "inception"}, ValueError, "features must be one of"),
        (X, {"features": lambda rows: 1 / 0}, ValueError, "ZeroDivisionError"),
        (X, {"target": "a"}, ValueError, "names a column of a table"),
        (pd.DataFrame(table()), {"target": "kinds"}, ValueError, "Did you mean 'kind'"),
    ],
)
def test_features_and_targets_that_do_not_exist_are_refused(tmp_path, source, given, error, words):
    with pytest.raises(error, match=words):
        fn.compare(source, families={"one": ONE}, out=tmp_path / "r", **given, **QUICK)
    assert not (tmp_path / "r").exists()


def test_the_way_from_noise_to_data_is_shown(here):
    models = {"moves": fn.FlowMatching(network="small", steps=3), "one": ONE}
    result = fn.compare(X, families=models, **QUICK)
    assert (result.path / "jobs" / "moves-0" / "journey" / "manifest.json").exists()
    assert not (result.path / "jobs" / "one-0" / "journey").exists()
    page = (result.path / "index.html").read_text("utf-8")
    assert "moves: 200 samples in the plane on their way from noise to data" in page
    pixels = RNG.integers(0, 256, (130, 4, 4)).astype(np.uint8)
    result = fn.compare(pixels, families={"moves": models["moves"]}, **QUICK)
    page = (result.path / "index.html").read_text("utf-8")
    assert "moves: 4 rows of 4 images, each from noise to a sample" in page


# --- families ---------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self, broken=False):
        super().__init__()
        self.layer, self.broken = nn.Linear(3, 2), broken

    def forward(self, x, t):
        if self.broken:
            raise TypeError("a mistake of the user's own")
        return self.layer(torch.cat([x, t.reshape(-1, 1)], 1))


class Diverges(fn.GaussianMixture):
    def _learn(self, *args):
        super()._learn(*args)
        self.status_, self.status_reason_ = "diverged", "the loss was not finite"


class Copies(fn.GaussianMixture):
    def _learn(self, rows, *args):
        super()._learn(rows, *args)
        self.rows_ = rows

    def _draw(self, seed, block, n, y):
        return self.encoding_.encode(self.rows_[:n])


def test_modules_and_classes_of_the_users_own(here):
    own = {"net": fn.FlowMatching(network=Net()), "broken": fn.FlowMatching(network=Net(True)),
           "diverges": Diverges(n_components=1), "copies": Copies(n_components=1),
           "start": fn.GaussianMixture(n_components=2, means_init=np.zeros((2, 2))),
           "one": ONE}  # fmt: skip
    result = fn.compare(X, families=own, **QUICK)
    status = {one["name"]: one["status"] for one in result.report["rows"]}
    assert status | {"net": "ok", "start": "ok", "copies": "ok", "one": "ok"} == status
    assert status["broken"] == "failed" and status["diverges"] == "diverged"
    reason = row(result, "broken")["reason"]
    assert reason.startswith("DataError: network cannot be called with shapes (2, 2), (2,)")
    assert "a mistake of the user's own" in reason
    # A copier, and one that diverged, may have the best number; they are not ranked.
    assert row(result, "copies")["flags"] == ["copying"]
    verdict = result.report["verdict"]
    assert {verdict["best"], *verdict["tied"]} <= {"net", "start", "one"}
    assert isinstance(result.models["net"].network, Net)
    assert type(result.models["copies"]) is Copies
    assert not hasattr(own["net"], "encoding_")
    assert set(result.models) == {"net", "diverges", "copies", "start", "one"}


def test_presets_are_reported_as_their_family(here):
    result = fn.compare(X, families=["ot-cfm"], **QUICK)
    found = row(result, "ot-cfm")
    assert (found["family"], found["arguments"]) == ("flow", {"coupling": "optimal-transport"})


def test_seeds_are_fitted_and_averaged(here, tmp_path):
    result = fn.compare(X, families={"two": TWO}, seeds=2, out=tmp_path / "r", **QUICK)
    folders = [tmp_path / "r" / "jobs" / f"two-{seed}" for seed in (0, 1)]
    assert [Job.read(folder).seed for folder in folders] == [0, 1]
    alone = [
        fn.compare(X, families={"two": TWO}, out=tmp_path / str(seed), **QUICK)
        for seed in (0,)
    ]  # fmt: skip
    first = row(alone[0], "two")["metrics"]["energy_distance"]["value"]
    both = row(result, "two")["metrics"]["energy_distance"]
    assert both["value"] != first and both["low"] < first < both["high"]


def test_one_bad_seed_is_told(here, monkeypatch):
    def second_fails(folder, job, lock):
        if job.seed == 1:
            (folder / "result.json").write_text('{"status": "timeout", "reason": "too long"}')
        else:
            worker.main(str(folder))

    monkeypatch.setattr(plan, "run_worker", second_fails)
    result = fn.compare(X, families={"one": ONE}, seeds=2, **QUICK)
    assert row(result, "one")["status"] == "timeout" and result.best is None


# --- models with codes ------------------------------------------------------------------------

CODED = {"latent_dim": 2, "network": "small"}
SMALL = {"budget": "20 steps", "n_samples": 40}


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    r"""Auto-encoders of images with and without a prior, beside a family without codes."""
    X = np.repeat(RNG.integers(0, 5, (130, 5, 1)), 7, axis=2).astype(np.uint8) * 50
    own = {"one": ONE, "bare": fn.AutoEncoder(**CODED), "ae": fn.AutoEncoder(prior=TWO, **CODED)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "run_worker", lambda folder, job, lock: worker.main(str(folder)))
        patch.setattr(plan, "run_job", lambda *_: pytest.fail("fitted in the parent"))
        source = fn.data.Data(X, np.arange(130) % 3, "images", "bars")
        return fn.compare(source, families=own, out=tmp_path_factory.mktemp("coded"), **SMALL)


def test_a_model_that_does_not_sample_is_shown_and_not_ranked(coded):
    bare = row(coded, "bare")
    assert bare["status"] == "ok" and bare["flags"] == ["does not sample"]
    assert "prior" in bare["reason"] and set(bare["metrics"]) == {"reconstruction_error"}
    assert bare["seconds"]["sample"] is None and bare["seconds"]["fit"] > 0
    assert bare["evaluations"] is None and bare["parameters"] > 0
    verdict = coded.report["verdict"]
    assert "bare" not in {verdict["best"], *verdict["tied"]}
    assert not (coded.path / "jobs" / "bare-0" / "samples").exists()
    assert not hasattr(coded.models["bare"], "sample")


def test_tables_say_who_does_not_sample(coded):
    table = coded.table()
    assert table["flags"].to_dict()["bare"] == "does not sample"
    assert np.isnan(table.loc["bare", "mmd_pca"]) and np.isnan(table.loc["bare", "sample_seconds"])
    assert table.loc["bare", "reconstruction_error"] > 0
    with (coded.path / "results.csv").open(newline="") as file:
        (line,) = [line for line in csv.DictReader(file) if line["name"] == "bare"]
    assert line["mmd_pca"] == "" and line["seconds_sample"] == "" and "does not" in line["flags"]
    assert float(line["reconstruction_error"]) == table.loc["bare", "reconstruction_error"]


def test_reconstructions_are_measured_where_a_family_has_them(coded, compared):
    errors = coded.table()["reconstruction_error"]
    assert errors.notna().to_dict() == {
        "one": False, "bare": True, "ae": True, "gaussian": False, "real": False, "copier": False,
    }  # fmt: skip
    bare = row(coded, "bare")["metrics"]["reconstruction_error"]
    split, model = read_split(coded.path / "split"), coded.models["bare"]
    test, train = (X.astype(float).reshape(len(X), -1) for X in (split.test, split.train))
    back = model.reconstruct(split.test).astype(float).reshape(test.shape)
    expected = np.square(back - test).sum(1).mean() / train.var(0).sum()
    assert bare["value"] == pytest.approx(expected) and bare["better"] == "lower"
    assert bare["low"] < bare["value"] < bare["high"] and bare["target"] == 0
    assert not any("reconstruction_error" in one["metrics"] for one in compared.report["rows"])


def test_a_prior_goes_through_files_and_is_fitted_there(coded):
    job = Job.read(coded.path / "jobs" / "ae-0")
    assert job.arguments["prior"]["family"] == "gmm"
    assert coded.models["ae"].prior_.n_components == 2
    assert row(coded, "ae")["arguments"]["prior"] == "GaussianMixture(n_components=2)"
    assert row(coded, "ae")["flags"] == [] and "mmd_pca" in row(coded, "ae")["metrics"]


def test_the_report_shows_codes_and_labels_that_no_model_was_given(coded):
    assert coded.report["protocol"]["conditional"] is False
    page = (coded.path / "index.html").read_text()
    for words in (">Codes</h2>", "does not sample", "each above its reconstruction",
                  "coloured by 3 classes", "straight line", "numbers 2, 1 of 2"):  # fmt: skip
        assert words in page or words.replace("2, 1", "1, 2") in page, words
    assert "could not be drawn" not in page


def test_capabilities_say_who_reconstructs(coded):
    for name, able in (("one", False), ("bare", True)):
        result = json.loads((coded.path / "jobs" / f"{name}-0" / "result.json").read_text())
        assert result["capabilities"]["reconstruct"] is able
    assert result["capabilities"]["samples"] is False


def test_nobody_samples(here):
    result = fn.compare(X, families={"bare": fn.AutoEncoder(**CODED)}, **SMALL)
    assert result.best is None and "samples" in result.report["verdict"]["why"]
    page = (result.path / "index.html").read_text()
    assert "None of these families samples" in page and ">What went wrong<" not in page


def test_presets_with_a_prior_and_priors_by_name_work(here):
    own = {"latent-flow": "latent-flow", "named": fn.AutoEncoder(prior="gmm", **CODED)}
    frame = pd.DataFrame(table())
    result = fn.compare(frame, families=own, label="kind", **SMALL)
    assert [row(result, name)["status"] for name in own] == ["ok", "ok"]
    assert isinstance(result.models["latent-flow"].prior_, fn.FlowMatching)
    assert isinstance(result.models["named"].prior_, fn.GaussianMixture)
    assert all("reconstruction_error" in row(result, name)["metrics"] for name in own)
    assert "could not be drawn" not in (result.path / "index.html").read_text()


class Collapses(fn.GaussianMixture):
    def _learn(self, *args):
        super()._learn(*args)
        self.status_, self.status_reason_ = "collapsed", "all samples are alike"


def test_a_collapsed_family_is_shown_with_its_reason_and_not_ranked(here):
    own = {"collapses": Collapses(n_components=2), "one": ONE}
    result = fn.compare(X, families=own, **QUICK)
    found = row(result, "collapses")
    assert (found["status"], found["reason"]) == ("collapsed", "all samples are alike")
    assert found["metrics"] and result.report["verdict"] == result.report["verdict"] | {
        "best": "one", "tied": []
    }  # fmt: skip
    assert "all samples are alike" in (result.path / "index.html").read_text()


def test_the_verdict_knows_what_fit_and_samples_took(here, monkeypatch):
    given = []

    def verdict(scored, metric, **options):
        given.extend(scored)
        return {"best": None, "tied": [], "why": ""}

    monkeypatch.setattr(assemble, "verdict", verdict)
    result = fn.compare(X, families={"one": ONE}, **QUICK)
    seconds = row(result, "one")["seconds"]
    assert given[0].seconds == seconds["fit"] + seconds["sample"] > 0


class Overflows(fn.GaussianMixture):
    def sample(self, n_samples, **options):
        return np.full((n_samples, 2), np.inf)


def test_samples_that_are_not_finite_cost_no_other_family_its_row(here):
    result = fn.compare(X, families={"wild": Overflows(n_components=1), "one": ONE}, **QUICK)
    assert row(result, "wild")["metrics"] == {} and result.best == "one"
    assert "not finite" in row(result, "wild")["reason"] or "inf" in row(result, "wild")["reason"]


@pytest.mark.parametrize("kind", ["vectors", "table", "images"])
def test_auto_is_a_choice_of_registered_families_for_the_kind_of_data(kind, monkeypatch, caplog):
    monkeypatch.setattr(plan, "run_worker", lambda *_: pytest.fail("a fit was started"))
    rows = {"vectors": X, "table": pd.DataFrame(X), "images": np.zeros((120, 4, 4), np.uint8)}
    caplog.set_level("INFO", "fromnoise")
    with pytest.raises(pytest.fail.Exception, match="was started"):
        fn.compare(rows[kind], budget="10s", seeds=2)
    said = "gmm, autoencoder, vae, gan, flow, diffusion"
    number = 12
    if kind == "images":
        said, number = said.replace("flow", "latent-flow, flow"), 14
    total = {12: "2.0 min", 14: "2.3 min"}[number]
    expected = f"{number} fits of {said}: 10 s each, at most {total} of fitting."
    assert caplog.messages[0] == expected


@pytest.mark.parametrize("label", [None, "target"])
def test_a_data_set_of_pytorch_is_compared_on_its_rows(monkeypatch, label):
    def taken(self, split, began, path, keep):
        splits.append(split)
        return {"rows": []}

    splits = []
    monkeypatch.setattr(plan.Plan, "run", taken)
    rows, labels = torch.from_numpy(X), torch.from_numpy(Y)
    pairs = torch.utils.data.TensorDataset(rows, labels)
    fn.compare(pairs, label=label, families={"one": ONE})
    fn.compare(rows, None if label is None else labels, families={"one": ONE})
    from_set, from_rows = splits
    assert torch.equal(from_set.train, from_rows.train)
    assert torch.equal(from_set.test, from_rows.test)
    assert (from_set.train_y is None) == (label is None)
    assert label is None or torch.equal(from_set.train_y, from_rows.train_y)


# --- mistakes ---------------------------------------------------------------------------------

MISTAKES = {
    "no estimator": ({"families": {"a": 3}}, "estimators"),
    "a class": ({"families": {"a": fn.GaussianMixture}}, "estimators"),
    "a list": ({"families": [ONE]}, "a list cannot hold estimators"),
    "bare": ({"families": ONE}, "a list cannot hold estimators"),
    "unknown": ({"families": {"a": "gm"}}, "Did you mean 'gmm'"),
    "number as name": ({"families": {1: ONE}}, "name a row"),
    "long name": ({"families": {"a" * 81: ONE}}, "80 characters"),
    "reference": ({"families": {"real": ONE}}, "reference"),
    "none": ({"families": []}, "no family"),
    "seeds": ({"seeds": 1.5}, "seeds"),
    "samples": ({"n_samples": 11}, "at least 12"),
    "samples as text": ({"n_samples": "lots"}, "auto"),
    "fraction": ({"test_fraction": float("nan")}, "between 0 and 1"),
    "few held out": ({"test_fraction": 0.1}, "120 rows are too few"),
    "few left": ({"test_fraction": 0.99}, "120 rows are too few"),
    "labels": ({"y": Y[:7]}, "120"),
    "both labels": ({"y": Y, "label": "a"}, "one of them"),
    "budget": ({"budget": "soon"}, "90s"),
    "seed": ({"random_state": -1}, "negative"),
    "nan": ({"source": np.where(np.equal(X, X[0, 0]), np.nan, X)}, "DataFrame"),
    "text": ({"source": np.array([["a", "b"]] * 120)}, "numeric"),
    "no columns": ({"source": [[]] * 120}, "0 feature"),
}


@pytest.mark.parametrize(("given", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_found_before_anything_is_written(tmp_path, monkeypatch, given, words):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(plan, "run_worker", lambda *_: pytest.fail("a fit was started"))
    given = {"source": X, "families": {"a": ONE}, **QUICK, **given}
    for out in (None, tmp_path / "report"):
        with pytest.raises(ValueError, match=words):
            fn.compare(**given, out=out)
    assert not list(tmp_path.iterdir())


def test_overwriting_takes_what_a_report_wrote_and_no_more(here, tmp_path):
    fn.compare(X, families={"one": ONE, "two": TWO}, out=tmp_path, **QUICK)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        fn.compare(X, families={"one": ONE}, out=tmp_path, **QUICK)
    fn.compare(X, families={"one": ONE}, out=tmp_path, overwrite=True, **QUICK)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "jobs" / "two-0").exists()


def test_finished_fits_outlive_an_interruption(tmp_path, monkeypatch):
    def second_is_interrupted(folder, job, lock):
        if job.name == "two":
            raise KeyboardInterrupt
        worker.main(str(folder))

    monkeypatch.setattr(plan, "run_worker", second_is_interrupted)
    out = tmp_path / "r"
    with pytest.raises(KeyboardInterrupt):
        fn.compare(X, families={"one": ONE, "two": TWO}, out=out, **QUICK)
    assert fn.load(out / "jobs" / "one-0" / "model").n_components == 1
    monkeypatch.setattr(plan, "run_worker", lambda folder, job, lock: worker.main(str(folder)))
    assert fn.compare(X, families={"one": ONE}, out=out, overwrite=True, **QUICK).best == "one"


def test_the_command_line_offers_the_arguments_of_compare():
    ours = set(inspect.signature(cli.compare).parameters) - {"force", "as_json"}
    theirs = set(inspect.signature(fn.compare).parameters) - {"y", "overwrite"}
    assert ours == theirs


def test_a_family_that_copies_is_never_the_best(here):
    result = fn.compare(X, families={"copies": Copies(n_components=1)}, **QUICK)
    assert row(result, "copies")["status"] == "ok"
    assert row(result, "copies")["flags"] == ["copying"]
    assert result.report["verdict"]["best"] is None
