r"""The command line as a stranger meets it: mistakes end with their code and one clear line."""

import logging
import resource
import warnings

import pandas as pd
import pytest

import fromnoise as fn
from fromnoise.cli import main, output

STEPS = ["--budget", "3 steps", "--quiet"]


MISTAKES = {
    "family": ("fit gm mixed.csv --out NEW", 2, "Did you mean 'gmm'"),
    "flag": ("fit gmm mixed.csv --out NEW --budgt 5s", 2, "--budget"),
    "value": ("fit flow mixed.csv --out NEW --network smal", 2, 'Did you mean "small"'),
    "number": (
        "fit gmm mixed.csv --out NEW --n-components few",
        2,
        "--n-components: expected a whole number or auto, got 'few'.",
    ),
    "half": ("fit gmm mixed.csv --out NEW --n-components 2.7", 2, "a whole number or auto"),
    "half a row": ("sample vectors -n 2.7", 2, "-n: expected a whole number, got '2.7'."),
    "rate": (
        "fit vae v.npy --out NEW --learning-rate x",
        2,
        "expected a number or auto, got 'x'.",
    ),
    "truth": ("fit gmm v.npy --out NEW --warm-start=maybe", 2, "expected true or false"),
    "nothing": ("fit gmm v.npy --out=", 2, "--out: expected text, got ''."),
    "prior": ("fit autoencoder v.npy --out NEW --prior gm", 2, 'Did you mean "gmm"'),
    "prior of a vae": ("fit vae v.npy --out NEW --prior vam", 2, 'Did you mean "vamp"'),
    "half a pair": (
        "fit flow v.npy --out NEW --guidance-interval 0.1",
        2,
        "needs 2 values, got 1.",
    ),
    "does not sample": ("sample codes -n 3", 66, "prior"),
    "does not score": ("score codes v.npy", 66, "score_samples"),
    "does not impute": ("impute codes v.npy --out NEW.npy", 66, "impute"),
    "does not encode": ("encode vectors v.npy --out NEW.npy", 66, "encode"),
    "does not reconstruct": ("reconstruct vectors v.npy --out NEW.npy", 66, "reconstruct"),
    "budget": ("fit gmm mixed.csv --out NEW --budget 5x", 2, "90s"),
    "no out": ("fit gmm mixed.csv", 2, "--out is missing."),
    "no name of out": ("fit gmm mixed.csv --out", 2, "--out is given without a value."),
    "a flag in its place": ("fit gmm mixed.csv --out --quiet", 2, "--out is given without a"),
    "another out": ("compare v.npy --uot NEW", 2, "--out is missing. Did you mean --out instead"),
    "no source": ("fit gmm --out NEW", 2, "SOURCE is missing."),
    "two sources": ("fit gmm v.npy mixed.csv --out NEW", 2, "Too many words, from 'mixed.csv'"),
    "no family": ("fit", 2, "FAMILY is missing."),
    "flags before the family": ("fit --budget 3s gmm v.npy --out NEW", 2, "family comes first"),
    "a flag like a command": ("evaluat v.npy v.npy", 2, "evaluate"),
    "flag of a command": ("impute vectors v.npy --random-stat 3", 2, "--random-state"),
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
    "renamed column": ("score table renamed.csv", 65, "'agee'"),
    "unseen category": ("score table unseen.csv", 65, "Geneva"),
    "codes exist": ("encode codes v.npy --out v.npy", 73, "--force"),
    "codes as text": ("encode codes v.npy --out NEW.txt", 65, ".csv"),
    "codes in /proc": ("encode codes v.npy --out /proc/x.csv", 73, "cannot be written"),
    "filled exists": ("impute vectors v.npy --out v.npy", 73, "--force"),
    "evaluated kinds": ("evaluate mixed.csv imgs", 65, "imgs holds images"),
    "evaluated columns": ("evaluate mixed.csv renamed.csv", 65, "agee"),
    "evaluated source": ("evaluate mixed.csv mixd.csv", 65, "mixd.csv"),
    "evaluated target": ("evaluate mixed.csv mixed.csv --target knd", 65, "Did you mean 'kind'"),
    "evaluated features": ("evaluate imgs imgs --features pcaa", 2, "Did you mean 'pca'"),
    "features of vectors": ("evaluate v.npy v.npy --features pca", 2, "for images"),
    "no model": ("sample imgs -n 3", 66, "manifest"),
    "nowhere": ("info nowhere", 66, "nowhere"),
    "file as model": ("info v.npy", 66, "folder"),
    "fit in /proc": ("fit gmm v.npy --out /proc/x", 73, "cannot be written"),
    "compare in /proc": ("compare v.npy --out /proc/x", 73, "cannot be written"),
    "sample over a device": ("sample vectors --out /dev/null --force", 73, "no regular file"),
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
    "compared features": ("compare v.npy --out NEW --features pcaa", 2, "pca"),
    "compared target": ("compare mixed.csv --out NEW --target knd", 65, "kind"),
    "compared column": ("compare mixed.csv --out NEW --label agee", 65, "age"),
}


def tree(folder):
    return sorted(str(path) for path in folder.rglob("*"))


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
    monkeypatch.setattr(fn.data, "load", lambda *a, **k: pytest.fail("data was read"))
    for words in ("fit gmm v.npy --out /proc/new/run", "compare v.npy --out /proc/new"):
        assert main(words.split()) == 73
        assert "cannot be written" in capsys.readouterr().err


def test_names_from_files_cannot_steer_the_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"\x1b[31mred\n": [1.0, 2.0], "b": [3.0, 4.0]}).to_csv("x.csv", index=False)
    assert main(["fit", "gmm", "x.csv", "--out", "new", "--label", "c"]) == 65
    output.prepare_streams()
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
        (OSError(122, "Disk quota exceeded"), 74),
        (OSError(5, "Input/output error"), 74),
        (OSError(30, "Read-only file system"), 73),
        (BlockingIOError(11, "process 7 writes there"), 75),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_of_the_machine_have_their_codes(home, monkeypatch, capsys, error, code):
    def fails(*_):
        raise error

    monkeypatch.setattr(fn, "load", fails, raising=False)
    assert main(["info", "x"]) == code
    assert capsys.readouterr().err.count("\n") == 1


def test_what_numpy_wanted_is_said(monkeypatch, capsys):
    def fails(*_):
        raise MemoryError("Unable to allocate 3.64 TiB")

    monkeypatch.setattr(fn, "load", fails, raising=False)
    assert main(["info", "x"]) == 71
    assert "Out of memory (Unable to allocate 3.64 TiB). Try" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x.csv", "x.npy", "x.parquet", "run"])
def test_a_full_disk_is_74_and_leaves_nothing_half_written(home, tmp_path, capsys, name):
    out = str(tmp_path / name)
    words = ["sample", str(home / "vectors"), "-n", "3000", "--out", out]
    if name == "run":
        words = ["fit", "gmm", str(home / "v.npy"), "--out", out, "--n-components", "9", *STEPS]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        code = main(words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 74
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("fromnoise: The disk is full, or failed: ")
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert set(left) <= ({".lock", "history.jsonl"} if name == "run" else set())


def test_an_error_of_ours_is_no_mistake_of_the_users(monkeypatch):
    def fails(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(fn, "load", fails, raising=False)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["info", "x"])


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


def test_warnings_are_one_line_without_a_place_in_the_program(home, tmp_path, capsys):
    words = ["fit", "gmm", str(home / "v.npy"), "--out", str(tmp_path / "run")]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main([*words, "--max-iter", "1", "--n-components", "2", "--tol", "0"]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("EM did not converge in 1 iteration")
    assert second.startswith("Saved in")
