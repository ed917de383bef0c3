r"""Sets of samples in, one number with an interval out; no metric ever sees a model."""

from fromnoise.metrics.copying import copying
from fromnoise.metrics.enetlite0 import EnetLite0
from fromnoise.metrics.features import PixelPCA, Standardise, TableFeatures
from fromnoise.metrics.neighbours import coverage, density
from fromnoise.metrics.result import Result, paired_difference
from fromnoise.metrics.spectra import frechet_distance, vendi
from fromnoise.metrics.tables import column_shapes, pair_trends
from fromnoise.metrics.two_sample import c2st, energy_distance, mmd, sliced_wasserstein
from fromnoise.metrics.usefulness import train_on_synthetic

__all__ = [
    "EnetLite0",
    "PixelPCA",
    "Result",
    "Standardise",
    "TableFeatures",
    "c2st",
    "column_shapes",
    "copying",
    "coverage",
    "density",
    "energy_distance",
    "frechet_distance",
    "mmd",
    "pair_trends",
    "paired_difference",
    "sliced_wasserstein",
    "train_on_synthetic",
    "vendi",
]
