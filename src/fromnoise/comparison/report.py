r"""The report of a comparison: one page that answers which family to use, and shows why.

`report.json` (design: `format` 1) holds every number; `Material` holds what cannot be a number:
drawn rows, curves, neighbours. `write_report` turns both into a single `index.html` that asks the
network for nothing and runs no script.

All text in a report may come out of somebody's file. It is cut, made printable, and escaped by
Jinja, whose escaping is forced on here because it would be off for this file's ending; the page's
content policy forbids everything but its own styles and `data:` images.
"""

__all__ = ["write_report"]

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from fromnoise.comparison.exhibits import (
    Material,
    code_cards,
    journey_cards,
    neighbour_figures,
    sample_cards,
    training_figures,
)
from fromnoise.comparison.metric_columns import Row, grouped, metric_column, place, spent
from fromnoise.comparison.verdict import SILENT
from fromnoise.comparison.wording import amount, count, cut, duration, is_finite, megabytes, prose
from fromnoise.persistence import write_text

FEW = 200  # held-out rows
CAPABILITIES = {
    "samples": "draws samples",
    "density": "log-density",
    "encode": "codes",
    "reconstruct": "reconstructs",
    "conditional": "conditions on y",
    "impute": "fills in missing values",
}


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
        >>> import numpy as np
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
    filters = (cut, prose, amount, duration, count, megabytes, spent)
    environment.filters |= {function.__name__: function for function in filters}
    page = environment.get_template("report.html.jinja").render(_view(report, material, real))
    path = Path(folder) / "index.html"
    # What was cut is printable; this is for lone surrogates in texts that need no cutting.
    write_text(path, page.encode("utf-8", "backslashreplace").decode())
    return path


def _view(report: dict[str, Any], material: dict[str, Material], real: Material) -> dict[str, Any]:
    r"""Return what the template shows, in the order in which it shows it."""
    kind = report["data"].get("kind", "vectors")
    names = dict.fromkeys(name for row in report["rows"] for name in row.get("metrics") or {})
    columns = [metric_column(name, report["rows"]) for name in names]
    protocol = report.get("protocol") or {}
    columns.sort(key=lambda column: column.name != protocol.get("ranked_by"))
    families = [row for row in report["rows"] if row.get("role") == "family"]
    families.sort(key=lambda row: place(row, report["verdict"], columns[:1]))
    references = [row for row in report["rows"] if row.get("role") != "family"]
    return {
        "data": report["data"],
        "size": _size(report["data"]),
        "verdict": report["verdict"],
        "tied": [n for n in report["verdict"].get("tied") or [] if n != report["verdict"]["best"]],
        "best": next((row for row in families if row["name"] == report["verdict"]["best"]), None),
        "columns": columns,
        "groups": grouped(columns, protocol.get("ranked_by")),
        "seen": _seen(kind, protocol),
        "few": _few(protocol.get("held_out_rows")),
        "costly": [row for row in families + references if _has_cost(row)],
        "copying": next((c for c in columns if c.name.startswith("copying")), None),
        "families": families,
        "references": references,
        "cards": sample_cards(kind, families + references, material, real, report["data"]),
        "journeys": journey_cards(families, material, real, report["data"]),
        "codes": code_cards(kind, families, material, real, report["data"]),
        "curves": [(row, training_figures(material.get(row["name"]))) for row in families],
        "copies": [
            (row, neighbour_figures(kind, material.get(row["name"]), report["data"]))
            for row in families
        ],
        "abilities": _abilities(families, material),
        "protocol": list(_flat(protocol)),
        "arguments": [(row["name"], _arguments(row)) for row in families],
        "silent": SILENT,
        "troubled": [row for row in families if _is_troubled(row)],
    }


def _has_cost(row: Row) -> bool:
    return row.get("role") == "family" or any(
        value is not None for key, value in (row.get("seconds") or {}).items() if key != "budget"
    )


def _seen(kind: str, protocol: dict[str, Any]) -> str:
    r"""Return in what features rows were compared."""
    name, simple = protocol.get("features"), protocol.get("simple_features")
    usual = {
        "vectors": "Columns are compared in units of their standard deviation.",
        "table": "Numbers are compared in units of their standard deviation, and categories as"
        " columns of 0 and 1.",
    }
    if name is None:
        return ""
    if name == simple and kind in usual:
        return usual[kind]
    if name == simple:
        return f"Images are compared by the principal components of their pixels ({name})."
    what = f"features of the name {name}"
    if name == "enetlite0":
        what = (
            "1,280 features of EfficientNet-Lite0, a network trained on ImageNet, at 112 pixels a"
            " side"
        )
    return f"Distances are measured in {what}; c2st and copying see {simple} features."


def _few(held_out: Any) -> str:
    r"""Return a warning where so few rows are held out that differences may not show."""
    if not is_finite(held_out) or held_out >= FEW:
        return ""
    return (
        f"Only {held_out:.0f} rows are held out: the intervals are wide, and differences between"
        " families may not show."
    )


def _is_troubled(row: Row) -> bool:
    return row.get("status") != "ok" or bool(set(row.get("flags") or ()) - {SILENT})


def _size(data: dict[str, Any]) -> str:
    rows, shape = data.get("rows"), list(data.get("shape") or [])
    parts = [f"{rows:,} rows"] if is_finite(rows) else []
    if data.get("kind") == "images" and len(shape) == 3:
        channels = "1 channel" if shape[0] == 1 else f"{shape[0]} channels"
        parts.append(f"{shape[1]} × {shape[2]} pixels, {channels}")
    elif shape:
        parts.append("1 column" if shape[-1] == 1 else f"{shape[-1]} columns")
    return ", ".join(parts)


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
