r"""What families share: the public contract, the neural fit, and transport along a path."""

from fromnoise.base.capability import capability
from fromnoise.base.generative import BLOCK, GenerativeModel
from fromnoise.base.neural import NeuralModel
from fromnoise.base.transport import TransportModel

__all__ = ["BLOCK", "GenerativeModel", "NeuralModel", "TransportModel", "capability"]
