r"""``info``: what a saved model is."""

__all__ = ["facts_of", "info"]

from pathlib import Path
from typing import Any

import fromnoise
from fromnoise.cli.exits import OK
from fromnoise.cli.flags import is_scalar, is_scalars
from fromnoise.cli.output import aligned, print_json, print_line, shortened
from fromnoise.cli.reading import Json, label_column

_ABILITIES = ("sample", "score_samples", "encode", "decode", "reconstruct", "impute", "predict")
_FEW = 20  # so many columns are listed


def info(run: str, *, as_json: Json = False) -> int:
    r"""Say what a saved model is: family, arguments, data, state.

    Args:
        run: Folder of the model.
        as_json: Print one JSON document, with all arguments and columns.
    """
    facts = facts_of(fromnoise.load(run), run)
    if as_json:
        print_json(facts)
    else:
        print_line(aligned(_lines(facts)))
    return OK


def facts_of(model: Any, path: str) -> dict[str, Any]:
    r"""Return what there is to say of a model that is saved in ``path``, as JSON."""
    arguments = _words(model.get_params(deep=False))
    defaults = _words(type(model)().get_params(deep=False))
    told = arguments.keys() - {"verbose"}  # it is of the call, not of the model
    return {
        "path": path,
        "family": model.family,
        "arguments": arguments,
        "changed": {k: v for k, v in arguments.items() if k in told and v != defaults.get(k)},
        **_schema(model.encoding_),
        "rows": model.n_samples_fit_,
        "label": _label(model),
        "status": model.status_,
        "reason": model.status_reason_,
        "unfinished": model.interrupted_,
        "steps": model.n_steps_,
        "fit_seconds": round(model.fit_seconds_, 3),
        "score_kind": model.score_kind_ if hasattr(model, "score_samples") else None,
        "abilities": [name for name in _ABILITIES if hasattr(model, name)],
        "parameters": model.n_parameters_,
        "bytes": sum(file.stat().st_size for file in Path(path).glob("*") if file.is_file()),
    }


def _words(arguments: dict[str, Any]) -> dict[str, Any]:
    r"""Return arguments as far as they can be read: a model among them by its repr."""
    given = {k: repr(v) if hasattr(v, "family") else v for k, v in arguments.items()}
    return {
        k: list(v) if is_scalars(v) else v
        for k, v in given.items()
        if is_scalar(v) or is_scalars(v)
    }


def _schema(encoding: Any) -> dict[str, Any]:
    r"""Return what kind of rows a model takes, column by column for a table."""
    if encoding.kind == "table":
        columns = [_column(role) for role in encoding.roles]
        return {"kind": "table", "shape": [len(columns)], "dtype": None, "columns": columns}
    shape = encoding.size if encoding.kind == "images" else (encoding.n_features,)
    return {"kind": encoding.kind, "shape": shape, "dtype": encoding.dtype, "columns": None}


def _column(role: Any) -> dict[str, Any]:
    levels = getattr(role, "levels", None)
    spec, kind = (role.spec, role.kind) if levels is None else (levels.spec, levels.kind)
    column = {"name": str(role.label), "type": kind, "dtype": spec["dtype"]}
    return column | {"missing": role.holes, "levels": None if levels is None else len(levels)}


def _label(model: Any) -> dict[str, Any] | None:
    condition = model.condition_
    if condition is None:
        return None
    classes = None if condition.classes_ is None else condition.classes_.tolist()
    width = None if classes is not None else condition.width
    return {"column": label_column(model), "classes": classes, "width": width}


def _lines(facts: dict[str, Any]) -> list[list[str]]:
    r"""Return names and values for people."""
    changed = ", ".join(f"{name}={value}" for name, value in facts["changed"].items())
    reason = f": {facts['reason']}" if facts["reason"] else ""
    reason += ", interrupted before its end (fit --resume goes on)" if facts["unfinished"] else ""
    kind = {None: "none", "exact": "exact", "estimate": "estimated", "lower_bound": "lower bound"}
    return [
        ["family", facts["family"]],
        ["status", facts["status"] + reason],
        ["fitted", f"{facts['rows']} rows, {facts['steps']} steps, {facts['fit_seconds']:.1f} s"],
        *_data_lines(facts),
        *_label_lines(facts["label"]),
        ["arguments", f"{changed or 'none'} (all others: defaults)"],
        ["log-density", kind[facts["score_kind"]]],
        ["can", ", ".join(facts["abilities"])],
        ["size", f"{facts['parameters']} parameters, {facts['bytes'] / 1000:.0f} kB on disk"],
    ]


def _data_lines(facts: dict[str, Any]) -> list[list[str]]:
    if facts["kind"] == "images":
        shape = " x ".join(map(str, facts["shape"]))
        return [["data", f"images of {facts['dtype']}, {shape} (channels, height, width)"]]
    if facts["kind"] == "vectors":
        return [["data", f"vectors of {facts['dtype']}, {facts['shape'][0]} columns"]]
    columns = facts["columns"]
    lines = [["data", f"table, {len(columns)} columns"]]
    lines += [["", _told(column)] for column in columns[:_FEW]]
    more = [["", f"… and {len(columns) - _FEW} more (--json lists them)"]]
    return lines + more * (len(columns) > _FEW)


def _told(column: dict[str, Any]) -> str:
    levels = "" if column["levels"] is None else f", {column['levels']} levels"
    missing = ", with missing values" if column["missing"] else ""
    return f"{shortened(column['name'])}: {column['type']}{levels}{missing}"


def _label_lines(label: dict[str, Any] | None) -> list[list[str]]:
    if label is None:
        return []
    column = "" if label["column"] is None else f"{shortened(label['column'])}: "
    if label["classes"] is None:
        return [["label", f"{column}{label['width']} numbers"]]
    names = [shortened(str(name)) for name in label["classes"]]
    more = ", …" if len(names) > _FEW else ""
    return [["label", f"{column}{len(names)} classes: {', '.join(names[:_FEW])}{more}"]]
