r"""The command line: thin wrappers, one a command, one subject a file.

Flags and their help come from signatures and docstrings; ``fit FAMILY`` takes its flags from the
family's own arguments. Nothing heavy is imported before a command runs, so that help is quick.
Data goes to standard output, everything else to standard error. The codes that a call ends with
stand in ``exits.py``.
"""

from fromnoise.cli.comparing import compare
from fromnoise.cli.describing import info
from fromnoise.cli.entry import app, main
from fromnoise.cli.evaluating import evaluate
from fromnoise.cli.fitting import fit
from fromnoise.cli.sampling import sample
from fromnoise.cli.scoring import score
from fromnoise.cli.transforming import encode, impute, reconstruct

__all__ = [
    "app",
    "compare",
    "encode",
    "evaluate",
    "fit",
    "impute",
    "info",
    "main",
    "reconstruct",
    "sample",
    "score",
]
