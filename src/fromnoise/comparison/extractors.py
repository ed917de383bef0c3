r"""What rows are turned into before they are compared, and how the numbers are named for it.

Distances, neighbours and moments see the features that were asked for; boosted trees, which need
few columns, and copying, which is of the data themselves, always see the simple ones:

    vectors     standardised columns                       no ending
    table       numbers standardised, categories as 0/1    no ending
    images      64 principal components of the pixels      _pca

``features`` replaces the former: for images by ``"pixels"`` or ``"enetlite0"``, for every kind by
a function. A number is named for what it was measured in: ``mmd_pca``, ``mmd_enetlite0``.
"""

__all__ = [
    "FEATURES",
    "Extractor",
    "Features",
    "check_features",
    "extractor",
    "flat",
    "name_of",
    "simple",
]

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fromnoise.errors import DataError, did_you_mean, shown
from fromnoise.metrics import EnetLite0, PixelPCA, Standardise, TableFeatures
from fromnoise.metrics.pairs import checked

Features = str | Callable[[Any], Any]
FEATURES = ("auto", "pixels", "pca", "enetlite0")
SMALLEST_SIDE = 32  # pixels: what a network that was trained on photographs sees smaller is blur


@dataclass(frozen=True)
class Extractor:
    r"""A map from rows to numbers, and its name.

    Args:
        name: What the report calls it.
        ending: What the names of metrics end in.
        given: Whether it takes rows as the user gives them; else as :meth:`Measure.rows` does.
        function: Rows -> numbers, `(n, d)`.
        costly: Whether it is to see no more rows than are needed.
    """

    name: str
    ending: str
    given: bool
    function: Callable[[Any], Any]
    costly: bool = False


def check_features(features: Any, kind: str) -> None:
    r"""Refuse what names no features of this kind of data.

    Args:
        features: The argument of :func:`fromnoise.compare`.
        kind: ``"vectors"``, ``"table"`` or ``"images"``.

    Raises:
        ValueError: If it is neither a function nor a name, or a name for images only.

    Example:
        >>> check_features("pca", "vectors")
        Traceback (most recent call last):
        ValueError: features='pca' is for images; pass "auto" or a function for vectors.
    """
    if callable(features) or features == "auto":
        return
    if features not in FEATURES:
        hint = did_you_mean(str(features), FEATURES)
        raise ValueError(
            f"features must be one of {', '.join(FEATURES)}, or a function from rows to an array"
            f" (n, d), got {shown(features)}.{hint}"
        )
    if kind != "images":
        raise ValueError(
            f'features={features!r} is for images; pass "auto" or a function for {kind}.'
        )


def simple(kind: str, rows: Any) -> Extractor:
    r"""Return the features that trees and copying see, and by default all metrics.

    Args:
        kind: ``"vectors"``, ``"table"`` or ``"images"``.
        rows: Training rows, as :meth:`Measure.rows` returns them.

    Returns:
        The map, fitted on these rows.

    Example:
        >>> simple("images", np.zeros((9, 1, 4, 4))).ending
        '_pca'
    """
    fitted: Any = {"vectors": Standardise, "table": TableFeatures, "images": PixelPCA}[kind]
    features = fitted.fit(rows)
    return Extractor(features.name, "_pca" if kind == "images" else "", False, features)


def extractor(features: Features, default: Extractor, X: Any, shape: tuple[int, ...]) -> Extractor:
    r"""Return the features that distances are measured in.

    Args:
        features: A name or a function. For images of one or three channels that are at least 32
            pixels high and wide, ``"auto"`` is ``"enetlite0"`` if its weights are installed.
        default: The simple features, which ``"auto"`` is otherwise.
        X: Training rows as the user gave them.
        shape: Of one image, (C, H, W).

    Returns:
        The map.

    Raises:
        DataError: If images cannot be turned into these features, or their weights are missing.

    Example:
        >>> default = simple("images", np.zeros((9, 1, 4, 4)))
        >>> extractor("auto", default, np.zeros((9, 4, 4)), (1, 4, 4)) is default
        True
        >>> extractor(np.mean, default, np.zeros((9, 4, 4)), (1, 4, 4)).ending
        '_mean'
    """
    if callable(features):
        name = name_of(features)
        return Extractor(name, f"_{name}", True, _Own(features, name))
    if features == "pixels":
        return Extractor("pixels", "_pixels", False, flat)
    if features == "enetlite0" or (features == "auto" and _suits_network(shape)):
        return _network(X, default, required=features == "enetlite0")
    return default


def _suits_network(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) >= SMALLEST_SIDE


def _network(X: Any, default: Extractor, *, required: bool) -> Extractor:
    try:
        features = EnetLite0.fit(X)
    except DataError:
        if required:
            raise
        return default  # the weights are an extra
    return Extractor(features.name, f"_{features.name}", True, features, costly=True)


@dataclass(frozen=True)
class _Own:
    r"""A function of the user's, whose mistakes are told."""

    function: Callable[[Any], Any]
    name: str

    def __call__(self, X: Any) -> np.ndarray:
        try:
            found = np.asarray(self.function(X))
        except Exception as error:
            raise DataError(f"features={self.name} failed: {shown(error)}") from error
        (rows,) = checked({f"the result of features={self.name}": found}, minimum=1)
        if len(rows) != len(X):
            raise DataError(
                f"features={self.name} must return one row a row, got {len(rows)} for {len(X)}."
            )
        return rows


def name_of(function: Callable[[Any], Any]) -> str:
    r"""Return what the report calls a function.

    Example:
        >>> name_of(np.log), name_of(lambda rows: rows)
        ('log', 'features')
    """
    given = getattr(function, "name", None) or getattr(function, "__name__", "")
    text = given if isinstance(given, str) and given else type(function).__name__
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower()
    return "features" if name in ("", "lambda") else name[:24]


def flat(images: np.ndarray) -> np.ndarray:
    r"""Return images as rows of pixels, float64.

    Example:
        >>> flat(np.zeros((3, 1, 4, 4))).shape
        (3, 16)
    """
    return np.asarray(images, dtype=np.float64).reshape(len(images), -1)
