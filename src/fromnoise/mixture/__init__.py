r"""Mixtures of Gaussians in model space, and how they are fitted; knows no kind of data."""

from fromnoise.mixture.components import Mixture, choose, conditional_draw, log_components, log_sum
from fromnoise.mixture.em import Limit, Run, expectation_maximisation
from fromnoise.mixture.reading import Reader
from fromnoise.mixture.rows import Rows, checked_weight
from fromnoise.mixture.search import Search
from fromnoise.mixture.starts import clustered, regularisation

__all__ = [
    "Limit",
    "Mixture",
    "Reader",
    "Rows",
    "Run",
    "Search",
    "checked_weight",
    "choose",
    "clustered",
    "conditional_draw",
    "expectation_maximisation",
    "log_components",
    "log_sum",
    "regularisation",
]
