r"""Compare families: one split, one budget, one process a family, one report.

The parent reads and splits once, writes the split as files, and starts the workers one after
another; what they drew comes back as files and is measured here, all families and the reference
rows by the same metrics on the same held-out rows:

    real        one half of the held-out rows against the other: what a perfect model would get
    gaussian    a single Gaussian (a mixture of one component)
    copier      the training rows again
"""

__all__ = ["Comparison", "compare"]

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromnoise import data
from fromnoise import families as registry
from fromnoise.base import GenerativeModel
from fromnoise.comparison.extractors import Features, check_features
from fromnoise.comparison.jobs import job_folder
from fromnoise.comparison.plan import Plan
from fromnoise.comparison.requests import auto, check_arguments, chosen_models
from fromnoise.comparison.resuming import begun_in, clear
from fromnoise.training import entropy, refuse_another, sole_writer

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Comparison:
    r"""What :func:`compare` returns.

    Attributes:
        report: The content of ``report.json``.
        path: The folder of the report.
    """

    report: dict[str, Any]
    path: Path
    _own: dict[str, GenerativeModel] = field(default_factory=dict, repr=False)

    @property
    def best(self) -> str | None:
        r"""Name of the family to use; None if none could be ranked."""
        best: str | None = self.report["verdict"]["best"]
        return best

    @property
    def models(self) -> dict[str, GenerativeModel]:
        r"""The fitted models by name, loaded from the report's folder (first seed)."""
        names = [row["name"] for row in self.report["rows"] if row["role"] == "family"]
        folders = {name: job_folder(self.path, name, 0) / "model" for name in names}
        return {
            name: self._own[name] if name in self._own else registry.load(path)
            for name, path in folders.items()
            if (path / "manifest.json").exists()
        }

    def table(self) -> "pd.DataFrame":
        r"""Return the metrics as a DataFrame, a row a family or reference."""
        import pandas as pd

        names = dict.fromkeys(name for row in self.report["rows"] for name in row["metrics"])
        rows = [
            {
                "name": row["name"],
                "role": row["role"],
                "status": row["status"],
                "flags": ", ".join(row["flags"]),
                **{name: row["metrics"].get(name, {}).get("value") for name in names},
                **{
                    f"{name}_seconds": value
                    for name, value in row["seconds"].items()
                    if isinstance(value, float)
                },
            }
            for row in self.report["rows"]
        ]
        return pd.DataFrame(rows).set_index("name")


def compare(
    source: Any,
    y: Any = None,
    *,
    families: str | Sequence[str] | Mapping[str, GenerativeModel] = "auto",
    budget: str = "auto",
    seeds: int = 1,
    label: str | None = None,
    target: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    encoding: str = "utf-8",
    test_fraction: float = 0.2,
    n_samples: int | str = "auto",
    features: Features = "auto",
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    random_state: Any = 0,
) -> Comparison:
    r"""Train families on the same rows under the same budget, and report which one to use.

    Args:
        source: An array, a DataFrame, images, or what :func:`fromnoise.data.load` takes.
        y: Labels; the models are then conditional.
        families: ``"auto"`` for gmm, autoencoder, vae, gan, latent-flow (images only), flow and
            diffusion; names; or a mapping from names of yours to estimators. A family that does
            not sample is shown with its reconstructions and never ranked.
        budget: Budget of each fit, for instance ``"2m"``; ``"auto"`` is each family's own.
        seeds: How often each family is fitted.
        label: Column of a table that becomes y; ``"target"`` takes the labels of a built-in set,
            or of a data set such as PyTorch's.
        target: Column of a table that boosted trees learn to predict from drawn rows, to be
            scored on held-out ones (``train_on_synthetic``); None for the label, if there is one.
        image_size: For a folder of images of several sizes: what they are resized to.
        encoding: Of a CSV file without a byte order mark.
        test_fraction: Share of the rows that is held out.
        n_samples: How many rows each model draws; ``"auto"`` is as many as are held out, at
            least 1,000 and at most 10,000 (2,000 images).
        features: What distances are measured in. Images: ``"pixels"``, ``"pca"`` (64 principal
            components of the pixels), ``"enetlite0"`` (EfficientNet-Lite0, from the extra
            ``eval``); ``"auto"`` is the last for images of at least 32 pixels a side, where it is
            installed, else ``"pca"``. All kinds: a function from rows as they were given to an
            array (n, d). The numbers are named for it, for instance ``mmd_enetlite0``.
        out: Folder of the report; None for a temporary one that lives as long as the result.
        overwrite: Whether a report in ``out``, or an unfinished comparison, may be replaced.
        resume: Whether a comparison that was cut is continued in ``out``: fits that are over are
            kept, the one under way goes on from its last checkpoint. With a budget in steps or
            epochs it ends with the numbers of one that was not cut, seconds and memory aside.
            Where there is none, one is begun.
        random_state: Seed of the split and of the first fit.

    Returns:
        The comparison.

    Raises:
        DataError: If the data cannot be used, or the unfinished comparison began with other
            data, arguments or versions; it names the first difference.
        FileExistsError: If ``out`` holds a report and ``overwrite`` is False, an unfinished
            comparison and ``resume`` is False too, or anything else.
        BlockingIOError: If another process writes in ``out``.
        ArtifactError: If the unfinished comparison's rows are damaged.
        ValueError: If an argument is wrong.

    Example:
        >>> import fromnoise as fn
        >>> result = fn.compare("moons", families=["gmm"], budget="5 steps", n_samples=200)
        >>> result.best, (result.path / "index.html").exists()
        ('gmm', True)
    """
    check_arguments(budget, seeds, test_fraction)
    if not callable(features):
        check_features(features, "images")  # of another kind is known when the data are read
    if y is not None and label is not None:
        raise ValueError("y and label both say what the labels are; pass one of them.")
    chosen = None if isinstance(families, str) and families == "auto" else chosen_models(families)
    begun = begun_in(None if out is None else Path(out), overwrite, resume)
    loaded = data.load(source, label=label, image_size=image_size, encoding=encoding)
    plan = Plan(
        loaded,
        y if y is not None else loaded.y if label is not None else None,
        chosen_models(auto(loaded.kind)) if chosen is None else chosen,
        budget,
        seeds,
        test_fraction,
        n_samples,
        begun["random_state"] if begun and random_state is None else entropy(random_state),
        features,
        target,
    )
    split = plan.split()
    began = plan.told(split)
    if begun:
        refuse_another(f"{out} holds an unfinished comparison", begun, began)
    path = Path(tempfile.mkdtemp(prefix="fromnoise-") if out is None else out)
    with sole_writer(path) as plan.lock:
        if not begun:
            clear(path)
        report = plan.run(split, began, path, keep=out is not None)
    result = Comparison(report, path, plan.own)
    if out is None:
        weakref.finalize(result, shutil.rmtree, path, ignore_errors=True)
    return result
