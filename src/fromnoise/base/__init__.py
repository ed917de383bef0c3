r"""What families share: the public contract, the neural fit, codes, and transport."""

from fromnoise.base.capability import capability
from fromnoise.base.generative import BLOCK, GenerativeModel
from fromnoise.base.latent import LatentModel
from fromnoise.base.neural import NeuralModel
from fromnoise.base.transport import TransportModel

__all__ = [
    "BLOCK",
    "GenerativeModel",
    "LatentModel",
    "NeuralModel",
    "TransportModel",
    "capability",
]
