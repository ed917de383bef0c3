r"""Objectives and the loop that minimises them. Nothing here names a family."""

from fromnoise.training.budget import Budget, Clock
from fromnoise.training.callbacks import Callback, ProgressBar, Record
from fromnoise.training.engine import Batch, Objective, Outcome, Rows, Settings, train
from fromnoise.training.interrupts import Interrupts
from fromnoise.training.seeds import entropy, numpy_rng, seed_of, torch_rng

__all__ = [
    "Batch",
    "Budget",
    "Callback",
    "Clock",
    "Interrupts",
    "Objective",
    "Outcome",
    "ProgressBar",
    "Record",
    "Rows",
    "Settings",
    "entropy",
    "numpy_rng",
    "seed_of",
    "torch_rng",
    "train",
]
