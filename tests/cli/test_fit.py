r"""``fit``: flags are the arguments of a family, and the model is what Python would have made."""

import json
import re
from typing import get_args

import pytest
from cyclopts import Parameter

import fromnoise as fn
from fromnoise.cli import fitting, main
from fromnoise.cli.flags import flags_of

STEPS = ["--budget", "3 steps", "--quiet"]


def test_a_table_comes_back_as_it_was(home, tmp_path):
    run_, out = str(tmp_path / "run"), tmp_path / "out.csv"
    source = str(home / "mixed.csv")
    fit = ["fit", "gmm", source, "--out", run_, "--label", "kind", "--n-components", "1"]
    assert main([*fit, *STEPS]) == 0
    assert main(["sample", run_, "-n", "300", "--random-state", "1", "--out", str(out)]) == 0
    given, read = fn.data.load(source).X, fn.data.load(out).X
    assert read.columns.tolist() == given.columns.tolist()
    assert read.dtypes.astype(str).to_dict() == given.dtypes.astype(str).to_dict()
    for name in ("<script>", "a$_$", "zip", "kind", "em😀\nji"):
        assert set(read[name].dropna()) <= set(given[name].dropna())
    assert (read["price"].dropna().round(2) == read["price"].dropna()).all()
    assert 0 < read["price"].isna().mean() < 0.3
    assert read["kind"].nunique() == 2


def test_the_encoding_that_an_error_names_is_a_flag(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = "a,name\n" + "1.5,Zürich\n2.5,Genève\n" * 30
    (tmp_path / "x.csv").write_bytes(text.encode("latin-1"))
    words = ["gmm", "x.csv", "--out", "run", "--n-components", "1", "--quiet"]
    assert main(["fit", *words]) == 65
    assert "--encoding latin-1" in capsys.readouterr().err
    assert main(["fit", *words, "--encoding", "latin-1"]) == 0
    assert main(["score", "run", "x.csv", "--encoding", "latin-1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 60
    assert set(fn.load("run").sample(40, random_state=0)["name"]) == {"Zürich", "Genève"}
    assert main(["fit", *words, "--encoding", "nonsense", "--force"]) == 65


def test_force_replaces_a_model(home, tmp_path):
    words = ["fit", "gmm", str(home / "v.npy"), "--out", str(tmp_path / "run"), *STEPS]
    assert main([*words, "--n-components", "1"]) == 0
    assert main([*words, "--n-components", "2"]) == 73
    assert fn.load(tmp_path / "run").n_components == 1
    assert main([*words, "--n-components", "2", "--force"]) == 0
    assert fn.load(tmp_path / "run").n_components == 2


def test_flags_are_the_arguments_of_the_family(home, tmp_path, capsys):
    words = ["fit", "gmm", str(home / "v.npy"), "--out", str(tmp_path / "run"), *STEPS]
    given = ["--n-components", "2", "--tol", "0.5", "--covariance-type", "diag"]
    assert main([*words, *given, "--random-state", "7"]) == 0
    capsys.readouterr()
    assert main(["info", str(tmp_path / "run"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["arguments"]["n_components"] == 2 and facts["arguments"]["tol"] == 0.5
    assert facts["arguments"]["covariance_type"] == "diag"
    assert facts["arguments"]["random_state"] == 7
    assert (facts["family"], facts["kind"], facts["shape"]) == ("gmm", "vectors", [3])
    assert facts["changed"] == {
        "n_components": 2, "tol": 0.5, "covariance_type": "diag", "random_state": 7,
        "budget": "3 steps",
    }  # fmt: skip


def test_help_of_a_family_comes_from_its_docstring(capsys):
    assert main(["fit", "gmm", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--n-components" in out and "Number of components" in out
    assert "--means-init" not in out  # arrays are for Python


def test_the_families_are_listed_and_how_to_see_their_flags(capsys):
    assert set(get_args(fitting.Family)) == set(fn.families.PRESETS)
    text = described(None, capsys)
    assert f"[choices: {', '.join(get_args(fitting.Family))}]" in text
    assert "fromnoise fit FAMILY --help" in text
    assert main(["fit", "vae", "moons", "--help"]) == 0


def described(family, capsys):
    assert main(["fit", *([family] if family else []), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return " ".join(" ".join(line.strip("│╭╰─╮╯ ") for line in lines).split())


def test_help_of_a_family_says_its_defaults(capsys):
    flow = described("flow", capsys)
    assert "--steps INT Steps of the solver" in flow and "[default: 20]" in flow
    assert "[default: 0.0 1.0]" in flow and "--empty" not in flow
    assert "--callbacks" not in flow
    # Those of a preset are its own.
    assert "[default: optimal-transport]" in described("ot-cfm", capsys)
    assert "[default: optimal-transport]" not in flow


@pytest.mark.parametrize("family", fn.families.FAMILIES)
def test_help_tells_the_default_of_every_flag(family):
    model = fn.families.make(family)
    for flag in flags_of(model):
        (told,) = (part for part in get_args(flag.annotation) if isinstance(part, Parameter))
        default = getattr(model, flag.name)
        word = {None: "none"}.get(default, default) if not isinstance(default, tuple) else ""
        assert "[default: " in told.help and f"{word}" in told.help.partition("[default: ")[2]
        assert len(told.help.partition("[default: ")[0]) > 10, flag.name  # what it is for


def test_help_of_a_prior_lists_what_samples(capsys):
    text = described("autoencoder", capsys).partition("--prior ")[2]
    choices = text.partition("[choices: ")[2].partition("]")[0].split(", ")
    assert {"gmm", "flow", "latent-flow"} <= set(choices) and "autoencoder" not in choices
    assert "[default: flow]" in described("latent-flow", capsys)
    assert "[choices: normal, vamp, gmm" in described("vae", capsys)


@pytest.mark.parametrize(
    ("words", "argument", "value"),
    [
        ("autoencoder --prior gmm --latent-dim 2", "prior", "GaussianMixture()"),
        ("vae --prior normal --latent-dim 2", "prior", "normal"),
        ("vae --observation-noise auto", "observation_noise", "auto"),
        ("vae --no-observation-noise", "observation_noise", False),
        ("flow --guidance-interval 0.25 0.75", "guidance_interval", [0.25, 0.75]),
        ("flow --learning-rate 0.01", "learning_rate", 0.01),
        ("flow --learning-rate auto", "learning_rate", "auto"),
        ("gan --truncation 2", "truncation", 2.0),
    ],
)
def test_flags_take_what_the_argument_takes(home, tmp_path, capsys, words, argument, value):
    family, *flags = words.split()
    steps = ["--network", "small", "--budget", "20 steps", "--random-state", "0", "--quiet"]
    run_ = str(tmp_path / "run")
    assert main(["fit", family, str(home / "v.npy"), "--out", run_, *flags, *steps]) in (0, 70)
    capsys.readouterr()
    assert main(["info", run_, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["arguments"][argument] == value


def test_fit_tells_what_info_tells(home, tmp_path, capsys):
    out = str(tmp_path / "run")
    words = ["fit", "gmm", str(home / "mixed.csv"), "--out", out, "--label", "kind"]
    assert main([*words, "--n-components", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert main(["info", out, "--json"]) == 0
    assert told == json.loads(capsys.readouterr().out)
    assert told["changed"] == {"n_components": 1}  # not verbose, which is of the call
    assert told["rows"] == 200 and told["path"] == out and told["score_kind"] == "exact"
    assert told["label"] == {"column": "kind", "classes": ["no", "yes"], "width": None}
    columns = {column["name"]: column for column in told["columns"]}
    assert columns["day"] == {
        "name": "day", "type": "date", "dtype": "datetime64[us]", "missing": False, "levels": None,
    }  # fmt: skip
    assert columns["price"]["missing"] and columns["a$_$"]["levels"] == 2
    assert told["bytes"] > told["parameters"] > 0 and told["steps"] >= 1
    assert {"sample", "score_samples", "impute", "predict"} <= set(told["abilities"])


def test_info_reads_well(home, capsys):
    assert main(["info", str(home / "table")]) == 0
    lines = capsys.readouterr().out.splitlines()
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in lines if line[0] != " ")
    assert facts["family"] == "gmm" and facts["status"] == "ok"
    assert facts["fitted"].startswith("200 rows, ")
    assert facts["data"] == "table, 8 columns"
    assert facts["label"] == "kind: 2 classes: no, yes"
    assert facts["arguments"] == "n_components=1, random_state=0 (all others: defaults)"
    assert facts["log-density"] == "exact" and "sample" in facts["can"]
    assert any(line.strip() == r"em😀\nji: boolean, 2 levels" for line in lines)
    assert any(line.strip() == "price: real, with missing values" for line in lines)
    assert main(["info", str(home / "images")]) == 0
    assert "images of uint8, 3 x 5 x 7 (channels, height, width)" in capsys.readouterr().out
    assert main(["info", str(home / "codes")]) == 0
    out = capsys.readouterr().out
    assert "vectors of float32, 3 columns" in out and "log-density  none" in out


def test_what_was_done_to_the_data_is_said(tmp_path, capsys):
    (tmp_path / "x.csv").write_text("a;b\n" + "".join(f"{i},5;{i % 7}\n" for i in range(60)))
    words = ["fit", "gmm", str(tmp_path / "x.csv"), "--out", str(tmp_path / "run")]
    assert main([*words, "--n-components", "1", *STEPS]) == 0
    err = capsys.readouterr().err
    assert "x.csv: fields separated by semicolons\n" in err and "1,5 read as 1.5 in 'a'\n" in err
    drawn = tmp_path / "d.csv"
    assert main(["sample", str(tmp_path / "run"), "-n", "9", "--out", str(drawn)]) == 0
    assert fn.data.load(drawn).X["a"].dtype == float


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "meta", "cuda:77"])
def test_a_device_that_is_not_there_is_a_wrong_call(tmp_path, capsys, device):
    words = ["fit", "flow", "wine", "--budget", "1 steps", "--device", device]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert "device must be" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
