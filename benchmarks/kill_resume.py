r"""Does a fit that is killed and resumed end with the bits of one that was not?

Each fit is killed by SIGKILL at a moment drawn uniformly over its whole length, then resumed to
its end. Compared are weights, averages, optimiser, random state and history of the last
checkpoint, and the finished model; only their clocks' columns are left out. Run from the
repository root (about five minutes on one core):

    python benchmarks/kill_resume.py [--kills 50] [--families flow gan vae latent-flow gmm]
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import fromnoise as fn
from fromnoise import families
from fromnoise.persistence import read_bundle
from fromnoise.training import digest

TIMES = {"seconds", "fit_seconds", "fit_seconds_", "elapsed", "first", "step_seconds"}
TIMES |= {"check_seconds"}
SEARCH = {"tol": 1e-12, "n_init": 3, "random_state": 0, "checkpoint_every": "5 steps"}


def fitted(family: str, steps: int, run: Path) -> None:
    r"""Fit in ``run``, from the start or from where it is."""
    X = fn.data.load("moons").X[:1000]
    how: dict[str, Any] = {"budget": f"{steps} steps", "run_dir": run, **SEARCH}
    if family != "gmm":
        del how["tol"], how["n_init"]
        how |= {"network": "small", "checkpoint_every": f"{max(1, steps // 20)} steps"}
    families.make(family, **how).fit(X)


def forked(work: Callable[[], None]) -> int:
    r"""Start ``work`` in a process of its own, which loads nothing again; return its number."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    finally:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        os._exit(1)


def ended(child: int) -> int:
    r"""Wait for a process; return its exit code, -9 if it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def timeless(tree: Any) -> Any:
    r"""Return a tree without what a clock has written into it."""
    if isinstance(tree, dict):
        return {k: timeless(v) for k, v in tree.items() if k not in TIMES}
    return [timeless(part) for part in tree] if isinstance(tree, list) else tree


def steps_in(run: Path) -> list[int]:
    r"""Return the steps of the checkpoints in a run."""
    found = [path for path in run.glob("step-*") if (path / "manifest.json").exists()]
    return sorted(int(path.name[5:]) for path in found)


def end_of(run: Path) -> str:
    r"""Return a digest of all that a finished run holds, times apart."""
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    folders = [path for path in (run, run / "prior") if path.exists()]
    states = [read_bundle(path / f"step-{steps_in(path)[-1]:07d}") for path in folders]
    return digest(timeless([states, lines, read_bundle(run)]))


def lost(run: Path) -> int:
    r"""Return how many steps were recorded since the last checkpoint of a killed fit."""
    try:
        lines = (run / "history.jsonl").read_text().splitlines()
        reached = json.loads(lines[-1])["step"]
    except (OSError, IndexError, ValueError):  # none yet, or its last line is torn
        return 0
    return max(0, reached - max(steps_in(run), default=0))


def trial(family: str, steps: int, run: Path, seconds: float) -> tuple[str, int] | None:
    r"""Kill a fit after ``seconds`` and resume it; None if it had ended before."""
    child = forked(lambda: fitted(family, steps, run))
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    if ended(child) != -signal.SIGKILL or (run / "manifest.json").exists():
        return None
    steps_lost = lost(run)
    if ended(forked(lambda: fitted(family, steps, run))):
        raise SystemExit(f"{family} could not be resumed after a kill at {seconds:.3f} s.")
    return end_of(run), steps_lost


def row(family: str, steps: int, kills: int, folder: Path) -> tuple[str, bool]:
    r"""Return a family's row, and whether every fit ended with the same bits."""
    begun = time.monotonic()
    if ended(forked(lambda: fitted(family, steps, folder / "whole"))):
        raise SystemExit(f"{family} cannot be fitted.")
    length = time.monotonic() - begun
    whole, moments = end_of(folder / "whole"), random.Random(0)
    same, most, done, tries = 0, 0, 0, 0
    while done < kills:
        tries += 1
        result = trial(family, steps, folder / str(tries), moments.uniform(0, length))
        if result is not None:
            done, same, most = done + 1, same + (result[0] == whole), max(most, result[1])
    text = f"| {family} | {steps} | {same} of {kills} | {most} |"
    return text, same == kills


def main() -> int:
    r"""Print the table."""
    parser = argparse.ArgumentParser(description="Kill fits at random moments and resume them.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--families", nargs="+", default=["flow"])
    given = parser.parse_args()
    print("| family | steps | the same bits | steps lost at most |\n|---|---|---|---|")
    sound = True
    for family in given.families:
        with tempfile.TemporaryDirectory() as folder:
            text, same = row(family, given.steps, given.kills, Path(folder))
        print(text, flush=True)
        sound = sound and same
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
