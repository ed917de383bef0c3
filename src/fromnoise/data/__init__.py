r"""Data: where they come from, and the invertible maps between them and model space."""

from fromnoise.data.conditions import Condition
from fromnoise.data.containers import from_state, n_rows, take, to_state
from fromnoise.data.conversion import to_npy
from fromnoise.data.datasets import rows_of
from fromnoise.data.encodings import encoding_from_state, fit_encoding
from fromnoise.data.images import ImageArray, images
from fromnoise.data.sources import Data, load
from fromnoise.data.transforms import Encoded, Encoding

__all__ = [
    "Condition",
    "Data",
    "Encoded",
    "Encoding",
    "ImageArray",
    "encoding_from_state",
    "fit_encoding",
    "from_state",
    "images",
    "load",
    "n_rows",
    "rows_of",
    "take",
    "to_npy",
    "to_state",
]
