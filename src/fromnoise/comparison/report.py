r"""The report of a comparison: one page that answers which family to use, and shows why.

`report.json` (design: `format` 1) holds every number; `Material` holds what cannot be a number:
drawn rows, curves, neighbours. `write_report` turns both into a single `index.html` that asks the
network for nothing and runs no script, and `results_csv` into a table for spreadsheets.

All text in a report may come out of somebody's file. It is cut, made printable, and escaped by
Jinja, whose escaping is forced on here because it would be off for this file's ending; the page's
content policy forbids everything but its own styles and `data:` images. A figure that cannot be
drawn becomes a sentence in its place, so one odd column never loses the report.
"""

__all__ = ["Material", "results_csv", "write_report"]

import csv
import io
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader

from fromnoise.comparison.plots import (
    Picture,
    cut,
    image_grid,
    loss_curve,
    marginals,
    pair_plot,
)
from fromnoise.persistence import write_text

Row = dict[str, Any]
METRICS = {
    "energy_distance": "Squared distance of two samples; 0 when the distributions agree. "
    "Unbiased, so it may fall below 0.",
    "sliced_wasserstein": "How far mass must be moved, averaged over directions, in the units of "
    "the features.",
    "mmd": "Squared maximum mean discrepancy; 0 when the distributions agree. Unbiased, so it may "
    "fall below 0.",
    "frechet_distance": "Distance between Gaussians fitted to both samples.",
    "density": "How densely drawn rows lie among real ones; 1 is ideal.",
    "coverage": "Share of real rows that have a drawn row among their nearest neighbours.",
    "c2st": "How well boosted trees tell real from drawn (AUC); 0.5 is guessing, 1 is certain.",
    "copying": "0: as near to training rows as fresh data; 1: training rows handed out again.",
    "column_shapes": "Agreement of single columns, from 0 to 1.",
    "pair_trends": "Agreement of pairs of columns, from 0 to 1.",
    "log_likelihood": "Mean log-density of held-out rows, in nats and the units of the data.",
}
CAPABILITIES = {
    "samples": "draws samples",
    "density": "log-density",
    "encode": "codes",
    "conditional": "conditions on y",
    "impute": "fills in missing values",
}
PAIRS, NEIGHBOUR_COLUMNS = 3, 6


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

    Example:
        >>> Material(samples=np.zeros((3, 2))).labels is None
        True
    """

    samples: Any = None
    labels: list[str] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    neighbours: tuple[Any, Any] | None = None
    capabilities: dict[str, bool | str] = field(default_factory=dict)


def write_report(
    folder: Path, report: dict[str, Any], material: dict[str, Material], real: Material
) -> Path:
    r"""Write ``index.html``, the page that opens from disk.

    Args:
        folder: An existing folder; an older page is replaced atomically.
        report: The content of report.json.
        material: For names of ``report["rows"]``, what to show; names may be absent.
        real: Held-out real rows as ``samples``, to be seen beside the drawn ones.

    Returns:
        The path of the page.

    Raises:
        OSError: If the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> verdict = {"best": None, "tied": [], "why": "No family was fitted."}
        >>> data = {"kind": "vectors", "name": "moons", "rows": 100, "shape": [2]}
        >>> report = {"data": data, "protocol": {}, "verdict": verdict, "rows": []}
        >>> page = write_report(Path(tempfile.mkdtemp()), report, {}, Material(np.zeros((9, 2))))
        >>> "No family was fitted." in page.read_text()
        True
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (cut, _prose, _amount, _duration, _count)
    environment.filters |= {function.__name__.strip("_"): function for function in filters}
    page = environment.get_template("report.html.jinja").render(_view(report, material, real))
    path = Path(folder) / "index.html"
    # What was cut is printable; this is for lone surrogates in texts that need no cutting.
    write_text(path, page.encode("utf-8", "backslashreplace").decode())
    return path


def results_csv(report: dict[str, Any]) -> str:
    r"""Return the rows of a report as CSV, safe to open in a spreadsheet.

    Args:
        report: The content of report.json.

    Returns:
        One line for each row; three columns (value, low, high) for each metric. Text that a
        spreadsheet would take for a formula gets a leading apostrophe, numbers never do.

    Example:
        >>> results_csv({"rows": [{"name": "=1+1", "seconds": {"fit": -0.5}}]}).splitlines()[1]
        "'=1+1,,,,,,,,-0.5,,,,"
    """
    names = list(dict.fromkeys(name for row in report["rows"] for name in row.get("metrics", {})))
    texts = ["name", "role", "family", "arguments", "status", "reason", "flags"]
    numbers = ["parameters", "evaluations", "peak_memory_mb"]
    parts, times = ("value", "low", "high"), ("budget", "fit", "sample")
    header = [*texts, *(f"seconds_{part}" for part in times), *numbers]
    header += [f"{name}_{part}" if part != "value" else name for name in names for part in parts]
    stream = io.StringIO()
    # The default line end; with another, a lone carriage return would stay unquoted.
    writer = csv.writer(stream)
    writer.writerow(map(_cell, header))
    for row in report["rows"]:
        seconds, metrics = row.get("seconds") or {}, row.get("metrics") or {}
        line = [row.get(key) for key in texts] + [seconds.get(part) for part in times]
        line += [row.get(key) for key in numbers]
        line += [metrics.get(name, {}).get(part) for name in names for part in parts]
        writer.writerow(map(_cell, line))
    return stream.getvalue()


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, int | float):
        return repr(value)
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True) if value else ""
    text = text.encode("utf-8", "backslashreplace").decode()
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _prose(text: object, limit: int = 600) -> str:
    r"""Return a sentence on one line: line breaks are spaces here, not escapes."""
    return cut(" ".join(str(text)[: 4 * limit].split()), limit)


def _amount(value: float | None, spread: float | None = None) -> str:
    r"""Return a number with as many digits as two significant ones of ``spread``; else three."""
    if value is None or not math.isfinite(value):
        return "–"
    scale, digits = (spread, 1) if spread else (value, 2)
    # Rounded first: 0.00999… has its first digit where 0.01 has.
    decimals = digits - int(f"{scale:.{digits}e}".partition("e")[2])
    if abs(value) >= 1e6 or (decimals > 6 and abs(value) < 1e-3):
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa} × {_power(int(exponent))}".replace("-", "−")
    # Adding zero turns a rounded -0.0 into 0.0.
    decimals = max(0, min(decimals, 6))
    return f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", "−")


def _power(exponent: int) -> str:
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _duration(seconds: float | None) -> str:
    if not _finite(seconds) or seconds is None:
        return "–"
    if seconds < 300:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _count(value: float | None) -> str:
    r"""Return a whole number, from a thousand on with three digits and a unit."""
    if not _finite(value) or value is None:
        return "–"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if value >= size:
            value = value / (1e3 if unit == "k" else size)
            return f"{value:.{max(0, 2 - int(math.log10(value)))}f} {unit}"
    return f"{value:,.0f}"


@dataclass(frozen=True)
class _Column:
    r"""One metric down all rows: how it is written, and the scale of its bars."""

    name: str
    better: str
    target: float | None
    exponent: int
    frame: tuple[float, float]
    best: float | None
    mark: float | None

    @property
    def heading(self) -> str:
        return self.name.replace("_", " ")

    @property
    def goal(self) -> str:
        if self.better == "target":
            return f"{_amount(self.target).rstrip('0').rstrip('.')} is ideal"
        return f"{self.better} is better"

    @property
    def unit(self) -> str:
        return f"in {_power(self.exponent)}" if self.exponent else ""

    @property
    def meaning(self) -> str:
        return next((text for key, text in METRICS.items() if self.name.startswith(key)), "")

    def cell(self, row: Row) -> dict[str, Any] | None:
        r"""Return what a row's cell shows; None where it has no finite value."""
        value, low, high = (_part(row, self.name, part) for part in ("value", "low", "high"))
        if value is None:
            return None
        interval = (value, value) if low is None or high is None else (low, high)
        spread, factor = (interval[1] - interval[0]) / 2, 10.0**-self.exponent
        texts = [_amount(v * factor, spread * factor) for v in (value, *interval)]
        return {
            "value": texts[0],
            "interval": f"{texts[1]} to {texts[2]}" if spread > 0 else "",
            "at": self.position(value),
            "from": self.position(interval[0]),
            "to": self.position(interval[1]),
            "beyond": (value > self.frame[1]) - (value < self.frame[0]),
            "best": _ranked(row) and value == self.best,
        }

    def position(self, value: float) -> float:
        r"""Return where ``value`` lies on a bar from 0 to 100."""
        low, high = self.frame
        return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 2)


def _part(row: Row, metric: str, part: str) -> float | None:
    r"""Return a number out of a row's metrics; None where it is missing or not finite."""
    number = ((row.get("metrics") or {}).get(metric) or {}).get(part)
    return None if number is None or not _finite(number) else float(number)


def _ranked(row: Row) -> bool:
    sound = row.get("status") == "ok" and "copying" not in (row.get("flags") or ())
    return row.get("role") == "family" and sound


def _column(name: str, rows: list[Row]) -> _Column:
    found = [(row, row["metrics"][name]) for row in rows if name in (row.get("metrics") or {})]
    found = [(row, result) for row, result in found if _finite(result.get("value"))]
    first = found[0][1] if found else {}
    better, target = first.get("better", "lower"), first.get("target")
    own = [result for row, result in found if row.get("role") == "family"]
    real = [result for row, result in found if row.get("name") == "real"]
    ranked = [result["value"] for row, result in found if _ranked(row)]
    best = min(ranked, key=lambda value: _badness(value, better, target), default=None)
    sizes = [abs(result["value"]) for result in own or [result for _, result in found]]
    exponent = 0
    if sizes and (size := median(sizes)) > 0 and not 0.01 <= size < 1e4:
        exponent = math.floor(math.log10(size))
    mark = target if better == "target" else real[0]["value"] if real else None
    return _Column(name, better, target, exponent, _limits([*own, *real], mark), best, mark)


def _badness(value: float, better: str, target: float | None) -> float:
    if better == "target":
        return abs(value - (target or 0.0))
    return -value if better == "higher" else value


def _limits(results: list[dict[str, Any]], mark: float | None) -> tuple[float, float]:
    r"""Return the ends of a column's bars: all intervals, unless one lies far from the rest."""
    values = [result["value"] for result in results] or [mark or 0.0]
    ends = [result.get(key) for result in results for key in ("low", "high")]
    points = [*values, *(end for end in ends if _finite(end)), *([] if mark is None else [mark])]
    centre = median(values)
    reach = 6 * median(abs(value - centre) for value in values) or math.inf
    low, high = max(min(points), centre - reach), min(max(points), centre + reach)
    if mark is not None:
        low, high = min(low, mark), max(high, mark)
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _view(report: dict[str, Any], material: dict[str, Material], real: Material) -> dict[str, Any]:
    r"""Return what the template shows, in the order in which it shows it."""
    kind = report["data"].get("kind", "vectors")
    names = dict.fromkeys(name for row in report["rows"] for name in row.get("metrics") or {})
    columns = [_column(name, report["rows"]) for name in names]
    protocol = report.get("protocol") or {}
    columns.sort(key=lambda column: column.name != protocol.get("ranked_by"))
    families = [row for row in report["rows"] if row.get("role") == "family"]
    families.sort(key=lambda row: _place(row, report["verdict"], columns[:1]))
    references = [row for row in report["rows"] if row.get("role") != "family"]
    return {
        "data": report["data"],
        "size": _size(report["data"]),
        "verdict": report["verdict"],
        "tied": [n for n in report["verdict"].get("tied") or [] if n != report["verdict"]["best"]],
        "best": next((row for row in families if row["name"] == report["verdict"]["best"]), None),
        "columns": columns,
        "copying": next((c for c in columns if c.name.startswith("copying")), None),
        "families": families,
        "references": references,
        "cards": _sample_cards(kind, families + references, material, real, report["data"]),
        "curves": [(row, _kept(_curve, material.get(row["name"]))) for row in families],
        "copies": [
            (row, _kept(_neighbours, kind, material.get(row["name"]), report["data"]))
            for row in families
        ],
        "abilities": _abilities(families, material),
        "protocol": list(_flat(protocol)),
        "arguments": [(row["name"], _arguments(row)) for row in families],
        "troubled": [row for row in families if row.get("status") != "ok" or row.get("flags")],
    }


def _place(row: Row, verdict: dict[str, Any], columns: list[_Column]) -> tuple[Any, ...]:
    r"""Return the sort key: the best, then ranked rows by the ranking metric, then the rest."""
    badness = math.inf
    for column in columns:
        if (value := _part(row, column.name, "value")) is not None:
            badness = _badness(value, column.better, column.target)
    return row["name"] != verdict["best"], not _ranked(row), badness


def _size(data: dict[str, Any]) -> str:
    rows, shape = data.get("rows"), list(data.get("shape") or [])
    parts = [f"{rows:,} rows"] if _finite(rows) else []
    if data.get("kind") == "images" and len(shape) == 3:
        channels = "1 channel" if shape[0] == 1 else f"{shape[0]} channels"
        parts.append(f"{shape[1]} × {shape[2]} pixels, {channels}")
    elif shape:
        parts.append("1 column" if shape[-1] == 1 else f"{shape[-1]} columns")
    return ", ".join(parts)


def _kept(make: Callable[..., list[Any]], *arguments: Any) -> list[Any]:
    r"""Return the figures, or a note in their place: whatever the data hold, the page is kept."""
    try:
        return make(*arguments)
    except Exception as error:
        note = f"This figure could not be drawn: {_prose(error, 160)}"
        return [Picture("", "", "", note)]


def _sample_cards(
    kind: str, rows: list[Row], material: dict[str, Material], real: Material, data: dict[str, Any]
) -> list[tuple[str, list[Picture]]]:
    r"""Return a title and pictures for the real data (no title) and each row that drew some."""
    draw = {"images": _image_pictures, "table": _table_pictures}.get(kind, _vector_pictures)
    cards = [("", _kept(draw, real, None, data))]
    for row in rows:
        one = material.get(row["name"])
        if one is not None and one.samples is not None:
            cards.append((row["name"], _kept(draw, real, one, data)))
    return [(title, pictures) for title, pictures in cards if pictures]


def _image_pictures(real: Material, one: Material | None, _: Any) -> list[Picture]:
    shown = one or real
    return [image_grid(shown.samples, shown.labels)]


def _vector_pictures(real: Material, one: Material | None, data: dict[str, Any]) -> list[Picture]:
    r"""Return real and drawn rows in one figure; in two dimensions they stand side by side."""
    rows = np.asarray(real.samples, float)
    if one is None and rows.shape[1] != 2:
        return []
    fake = None if one is None else np.asarray(one.samples, float)
    return [pair_plot(rows, fake, _names(data, rows.shape[1]))]


def _table_pictures(real: Material, one: Material | None, data: dict[str, Any]) -> list[Picture]:
    frame = real.samples
    plane = frame.shape[1] == 2 and all(map(pd.api.types.is_float_dtype, frame.dtypes))
    scatter = _vector_pictures(real, one, data) if plane else []
    return scatter + ([] if one is None else [marginals(frame, one.samples)])


def _names(data: dict[str, Any], count: int) -> list[str]:
    given = data.get("columns")
    if isinstance(given, list | tuple) and len(given) == count:
        return [str(name) for name in given]
    return [f"x[{i}]" for i in range(count)]


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
    left, right = (pd.DataFrame(rows).iloc[:PAIRS, :NEIGHBOUR_COLUMNS] for rows in one.neighbours)
    is_table = isinstance(samples, pd.DataFrame)
    names = list(samples.columns) if is_table else _names(data, samples.shape[1])
    pairs = [
        [[_entry(value) for value in line] for line in pair]
        for pair in zip(*(frame.astype(object).values for frame in (left, right)), strict=True)
    ]
    return [{"header": [cut(name, 20) for name in names[:NEIGHBOUR_COLUMNS]], "pairs": pairs}]


def _entry(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return _amount(float(value))
    return cut(str(value).removesuffix(" 00:00:00"), 24)


def _abilities(families: list[Row], material: dict[str, Material]) -> dict[str, Any]:
    r"""Return the headings, and for each family what it can do under each."""
    names = [row["name"] for row in families if row["name"] in material]
    able = {name: material[name].capabilities for name in names}
    keys = list(dict.fromkeys(key for capabilities in able.values() for key in capabilities))
    return {
        "header": [CAPABILITIES.get(key, key.replace("_", " ")) for key in keys],
        "rows": [(name, [can.get(key, False) for key in keys]) for name, can in able.items()],
    }


def _arguments(row: Row) -> str:
    inside = ", ".join(f"{key}={value!r}" for key, value in (row.get("arguments") or {}).items())
    return f"{row.get('family') or row['name']}({inside})"


def _flat(node: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in node.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict):
            yield from _flat(value, f"{name} · ")
        elif isinstance(value, list | tuple):
            yield name, ", ".join(map(str, value)) or "–"
        else:
            words = {"True": "yes", "False": "no", "None": "–"}
            yield name, words.get(str(value), str(value))
