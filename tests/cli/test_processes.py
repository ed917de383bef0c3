r"""The command line as a process: what it loads, signals, pipes, full and closed outputs."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

import fromnoise as fn
from fromnoise.cli import main


def python(code, **options):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, **options
    )


def test_help_loads_neither_torch_nor_scikit_learn():
    code = (
        "import sys; from fromnoise.cli import main\n"
        "commands = 'compare encode evaluate fit impute info reconstruct sample score'.split()\n"
        "for words in (['--help'], ['--version'], *([c, '--help'] for c in commands)):\n"
        "    assert main(words) == 0\n"
        "heavy = {'torch', 'sklearn', 'pandas', 'scipy', 'numpy', 'matplotlib'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = python(code)
    assert "heavy: []" in done.stdout, done.stderr
    assert "Train every family" in done.stdout and fn.__version__ in done.stdout


def test_a_reader_who_leaves_ends_it_quietly_without_a_home(home):
    code = "import sys; from fromnoise.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "sample", str(home / "vectors"), "-n", "30000"]
    bare = {k: v for k, v in os.environ.items() if k not in ("HOME", "LANG", "LC_ALL")}
    bare |= {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=bare)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == b"x0,x1,x2\n"
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_closed_or_full_outputs_have_codes_and_no_traceback(home, forked):
    run, rows = str(home / "vectors"), str(home / "v.npy")

    def call():
        sys.stdout = open("/dev/full", "w")  # noqa: SIM115 (this process ends without closing it)
        codes = [main(["score", run, rows])]
        sys.stdout = None
        codes += [main(["sample", run]), main(["info", run])]
        sys.stderr.write(str(codes))
        return 0

    code, told = forked(call)
    assert code == 0 and told.endswith("[74, 73, 73]") and "Traceback" not in told


def test_a_signal_ends_the_step_and_saves_the_model(tmp_path):
    # The fit signals its own process at its first record: no waiting for the right moment.
    script = (
        "import os, signal, sys\n"
        "from fromnoise.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def call(self, record):\n"
        "    os.kill(os.getpid(), number)\n"
        "from fromnoise.training.callbacks import ProgressBar\n"
        "ProgressBar.__call__ = call\n"
        "for number in (signal.SIGTERM, signal.SIGINT):\n"
        "    try:\n"
        "        code = main([*sys.argv[2:], '--out', f'{sys.argv[1]}/{int(number)}'])\n"
        "    except SystemExit as end:\n"
        "        code = end.code\n"
        "    sys.stderr.write(f'ended: {code}\\n')\n"
        "sys.exit(code)"
    )
    words = ["fit", "flow", "moons", "--budget", "2000 steps", "--network", "small"]
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), *words],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    terminated, interrupted = re.fullmatch(
        r"(?s)(.*)ended: 143\n(.*)ended: 130\n", done.stderr
    ).groups()
    assert "is saved in" in terminated and "is saved in" in interrupted
    assert "Traceback" not in done.stderr
    for name in ("15", "2"):
        assert fn.load(tmp_path / name).sample(3, random_state=0).shape == (3, 2)


def test_out_of_memory_is_71(tmp_path):
    X = np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.float32, (1_000_000, 64))
    X[:100] = np.random.default_rng(0).normal(size=(100, 64))
    del X  # a sparse file: the rest is zeros that take no room
    script = (  # in a process of its own: a copy of this one has room that was used before
        "import resource, sys, fromnoise.families; from fromnoise.cli import main\n"
        "size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size + 300_000_000,) * 2)\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = ["fit", "gmm", str(tmp_path / "big.npy"), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", script, *words, "--n-components", "1"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 71, done.stderr
    assert done.stderr.startswith("fromnoise: Out of memory")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_families_and_flags(tmp_path, capsys, shell):
    path = tmp_path / "script"
    assert main(["--install-completion", "--shell", shell, "--output", str(path)]) == 0
    script = path.read_text()
    for word in ("compare", "impute", "latent-flow", "random-state", "image-size"):
        assert word in script, word
