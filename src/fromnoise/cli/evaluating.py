r"""``evaluate``: two sets of rows held against each other, no model in sight."""

__all__ = ["evaluate"]

import logging
from contextlib import suppress
from typing import Any

import fromnoise
from fromnoise.cli.exits import OK
from fromnoise.cli.output import aligned, print_json, print_line
from fromnoise.cli.reading import Json, Reading, refuse_misfits
from fromnoise.errors import DataError

logger = logging.getLogger("fromnoise")
_SETS = ("real", "fake", "train")
# What depends on how many rows there are, and not only on where they lie.
_SIZED = ("coverage", "density", "frechet_distance", "fd", "sliced_wasserstein", "vendi")
_ALIKE = 1.25  # sizes whose ratio is less are as good as equal


def evaluate(
    real: str,
    fake: str,
    *,
    train: str | None = None,
    target: str | None = None,
    features: str | None = None,
    image_size: int | None = None,
    encoding: str | None = None,
    random_state: int = 0,
    as_json: Json = False,
) -> int:
    r"""Measure how far the rows of FAKE are from those of REAL, by every metric that fits.

    Args:
        real: Real rows that no model has seen: a file, a folder of images, or a built-in set.
        fake: Rows that a model drew, as sample writes them.
        train: The rows that the model was fitted on: then it is told whether FAKE copies them.
        target: Column of a table that boosted trees learn to predict from FAKE.
        features: What distances between images are measured in: pixels, pca or enetlite0.
        image_size: What images of several sizes are resized to, in pixels.
        encoding: Of a CSV that is not UTF-8, for instance latin-1.
        random_state: Seed of the subsets that are drawn of large sets.
        as_json: Print one JSON document.
    """
    how = Reading(image_size=image_size, encoding=encoding)
    names = [name for name in (real, fake, train) if name is not None]
    sets = [how.load(name) for name in names]
    n = [fromnoise.data.n_rows(data.X) for data in sets]
    for name, data in zip(names[1:], sets[1:], strict=True):
        refuse_misfits(name, data, _kinds(sets[0], data), real, encoding)
    metrics = _measured(sets, names, target, features or "auto", random_state)
    _tell_sizes(n[0], n[1], metrics)
    if as_json:
        told = {"kind": sets[0].kind, "target": target, "rows": dict(zip(_SETS, n, strict=False))}
        print_json({**told, "metrics": {name: m.to_json() for name, m in metrics.items()}})
    else:
        lines = [[name, *_cells(metric)] for name, metric in metrics.items()]
        print_line(aligned([["metric", "value", "95 % interval", "ideal"], *lines]))
    return OK


def _kinds(real: Any, data: Any) -> dict[str, str]:
    r"""Return what the columns of a table should hold to be compared with the real rows."""
    from fromnoise.data.frames import columns_of

    if real.kind == "table":
        return {str(name): column.kind for name, column in columns_of(real.X).items()}
    return dict.fromkeys(map(str, getattr(data.X, "columns", ())), "real")


def _tell_sizes(n_real: int, n_fake: int, metrics: dict[str, Any]) -> None:
    r"""Say which numbers to distrust where the sets differ in size; no row is left out for it."""
    sized = [name for name in metrics if name.startswith(_SIZED)]
    if max(n_real, n_fake) > _ALIKE * min(n_real, n_fake) and sized:
        logger.warning(
            "There are %d real rows and %d drawn ones, and all are used. What depends on the sizes"
            " (%s) compares only with numbers of the same sizes; to have as many of both, draw"
            " anew with sample -n %d.",
            n_real, n_fake, ", ".join(sized), n_real,
        )  # fmt: skip


def _measured(
    sets: list[Any], names: list[str], target: str | None, features: str, seed: int
) -> dict[str, Any]:
    r"""Return the metrics by name; ``sets`` are real, fake and, if there are any, train rows."""
    from fromnoise.comparison.extractors import check_features
    from fromnoise.comparison.jobs import Split
    from fromnoise.comparison.measure import Measure

    real, fake, *train = [
        _rows_like(sets[0], data, name) for data, name in zip(sets, names, strict=True)
    ]
    if target is not None:
        fromnoise.data.load(sets[0], label=target)  # refuses by name what is no column
    check_features(features, sets[0].kind)
    split = Split(train[0] if train else real, None, real, None)
    measure = Measure(sets[0].kind, split, None, seed, features, target)
    found = measure.metrics(measure.sample(fake))
    if not train:
        found.pop(measure.copying, None)  # the real rows stood in for those of training
    if not found:
        raise DataError(f"No metric fits: {names[1]} holds numbers that are not finite.")
    return found


def _rows_like(real: Any, data: Any, name: str) -> Any:
    r"""Return rows that are to be held against ``real``; vectors may come out of a CSV."""
    if data.kind == real.kind:
        return data.X
    if (real.kind, data.kind) == ("vectors", "table"):
        import numpy as np

        with suppress(TypeError, ValueError):
            return np.asarray(data.X, dtype=np.float64)
    raise DataError(f"{name} holds {data.kind}; expected {real.kind}, as the real rows are.")


def _cells(metric: Any) -> list[str]:
    r"""Return value, interval and ideal of a metric, for people."""
    ideal = f"{metric.target:.4g}" if metric.better == "target" else metric.better
    return [f"{metric.value:.4g}", f"{metric.low:.4g} to {metric.high:.4g}", ideal]
