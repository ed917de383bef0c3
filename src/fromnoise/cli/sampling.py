r"""``sample``: new rows out of a saved model. Also where rows of a model's kind are written to."""

__all__ = ["check_json", "model_sink", "row_sink", "sample"]

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fromnoise.cli.exits import OK, UsageError
from fromnoise.cli.output import print_json
from fromnoise.cli.reading import Json, Number, load_able, parsed_label


def sample(
    run: str,
    *,
    n_samples: Number = None,
    random_state: int | None = None,
    y: str | None = None,
    out: str | None = None,
    force: bool = False,
    as_json: Json = False,
) -> int:
    r"""Draw new rows from a saved model.

    Args:
        run: Folder of the model.
        n_samples: How many; 1 if not given.
        random_state: Seed; without it every call draws afresh.
        y: Label that all rows are to have, for a conditional model.
        out: A .csv, .npy or .parquet file, or a folder of PNGs; without it CSV on the output.
        force: Replace what OUT names.
        as_json: Print one JSON document about what was written to OUT.
    """
    check_json(out, as_json)
    model = load_able(run, "sample")
    n = 1 if n_samples is None else n_samples
    labelled = model.condition_ is not None
    given = parsed_label(model, y)
    blocks = model.sample_iter(n, given, random_state=random_state, return_y=labelled)
    with model_sink(model, out, n, force, as_json) as sink:
        for block in blocks:
            sink.write(*(block if labelled else (block, None)))
    return OK


def check_json(out: str | None, as_json: bool) -> None:
    r"""Refuse to mix JSON with rows on standard output."""
    if as_json and out is None:
        raise UsageError(
            "--json says what was written to a file, so it needs --out FILE. Without --out, the"
            " rows themselves go to standard output, as CSV."
        )


def model_sink(model: Any, out: str | None, n_rows: int, force: bool, as_json: bool) -> Any:
    r"""Return the sink that takes rows of the kind that a model was fitted on."""
    encoding = model.encoding_
    kind, pixels = encoding.kind, {}
    if kind == "images":
        pixels = {"layout": encoding.layout, "limits": (encoding.low, encoding.high)}
    return row_sink(out, kind, n_rows, force, as_json, **pixels)


@contextmanager
def row_sink(
    out: str | None, kind: str, n_rows: int, force: bool, as_json: bool, **pixels: Any
) -> Iterator[Any]:
    r"""Open the sink that ``out`` names; say in JSON what was written, if that is asked for."""
    from fromnoise.data.sinks import open_sink

    with open_sink(out, kind=kind, n_rows=n_rows, overwrite=force, **pixels) as sink:
        yield sink
    if as_json:
        print_json({"path": out, "kind": kind, "rows": n_rows})
