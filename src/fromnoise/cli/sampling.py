r"""``sample``: new rows out of a saved model. Also where rows of a model's kind are written to."""

__all__ = ["model_sink", "sample"]

from typing import Any

from fromnoise.cli.exits import OK
from fromnoise.cli.reading import Number, load_able, parsed_label


def sample(
    run: str,
    *,
    n_samples: Number = None,
    random_state: int | None = None,
    y: str | None = None,
    out: str | None = None,
    force: bool = False,
) -> int:
    r"""Draw new rows from a saved model.

    Args:
        run: Folder of the model.
        n_samples: How many; 1 if not given.
        random_state: Seed; without it every call draws afresh.
        y: Label that all rows are to have, for a conditional model.
        out: A .csv, .npy or .parquet file, or a folder of PNGs; without it CSV on the output.
        force: Replace what OUT names.
    """
    model = load_able(run, "sample")
    n = 1 if n_samples is None else n_samples
    labelled = model.condition_ is not None
    given = parsed_label(model, y)
    blocks = model.sample_iter(n, given, random_state=random_state, return_y=labelled)
    with model_sink(model, out, n, force) as sink:
        for block in blocks:
            sink.write(*(block if labelled else (block, None)))
    return OK


def model_sink(model: Any, out: str | None, n_rows: int, force: bool) -> Any:
    r"""Return the sink that takes rows of the kind that a model was fitted on."""
    from fromnoise.data.sinks import open_sink

    encoding = model.encoding_
    kind, pixels = encoding.kind, {}
    if kind == "images":
        pixels = {"layout": encoding.layout, "limits": (encoding.low, encoding.high)}
    return open_sink(out, kind=kind, n_rows=n_rows, overwrite=force, **pixels)
