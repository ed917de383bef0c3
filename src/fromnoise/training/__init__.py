r"""Objectives and the loop that minimises them. Nothing here names a family."""

from fromnoise.training.budget import Budget, Clock
from fromnoise.training.callbacks import Callback, ProgressBar, Record
from fromnoise.training.checkpoint import Journal, RunFolder, is_finished, open_journal, replacing
from fromnoise.training.engine import Outcome, Rows, train
from fromnoise.training.fingerprints import digest, fingerprint, refuse_another
from fromnoise.training.interrupts import Interrupts
from fromnoise.training.locks import sole_writer
from fromnoise.training.objectives import Batch, Objective, Settings
from fromnoise.training.seeds import entropy, normal_rows, numpy_rng, seed_of, torch_rng
from fromnoise.training.state import Memory, State

__all__ = [
    "Batch",
    "Budget",
    "Callback",
    "Clock",
    "Interrupts",
    "Journal",
    "Memory",
    "Objective",
    "Outcome",
    "ProgressBar",
    "Record",
    "Rows",
    "RunFolder",
    "Settings",
    "State",
    "digest",
    "entropy",
    "fingerprint",
    "is_finished",
    "normal_rows",
    "numpy_rng",
    "open_journal",
    "refuse_another",
    "replacing",
    "seed_of",
    "sole_writer",
    "torch_rng",
    "train",
]
