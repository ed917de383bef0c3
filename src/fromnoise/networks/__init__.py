r"""Modules that know shapes and conditions, and nothing of probability."""

from fromnoise.networks.conv import ConvDecoder, ConvEncoder
from fromnoise.networks.defaults import default_network
from fromnoise.networks.layers import ConditionEmbedding, Moments, TimeEmbedding, null_condition
from fromnoise.networks.mlp import ResidualMLP
from fromnoise.networks.transformer import PatchTransformer

__all__ = [
    "ConditionEmbedding",
    "ConvDecoder",
    "ConvEncoder",
    "Moments",
    "PatchTransformer",
    "ResidualMLP",
    "TimeEmbedding",
    "default_network",
    "null_condition",
]
