r"""What a model's codes have to show: a few held-out rows on their way through them.

    reconstruction  x̂ = decode(encode(x)), for models that compress
    traversal       one number of an image's code at a time takes the values that lie between -2
                    and 2 standard deviations of a normal distribution: the quantiles of training
                    codes at Φ(-2) to Φ(2)
    interpolation   codes between those of two images. Codes that are N(0, I) all have about the
                    same length √k, which a straight line between two of them leaves, so there it
                    is an arc (Shoemake 1985, "Animating rotation with quaternion curves"):
                    z_t = (sin((1 - t)θ) a + sin(tθ) b)/sin θ, with θ the angle between a and b
    plane           the codes' first two principal components

It is all decoded from a few dozen rows; a model whose codes cost more than seconds shows none.
"""

__all__ = ["codes_of", "slerp"]

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import norm

from fromnoise import data
from fromnoise.base import GenerativeModel
from fromnoise.base.field import EXACT_STEPS
from fromnoise.base.interpolation import slerp
from fromnoise.comparison.jobs import Codes, Split
from fromnoise.networks.defaults import evaluation_rows

logger = logging.getLogger("fromnoise")

MOST_IMAGES, MOST_ROWS = 500, 2000  # that are coded
DIMENSIONS, LEVELS = 5, np.linspace(-2, 2, 8)
PAIRS, STEPS = 3, np.linspace(0, 1, 6)
LONGEST_SECONDS = 5.0
_CANDIDATES = 200  # held-out rows among which pairs of one class are looked for
_RK4 = 4  # evaluations of a network in a step of the solver that codes by an ODE


def codes_of(model: GenerativeModel, split: Split, seconds: float | None) -> Codes | None:
    r"""Return what the codes of a fitted model have to show.

    Args:
        model: The model.
        split: Its training and held-out rows; codes are shown of the first held-out ones.
        seconds: What it took to draw one row; None if the model draws none.

    Returns:
        The codes, or why they cannot be shown; None where the model has none, or they cost too
        much.
    """
    if not (hasattr(model, "encode") and hasattr(model, "decode")):
        return None
    show = _Show(model, split)
    if hasattr(model, "reconstruct"):
        return _tried(show.all_of_it, type(model).__name__)
    cost = show.seconds_between(seconds)
    if cost is None or cost >= LONGEST_SECONDS:
        return None
    return _tried(show.interpolation, type(model).__name__)


def _tried(make: Callable[[], Codes], name: str) -> Codes:
    r"""Return the codes, or why there are none: whatever a decoder does, the fit is kept."""
    try:
        return make()
    except Exception as error:
        logger.warning("The codes of %s cannot be shown: %s", name, error)
        return Codes(size=0, failure=f"{type(error).__name__}: {error}")


class _Show:
    r"""One model and the rows that it is to show."""

    def __init__(self, model: Any, split: Split) -> None:
        self.model, self.split = model, split
        self.is_images = model.encoding_.kind == "images"
        # An auto-encoder's codes follow no law that is known, nor do those of a learnt mixture.
        self.spherical = model.family != "autoencoder" and self._argument("prior") != "vamp"

    def all_of_it(self) -> Codes:
        r"""Return everything, for a model whose codes are cheap."""
        most = MOST_IMAGES if self.is_images else MOST_ROWS
        X, y = self._rows(np.arange(min(most, self._held_out)))
        codes, training = self.model.encode(X, y), self._training_codes(most)
        points, explained = _plane(codes, training)
        traversed, dimensions = (None, ()) if not self.is_images else self._traversed(training)
        between, ends = (None, ()) if not self.is_images else self._between()
        return Codes(
            size=codes.shape[1],
            reconstructed=self.model.reconstruct(X, y),
            points=points,
            explained=explained,
            traversed=traversed,
            dimensions=dimensions,
            between=between,
            ends=ends,
            spherical=self.spherical,
        )

    def interpolation(self) -> Codes:
        r"""Return images between images and no more, for a model that codes by an ODE."""
        between, ends = self._between()
        size = int(np.prod(self.model.encoding_.model_shape))
        return Codes(size=size, between=between, ends=ends, spherical=self.spherical)

    def seconds_between(self, seconds_a_row: float | None) -> float | None:
        r"""Return what :meth:`interpolation` will take; None where there is none."""
        if not self.is_images or seconds_a_row is None or not self.model.n_evaluations:
            return None
        block = evaluation_rows(self.model.encoding_.model_shape)  # smaller ones are filled up
        rows = sum(-(-count // block) * block for count in (2 * PAIRS, PAIRS * len(STEPS)))
        return seconds_a_row / self.model.n_evaluations * _RK4 * EXACT_STEPS * rows

    @property
    def _held_out(self) -> int:
        return data.n_rows(self.split.test)

    def _argument(self, name: str) -> Any:
        value = getattr(self.model, name, None)
        return value if isinstance(value, str) else None

    def _rows(self, index: np.ndarray) -> tuple[Any, Any]:
        y = self.split.test_y
        return data.take(self.split.test, index), None if y is None else data.take(y, index)

    def _training_codes(self, n: int) -> np.ndarray:
        index = np.arange(min(n, data.n_rows(self.split.train)))
        y = self.split.train_y
        labels = None if y is None else data.take(y, index)
        return np.asarray(self.model.encode(data.take(self.split.train, index), labels), float)

    def _traversed(self, training: np.ndarray) -> tuple[Any, tuple[int, ...]]:
        order = np.argsort(-training.var(0), kind="stable")[:DIMENSIONS]
        X, y = self._rows(np.zeros(1, int))
        codes = np.repeat(self.model.encode(X, y), len(order) * len(LEVELS), axis=0)
        values = np.quantile(training[:, order], norm.cdf(LEVELS), axis=0)  # (levels, dimensions)
        for i, dimension in enumerate(order):
            codes[i * len(LEVELS) : (i + 1) * len(LEVELS), dimension] = values[:, i]
        _, labels = self._rows(np.zeros(len(codes), int))
        return self.model.decode(codes, labels), tuple(order.tolist())

    def _between(self) -> tuple[Any, tuple[tuple[int, int], ...]]:
        ends = self._pairs()
        first, second = ends.T
        coded = self.model.encode(*self._rows(ends.ravel())).astype(float)
        codes = [self._path(a, b) for a, b in zip(coded[::2], coded[1::2], strict=True)]
        X = self.model.decode(np.concatenate(codes), self._labels_between(first, second))
        return X, tuple((int(i), int(j)) for i, j in ends)

    def _path(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if self.spherical:
            return slerp(a, b, STEPS)
        return np.asarray((1 - STEPS[:, None]) * a + STEPS[:, None] * b)

    def _pairs(self) -> np.ndarray:
        r"""Return which images to stand between, `(pairs, 2)`: of one class, if that is given."""
        condition = self.model.condition_
        n = min(_CANDIDATES, self._held_out)
        if condition is None or not condition.n_classes:
            return np.arange(2 * PAIRS).reshape(PAIRS, 2)
        labels = condition.check_encode(self._rows(np.arange(n))[1], n)
        alike = [np.flatnonzero(labels == label)[:2] for label in range(condition.n_classes)]
        pairs = [pair for pair in alike if len(pair) == 2][:PAIRS]
        return np.array(pairs) if pairs else np.zeros((1, 2), int)

    def _labels_between(self, first: np.ndarray, second: np.ndarray) -> Any:
        condition, y = self.model.condition_, self.split.test_y
        if condition is None:
            return None
        a, b = (data.take(y, np.repeat(index, len(STEPS))) for index in (first, second))
        if condition.n_classes:
            return a
        a, b = np.asarray(a, float), np.asarray(b, float)
        t = np.tile(STEPS, len(first)).reshape(-1, *[1] * (a.ndim - 1))
        return (1 - t) * a + t * b


def _plane(codes: np.ndarray, training: np.ndarray) -> tuple[np.ndarray | None, float | None]:
    r"""Return codes in the plane of the training codes' largest variance, and its share of it."""
    if codes.shape[1] < 2:
        return None, None
    codes = np.asarray(codes, float)
    if codes.shape[1] == 2:
        return codes, None
    centre = training.mean(0)
    _, singular, axes = np.linalg.svd(training - centre, full_matrices=False)
    total = np.square(singular).sum()
    share = float(np.square(singular[:2]).sum() / total) if total else 1.0
    return (codes - centre) @ axes[:2].T, share
