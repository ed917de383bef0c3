r"""The main job: train every family on the same split, and say which one to use."""

from fromnoise.comparison.run import Comparison, compare

__all__ = ["Comparison", "compare"]
