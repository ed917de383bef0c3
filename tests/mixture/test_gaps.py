r"""The E step of rows that lack values, against one pattern and one row at a time."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from fromnoise.mixture import Limit, Mixture, Rows, em
from fromnoise.mixture import rows as rows_module
from fromnoise.mixture.gaps import completed
from fromnoise.training import Interrupts
from mixture.cases import KINDS, mixture


def covariances(model: Mixture) -> np.ndarray:
    if model.is_diagonal:
        return torch.diag_embed(model.scale.square()).numpy()
    return (model.scale @ model.scale.mT).expand(len(model.means), -1, -1).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_is_completed_by_its_conditional(kind: str) -> None:
    model, rng = mixture(kind, d=4), np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(6, 2, 4)))
    seen = torch.from_numpy(rng.random((6, 4)) < 0.5)
    seen[0], seen[1] = True, False
    log_p, full, rest = completed(model, x, seen)
    rest = rest.expand(len(x), 4, *rest.shape[2:])
    square = covariances(model)
    for p, k, m in np.ndindex(6, 4, 2):
        o, g = np.flatnonzero(seen[p]), np.flatnonzero(~seen[p].numpy())
        mean, row = model.means[k].numpy(), x[p, m].numpy()
        inverse = np.linalg.inv(square[k][np.ix_(o, o)])
        gain = square[k][np.ix_(g, o)] @ inverse
        expected = np.zeros(4)
        expected[o] = row[o] - mean[o]
        expected[g] = gain @ expected[o]
        np.testing.assert_allclose(full[p, k, m], expected, atol=1e-12)
        left = np.zeros((4, 4))
        left[np.ix_(g, g)] = square[k][np.ix_(g, g)] - gain @ square[k][np.ix_(o, g)]
        got = torch.diag(rest[p, k]) if model.is_diagonal else rest[p, k]
        np.testing.assert_allclose(got, left, atol=1e-12)
        density = (
            multivariate_normal(mean[o], square[k][np.ix_(o, o)]).logpdf(row[o]) if len(o) else 0
        )
        assert float(log_p[p, k, m]) == pytest.approx(density, abs=1e-10)


def holed(kind: str, n: int = 200, d: int = 5) -> Rows:
    rng = np.random.default_rng(3)
    observed = rng.random((n, d)) < 0.6  # nearly every row has a pattern of its own
    observed[: n // 4] = True
    observed[-20:] = observed[-1]
    return Rows.keep(
        torch.from_numpy(np.where(observed, rng.normal(size=(n, d)), 0)),
        torch.from_numpy(rng.integers(0, 3, (n, 1))),
        observed,
        rng.integers(0, 2, n),
        torch.from_numpy(rng.integers(0, 3, n) / 2),
        kind=kind,
        units=torch.ones(d, dtype=torch.float64),
        variance=torch.ones(d, dtype=torch.float64),
        cardinalities=(3,),
    )


def expectation(rows: Rows, kind: str) -> tuple[em.Moments, float]:
    with Interrupts() as interrupts:
        model = mixture(kind, d=5, tables=(3,))
        return em._expectation(rows, model, Limit(None, interrupts))


@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_patterns_do_not_change_the_moments(kind: str, monkeypatch: Any) -> None:
    rows = holed(kind)
    many = list(rows.batches(2))
    together, log_p = expectation(rows, kind)
    monkeypatch.setattr(rows_module, "NUMBERS", 1)
    single = list(rows.batches(2))
    assert len(many) < 20 < len(single)
    assert all(len(batch.values) == 1 == len(batch.weight) for batch in single)
    alone, log_p_alone = expectation(rows, kind)
    assert log_p == pytest.approx(log_p_alone, rel=1e-12)
    for name in ("mass", "first", "second"):
        np.testing.assert_allclose(getattr(together, name), getattr(alone, name), atol=1e-10)
    np.testing.assert_allclose(together.counts[0], alone.counts[0], atol=1e-12)


def test_batches_hold_every_row_that_lacks_something_once() -> None:
    rows = holed("full")
    values, _ = next(rows.chunks())
    weight = sum(float(batch.weight.sum()) for batch in rows.batches(2))
    gaps = torch.tensor([cell.observed is not None for cell in rows.cells])[rows.cell]
    assert weight == pytest.approx(float(rows.weight[gaps].sum()))
    assert len(values) == rows.count
