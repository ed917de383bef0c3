r"""From noise to data: the way of a few samples, and the map z → x as a whole.

    strip    a few images at about eight times on their way, for models that move noise to data,
             or to codes: these are decoded on the way
    paths    rows in the plane on their way, some two hundred of them
    map      a mesh of the plane of noise, circles of equal density and rays, and what becomes of
             it: x = decode(z), for models of the plane whose codes are N(0, I) and have two
             numbers; where they have one, the line that becomes of it

It is made by the worker, from the fitted model, and only where it costs seconds.
"""

__all__ = ["Journey", "journey_of", "mesh", "read_journey", "write_journey"]

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import chi2, norm

from fromnoise import data
from fromnoise.base import GenerativeModel
from fromnoise.base.field import EXACT_STEPS
from fromnoise.base.trajectory import trajectory
from fromnoise.base.transport import TransportModel
from fromnoise.comparison.jobs import Split
from fromnoise.networks.defaults import evaluation_rows
from fromnoise.persistence import read_bundle, write_bundle

logger = logging.getLogger("fromnoise")

IMAGES, STOPS = 4, 8
ROWS, STEPS = 200, 24
RINGS, RAYS, ALONG = (0.1, 0.3, 0.5, 0.7, 0.9, 0.97), 12, 56  # mass within; points of a line
LONGEST_SECONDS = 10.0
_RK4 = 4  # evaluations of a network in a step of the solver that decodes by an ODE


@dataclass(frozen=True)
class Journey:
    r"""How a model turns noise into data, for a few rows.

    Args:
        times: The times of ``images`` or ``paths``, from 0 (noise) to 1 (data); empty for none.
        images: Images at these times, ``len(times)`` of each sample in turn; of the kind that
            the model was fitted on.
        paths: Rows in the plane at these times, `(n, len(times), 2)`.
        noise: A mesh of the space of noise, `(lines, points, k)`, see :func:`mesh`.
        mapped: What becomes of it, `(lines, points, 2)`.

    Example:
        >>> Journey().images is None
        True
    """

    times: tuple[float, ...] = ()
    images: Any = None
    paths: np.ndarray | None = None
    noise: np.ndarray | None = None
    mapped: np.ndarray | None = None


def journey_of(model: GenerativeModel, split: Split, seconds: float | None) -> Journey | None:
    r"""Return how a fitted model turns noise into data.

    Args:
        model: The model.
        split: Its rows; a conditional model decodes given the first held-out label.
        seconds: What it took to draw one row; None if the model draws none.

    Returns:
        The journey; None where there is nothing to show, or it costs too much.
    """
    if seconds is None:
        return None
    found = [_tried(part, model, split, seconds) for part in (_way, _map)]
    shown = {k: v for part in found if part is not None for k, v in part.items()}
    return Journey(**shown) if shown else None


def mesh(k: int) -> np.ndarray:
    r"""Return lines that cut the space of N(0, I), `(lines, points, k)`.

    Args:
        k: 1 for a line to the quantiles of 1 and 99 %; 2 for circles, within which lie 10, 30,
            50, 70, 90 and 97 % of the mass, then rays.

    Example:
        >>> mesh(1).shape, mesh(2).shape
        ((1, 56, 1), (18, 56, 2))
    """
    if k == 1:
        return np.asarray(norm.ppf(np.linspace(0.01, 0.99, ALONG)))[None, :, None]
    radii = np.sqrt(chi2.ppf(RINGS, 2))
    around = np.linspace(0, 2 * np.pi, ALONG)
    outward = np.linspace(0, radii[-1], ALONG)
    rings = radii[:, None, None] * np.stack([np.cos(around), np.sin(around)], 1)
    turn = 2 * np.pi * np.arange(RAYS) / RAYS
    rays = outward[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)[:, None]
    return np.concatenate([rings, rays])


def write_journey(folder: Path, journey: Journey) -> None:
    r"""Write a journey for the parent."""
    tree = {field.name: getattr(journey, field.name) for field in fields(journey)}
    images = None if journey.images is None else data.to_state(journey.images)
    write_bundle(folder, {**tree, "times": list(journey.times), "images": images}, overwrite=True)


def read_journey(folder: Path) -> Journey | None:
    r"""Read what :func:`write_journey` wrote; None if it wrote nothing there."""
    if not (folder / "manifest.json").exists():
        return None
    tree = read_bundle(folder)
    images = None if tree["images"] is None else data.from_state(tree["images"])
    return Journey(**{**tree, "times": tuple(tree["times"]), "images": images})


def _tried(make: Callable[..., dict[str, Any] | None], *given: Any) -> dict[str, Any] | None:
    r"""Return what is to be shown, or None: whatever the model makes of it, the fit is kept."""
    try:
        return make(*given)
    except Exception as error:
        logger.warning("The way from noise to data cannot be shown: %s", error)
        return None


def _is_plane(model: GenerativeModel) -> bool:
    return model.encoding_.kind == "vectors" and model.encoding_.n_features == 2


def _way(model: Any, split: Split, seconds: float) -> dict[str, Any] | None:
    law = getattr(model, "prior_", None)  # of codes
    mover = law if isinstance(law, TransportModel) else model
    if not isinstance(mover, TransportModel):
        return None
    images = model.encoding_.kind == "images"
    count = IMAGES if images else ROWS
    if not (images or _is_plane(model)) or _padded(model, count) * seconds > LONGEST_SECONDS:
        return None
    stops = STOPS if images else STEPS
    y = None if model.condition_ is None else _first(split.test_y, count)
    times, states = trajectory(mover, count, stops=stops, y=y, random_state=0)
    if mover is law:
        states = model.decode(states, None if y is None else np.repeat(y, len(times), axis=0))
    found: dict[str, Any] = {"times": tuple(times.tolist())}
    if images:
        return {**found, "images": states}
    return {**found, "paths": np.asarray(states, float).reshape(count, len(times), 2)}


def _first(y: Any, count: int) -> np.ndarray:
    r"""Return as many labels as asked for, from the first on, again from there if need be."""
    return np.asarray(data.take(y, np.arange(count) % data.n_rows(y)))


def _map(model: Any, split: Split, seconds: float) -> dict[str, Any] | None:
    if not (_is_plane(model) and hasattr(model, "decode") and _is_normal(model)):
        return None
    noise = mesh(model._code_width())
    cost = seconds * _padded(model, noise[..., 0].size)
    if isinstance(model, TransportModel):
        cost *= _RK4 * EXACT_STEPS / model.n_evaluations
    if cost > LONGEST_SECONDS:
        return None
    y = split.test_y
    given = None if y is None else data.take(y, np.zeros(noise[..., 0].size, int))
    mapped = np.asarray(model.decode(noise.reshape(-1, noise.shape[2]), given), float)
    return {"noise": noise, "mapped": mapped.reshape(*noise.shape[:2], 2)}


def _is_normal(model: Any) -> bool:
    r"""Return whether the model's codes are one or two numbers that follow N(0, I)."""
    learnt = getattr(model, "prior", None) not in (None, "normal")
    moved = getattr(model, "source", None) is not None  # a flow may start from rows, not noise
    learnt = learnt or moved or model.family == "autoencoder"
    return not learnt and model._code_width() <= 2


def _padded(model: GenerativeModel, rows: int) -> int:
    block = evaluation_rows(model.encoding_.model_shape)
    return -(-rows // block) * block
