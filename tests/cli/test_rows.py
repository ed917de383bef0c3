r"""``sample``, ``score``, ``encode``, ``impute``: what is written is what the model returns."""

import io
import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest

import fromnoise as fn
from fromnoise.cli import main


def test_samples_in_a_file_are_those_of_sample(home, tmp_path):
    model = fn.load(home / "vectors")
    expected = model.sample(2500, random_state=5)
    draw = ["sample", str(home / "vectors"), "-n", "2500", "--random-state", "5", "--out"]
    for name in ("x.npy", "x.csv"):
        assert main([*draw, str(tmp_path / name)]) == 0
    assert np.array_equal(np.load(tmp_path / "x.npy"), expected)
    rows = np.loadtxt(tmp_path / "x.csv", delimiter=",", skiprows=1)
    assert np.array_equal(rows.astype(np.float32), expected)


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


def test_score_as_json(home, capsys):
    assert main(["score", str(home / "vectors"), str(home / "v.npy"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    expected = fn.load(home / "vectors").score_samples(np.load(home / "v.npy"))
    assert told["scores"] == expected.tolist() and told["rows"] == 100
    assert told["mean"] == pytest.approx(expected.mean()) and told["kind"] == "exact"
    assert told["unit"] == "nats"


def test_what_json_cannot_say_is_null(tmp_path, capsys):
    X = np.column_stack([np.arange(20.0), np.full(20, 7.0)])
    fn.GaussianMixture(n_components=1, random_state=0).fit(X).save(tmp_path / "run")
    X[0, 1] = 8.0  # off the constant: -inf
    np.save(tmp_path / "x.npy", X)
    assert main(["score", str(tmp_path / "run"), str(tmp_path / "x.npy"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["scores"][0] is None and told["mean"] is None and told["scores"][1] < 0


@pytest.mark.parametrize("name", ["z.csv", "z.npy", "z.parquet", None])
def test_codes_are_columns(home, tmp_path, capsys, name):
    words = ["encode", str(home / "codes"), str(home / "v.npy")]
    assert main(words if name is None else [*words, "--out", str(tmp_path / name)]) == 0
    expected = fn.load(home / "codes").encode(np.load(home / "v.npy"))
    if name == "z.npy":
        codes = np.load(tmp_path / name)
        assert codes.dtype == expected.dtype
    else:
        text = io.StringIO(capsys.readouterr().out)
        path = text if name is None else tmp_path / name
        read = pd.read_parquet(path) if name == "z.parquet" else pd.read_csv(path)
        assert read.columns.tolist() == ["z1", "z2"]
        codes = read.to_numpy()
    assert np.array_equal(codes.astype(np.float32), expected)


@pytest.mark.parametrize("name", ["r.csv", "r.npy"])
def test_reconstructions_are_rows(home, tmp_path, name):
    words = ["reconstruct", str(home / "codes"), str(home / "v.npy"), "--out"]
    assert main([*words, str(tmp_path / name)]) == 0
    expected = fn.load(home / "codes").reconstruct(np.load(home / "v.npy"))
    path = tmp_path / name
    read = np.load(path) if name == "r.npy" else np.loadtxt(path, delimiter=",", skiprows=1)
    assert np.array_equal(read.astype(np.float32), expected)


def test_gaps_are_filled_and_what_was_seen_is_not_touched(home, tmp_path, capsys):
    given = (home / "mixed.csv").read_text()
    frame = fn.data.load(home / "mixed.csv").X
    frame.loc[3, "age"] = pd.NA
    frame.loc[5, "<script>"] = None
    holed = tmp_path / "holed.csv"
    frame.to_csv(holed, index=False)
    words = ["impute", str(home / "table"), str(holed), "--random-state", "3"]
    assert main([*words, "--out", str(tmp_path / "full.csv")]) == 0
    full = fn.data.load(tmp_path / "full.csv").X
    known = fn.data.load(home / "mixed.csv").X
    assert full.columns.tolist() == known.columns.tolist()
    assert full[["age", "<script>", "price"]].notna().all().all()
    for name in known:
        seen = frame[name].notna()
        assert full[name][seen].tolist() == frame[name][seen].tolist()
    # The days are days, as they were in the file.
    assert all(day in given for day in ["2020-01-01", full["day"].dt.strftime("%Y-%m-%d")[0]])
    assert "00:00:00" not in (tmp_path / "full.csv").read_text()
    assert main(words) == 0
    assert capsys.readouterr().out == (tmp_path / "full.csv").read_text()


def test_filled_arrays_are_those_of_impute(home, tmp_path):
    X = np.load(home / "v.npy")
    X[::7, 1] = np.nan
    np.save(tmp_path / "holed.npy", X)
    words = ["impute", str(home / "vectors"), str(tmp_path / "holed.npy"), "--random-state", "4"]
    assert main([*words, "--out", str(tmp_path / "full.npy")]) == 0
    expected = fn.load(home / "vectors").impute(X, random_state=4)
    assert np.array_equal(np.load(tmp_path / "full.npy"), expected)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_table_goes_round(home, tmp_path, name):
    out = tmp_path / name
    draw = ["sample", str(home / "table"), "-n", "50", "--random-state", "1", "--out", str(out)]
    assert main(draw) == 0
    X, y = fn.load(home / "table").sample(50, random_state=1, return_y=True)
    read = fn.data.load(out, label="kind")
    assert read.y.tolist() == y.tolist()
    for column in X:
        same = read.X[column].tolist(), X[column].tolist()
        assert [a for a in same[0] if not pd.isna(a)] == [b for b in same[1] if not pd.isna(b)]
    assert main(["score", str(home / "table"), str(out)]) == 0


def test_polars_goes_round_by_parquet(home, tmp_path):
    polars = pytest.importorskip("polars")
    rng = np.random.default_rng(0)
    frame = polars.DataFrame(
        {"a": rng.normal(size=80), "b": rng.choice(["x", "y"], 80), "n": rng.integers(0, 99, 80)}
    )
    model = fn.GaussianMixture(n_components=1, random_state=0).fit(frame)
    assert isinstance(model.sample(3, random_state=0), polars.DataFrame)
    model.save(tmp_path / "run")
    frame.write_parquet(tmp_path / "x.parquet")
    out = tmp_path / "y.parquet"
    assert main(["sample", str(tmp_path / "run"), "-n", "30", "--random-state", "2",
                 "--out", str(out)]) == 0  # fmt: skip
    assert polars.read_parquet(out).equals(model.sample(30, random_state=2))
    assert main(["score", str(tmp_path / "run"), str(tmp_path / "x.parquet")]) == 0


def test_a_model_without_reconstructions_names_those_that_have_them(tmp_path, capsys):
    assert main(["fit", "gmm", "wine", "--out", str(tmp_path / "run")]) == 0
    assert main(["reconstruct", str(tmp_path / "run"), "wine"]) == 66
    assert "It is for AutoEncoder and VAE." in capsys.readouterr().err


def test_json_says_what_was_written(home, tmp_path, capsys):
    for words in (
        ["sample", str(home / "vectors"), "-n", "7"],
        ["encode", str(home / "codes"), str(home / "v.npy")],
        ["reconstruct", str(home / "codes"), str(home / "v.npy")],
        ["impute", str(home / "vectors"), str(home / "v.npy")],
    ):
        out = tmp_path / f"{words[0]}.npy"
        assert main([*words, "--out", str(out), "--json"]) == 0
        rows = 7 if words[0] == "sample" else 100
        told = json.loads(capsys.readouterr().out)
        assert told == {"path": str(out), "kind": "vectors", "rows": rows}
        assert len(np.load(out)) == rows
        assert main([*words, "--json"]) == 2
        assert "--json says what was written to a file" in capsys.readouterr().err


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
@pytest.mark.parametrize(
    ("column", "slip", "what"),
    [("price", "1.5x", "numbers"), ("age", "4 2", "numbers"), ("day", "2020-13-01", "dates")],
)
def test_a_slip_in_a_column_is_told_by_its_line(
    home, tmp_path, capsys, column, slip, what, ending
):
    frame, path = pd.read_csv(home / "mixed.csv").head(4), tmp_path / f"few{ending}"
    frame["em😀\nji"] = frame["em😀\nji"].astype(bool)
    frame[column] = frame[column].astype(object)
    frame.loc[2, column] = slip
    frame.to_csv(path, index=False, sep="," if ending == ".csv" else "\t")
    said = f"few{ending}', column '{column}', holds '{slip}' on line 5: expected {what}, as in "
    for command in ("score", "impute"):  # the header takes two lines
        assert main([command, str(home / "table"), str(path)]) == 65
        assert f"{said}fit." in capsys.readouterr().err
    assert main(["evaluate", str(home / "mixed.csv"), str(path)]) == 65
    assert f"{said}{home / 'mixed.csv'}." in capsys.readouterr().err


def test_a_slip_in_a_csv_for_vectors_or_in_a_label_is_told_by_its_line(home, tmp_path, capsys):
    (tmp_path / "v.csv").write_text("a,b,c\n1,2,3\n\n4,5,l6\n")
    for words in (["score", str(home / "vectors")], ["encode", str(home / "codes")],
                  ["evaluate", str(home / "v.npy")]):  # fmt: skip
        assert main([*words, str(tmp_path / "v.csv")]) == 65
        assert "column 'c', holds 'l6' on line 4: expected numbers" in capsys.readouterr().err
    rows = pd.DataFrame({"x": [0.5, 1.5, 2.5, 3.5], "n": [0, 0, 1, 1]})
    rows.to_csv(tmp_path / "labelled.csv", index=False)
    read = fn.data.load(tmp_path / "labelled.csv", label="n")
    fn.GaussianMixture(n_components=1).fit(read.X, read.y).save(tmp_path / "run")
    (tmp_path / "labelled.csv").write_text("x,n\n0.5,0\n1.5,1l\n")
    assert main(["score", str(tmp_path / "run"), str(tmp_path / "labelled.csv")]) == 65
    assert "column 'n', holds '1l' on line 3: expected numbers" in capsys.readouterr().err
