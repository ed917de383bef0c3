r"""Both steps of EM as matrix products, against Cholesky factors and differences."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fromnoise.mixture import Limit, Mixture, Rows, em, products
from fromnoise.mixture.products import Products, symmetric
from fromnoise.training import Interrupts

KINDS = ("full", "tied", "diag", "spherical")


def mixture(kind: str, k: int = 4, d: int = 3, tables: tuple[int, ...] = ()) -> Mixture:
    rng = torch.Generator().manual_seed(0)
    normal = torch.randn(k, d, d, dtype=torch.float64, generator=rng)
    square = normal @ normal.mT + 0.3 * torch.eye(d, dtype=torch.float64)
    scale = {
        "full": torch.linalg.cholesky(square),
        "tied": torch.linalg.cholesky(square[:1]),
        "diag": square.diagonal(dim1=1, dim2=2).sqrt(),
        "spherical": square[:, :1, 0].sqrt().expand(k, d).contiguous(),
    }[kind]
    return Mixture(
        kind,
        torch.linspace(1, 2, k, dtype=torch.float64).log_softmax(0),
        torch.randn(k, d, dtype=torch.float64, generator=rng),
        scale,
        tuple(
            torch.randn(k, c, dtype=torch.float64, generator=rng).log_softmax(1) for c in tables
        ),
    )


def rows(kind: str, n: int = 300, d: int = 3, missing: bool = False) -> Rows:
    rng = np.random.default_rng(0)
    observed = np.ones((n, d), bool)
    observed[: n // 3, 1] = not missing
    return Rows(
        torch.from_numpy(rng.normal(size=(n, d))),
        torch.from_numpy(rng.integers(0, 3, (n, 1))),
        torch.from_numpy(rng.random(n)),
        torch.from_numpy(rng.integers(0, 2, n)),
        torch.from_numpy(observed),
        kind,
        torch.ones(d, dtype=torch.float64),
        (3,),
    ).sorted()


def expectation(kind: str, missing: bool) -> tuple[em.Moments, float]:
    with Interrupts() as interrupts:
        limit = Limit(None, interrupts)
        return em._expectation(rows(kind, missing=missing), mixture(kind, tables=(3,)), limit)


@pytest.mark.parametrize("kind", KINDS)
def test_log_densities_are_those_of_the_factors(kind: str) -> None:
    model = mixture(kind)
    x = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    fast = Products.of(model)
    none = torch.empty(50, 0, dtype=torch.int64)
    exact = model.log_prob(x - model.means[:, None], none) + model.log_weights[:, None]
    assert (fast.log_joint(*fast.expand(x)) - exact).abs().max() < 1e-12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [False, True])
def test_moments_are_those_of_differences(kind: str, missing: bool, monkeypatch: Any) -> None:
    fast, fast_log_p = expectation(kind, missing)
    monkeypatch.setattr(products, "MOST_LOSS", 0)
    exact, exact_log_p = expectation(kind, missing)
    assert abs(fast_log_p - exact_log_p) < 1e-9
    pairs = zip(
        [fast.mass, fast.first, fast.second, *fast.counts],
        [exact.mass, exact.first, exact.second, *exact.counts],
        strict=True,
    )
    assert all((a - b).abs().max() < 1e-11 for a, b in pairs)


def test_narrow_components_are_left_to_their_factors() -> None:
    square = torch.eye(2, dtype=torch.float64).repeat(3, 1, 1)
    square[1] = torch.tensor([[1.0, 1 - 1e-6], [1 - 1e-6, 1.0]])
    means = torch.zeros(3, 2, dtype=torch.float64)
    means[2] = 1e3
    model = Mixture("full", means[:, 0], means, torch.linalg.cholesky(square))
    assert Products.of(model).narrow.tolist() == [False, True, True]
    assert Products.of(model.part(slice(1, 3))) is None


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_narrow_and_wide_components_meet_in_one_step(kind: str, monkeypatch: Any) -> None:
    model = mixture(kind, tables=(3,))
    thin = replace(
        model,
        scale=model.scale * torch.tensor([1, 1e-4, 1, 1e-5])[:, *[None] * (model.scale.ndim - 1)],
    )
    x = rows(kind)
    x.values[:100] = thin.means[1] + 1e-4 * x.values[:100]  # rows that the thin one explains
    with Interrupts() as interrupts:
        fast, fast_log_p = em._expectation(x, thin, Limit(None, interrupts))
        monkeypatch.setattr(products, "MOST_LOSS", 0)
        exact, exact_log_p = em._expectation(x, thin, Limit(None, interrupts))
    assert abs(fast_log_p - exact_log_p) < 1e-9 * abs(exact_log_p)
    for a, b in zip(
        (fast.mass, fast.first, fast.second), (exact.mass, exact.first, exact.second), strict=True
    ):
        assert (a - b).abs().max() < 1e-11


def test_a_part_shares_the_buffer_and_takes_its_components() -> None:
    model = mixture("full")
    x = torch.zeros(5, 3, dtype=torch.float64)
    fast = Products.of(model)
    part = fast.part(slice(1, 3))
    whole = fast.log_joint(*fast.expand(x)).clone()
    assert torch.equal(part.log_joint(*part.expand(x)), whole[1:3])


def test_symmetric_matrices_come_back_from_their_upper_half() -> None:
    square = torch.arange(9.0, dtype=torch.float64).reshape(1, 3, 3)
    square = square + square.mT
    assert torch.equal(symmetric(products._upper(square), 3), square)
