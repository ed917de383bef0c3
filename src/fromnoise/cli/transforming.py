r"""``encode``, ``impute`` and ``reconstruct``: rows in, as many rows out."""

__all__ = ["encode", "impute", "reconstruct"]

import fromnoise
from fromnoise.cli.exits import OK
from fromnoise.cli.reading import Json, Reading, load_able, read_for
from fromnoise.cli.sampling import check_json, model_sink, row_sink


def encode(
    run: str,
    source: str,
    *,
    out: str | None = None,
    how: Reading = Reading(),  # noqa: B008 - frozen
    force: bool = False,
    as_json: Json = False,
) -> int:
    r"""Write the code of each row of SOURCE, as columns z1 to zk.

    Args:
        run: Folder of the model.
        source: Rows like those the model was fitted on.
        out: A .csv, .npy or .parquet file; without it CSV on the output.
        how: How SOURCE is read.
        force: Replace what OUT names.
        as_json: Print one JSON document about what was written to OUT.
    """
    import pandas as pd

    check_json(out, as_json)
    model = load_able(run, "encode")
    X, y = read_for(model, source, how)
    with row_sink(out, "vectors", fromnoise.data.n_rows(X), force, as_json) as sink:
        codes = model.encode(X, y)
        names = [f"z{i}" for i in range(1, codes.shape[1] + 1)]
        sink.write(pd.DataFrame(codes, columns=names), None)
    return OK


def impute(
    run: str,
    source: str,
    *,
    out: str | None = None,
    random_state: int | None = None,
    how: Reading = Reading(),  # noqa: B008 - frozen
    force: bool = False,
    as_json: Json = False,
) -> int:
    r"""Fill the gaps of SOURCE with draws of what is missing given what is there.

    Args:
        run: Folder of the model.
        source: Rows like those the model was fitted on, with empty fields or NaN.
        out: A .csv, .npy or .parquet file; without it CSV on the output.
        random_state: Seed; without it every call draws afresh.
        how: How SOURCE is read.
        force: Replace what OUT names.
        as_json: Print one JSON document about what was written to OUT.
    """
    check_json(out, as_json)
    model = load_able(run, "impute")
    X, y = read_for(model, source, how)
    with model_sink(model, out, fromnoise.data.n_rows(X), force, as_json) as sink:
        sink.write(model.impute(X, y, random_state=random_state), y)
    return OK


def reconstruct(
    run: str,
    source: str,
    *,
    out: str | None = None,
    how: Reading = Reading(),  # noqa: B008 - frozen
    force: bool = False,
    as_json: Json = False,
) -> int:
    r"""Write what becomes of each row of SOURCE on the way through its code and back.

    Args:
        run: Folder of the model.
        source: Rows like those the model was fitted on.
        out: A .csv, .npy or .parquet file, or a folder of PNGs; without it CSV on the output.
        how: How SOURCE is read.
        force: Replace what OUT names.
        as_json: Print one JSON document about what was written to OUT.
    """
    check_json(out, as_json)
    model = load_able(run, "reconstruct")
    X, y = read_for(model, source, how)
    with model_sink(model, out, fromnoise.data.n_rows(X), force, as_json) as sink:
        sink.write(model.reconstruct(X, y), y)
    return OK
