r"""The command line as a stranger meets it: exit codes, one clear line, nothing half-written."""

import json
import logging
import os
import signal
import subprocess
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fromnoise as fn
from fromnoise import cli
from fromnoise.cli import main
from fromnoise.comparison import processes, run, worker

STEPS = ["--budget", "3 steps", "--quiet"]


@pytest.fixture(autouse=True)
def as_it_was():
    r"""Give back what the command line sets for its process: a handler of signals, one of logs."""
    logger = logging.getLogger("fromnoise")
    before = signal.getsignal(signal.SIGTERM), logger.handlers, logger.level
    yield
    signal.signal(signal.SIGTERM, before[0])
    logger.handlers = before[1]
    logger.setLevel(before[2])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    r"""A folder with somebody's data and the models fitted to it."""
    folder = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    n = 200
    frame = pd.DataFrame({
        "age": rng.integers(18, 90, n),
        "price": np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(3, 1, n).round(2)),
        "=cmd|' /C calc'!A0": rng.normal(size=n),
        "<script>": rng.choice(["Bern", "=1+1", 'O\'Hara, "x"'], n),
        "a$_$": rng.choice(["u", "v", None], n),
        "em😀\nji": rng.random(n) < 0.5,
        "zip": [f"{i:05d}" for i in rng.integers(0, 15, n)],
        "day": pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 99, n), "D"),
        "kind": rng.choice(["yes", "no"], n),
    })  # fmt: skip
    frame.to_csv(folder / "mixed.csv", index=False)
    np.save(folder / "v.npy", rng.normal(size=(100, 3)).astype(np.float32))
    for name in ("cats & dogs", "b"):
        (folder / "imgs" / name).mkdir(parents=True)
        for i in range(15):
            pixels = rng.integers(0, 256, (5, 7, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "imgs" / name / f"{i}.png")
    table = fn.data.load(folder / "mixed.csv", label="kind")
    small = {"n_components": 1, "random_state": 0}
    fn.GaussianMixture(**small).fit(table.X, table.y).save(folder / "table")
    fn.GaussianMixture(**small).fit(np.load(folder / "v.npy")).save(folder / "vectors")
    bare = fn.AutoEncoder(latent_dim=2, network="small", budget="2 steps", random_state=0)
    bare.fit(np.load(folder / "v.npy")).save(folder / "codes")
    images = fn.data.load(folder / "imgs")
    fn.GaussianMixture(**small).fit(images.X, images.y).save(folder / "images")
    return folder


def tree(folder):
    return sorted(str(path) for path in folder.rglob("*"))


# --- mistakes ---------------------------------------------------------------------------------

MISTAKES = {
    "family": ("fit gm mixed.csv --out NEW", 2, "Did you mean 'gmm'"),
    "flag": ("fit gmm mixed.csv --out NEW --budgt 5s", 2, "--budget"),
    "value": ("fit flow mixed.csv --out NEW --network smal", 2, 'Did you mean "small"'),
    "number": ("fit gmm mixed.csv --out NEW --n-components few", 2, "few"),
    "prior": ("fit autoencoder v.npy --out NEW --prior gm", 2, 'Did you mean "gmm"'),
    "prior of a vae": ("fit vae v.npy --out NEW --prior vam", 2, 'Did you mean "vamp"'),
    "half a pair": ("fit flow v.npy --out NEW --guidance-interval 0.1", 2, "guidance-interval"),
    "does not sample": ("sample codes -n 3", 65, "prior"),
    "budget": ("fit gmm mixed.csv --out NEW --budget 5x", 2, "90s"),
    "no out": ("fit gmm mixed.csv", 2, "--out"),
    "no source": ("fit gmm --out NEW", 2, "source"),
    "no family": ("fit", 2, "family"),
    "command": ("smple vectors", 2, "sample"),
    "rows": ("sample vectors -n 0", 2, "n_samples"),
    "seed": ("sample vectors --random-state -1", 2, "random_state"),
    "source": ("fit gmm mixd.csv --out NEW", 65, "mixd.csv"),
    "column": ("fit gmm mixed.csv --out NEW --label agee", 65, "Did you mean 'age'"),
    "sizes": ("fit gmm mixed.csv --out NEW --image-size 8", 65, "image_size"),
    "too many": ("fit gmm v.npy --out NEW --n-components 999", 65, "999"),
    "ending": ("sample vectors --out NEW.txt", 65, ".csv"),
    "images on stdout": ("sample images", 65, "--out"),
    "class": ("sample table --y yess", 65, "Did you mean 'yes'"),
    "no labels": ("sample vectors --y 1", 65, "without labels"),
    "other rows": ("score vectors mixed.csv", 65, ""),
    "no model": ("sample imgs -n 3", 66, "manifest"),
    "nowhere": ("info nowhere", 66, "nowhere"),
    "file as model": ("info v.npy", 66, "folder"),
    "exists": ("fit gmm v.npy --out vectors", 73, "--force"),
    "out is a file": ("fit gmm v.npy --out mixed.csv", 73, "no folder"),
    "below a file": ("fit gmm v.npy --out mixed.csv/run", 73, "not a folder"),
    "sample exists": ("sample vectors --out v.npy", 73, "--force"),
    "sample below a file": ("sample vectors --out v.npy/x.csv", 73, "not a folder"),
    "sample over a model": ("sample images --out table --force", 73, "other things"),
    "report exists": ("compare v.npy --out vectors", 73, "exists"),
    "report over a model": ("compare v.npy --out vectors --force", 73, "no report"),
    "report below a file": ("compare v.npy --out v.npy/r", 73, "not a folder"),
    "compared family": ("compare v.npy --out NEW --families gmm,flo", 2, "Did you mean 'flow'"),
    "no families": ("compare v.npy --out NEW --families ,", 2, "no family"),
    "no seeds": ("compare v.npy --out NEW --seeds 0", 2, "seeds"),
    "fraction": ("compare v.npy --out NEW --test-fraction 2", 2, "test_fraction"),
    "few samples": ("compare v.npy --out NEW --n-samples 3", 65, "100 rows"),
    "compared column": ("compare mixed.csv --out NEW --label agee", 65, "age"),
}


@pytest.mark.parametrize(("words", "code", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gives_one_line_and_its_code(home, monkeypatch, capsys, words, code, said):
    monkeypatch.chdir(home)
    before = tree(home)
    assert main(words.split()) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fromnoise: ") and err.count("\n") == 1
    assert said in err
    assert tree(home) == before


def test_unwritable_is_found_before_data_is_read(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    monkeypatch.setattr(fn.data, "load", lambda *a, **k: pytest.fail("data was read"))
    for words in ("fit gmm v.npy --out new/run", "compare v.npy --out new"):
        assert main(words.split()) == 73
        assert "cannot be written" in capsys.readouterr().err


def test_names_from_files_cannot_steer_the_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"\x1b[31mred\n": [1.0, 2.0], "b": [3.0, 4.0]}).to_csv("x.csv", index=False)
    assert main(["fit", "gmm", "x.csv", "--out", "new", "--label", "c"]) == 65
    cli._prepare_streams()
    logging.getLogger("fromnoise").info("%s", "\x1b[31mred\nnext")
    err = capsys.readouterr().err
    assert "\x1b" not in err and r"\x1b" in err
    assert err.count("\n") == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), 71),
        (RuntimeError("CUDA out of memory"), 71),
        (OSError(28, "No space left on device"), 74),
        (OSError(30, "Read-only file system"), 73),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_of_the_machine_have_their_codes(home, monkeypatch, capsys, error, code):
    def fails(*_):
        raise error

    monkeypatch.setattr(fn, "load", fails, raising=False)
    assert main(["info", "x"]) == code
    assert capsys.readouterr().err.count("\n") == 1


def test_an_error_of_ours_is_no_mistake_of_the_users(monkeypatch):
    def fails(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(fn, "load", fails, raising=False)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["info", "x"])


# --- what works -------------------------------------------------------------------------------


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


def test_samples_in_a_file_are_those_of_sample(home, tmp_path):
    model = fn.load(home / "vectors")
    expected = model.sample(2500, random_state=5)
    draw = ["sample", str(home / "vectors"), "-n", "2500", "--random-state", "5", "--out"]
    for name in ("x.npy", "x.csv"):
        assert main([*draw, str(tmp_path / name)]) == 0
    assert np.array_equal(np.load(tmp_path / "x.npy"), expected)
    rows = np.loadtxt(tmp_path / "x.csv", delimiter=",", skiprows=1)
    assert np.array_equal(rows.astype(np.float32), expected)


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


def test_rows_go_to_stdout_and_nothing_else_does(home, capsys):
    assert main(["sample", str(home / "table"), "-n", "4", "--y", "no"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("age,price,=cmd|' /C calc'!A0,<script>")
    lines = out.splitlines()
    assert len(lines) == 6 and all(line.endswith(",no") for line in lines[-4:])
    assert err == ""


def test_images_keep_size_and_class_folders(home, tmp_path):
    out = tmp_path / "drawn"
    assert main(["sample", str(home / "images"), "-n", "20", "--out", str(out)]) == 0
    drawn, given = fn.data.load(out), fn.data.load(home / "imgs")
    assert drawn.X.shape == (20, *given.X.shape[1:]) and drawn.X.dtype == np.uint8
    assert set(drawn.y) == set(given.y) == {"cats & dogs", "b"}
    again = fn.GaussianMixture(n_components=1).fit(drawn.X, drawn.y)
    assert again.n_features_in_ == 5 * 7 * 3


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
    assert (facts["family"], facts["kind"], facts["columns"]) == ("gmm", "vectors", [3])


def test_help_of_a_family_comes_from_its_docstring(capsys):
    assert main(["fit", "gmm", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--n-components" in out and "Number of components" in out
    assert "--means-init" not in out  # arrays are for Python


def test_the_families_are_listed_and_how_to_see_their_flags(capsys):
    assert main(["fit", "--help"]) == 0
    out = capsys.readouterr().out
    listed = set(out.partition("Families:")[2].partition("Flags and")[0].replace(",", " ")
                 .replace(".", " ").split())  # fmt: skip
    assert listed - {"Presets:"} == set(fn.families.PRESETS)
    assert "fromnoise fit FAMILY --help" in out


def described(family, capsys):
    assert main(["fit", family, "--help"]) == 0
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


def test_score_is_one_number_a_line(home, capsys):
    assert main(["score", str(home / "vectors"), str(home / "v.npy")]) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = fn.load(home / "vectors").score_samples(np.load(home / "v.npy"))
    assert [float(line) for line in lines] == expected.tolist()


def test_score_knows_the_label_column_of_its_table(home, tmp_path, capsys):
    model, read = fn.load(home / "table"), fn.data.load(home / "mixed.csv", label="kind")
    assert main(["score", str(home / "table"), str(home / "mixed.csv")]) == 0
    given = [float(line) for line in capsys.readouterr().out.splitlines()]
    assert given == model.score_samples(read.X, read.y).tolist()
    read.X.to_csv(tmp_path / "bare.csv", index=False)
    assert main(["score", str(home / "table"), str(tmp_path / "bare.csv")]) == 0
    bare = [float(line) for line in capsys.readouterr().out.splitlines()]
    assert bare != given


def test_a_diverged_fit_is_saved_and_says_why(home, tmp_path, monkeypatch, capsys):
    learn = fn.GaussianMixture._learn

    def diverges(self, *args):
        learn(self, *args)
        self.status_, self.status_reason_ = "diverged", "the loss was not finite"

    monkeypatch.setattr(fn.GaussianMixture, "_learn", diverges)
    words = ["fit", "gmm", str(home / "v.npy"), "--out", str(tmp_path / "run"), *STEPS]
    assert main(words) == 70
    assert fn.load(tmp_path / "run").status_ == "diverged"
    assert "diverged: the loss was not finite" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x.csv", "x.npy"])
def test_memory_of_sampling_does_not_grow_with_rows(home, tmp_path, name):
    def peak(n):
        words = ["sample", str(home / "vectors"), "-n", str(n), "--out", str(tmp_path / name)]
        tracemalloc.start()
        assert main([*words, "--force"]) == 0
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1)
    assert peak(200_000) < peak(20_000) + 500_000


# --- compare ----------------------------------------------------------------------------------


def test_compare_declares_no_default_of_its_own(monkeypatch):
    calls = []

    def compare(source, **given):
        calls.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr(fn, "compare", compare, raising=False)
    main(["compare", "moons", "--out", "r"])
    given = ["--families", "gmm,flow", "--budget", "9s", "--seeds", "2", "-n", "50", "--force"]
    main(["compare", "moons", "--out", "r", *given])
    assert calls[0] == {"out": "r", "overwrite": False}
    assert calls[1] == {
        "out": "r", "overwrite": True, "families": ["gmm", "flow"], "budget": "9s", "seeds": 2,
        "n_samples": 50,
    }  # fmt: skip


def test_compare_prints_the_verdict_or_the_report(home, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "run_worker", lambda folder, job: worker.main(str(folder)))
    words = ["compare", str(home / "mixed.csv"), "--families", "gmm", "--budget", "3 steps"]
    words += ["-n", "60", "--label", "kind", "--out", str(tmp_path / "r")]
    assert main([*words, "--test-fraction", "0.3"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("gmm has the best c2st") and out.endswith("r/index.html\n")
    assert "1 fit of gmm: budget 3 steps." in err
    assert main([*words, "--test-fraction", "0.3"]) == 73
    capsys.readouterr()
    assert main([*words, "--test-fraction", "0.3", "--force", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((tmp_path / "r" / "report.json").read_text())


def test_compare_says_70_when_no_family_is_sound(home, tmp_path, monkeypatch):
    def fails(folder, job):
        text = json.dumps({"status": "failed", "reason": "it broke"})
        (folder / "result.json").write_text(text)

    monkeypatch.setattr(run, "run_worker", fails)
    words = ["compare", str(home / "mixed.csv"), "--out", str(tmp_path / "r"), "-n", "40"]
    assert main(words) == 70
    assert json.loads((tmp_path / "r" / "report.json").read_text())["verdict"]["best"] is None


def test_compare_keeps_the_old_report_when_the_source_is_wrong(tmp_path, monkeypatch):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "report.json").write_text("old")
    assert main(["compare", "nothing.csv", "--out", str(tmp_path / "r"), "--force"]) == 65
    assert (tmp_path / "r" / "report.json").read_text() == "old"


# --- processes --------------------------------------------------------------------------------


def python(code, **options):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, **options
    )


def test_help_loads_neither_torch_nor_scikit_learn():
    code = (
        "import sys; from fromnoise.cli import main\n"
        "for words in (['--help'], ['compare', '--help'], ['--version'], ['fit', '--help']):\n"
        "    assert main(words) == 0\n"
        "heavy = {'torch', 'sklearn', 'pandas', 'scipy', 'numpy', 'matplotlib'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = python(code)
    assert "heavy: []" in done.stdout, done.stderr
    assert "Train every family" in done.stdout and fn.__version__ in done.stdout


def test_a_reader_who_leaves_ends_it_quietly_without_a_home(home):
    code = "import sys; from fromnoise.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "sample", str(home / "vectors"), "-n", "300000"]
    bare = {k: v for k, v in os.environ.items() if k not in ("HOME", "LANG", "LC_ALL")}
    bare |= {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=bare)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == b"x0,x1,x2\n"
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_closed_or_full_outputs_have_codes_and_no_traceback(home):
    code = (
        "import os, sys; from fromnoise.cli import main\n"
        f"run, rows = {str(home / 'vectors')!r}, {str(home / 'v.npy')!r}\n"
        "sys.stdout = open('/dev/full', 'w')\n"
        "codes = [main(['score', run, rows])]\n"
        "sys.stdout = None\n"
        "codes += [main(['sample', run]), main(['info', run])]\n"
        "sys.stderr.write(str(codes)); sys.stderr.flush(); os._exit(0)"
    )
    done = python(code)
    assert done.stderr.endswith("[74, 73, 73]") and "Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_step_and_saves_the_model(tmp_path, number, code):
    # The fit signals its own process at its first record: no waiting for the right moment.
    script = (
        "import os, signal, sys\n"
        "from fromnoise.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def call(self, record):\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "from fromnoise.training.callbacks import ProgressBar\n"
        "ProgressBar.__call__ = call\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    out = tmp_path / "run"
    words = ["fit", "flow", "moons", "--out", str(out), "--budget", "100000 steps"]
    words += ["--network", "small"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and "is saved in" in done.stderr
    assert fn.load(out).sample(3, random_state=0).shape == (3, 2)


def test_an_interrupted_comparison_leaves_nothing(home, tmp_path, monkeypatch):
    def interrupted(folder, job):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_worker", interrupted)
    assert main(["compare", str(home / "mixed.csv"), "--out", str(tmp_path / "r")]) == 130
    assert not list(tmp_path.iterdir())


def test_workers_are_ended_with_their_parent(home, tmp_path, monkeypatch):
    def interrupted(process, folder, budget):
        processes_seen.append(process)
        raise KeyboardInterrupt

    processes_seen = []
    monkeypatch.setattr(processes, "_awaited", interrupted)
    assert main(["compare", str(home / "mixed.csv"), "--out", str(tmp_path / "r")]) == 130
    assert processes_seen[0].returncode == -signal.SIGKILL
