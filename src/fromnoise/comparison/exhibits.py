r"""What a report shows beside its numbers: samples, codes, training curves, neighbours.

`Material` holds what cannot be a number. For each kind of data it is shown as people look at it:
vectors and tables in one frame with the real rows, images in grids. A figure that cannot be drawn
becomes a sentence in its place, so one odd column never loses the report.
"""

__all__ = [
    "Material",
    "code_cards",
    "journey_cards",
    "neighbour_figures",
    "sample_cards",
    "training_figures",
]

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from fromnoise.comparison.code_figures import (
    code_map,
    interpolation,
    reconstructions,
    traversal,
)
from fromnoise.comparison.image_grids import image_grid
from fromnoise.comparison.jobs import Codes
from fromnoise.comparison.journey_figures import journey_figures
from fromnoise.comparison.journeys import Journey
from fromnoise.comparison.pictures import Picture
from fromnoise.comparison.plots import loss_curve, marginals, pair_plot
from fromnoise.comparison.row_tables import column_names, pair_table
from fromnoise.comparison.verdict import SILENT
from fromnoise.comparison.wording import prose


@dataclass(frozen=True)
class Material:
    r"""What one row of the report has to show beside its numbers.

    Args:
        samples: Drawn rows: vectors `(n, d)`, a DataFrame, or images `(n, C, H, W)` in [-1, 1];
            None where the model drew nothing.
        labels: The class of each sample, for conditional models.
        history: Records of the fit with keys such as step, seconds, loss, validation.
        neighbours: A few samples and, row by row, their nearest training rows.
        capabilities: Name to True, False or a short remark, such as ``{"density": "exact"}``.
        codes: What the model's codes have to show, with rows like ``samples``.
        journey: How noise becomes data, with images like ``samples``.
        unlabelled: Of real rows: ``samples`` without the label column; None if there is none.
        known: Of real rows: their labels, even where no model is given them.

    Example:
        >>> Material(samples=np.zeros((3, 2))).labels is None
        True
    """

    samples: Any = None
    labels: list[str] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    neighbours: tuple[Any, Any] | None = None
    capabilities: dict[str, bool | str] = field(default_factory=dict)
    codes: Codes | None = None
    journey: Journey | None = None
    unlabelled: Any = None
    known: Any = None


def sample_cards(
    kind: str,
    rows: list[dict[str, Any]],
    material: dict[str, Material],
    real: Material,
    data: dict[str, Any],
) -> list[tuple[str, list[Picture]]]:
    r"""Return a title and pictures for the real data (no title) and each row that drew some.

    Args:
        kind: ``"vectors"``, ``"table"`` or ``"images"``.
        rows: Rows of report.json, in the order of the page.
        material: For names of rows, what they have to show.
        real: Held-out real rows.
        data: What report.json says of the data.

    Returns:
        Titles and pictures; for a family that does not sample, a note that says so.

    Example:
        >>> real = Material(np.zeros((9, 2)))
        >>> [title for title, _ in sample_cards("vectors", [], {}, real, {})]
        ['']
    """
    draw = {"images": _image_pictures, "table": _table_pictures}.get(kind, _vector_pictures)
    cards = [("", _kept(draw, real, None, data))]
    for row in rows:
        one = material.get(row["name"])
        if one is not None and one.samples is not None:
            cards.append((row["name"], _kept(draw, real, one, data)))
        elif SILENT in (row.get("flags") or ()):
            cards.append((row["name"], [Picture("", "", "", _silence(row))]))
    return [(title, pictures) for title, pictures in cards if pictures]


def _silence(row: dict[str, Any]) -> str:
    said = "This family does not sample."
    return f"{said} {prose(row['reason'], 400)}" if row.get("reason") else said


def code_cards(
    kind: str,
    rows: list[dict[str, Any]],
    material: dict[str, Material],
    real: Material,
    data: dict[str, Any],
) -> list[tuple[dict[str, Any], list[tuple[str, list[Any]]]]]:
    r"""Return for each row with codes what they show: titles, each with figures.

    Args:
        kind: ``"vectors"``, ``"table"`` or ``"images"``.
        rows: Rows of report.json, in the order of the page.
        material: For names of rows, what they have to show.
        real: Held-out real rows.
        data: What report.json says of the data.

    Returns:
        Rows with their titles and figures.

    Example:
        >>> code_cards("vectors", [{"name": "gmm"}], {"gmm": Material()}, Material(), {})
        []
    """
    originals = real.samples if real.unlabelled is None else real.unlabelled
    cards = []
    for row in rows:
        one = material.get(row["name"])
        if one is None or one.codes is None:
            continue
        if one.codes.failure:
            note = f"The codes of this model cannot be shown: {prose(one.codes.failure, 400)}"
            cards.append((row, [("No figures", [Picture("", "", "", note)])]))
            continue
        names = None if kind == "table" else data.get("columns")
        titled = {
            "Reconstructions": _kept(reconstructions, kind, one.codes, originals, names),
            "One number of the code at a time": _kept(traversal, one.codes),
            "From one image to another": _kept(interpolation, one.codes, originals),
            "Map of the codes": _kept(code_map, one.codes, real.known),
        }
        cards.append((row, [(title, shown) for title, shown in titled.items() if shown]))
    return cards


def journey_cards(
    rows: list[dict[str, Any]], material: dict[str, Material], real: Material, data: dict[str, Any]
) -> list[tuple[dict[str, Any], list[Picture]]]:
    r"""Return for each row that shows how noise becomes data: the row, and its figures.

    Args:
        rows: Rows of report.json, in the order of the page.
        material: For names of rows, what they have to show.
        real: Held-out real rows.
        data: What report.json says of the data.

    Returns:
        Rows with their figures.

    Example:
        >>> journey_cards([{"name": "gmm"}], {"gmm": Material()}, Material(), {})
        []
    """
    shown = [(row, material.get(row["name"])) for row in rows]
    cards = [
        (row, _kept(journey_figures, one.journey, real.samples, data.get("columns")))
        for row, one in shown
        if one is not None and one.journey is not None
    ]
    return [card for card in cards if card[1]]


def training_figures(one: Material | None) -> list[Picture]:
    r"""Return the losses of a fit, or a note why there are none.

    Args:
        one: What the family has to show.

    Returns:
        One picture.

    Example:
        >>> training_figures(None)[0].caption
        'No training history was recorded.'
    """
    return _kept(_curve, one)


def neighbour_figures(kind: str, one: Material | None, data: dict[str, Any]) -> list[Any]:
    r"""Return drawn rows beside the training rows nearest to them.

    Args:
        kind: ``"vectors"``, ``"table"`` or ``"images"``.
        one: What the family has to show.
        data: What report.json says of the data.

    Returns:
        Nothing, a picture (images), or a small table: header and pairs of rows.

    Example:
        >>> one = Material(neighbours=(np.zeros((1, 2)), np.ones((1, 2))))
        >>> neighbour_figures("vectors", one, {"columns": ["a", "b"]})[0]["pairs"]
        [[['0.00', '0.00'], ['1.00', '1.00']]]
    """
    return _kept(_neighbours, kind, one, data)


def _kept(make: Callable[..., list[Any]], *arguments: Any) -> list[Any]:
    r"""Return the figures, or a note in their place: whatever the data hold, the page is kept."""
    try:
        return make(*arguments)
    except Exception as error:
        note = f"This figure could not be drawn: {prose(error, 160)}"
        return [Picture("", "", "", note)]


def _image_pictures(real: Material, one: Material | None, _: Any) -> list[Picture]:
    shown = one or real
    return [image_grid(shown.samples, shown.labels)]


def _vector_pictures(real: Material, one: Material | None, data: dict[str, Any]) -> list[Picture]:
    r"""Return real and drawn rows in one figure; in two dimensions they stand side by side."""
    rows = np.asarray(real.samples, float)
    if one is None and rows.shape[1] != 2:
        return []
    fake = None if one is None else np.asarray(one.samples, float)
    return [pair_plot(rows, fake, column_names(data.get("columns"), rows.shape[1]))]


def _table_pictures(real: Material, one: Material | None, data: dict[str, Any]) -> list[Picture]:
    frame = real.samples
    plane = frame.shape[1] == 2 and all(map(pd.api.types.is_float_dtype, frame.dtypes))
    scatter = _vector_pictures(real, one, data) if plane else []
    return scatter + ([] if one is None else [marginals(frame, one.samples)])


def _curve(one: Material | None) -> list[Picture]:
    if one is None or not one.history:
        return [Picture("", "", "", "No training history was recorded.")]
    return [loss_curve(one.history)]


def _neighbours(kind: str, one: Material | None, data: dict[str, Any]) -> list[Any]:
    r"""Return nothing, a picture (images), or a small table: header and pairs of rows."""
    if one is None or one.neighbours is None:
        return []
    samples, nearest = one.neighbours
    if kind == "images":
        count = min(len(samples), 6)
        labels = ["drawn"] * count + ["nearest training"] * count
        return [image_grid(np.concatenate([samples[:count], nearest[:count]]), labels)]
    return [pair_table(samples, nearest, ("drawn", "nearest"), data.get("columns"))]
