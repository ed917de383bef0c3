r"""``compare``: every family on the same data, and which to use."""

__all__ = ["compare"]

import logging
from pathlib import Path
from typing import Any

import fromnoise
from fromnoise.cli.exits import DIVERGED, OK, check_one_of
from fromnoise.cli.output import aligned, print_json, print_line
from fromnoise.cli.reading import Json, Number

logger = logging.getLogger("fromnoise")
_PASSED = (
    *("budget", "label", "target", "image_size", "encoding", "seeds", "test_fraction"),
    *("n_samples", "features", "random_state"),
)


def compare(
    source: str,
    *,
    out: str,
    families: str | None = None,
    budget: str | None = None,
    label: str | None = None,
    target: str | None = None,
    image_size: int | None = None,
    encoding: str | None = None,
    seeds: int | None = None,
    test_fraction: float | None = None,
    n_samples: Number = None,
    features: str | None = None,
    random_state: int | None = None,
    resume: bool = False,
    force: bool = False,
    as_json: Json = False,
) -> int:
    r"""Train every family on the same data under the same budget, and report which to use.

    Args:
        source: A CSV, a folder of images, a .npy file, or a built-in set such as digits.
        out: Folder of the report.
        families: Names with commas between, for instance gmm,flow.
        budget: Budget of each fit: 90s, 10m, "2000 steps", "20 epochs" or auto.
        label: Column that the models are conditional on.
        target: Column that boosted trees learn to predict from what the models draw.
        image_size: What images of several sizes are resized to, in pixels.
        encoding: Of a CSV that is not UTF-8, for instance latin-1.
        seeds: How often each family is fitted.
        test_fraction: Share of the rows that is held out.
        n_samples: How many rows each model draws.
        features: What distances between images are measured in: pixels, pca or enetlite0.
        random_state: Seed.
        resume: Continue the comparison in OUT that was cut, if there is one, to the same report.
        force: Replace a report or an unfinished comparison in OUT.
        as_json: Print report.json instead of a table.
    """
    values = {**locals()}
    check_one_of(resume, force)
    # What is not given is left out, so that defaults stay where they are declared.
    given = {name: values[name] for name in _PASSED if values[name] is not None}
    if families is not None:
        given["families"] = [name.strip() for name in families.split(",") if name.strip()]
    before = _held(out) if force else {}
    try:
        result = fromnoise.compare(source, out=out, overwrite=force, resume=resume, **given)
    except (KeyboardInterrupt, SystemExit):
        if left := _left(out, before):
            logger.info(left)
        raise
    if as_json:
        print_json(result.report)
    else:
        print_line(_summary(result.report))
        print_line(str(result.path / "index.html"))
    status = [row["status"] for row in result.report["rows"] if row["role"] == "family"]
    return OK if "ok" in status else DIVERGED


def _held(out: str) -> dict[str, int]:
    from fromnoise.comparison.resuming import mark_of

    return mark_of(Path(out))


def _left(out: str, before: dict[str, int]) -> str:
    from fromnoise.comparison.resuming import left_in

    return left_in(Path(out), before)


def _summary(report: dict[str, Any]) -> str:
    r"""Return the verdict and the metrics as plain text."""
    names = sorted({m for row in report["rows"] for m in row["metrics"]})
    head = ["", *names, "status"]
    lines = [
        [row["name"], *(_number(row["metrics"].get(m)) for m in names), row["status"]]
        for row in report["rows"]
    ]
    return f"{report['verdict']['why']}\n\n{aligned([head, *lines])}\n"


def _number(metric: dict[str, Any] | None) -> str:
    return "–" if metric is None else f"{metric['value']:.4g}"
