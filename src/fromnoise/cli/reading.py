r"""What the commands read: a source of rows, a saved model, and labels written as words."""

__all__ = [
    "Json",
    "Number",
    "Reading",
    "kinds_for",
    "label_column",
    "load_able",
    "parsed_label",
    "read_for",
    "refuse_misfits",
    "tell",
]

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

import fromnoise
from fromnoise.errors import ArtifactError, DataError, did_you_mean

Json = Annotated[bool, Parameter(name="--json", negative=())]
Number = Annotated[int | None, Parameter(name=["--n-samples", "-n"])]

logger = logging.getLogger("fromnoise")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Reading:
    r"""How rows are read.

    Args:
        label: Column that is y, which a model is conditional on.
        image_size: What images of several sizes are resized to, in pixels.
        encoding: Of a CSV that is not UTF-8, for instance latin-1.
    """

    label: str | None = None
    image_size: int | None = None
    encoding: str | None = None

    def load(self, source: str) -> Any:
        r"""Return the data that a source holds; what was done to read them is logged."""
        # What is not given is left out, so that defaults stay where they are declared.
        given = {name: value for name, value in asdict(self).items() if value is not None}
        read = fromnoise.data.load(source, **given)
        tell(read, source)
        return read


def tell(read: Any, source: str) -> None:
    r"""Log the remarks on how data were read."""
    for note in read.note:
        logger.info("%s: %s", source, note)


def load_able(run: str, method: str) -> Any:
    r"""Return a saved model that has a method, or refuse it in its own words.

    Args:
        run: Folder of the model.
        method: For instance ``"sample"``.

    Returns:
        The model.

    Raises:
        ArtifactError: If there is no sound model, or it cannot do this.
    """
    from fromnoise.base import GenerativeModel

    model = fromnoise.load(run)
    try:
        getattr(model, method)
    except AttributeError as error:
        if hasattr(GenerativeModel, method):  # then it says why
            raise ArtifactError(f"{run}: {error}") from error
        able = [
            cls.__name__ for cls in fromnoise.families.FAMILIES.values() if hasattr(cls, method)
        ]
        raise ArtifactError(
            f"{run}: {type(model).__name__} has no {method}. It is for {' and '.join(able)}."
        ) from error
    return model


def read_for(model: Any, source: str, how: Reading) -> tuple[Any, Any]:
    r"""Return rows for a model, and their labels: None where none were asked for or known."""
    read = how.load(source)
    label = how.label
    columns = [str(column) for column in getattr(read.X, "columns", ())]
    if label is None and (label := label_column(model)) in columns:
        read = fromnoise.data.load(read, label=label)
    refuse_misfits(source, read, kinds_for(model, read), "fit", how.encoding)
    return read.X, read.y if read.label is not None else None


def kinds_for(model: Any, read: Any) -> dict[str, str]:
    r"""Return what the columns of a table should hold for a model, its label's among them."""
    columns = [str(column) for column in getattr(read.X, "columns", ())]
    kinds = getattr(model.encoding_, "kinds", dict.fromkeys(columns, "real"))
    if read.label is None or model.condition_ is None:
        return dict(kinds)
    classes = model.condition_.classes_
    letter = "f" if classes is None else classes.dtype.kind
    return {**kinds, read.label: {"b": "boolean", "O": "text", "U": "text"}.get(letter, "real")}


def refuse_misfits(
    source: str, read: Any, kinds: dict[str, str], like: str, encoding: str | None
) -> None:
    r"""Refuse the field of a CSV that makes text of a column which should hold something else.

    Args:
        source: Its name; of other sources nothing is refused.
        read: The data that it holds.
        kinds: What its columns should hold.
        like: Where they do, for the sentence.
        encoding: Of the file; None is the default.

    Raises:
        DataError: With file, column, line and field.
    """
    if not source.lower().endswith((".csv", ".tsv")):
        return
    from pandas.api.types import is_string_dtype

    from fromnoise.data.csv_files import refuse_misfit

    columns = {str(name): read.X[name] for name in read.X.columns}
    if read.label is not None:
        columns[read.label] = read.y
    for name, kind in kinds.items():
        if name in columns and is_string_dtype(columns[name]):
            refuse_misfit(Path(source), name, kind, like, encoding or "utf-8")


def label_column(model: Any) -> str | None:
    r"""Return the name of the column that a model's labels came from."""
    form = model.condition_.form if model.condition_ is not None else {}
    name: str | None = form.get("name")
    return name


def parsed_label(model: Any, text: str | None) -> Any:
    r"""Return the label that ``text`` stands for, in the type of the model's labels."""
    if text is None or model.condition_ is None:
        return text
    classes = model.condition_.classes_
    if classes is None:
        try:
            return [float(part) for part in text.split(",")]
        except ValueError as error:
            raise DataError(f"y must be numbers, got {text!r}.") from error
    known = {str(label): label for label in classes.tolist()}
    if text not in known:
        raise DataError(f"y has no class {text!r}.{did_you_mean(text, known)}")
    return known[text]
