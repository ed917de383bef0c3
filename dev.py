#!/usr/bin/env python3
"""Work on fromnoise from a clone: python3 dev.py demo | test | lint | docs.

Needs Python 3.11 or newer and nothing else. The first run makes ``.venv`` beside this file and
installs PyTorch, the project (editable) and what the job needs, at the versions pinned in
``constraints.txt``; a stamp in ``.venv`` lets the next runs skip that.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

# name of the report, arguments of `fromnoise compare`
DEMOS = {
    "digits": ["digits", "--label", "target"],
    "rides": ["examples/rides.csv"],
}
LINTERS = (
    ["ruff", "check", "."],
    ["ruff", "format", "--check", "."],
    ["mypy"],
    ["lint-imports", "--no-logo"],
)


def main():
    """Run the job named on the command line and return its exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036 (an older Python must be told, not stumble)
        found = ".".join(map(str, sys.version_info[:3]))
        print(f"fromnoise needs Python 3.11 or newer; this is {found}.", file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    jobs = parser.add_subparsers(dest="job", required=True, metavar="JOB")
    for name, job in JOBS.items():
        jobs.add_parser(name, help=job.__doc__, description=job.__doc__)
    os.chdir(ROOT)
    return JOBS[parser.parse_args().job]()


def demo():
    """Compare the families on digits and on a table, and say where the reports are."""
    install("table")
    options = ["--families", "gmm,vae,flow", "--budget", "30s", "--force"]
    for name, source in DEMOS.items():
        say(f"comparing on {name}")
        code = tool("fromnoise", "compare", *source, *options, "--out", f"reports/{name}")
        if code:
            return code
    say("the reports, to open in a browser")
    for name in DEMOS:
        print(f"  {ROOT / 'reports' / name / 'index.html'}")
    return 0


def test():
    """Run the linters, the type checker, the import contract and all tests."""
    install("dev", "table", "eval")
    install_browser()
    return run_all(*LINTERS, ["pytest"])


def lint():
    """Run the linters, the type checker and the import contract."""
    install("dev", "table", "eval")
    return run_all(*LINTERS)


def docs():
    """Build the documentation into docs/_build/html."""
    install("docs", "table")
    code = tool("sphinx-build", "-q", "-W", "--keep-going", "docs", "docs/_build/html")
    if code == 0:
        print(ROOT / "docs" / "_build" / "html" / "index.html")
    return code


JOBS = {"demo": demo, "test": test, "lint": lint, "docs": docs}


def run_all(*commands):
    """Run every command, so that one run shows all there is to mend; return the exit code."""
    failed = []
    for command in commands:
        say(" ".join(command))
        if tool(*command):
            failed.append(" ".join(command))
    if failed:
        say("failed: " + ", ".join(failed))
    return 1 if failed else 0


def install(*extras):
    """Make .venv with PyTorch and the project, unless the stamp says that this is done."""
    stamp = VENV / f"installed-{'-'.join(extras)}.stamp"
    wanted = fingerprint()
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    if not PYTHON.exists() or quietly(PYTHON, "-m", "pip", "--version").returncode:
        say("making .venv")
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    install_torch()
    say(f"installing fromnoise with [{', '.join(extras)}]")
    result = pip("--editable", f".[{','.join(extras)}]")
    if result.returncode:
        sys.exit(f"fromnoise could not be installed:\n{result.stderr}")
    stamp.write_text(wanted)


def fingerprint():
    """Return a hash of all that decides what gets installed."""
    files = (ROOT / "pyproject.toml", ROOT / "constraints.txt")
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def install_torch():
    """Get PyTorch the cheapest way that works: a CUDA build of several GB comes last."""
    if quietly(PYTHON, "-c", "import torch").returncode == 0:
        return
    say("installing PyTorch")
    choices = [["torch==2.13.0+cpu"]]
    if not has_gpu():
        choices.append(["torch", "--index-url", PYTORCH_CPU_INDEX])
    choices.append(["torch"])
    for choice in choices:
        result = pip(*choice)
        if result.returncode == 0:
            return
    sys.exit(f"PyTorch could not be installed:\n{result.stderr}")


def has_gpu():
    """Tell whether an NVIDIA driver with a device answers."""
    return shutil.which("nvidia-smi") is not None and quietly("nvidia-smi", "-L").returncode == 0


def install_browser():
    """Get a browser for the test of the report, where that takes one command."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if any(map(shutil.which, BROWSERS)) or not is_root or not shutil.which("apt-get"):
        return
    say("installing chromium for the test of the report")
    quietly("apt-get", "update")
    quietly("apt-get", "install", "--yes", "--no-install-recommends", "chromium")


def pip(*arguments):
    """Install into .venv at the versions of constraints.txt."""
    options = ["--quiet", "--disable-pip-version-check", "--constraint", "constraints.txt"]
    return quietly(PYTHON, "-m", "pip", "install", *options, *arguments)


def tool(name, *arguments):
    """Run a command that .venv brings and return its exit code."""
    command = shutil.which(name, path=str(PYTHON.parent))
    return subprocess.run([command, *arguments]).returncode


def quietly(*command):
    """Run a command, keep its output to ourselves, never ask anything."""
    return subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )


def say(text):
    """Print a heading at once, before the output of the command it announces."""
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
