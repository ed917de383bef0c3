r"""The numbers of a report as a table for spreadsheets.

A spreadsheet takes text that opens with ``=``, ``+``, ``-`` or ``@`` for a formula and runs it, so
text that could be one is marked as text. Numbers are written with every digit they have.
"""

__all__ = ["results_csv"]

import csv
import io
import json
import math
from typing import Any


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
