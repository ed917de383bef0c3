r"""Sets of samples in, one number with an interval out; no metric ever sees a model."""

from fromnoise.metrics.copying import copying
from fromnoise.metrics.enetlite0 import EnetLite0
from fromnoise.metrics.features import PixelPCA, Standardise, TableFeatures
from fromnoise.metrics.result import Result, paired_difference
from fromnoise.metrics.two_sample import c2st, coverage, energy_distance, mmd, sliced_wasserstein

__all__ = [
    "EnetLite0",
    "PixelPCA",
    "Result",
    "Standardise",
    "TableFeatures",
    "c2st",
    "copying",
    "coverage",
    "energy_distance",
    "mmd",
    "paired_difference",
    "sliced_wasserstein",
]
