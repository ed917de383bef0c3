r"""Rows that a flow starts from, in place of noise.

They are read by the encoding of the data, so that both ends of the flow are in one space, and
are drawn with replacement. Their density is not known; what follows from the density of the noise
is absent from a model that starts from them.
"""

__all__ = ["SourceRows", "transported", "why_absent"]

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fromnoise import data
from fromnoise.base.neural import TrainingRows
from fromnoise.base.transport import TransportModel
from fromnoise.data import Encoded, Encoding
from fromnoise.errors import DataError

# What follows from the density of the noise.
_OF_NOISE = ("score_samples", "score", "score_interval", "bits_per_dim", "impute", "interpolate")


class SourceRows:
    r"""Rows of a source in model space.

    Args:
        source: Rows like those of the data.
        encoding: Of the data.

    Raises:
        DataError: If the rows are not like those of the data, or vary where the data do not.

    Example:
        >>> X = np.array([[0.0], [2.0]])
        >>> rows = SourceRows(X + 9, data.fit_encoding(X))
        >>> rows.draw(4, torch.Generator().manual_seed(0)).flatten()
        tensor([10.,  8., 10., 10.])
    """

    def __init__(self, source: Any, encoding: Encoding) -> None:
        if hasattr(source, "sample") and hasattr(source, "fit"):
            raise DataError(
                "source takes rows, such as those that a fitted model draws with sample(1000), got"
                f" {type(source).__name__}."
            )
        source = np.asarray(source) if isinstance(source, list) else source
        try:
            X = encoding.check(source)
        except DataError as error:
            raise DataError(f"The source does not match the data: {error}") from error
        off = int(encoding.off_support(X).sum())
        if off:
            raise DataError(
                f"{off} rows of the source differ from the data in a column that is constant in"
                " the data, where a flow would lose them: leave that column out of both."
            )
        self._rows = TrainingRows(X, encoding, None, np.arange(data.n_rows(X)))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        r"""Return n packed rows, drawn with replacement, integers spread by noise.

        The first rows do not depend on n.
        """
        seed = int(torch.randint(2**62, (1,), generator=generator))
        index = torch.randint(len(self._rows), (n,), generator=generator)
        rows, _ = self._rows.take(index.numpy(), np.random.default_rng(seed))
        return rows


def transported(model: TransportModel, X: Any, y: Any, *, backwards: bool) -> Any:
    r"""Return rows at the other end of a model's flow, in the units of the data.

    Args:
        model: A fitted model whose flow starts from rows.
        X: Rows of the source, or of the data to go backwards.
        y: Labels for a conditional model.
        backwards: Whether to go from the data to the source.

    Example:
        >>> from fromnoise import FlowMatching
        >>> X = np.random.default_rng(0).normal(size=(50, 1))
        >>> model = FlowMatching(source=X, budget="2 steps", random_state=0).fit(X)
        >>> transported(model, X[:3], None, backwards=False).shape
        (3, 1)
    """
    encoding, moments = model.encoding_, model.moments
    X = encoding.check(X)
    n = data.n_rows(X)
    codes = model._needed(model._given(y, n), n)

    def moved(part: slice) -> Encoded:
        encoded = encoding.encode(data.take(X, part))
        labels = None if codes is None else codes[part]
        if backwards:
            z = torch.from_numpy(model._to_noise(encoded, labels))
            z = z.reshape(len(z), *model.noise_shape)
            return encoding.unpack(moments.restore(z.to(moments.mean.device)).cpu().numpy())
        z = moments.standardise(torch.from_numpy(encoding.pack(encoded)))
        return model._from_noise(z.numpy(), labels)

    return model._decoded_by_parts(moved, n)


def why_absent(name: str, has_source: bool) -> str | None:
    r"""Return why a method is absent from a flow with or without a source; None if it is not.

    Example:
        >>> why_absent("sample", True), why_absent("score", False)
        (None, None)
    """
    if name == "transport" and not has_source:
        return (
            "FlowMatching has no transport here: it starts from noise, and decode moves noise."
            " A model with rows to start from, FlowMatching(source=rows), has transport."
        )
    if name in _OF_NOISE and has_source:
        return (
            f"FlowMatching has no {name} with a source: the source is known by its rows, not by"
            f" a density. A model that starts from noise, FlowMatching(), has {name}."
        )
    return None
