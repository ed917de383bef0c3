r"""The families, one file each, and the only registry of their names.

A name stands for a family with arguments: a preset is nothing more.
"""

__all__ = [
    "FAMILIES",
    "GAN",
    "PRESETS",
    "VAE",
    "AutoEncoder",
    "Diffusion",
    "FlowMatching",
    "GaussianMixture",
    "load",
    "make",
]

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from fromnoise import data
from fromnoise.base import GenerativeModel
from fromnoise.errors import ArtifactError, did_you_mean
from fromnoise.families.autoencoder import AutoEncoder
from fromnoise.families.diffusion import Diffusion
from fromnoise.families.flow_matching import FlowMatching
from fromnoise.families.gan import GAN
from fromnoise.families.gaussian_mixture import GaussianMixture
from fromnoise.families.vae import VAE
from fromnoise.persistence import Tree, read_bundle

Network = nn.Module | tuple[nn.Module, nn.Module]
FAMILIES: Mapping[str, type[GenerativeModel]] = {
    family.family: family
    for family in (GaussianMixture, AutoEncoder, VAE, GAN, Diffusion, FlowMatching)
}
PRESETS: Mapping[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in FAMILIES},
    # Codes of a perceptron are harder for a flow to follow than those of convolutions.
    "latent-flow": ("autoencoder", {"prior": "flow", "network": "medium"}),
    "ddpm": (
        "diffusion",
        {
            "path": "vp-linear",
            "prediction": "noise",
            "weighting": "simple",
            "time_sampling": "steps",
            "solver": "ancestral",
            "grid": "uniform",
            "steps": 1000,
        },
    ),
    "iwae": ("vae", {"n_importance_train": 50}),
    "ot-cfm": ("flow", {"coupling": "optimal-transport"}),
    "wgan": (
        "gan",
        {
            "objective": "wasserstein",
            "penalty": "weight-clipping",
            "critic_steps": 5,
        },
    ),
    "wgan-gp": (
        "gan",
        {
            "objective": "wasserstein",
            "penalty": "gradient-penalty",
            "critic_steps": 5,
        },
    ),
}


def make(name: str, **arguments: Any) -> GenerativeModel:
    r"""Return a new estimator of the family or preset called ``name``.

    Args:
        name: For instance ``"gmm"``, ``"flow"`` or ``"ot-cfm"``.
        **arguments: Arguments of the family; they go before those of the preset. A ``prior``
            may be a name too.

    Returns:
        The estimator, not fitted.

    Raises:
        ValueError: If there is no such name.

    Example:
        >>> make("ot-cfm", steps=4).coupling
        'optimal-transport'
    """
    if name not in PRESETS:
        raise ValueError(f"There is no family {name!r}.{did_you_mean(name, PRESETS)}")
    family, preset = PRESETS[name]
    chosen = {**preset, **arguments}
    if isinstance(prior := chosen.get("prior"), str) and prior in PRESETS:
        chosen["prior"] = make(prior)
    return FAMILIES[family](**chosen)


def load(path: str | Path, *, network: Network | None = None) -> GenerativeModel:
    r"""Load a model that ``save`` wrote.

    Args:
        path: The folder.
        network: For a model that was fitted with modules of your own: one of the same shapes, or
            a pair. Code is never stored with a model.

    Returns:
        The fitted model.

    Raises:
        ArtifactError: If the folder holds no sound model of this version.

    Example:
        >>> import fromnoise as fn, tempfile
        >>> X = fn.data.load("moons").X[:200]
        >>> model = fn.GaussianMixture(n_components=2, random_state=0).fit(X)
        >>> folder = model.save(tempfile.mkdtemp() + "/run")
        >>> bool((load(folder).score_samples(X) == model.score_samples(X)).all())
        True
    """
    tree = read_bundle(path, finite=False)
    try:
        return _model(tree, network, path)
    except ArtifactError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise ArtifactError(
            f"{path} holds no model that this version of fromnoise can read: {error}"
        ) from error


def _model(tree: Tree, network: Network | None, path: str | Path) -> GenerativeModel:
    family = FAMILIES[tree["family"]]
    arguments = _arguments(family, tree["arguments"], network, path)
    if tree["learnt"].get("prior") is not None:
        tree["learnt"]["prior"] = _model(tree["learnt"]["prior"], None, path)
    return family._from_tree(tree, arguments)


def _thawed(value: Any) -> Any:
    if isinstance(value, dict) and "container" in value:  # rows that an argument held
        return data.from_state(value)
    return tuple(value) if isinstance(value, list) else value


def _arguments(
    family: type[GenerativeModel],
    saved: Tree,
    network: Network | None,
    path: str | Path,
) -> Tree:
    known = family._get_param_names()
    strange = sorted(saved.keys() - set(known))
    if strange:
        raise ArtifactError(f"{path} names arguments that {family.__name__} lacks: {strange}.")
    arguments = {k: _thawed(v) for k, v in saved.items()}
    if isinstance(saved.get("prior"), dict):
        prior = FAMILIES[saved["prior"]["family"]]
        arguments["prior"] = prior(**_arguments(prior, saved["prior"]["arguments"], None, path))
    modules = saved.get("network")
    modules = [modules] if isinstance(modules, dict) else modules
    own = isinstance(modules, list)
    if isinstance(modules, list) and network is None:
        names = ", ".join(str(module["class"]) for module in modules)
        raise ArtifactError(
            f"{path} was fitted with modules of your own ({names})."
            " Pass some of the same shapes: load(path, network=module)."
        )
    pair = isinstance(saved.get("network"), list)
    if own and pair != isinstance(network, tuple):
        raise ArtifactError(
            f"{path} was fitted with {'a pair of modules' if pair else 'one module'}; pass"
            f" network={'(one, other)' if pair else 'module'}."
        )
    if own:
        arguments["network"] = network
    elif network is not None:
        raise ArtifactError(f"{path} was not fitted with a module of your own; drop network=.")
    return arguments
