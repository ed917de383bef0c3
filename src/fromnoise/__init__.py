r"""fromnoise: learn where your data comes from, and make more of it.

Every family of models here learns a map from noise z ~ N(0, I) to data, behind one small
interface: ``fit``, ``sample``, ``score_samples``, ``encode``, ``decode``, ``save``.

Importing this package loads neither torch nor scikit-learn; a name does when it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "AutoEncoder": "fromnoise.families",
    "Diffusion": "fromnoise.families",
    "GAN": "fromnoise.families",
    "GaussianMixture": "fromnoise.families",
    "FlowMatching": "fromnoise.families",
    "VAE": "fromnoise.families",
    "load": "fromnoise.families",
    "compare": "fromnoise.comparison",
    "DataError": "fromnoise.errors",
    "ArtifactError": "fromnoise.errors",
}
_MODULES = ("families", "data", "metrics", "networks", "transport", "training")

__all__ = [
    "GAN",
    "VAE",
    "ArtifactError",
    "AutoEncoder",
    "DataError",
    "Diffusion",
    "FlowMatching",
    "GaussianMixture",
    "__version__",
    "compare",
    "data",
    "families",
    "load",
    "metrics",
    "networks",
    "training",
    "transport",
]

if TYPE_CHECKING:
    from fromnoise import data, families, metrics, networks, training, transport
    from fromnoise.comparison import compare
    from fromnoise.errors import ArtifactError, DataError
    from fromnoise.families import (
        GAN,
        VAE,
        AutoEncoder,
        Diffusion,
        FlowMatching,
        GaussianMixture,
        load,
    )


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _MODULES:
        return import_module(f"fromnoise.{name}")
    raise AttributeError(f"module 'fromnoise' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
