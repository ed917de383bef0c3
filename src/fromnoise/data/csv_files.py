r"""CSV files, read as text, with types inferred here, because general readers destroy values.

To them the category ``NA`` is a missing value, ``00123`` is 123, 2**53 + 1 beside a gap loses its
last digit, and a row that is too long shifts the others. So an empty field is missing; a column
is of integers, floats, booleans or ISO 8601 dates only if all its fields are, in which case
``NA``, ``NaN`` and ``null`` mean missing among numbers; all else is text, kept to the letter.
Whatever cannot be read for certain is refused with its line.

Fields are separated by what splits the first line: commas, semicolons or tabs. Where it is no
comma, as in the files of much of the world's spreadsheets, ``1,5`` is a number.
"""

__all__ = ["read_csv", "refuse_misfit"]

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fromnoise.data.memory import refuse_too_large
from fromnoise.errors import DataError, shown

if TYPE_CHECKING:
    import pandas as pd

_BOMS = {
    # UTF-32's mark begins with UTF-16's, so it is looked for first.
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF8: "utf-8",
}
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_TIMES = 8  # as much memory as its size in bytes takes a file at least, at 16 bytes a field
_SLIPS = 0.05  # share of a column's fields that may be a slip of the pen rather than its kind
_GAPS = {"", "NA", "NaN", "nan", "null"}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)\.?|(0|[1-9][0-9]*)?\.[0-9]+)([eE][+-]?[0-9]+)?")
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_TRUTH = [{"true": True, "false": False}, {"True": True, "False": False},
          {"TRUE": True, "FALSE": False}]  # fmt: skip


def read_csv(path: Path, encoding: str = "utf-8") -> "tuple[pd.DataFrame, tuple[str, ...]]":
    r"""Read a file of separated values whose first line names the columns.

    Args:
        path: The file.
        encoding: Of a file without a byte order mark.

    Returns:
        A pandas DataFrame, and remarks.

    Raises:
        DataError: If it cannot be read whole and for certain; the message says where.
        MemoryError: If what it holds would not fit in memory.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "codes.csv"
        >>> _ = path.write_text("code,size\n00123,1.5\nNA,\n")
        >>> frame, notes = read_csv(path)
        >>> frame["code"].tolist(), notes
        (['00123', 'NA'], ())
    """
    import pandas as pd

    place = shown(str(path), 120)
    advice = "write it as Parquet, of which fromnoise.data.to_npy makes a .npy file by blocks."
    refuse_too_large(_TIMES * path.stat().st_size, f"{place}, read whole,", advice)
    text = _decoded(path.read_bytes(), place, encoding)
    mark = _delimiter(place, text)
    header, rows, lines = _parsed(place, text, mark)
    columns, with_commas, odd = [], [], []
    for name, fields in zip(header, zip(*rows, strict=True), strict=True):
        pointed = None if mark == "," else _pointed(fields)
        with_commas += [shown(name)] * (pointed is not None)
        columns.append(_infer(f"{place}, column {shown(name)}", pointed or list(fields), lines))
        if pd.api.types.is_string_dtype(columns[-1]):
            odd += _slips(name, fields, lines)
    frame = pd.concat(columns, axis=1)
    frame.columns = pd.Index(header)
    return frame, (*_remarks(mark, with_commas), *odd)


def refuse_misfit(path: Path, column: str, kind: str, like: str, encoding: str = "utf-8") -> None:
    r"""Refuse the first field that makes text of a column, by its line.

    Args:
        path: A file that `read_csv` reads.
        column: Name of a column.
        kind: What it should hold: ``"integer"``, ``"real"``, ``"boolean"`` or ``"date"``; of
            anything else there is no misfit.
        like: Where it does, for the sentence.
        encoding: As for `read_csv`.

    Raises:
        DataError: If there is such a field.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "rides.csv"
        >>> _ = path.write_text("fare\n7.5\n\n1.5x\n")
        >>> refuse_misfit(path, "fare", "real", "fit")
        Traceback (most recent call last):
        fromnoise.errors.DataError: ...rides.csv', column 'fare', holds '1.5x' on line 4: ...
    """
    if kind not in _KINDS:
        return
    what, fits = _KINDS[kind]
    place = shown(str(path), 120)
    text = _decoded(path.read_bytes(), place, encoding)
    mark = _delimiter(place, text)
    header, rows, lines = _parsed(place, text, mark)
    for row, line in zip(rows, lines, strict=True):
        field = row[header.index(column)].strip()
        pointed = field if mark == "," else field.replace(",", ".")
        if field not in _GAPS and not fits(pointed):
            raise DataError(
                f"{place}, column {shown(column)}, holds {shown(field)} on line {line}: expected"
                f" {what}, as in {like}."
            )


def _slips(name: str, fields: Sequence[str], lines: list[int]) -> list[str]:
    r"""Say which few fields make text of a column of numbers or dates."""
    counts = Counter(field.strip() for field in fields if field.strip() not in _GAPS)
    for what, fits in (("numbers", _is_number), ("dates", _is_date)):
        wrong = {field for field in counts if not fits(field)}
        many = sum(counts[field] for field in wrong)
        if 0 < many <= _SLIPS * counts.total():
            first = next(i for i, field in enumerate(fields) if field.strip() in wrong)
            more = f" and {many - 1} more" if many > 1 else ""
            return [
                f"{shown(name)} is text, though its other fields are {what}, for"
                f" {shown(fields[first])} on line {lines[first]}{more}"
            ]
    return []


def _remarks(mark: str, with_commas: list[str]) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    if mark != ",":
        notes = (f"fields separated by {_DELIMITERS[mark]}",)
    if with_commas:
        more = f" and {len(with_commas) - 5} more" if len(with_commas) > 5 else ""
        notes += (f"1,5 read as 1.5 in {', '.join(with_commas[:5])}{more}",)
    return notes


def _delimiter(place: str, text: str) -> str:
    r"""Return what splits the first line; where several do, that which splits all lines alike."""
    splitting = [mark for mark in _DELIMITERS if len(next(_plain_records(text, mark), [])) > 1]
    if len(splitting) < 2:
        return splitting[0] if splitting else ","
    even = [
        mark
        for mark in splitting
        if len({*map(len, filter(None, _plain_records(text, mark)))}) == 1
    ]
    if len(even) > 1:
        names = " and by ".join(_DELIMITERS[mark] for mark in even)
        raise DataError(
            f"{place} can be read as separated by {names}: put quotation marks around the column "
            "names that hold such a mark."
        )
    return even[0] if even else ","


def _plain_records(text: str, mark: str) -> Iterator[list[str]]:
    r"""Yield records up to one that is broken, which is told of later."""
    try:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    except csv.Error:
        return


def _pointed(fields: Sequence[str]) -> list[str] | None:
    r"""Return numbers with a decimal comma written with a point; None if they are no such."""
    numbers = [field.strip() for field in fields if field.strip() not in _GAPS]
    if not any("," in field for field in numbers) or any("." in field for field in numbers):
        return None
    pointed = [field.replace(",", ".") for field in fields]
    sound = all(_NUMBER.fullmatch(field.replace(",", ".")) for field in numbers)
    return pointed if sound else None


def _decoded(raw: bytes, place: str, encoding: str) -> str:
    mark = next((mark for mark in _BOMS if raw.startswith(mark)), b"")
    codec = _BOMS.get(mark, encoding)
    try:
        text = raw[len(mark) :].decode(codec)
    except LookupError:
        raise DataError(f"There is no encoding {shown(encoding)}: try utf-8 or latin-1.") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{place} is not {codec}: byte {len(mark) + error.start} is wrong. Say what it "
            'is by encoding=, for example encoding="latin-1" (--encoding latin-1).'
        ) from None
    if "\0" in text:
        offset = len(mark) + len(text[: text.index("\0")].encode(codec))
        raise DataError(
            f"{place} holds a NUL at byte {offset}: it is damaged, or UTF-16 without a byte "
            'order mark, which encoding="utf-16-le" (--encoding utf-16-le) would read.'
        )
    return text


def _parsed(place: str, text: str, mark: str) -> tuple[list[str], list[list[str]], list[int]]:
    records = _records(place, text, mark)
    _, header = next(records, (1, []))
    _check_header(place, header)
    rows, lines = [], []
    for line, row in records:
        if not row and len(header) == 1:
            row = [""]
        if row and len(row) != len(header):
            raise DataError(
                f"{place}, line {line}: expected {len(header)} fields as in the header, got "
                f"{len(row)}. Quote fields that hold {_DELIMITERS[mark]}, and write empty "
                "ones for gaps."
            )
        if row:
            rows.append(row)
            lines.append(line)
    if not rows:
        raise DataError(f"{place} holds a header but no rows.")
    return header, rows, lines


def _records(place: str, text: str, mark: str) -> Iterator[tuple[int, list[str]]]:
    r"""Yield each record with the line on which it starts."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{place}: the record that starts on line {line} is broken ({error}). Is a "
                "quotation mark left open?"
            ) from error


def _check_header(place: str, header: list[str]) -> None:
    if not header:
        raise DataError(f"{place} is empty: expected a first line of column names.")
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        names = ", ".join(shown(name) for name in repeated[:5])
        raise DataError(f"{place}: column names must differ, got twice: {names}.")


def _infer(place: str, fields: list[str], lines: list[int]) -> "pd.Series[Any]":
    r"""Return fields as numbers, booleans, dates or text, whatever all of them are."""
    import pandas as pd

    present = set(fields) - {""}
    numbers = {field for field in present if field.strip() not in _GAPS}
    if numbers and all(_is_number(field.strip()) for field in numbers):
        return _numbers(place, [field.strip() for field in fields], lines)
    truth = next((truth for truth in _TRUTH if present and present <= truth.keys()), None)
    if truth is not None:
        values = [truth.get(field) for field in fields]
        return pd.Series(values, dtype="boolean" if "" in fields else "bool")
    if present and all(_DATE.fullmatch(field) for field in present):
        dates = _dates(fields, present)
        if dates is not None:
            return dates
    text = [field or None for field in fields]
    return pd.Series(text) if present else pd.Series(np.full(len(fields), np.nan))


def _is_number(field: str) -> bool:
    return bool(_NUMBER.fullmatch(field) or _INFINITE.fullmatch(field))


def _is_date(field: str) -> bool:
    if not _DATE.fullmatch(field):
        return False
    try:
        date.fromisoformat(field[:10])
    except ValueError:
        return False
    return True


def _is_truth(field: str) -> bool:
    return any(field in truth for truth in _TRUTH)


_KINDS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "integer": ("numbers", _is_number),
    "real": ("numbers", _is_number),
    "date": ("dates", _is_date),
    "boolean": ("true and false", _is_truth),
}


def _numbers(place: str, fields: list[str], lines: list[int]) -> "pd.Series[Any]":
    import pandas as pd

    gaps = np.array([field in _GAPS for field in fields])
    if all(gap or _INTEGER.fullmatch(field) for field, gap in zip(fields, gaps, strict=True)):
        whole = [0 if gap else int(field) for field, gap in zip(fields, gaps, strict=True)]
        unsigned = max(whole) >= 2**63
        if min(whole) < (0 if unsigned else -(2**63)) or max(whole) >= 2**64:
            return pd.Series([None if gap else f for f, gap in zip(fields, gaps, strict=True)])
        values = np.array(whole, np.uint64 if unsigned else np.int64)
        return pd.Series(pd.arrays.IntegerArray(values, gaps) if gaps.any() else values)
    floats = np.array([np.nan if field in _GAPS else float(field) for field in fields])
    if np.isinf(floats).any():
        row = int(np.flatnonzero(np.isinf(floats))[0])
        raise DataError(
            f"{place} holds {shown(fields[row])} on line {lines[row]}, too large for a number: "
            "expected finite values."
        )
    return pd.Series(floats)


def _dates(fields: list[str], present: set[str]) -> "pd.Series[Any] | None":
    r"""Return datetimes, or None where days do not exist or time zones differ."""
    import pandas as pd

    zones = {match["zone"] for field in present if (match := _DATE.fullmatch(field))}
    if len(zones) > 1:
        return None
    try:
        dates = pd.to_datetime([field or None for field in fields], format="ISO8601")
    except ValueError:
        return None
    return pd.Series(dates)
