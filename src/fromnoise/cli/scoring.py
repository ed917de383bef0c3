r"""``score``: how likely given rows are under a saved model."""

__all__ = ["score"]

from fromnoise.cli.exits import OK
from fromnoise.cli.output import print_json, print_line
from fromnoise.cli.reading import Json, Reading, load_able, read_for


def score(
    run: str,
    source: str,
    *,
    how: Reading = Reading(),  # noqa: B008 - frozen
    as_json: Json = False,
) -> int:
    r"""Print log p(x) of each row of SOURCE, one number a line, in nats.

    Args:
        run: Folder of the model.
        source: Rows like those the model was fitted on.
        how: How SOURCE is read.
        as_json: Print one JSON document, with the mean and the kind of the numbers.
    """
    model = load_able(run, "score_samples")
    scores = model.score_samples(*read_for(model, source, how)).tolist()
    if as_json:
        mean = sum(scores) / len(scores)
        kind = model.score_kind_
        print_json({"kind": kind, "unit": "nats", "rows": len(scores), "mean": mean,
                    "scores": scores})  # fmt: skip
    else:
        for value in scores:
            print_line(repr(value))
    return OK
