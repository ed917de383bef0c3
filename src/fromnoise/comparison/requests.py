r"""What :func:`fromnoise.compare` is asked for, checked before anything is read or computed."""

__all__ = ["REFERENCES", "auto", "check_arguments", "chosen_models"]

from collections.abc import Mapping, Sequence
from typing import Any

from fromnoise import families as registry
from fromnoise.base import GenerativeModel
from fromnoise.errors import did_you_mean, shown
from fromnoise.training import Budget

AUTO = ("gmm", "autoencoder", "vae", "gan", "latent-flow", "flow", "diffusion")
FOR_IMAGES = ("latent-flow",)  # what "auto" leaves out for other kinds of data
REFERENCES = ("real", "gaussian", "copier")
_LONGEST_NAME = 80


def check_arguments(budget: str, seeds: int, test_fraction: float) -> None:
    r"""Refuse numbers that are out of range.

    Raises:
        ValueError: If one is.

    Example:
        >>> check_arguments("2m", 0, 0.2)
        Traceback (most recent call last):
        ValueError: seeds must be at least 1, got 0.
    """
    Budget.parse(budget)
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1, got {test_fraction}.")
    if not isinstance(seeds, int) or seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {shown(seeds)}.")


def auto(kind: str) -> list[str]:
    r"""Return the families that are compared where none are named.

    Example:
        >>> "latent-flow" in auto("images"), "latent-flow" in auto("table")
        (True, False)
    """
    return [name for name in AUTO if kind == "images" or name not in FOR_IMAGES]


def chosen_models(
    wanted: str | Sequence[str] | Mapping[str, GenerativeModel],
) -> dict[str, str | GenerativeModel]:
    r"""Return the rows of a comparison: names, with what is fitted for each.

    Args:
        wanted: A name, names, or a mapping from names to names or estimators.

    Raises:
        ValueError: If a family does not exist, or a name cannot be that of a row.

    Example:
        >>> chosen_models(["gmm", "flow"])
        {'gmm': 'gmm', 'flow': 'flow'}
    """
    if isinstance(wanted, Mapping):
        chosen: dict[str, str | GenerativeModel] = dict(wanted)
    elif isinstance(wanted, str):
        chosen = {wanted: wanted}
    else:
        names = list(wanted) if isinstance(wanted, Sequence) else [wanted]
        chosen = {name: name for name in names}
    for name, model in chosen.items():
        _check_family(name, model)
    taken = sorted(set(chosen) & set(REFERENCES))
    if not chosen or taken:
        raise ValueError(
            f"These names are kept for the reference rows: {taken}."
            if taken
            else "families names no family."
        )
    return chosen


def _check_family(name: Any, model: Any) -> None:
    if isinstance(name, GenerativeModel):
        raise ValueError(
            "families must be names, or a mapping from names of yours to estimators, such as"
            f' {{"mine": {type(name).__name__}(…)}}; a list cannot hold estimators.'
        )
    if isinstance(model, str):
        if model not in registry.PRESETS:
            hint = did_you_mean(model, registry.PRESETS)
            raise ValueError(f"There is no family {shown(model)}.{hint}")
    elif not isinstance(model, GenerativeModel):
        raise ValueError(
            "families must be names, or a mapping from names of yours to estimators such as"
            f" GaussianMixture(); got {shown(model)}."
        )
    if not isinstance(name, str) or not 0 < len(name.encode(errors="replace")) <= _LONGEST_NAME:
        raise ValueError(
            f"families: {shown(name)} cannot name a row; use up to {_LONGEST_NAME} characters."
        )
