r"""``compare`` and ``evaluate``: thin, with a verdict for people and JSON for programs."""

import json
import os
import re
import signal

import numpy as np
import pytest

import fromnoise as fn
from fromnoise.cli import main
from fromnoise.comparison import plan, processes, resuming, worker


def test_compare_declares_no_default_of_its_own(monkeypatch):
    calls = []

    def compare(source, **given):
        calls.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr(fn, "compare", compare, raising=False)
    main(["compare", "moons", "--out", "r"])
    given = ["--families", "gmm,flow", "--budget", "9s", "--seeds", "2", "-n", "50", "--force"]
    main(["compare", "moons", "--out", "r", *given])
    assert calls[0] == {"out": "r", "overwrite": False, "resume": False}
    assert calls[1] == {
        "out": "r", "overwrite": True, "resume": False, "families": ["gmm", "flow"],
        "budget": "9s", "seeds": 2, "n_samples": 50,
    }  # fmt: skip


@pytest.mark.usefixtures("few_trees")
def test_compare_prints_the_verdict_or_the_report(home, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plan, "run_worker", lambda folder, job, lock: worker.main(str(folder)))
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
    def fails(folder, job, lock):
        text = json.dumps({"status": "failed", "reason": "it broke"})
        (folder / "result.json").write_text(text)

    monkeypatch.setattr(plan, "run_worker", fails)
    words = ["compare", str(home / "mixed.csv"), "--out", str(tmp_path / "r"), "-n", "40"]
    assert main(words) == 70
    assert json.loads((tmp_path / "r" / "report.json").read_text())["verdict"]["best"] is None


def test_compare_keeps_the_old_report_when_the_source_is_wrong(tmp_path, monkeypatch):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "report.json").write_text("old")
    assert main(["compare", "nothing.csv", "--out", str(tmp_path / "r"), "--force"]) == 65
    assert (tmp_path / "r" / "report.json").read_text() == "old"


def test_an_interrupted_comparison_leaves_nothing(home, tmp_path, monkeypatch):
    def interrupted(folder, job, lock):
        raise KeyboardInterrupt

    monkeypatch.setattr(plan, "run_worker", interrupted)
    assert main(["compare", str(home / "mixed.csv"), "--out", str(tmp_path / "r")]) == 130
    assert not list(tmp_path.iterdir())


def kept(out, *names):
    for name in ("split/manifest.json", "jobs/gmm-0/result.json", *names):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("old")


@pytest.mark.parametrize(
    ("flag", "finished", "does", "told"),
    [
        ("--force", True, "load", "holds what it held before"),
        ("--force", False, "load", "holds what it held before"),
        ("--force", True, "fit", "--resume goes on"),
        ("--force", True, "end", "holds a finished report"),
        ("--force", True, "clear", ""),
        ("--resume", False, "load", "--resume goes on"),
        ("--resume", False, "fit", "--resume goes on"),
    ],
)
def test_what_an_interrupted_comparison_leaves_is_said_as_it_is(
    tmp_path, monkeypatch, capsys, flag, finished, does, told
):
    pages = ("report.json", "index.html") if finished else ()
    kept(tmp_path, *pages)
    for file in tmp_path.rglob("*"):
        os.utime(file, (0, 0))

    def interrupted(source, **given):
        if does in ("clear", "fit", "end") and flag == "--force":
            resuming.clear(tmp_path)
        if does in ("fit", "end"):
            kept(tmp_path, *(pages if does == "end" else ()))
        raise KeyboardInterrupt

    monkeypatch.setattr(fn, "compare", interrupted, raising=False)
    assert main(["compare", "moons", "--out", str(tmp_path), flag]) == 130
    said = capsys.readouterr().err
    for words in ("holds what it held before", "--resume goes on", "holds a finished report"):
        assert (words in said) == (words == told), said


def test_workers_are_ended_with_their_parent(home, tmp_path, monkeypatch):
    def interrupted(process, folder, budget):
        processes_seen.append(process)
        raise KeyboardInterrupt

    processes_seen = []
    monkeypatch.setattr(processes, "_awaited", interrupted)
    assert main(["compare", str(home / "mixed.csv"), "--out", str(tmp_path / "r")]) == 130
    assert processes_seen[0].returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)


# --- evaluate ---------------------------------------------------------------------------------


def evaluated(words, capsys):
    assert main(["evaluate", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_evaluate_is_what_the_metrics_say_of_standardised_columns(tmp_path, capsys):
    rng = np.random.default_rng(0)
    real, fake, train = (rng.normal(shift, 2, (120, 3)) for shift in (0, 1, 0))
    for name, X in {"real": real, "fake": fake, "train": train}.items():
        np.save(tmp_path / f"{name}.npy", X)
    paths = tmp_path / "real.npy", tmp_path / "fake.npy"
    told = evaluated(paths, capsys)
    assert told["kind"] == "vectors" and told["rows"] == {"real": 120, "fake": 120}
    a, b = ((X - real.mean(0)) / real.std(0) for X in (real, fake))
    for name in ("energy_distance", "coverage", "sliced_wasserstein", "c2st", "density"):
        expected = getattr(fn.metrics, name)(a, b)
        assert told["metrics"][name]["value"] == pytest.approx(expected.value), name
        assert told["metrics"][name]["low"] == pytest.approx(expected.low), name
    assert "copying" not in told["metrics"]
    told = evaluated([*paths, "--train", tmp_path / "train.npy"], capsys)
    assert told["rows"]["train"] == 120
    a, b, c = ((X - train.mean(0)) / train.std(0) for X in (real, fake, train))
    assert told["metrics"]["copying"]["value"] == pytest.approx(fn.metrics.copying(c, a, b).value)
    copies = evaluated([paths[0], tmp_path / "train.npy", "--train", tmp_path / "train.npy"],
                       capsys)  # fmt: skip
    assert copies["metrics"]["copying"]["value"] == pytest.approx(1.0)


def test_evaluate_a_table_with_a_target(home, capsys):
    told = evaluated([home / "mixed.csv", home / "mixed.csv", "--target", "kind"], capsys)
    assert told["kind"] == "table" and told["target"] == "kind"
    assert told["metrics"]["column_shapes"]["value"] == 1.0
    assert {"pair_trends", "train_on_synthetic", "c2st"} <= told["metrics"].keys()


def test_evaluate_images_and_vectors_out_of_a_csv(home, tmp_path, capsys):
    assert {"mmd_pca", "c2st_pca"} <= evaluated([home / "imgs", home / "imgs"],
                                                capsys)["metrics"].keys()  # fmt: skip
    out = tmp_path / "x.csv"
    draw = ["sample", str(home / "vectors"), "-n", "100", "--random-state", "1"]
    assert main([*draw, "--out", str(out)]) == 0
    assert main([*draw, "--out", str(tmp_path / "x.npy")]) == 0
    one, other = (evaluated([home / "v.npy", tmp_path / n], capsys) for n in ("x.csv", "x.npy"))
    for metric, result in one["metrics"].items():
        assert result == pytest.approx(other["metrics"][metric]), metric
    assert main(["evaluate", str(home / "v.npy"), str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0] == "metric" and "95 % interval" in lines[0]
    value = other["metrics"]["c2st"]["value"]
    assert any(re.match(rf"c2st +{value:.4g} .* 0\.5$", line) for line in lines)


def test_evaluate_says_which_numbers_depend_on_sizes_that_differ(home, tmp_path, capsys):
    X = np.load(home / "v.npy")
    for rows, said in ((90, False), (60, True)):
        np.save(tmp_path / "few.npy", X[:rows])
        assert main(["evaluate", str(home / "v.npy"), str(tmp_path / "few.npy")]) == 0
        told = capsys.readouterr().err
        assert ("100 real rows and 60 drawn ones" in told) == said
        assert ("coverage" in told and "sample -n 100" in told) == said
        assert "energy_distance" not in told
