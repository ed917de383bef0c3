r"""The two commands of the README, the pins and the example table; nothing is installed here."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def dev(tmp_path, monkeypatch):
    module = load(ROOT / "dev.py")
    monkeypatch.setattr(module, "VENV", tmp_path)
    monkeypatch.setattr(module, "PYTHON", tmp_path / "python")
    return module


def load(path):
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tried(dev, monkeypatch, *, importable=False, gpu=False, works=()):
    asked = []

    def pip(*arguments):
        asked.append(arguments)
        return SimpleNamespace(returncode=0 if arguments in works else 1, stderr="no such build")

    result = SimpleNamespace(returncode=0 if importable else 1)
    monkeypatch.setattr(dev, "quietly", lambda *command: result)
    monkeypatch.setattr(dev, "has_gpu", lambda: gpu)
    monkeypatch.setattr(dev, "pip", pip)
    try:
        dev.install_torch()
    except SystemExit as stop:
        assert "no such build" in str(stop)
    return asked


PINNED = ("torch==2.13.0+cpu",)
FROM_INDEX = ("torch", "--index-url", "https://download.pytorch.org/whl/cpu")
PLAIN = ("torch",)


def test_torch_is_sought_from_cheap_to_dear(dev, monkeypatch):
    assert tried(dev, monkeypatch, importable=True) == []
    assert tried(dev, monkeypatch, works=[PINNED]) == [PINNED]
    assert tried(dev, monkeypatch, works=[FROM_INDEX, PLAIN]) == [PINNED, FROM_INDEX]
    assert tried(dev, monkeypatch, works=[PLAIN]) == [PINNED, FROM_INDEX, PLAIN]
    assert tried(dev, monkeypatch, works=[FROM_INDEX, PLAIN], gpu=True) == [PINNED, PLAIN]
    assert tried(dev, monkeypatch) == [PINNED, FROM_INDEX, PLAIN]


def install_counting(dev, monkeypatch, *extras):
    calls = []

    def pip(*arguments):
        calls.append(arguments)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(dev, "pip", pip)
    monkeypatch.setattr(dev, "install_torch", lambda: None)
    monkeypatch.setattr(dev, "quietly", lambda *command: SimpleNamespace(returncode=0))
    dev.install(*extras)
    return calls


def test_a_second_run_installs_nothing_until_a_pin_changes(dev, monkeypatch):
    dev.PYTHON.touch()
    once = [("--editable", ".[dev,table]")]
    assert install_counting(dev, monkeypatch, "dev", "table") == once
    assert install_counting(dev, monkeypatch, "dev", "table") == []
    assert install_counting(dev, monkeypatch, "table") == [("--editable", ".[table]")]
    monkeypatch.setattr(dev, "fingerprint", lambda: "other pins")
    assert install_counting(dev, monkeypatch, "dev", "table") == once


def test_a_failed_installation_leaves_no_stamp(dev, monkeypatch):
    failed = SimpleNamespace(returncode=1, stderr="the index is down")
    dev.PYTHON.touch()
    monkeypatch.setattr(dev, "quietly", lambda *command: SimpleNamespace(returncode=0))
    monkeypatch.setattr(dev, "pip", lambda *arguments: failed)
    with pytest.raises(SystemExit, match="the index is down"):
        dev.install("table")
    assert list(dev.VENV.glob("*.stamp")) == []


def test_every_command_runs_and_one_failure_is_enough(dev, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(dev, "tool", lambda name, *rest: seen.append(name) or name == "mypy")
    assert dev.run_all(["ruff", "check"], ["mypy"], ["pytest"]) == 1
    assert seen == ["ruff", "mypy", "pytest"]
    assert "== failed: mypy\n" in capsys.readouterr().out
    assert dev.run_all(["ruff", "check"], ["pytest"]) == 0


def test_an_unknown_job_is_a_usage_error():
    run = subprocess.run(
        [sys.executable, ROOT / "dev.py", "tset"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert "invalid choice: 'tset'" in run.stderr


def test_every_dependency_but_torch_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = sum(project["optional-dependencies"].values(), project["dependencies"])
    names = {re.match(r"[\w-]+", requirement)[0].lower() for requirement in wanted}
    pins = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {pin.partition("==")[0].lower().replace("_", "-") for pin in pins if "==" in pin}
    assert names - pinned == {"torch"}


def test_the_example_table_is_what_its_script_writes():
    rides = load(ROOT / "examples" / "make_rides.py")
    assert rides.text() == (ROOT / "examples" / "rides.csv").read_text("utf-8")


def test_workers_keep_to_one_thread():
    import torch

    assert torch.get_num_threads() == 1
