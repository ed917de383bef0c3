r"""Both steps of EM as matrix products, against Cholesky factors and differences."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fromnoise.mixture import Limit, Mixture, Rows, em, products
from fromnoise.mixture.products import Products, symmetric
from fromnoise.training import Interrupts
from mixture.cases import KINDS, mixture


def rows(kind: str, n: int = 300, d: int = 3, missing: bool = False) -> Rows:
    rng = np.random.default_rng(0)
    observed = np.ones((n, d), bool)
    observed[: n // 3, 1] = not missing
    return Rows.keep(
        torch.from_numpy(rng.normal(size=(n, d))),
        torch.from_numpy(rng.integers(0, 3, (n, 1))),
        observed,
        rng.integers(0, 2, n),
        torch.from_numpy(rng.random(n)),
        kind=kind,
        units=torch.ones(d, dtype=torch.float64),
        variance=torch.ones(d, dtype=torch.float64),
        cardinalities=(3,),
    )


def expectation(rows: Rows, model: Mixture, **more: Any) -> tuple[em.Moments, float]:
    with Interrupts() as interrupts:
        return em._expectation(rows, model, Limit(None, interrupts), **more)


def no_products(monkeypatch: Any) -> None:
    monkeypatch.setattr(products, "MOST_LOSS", {torch.float64: 0, torch.float32: 0})


def tensors(moments: em.Moments) -> list[torch.Tensor]:
    return [moments.mass, moments.first, moments.second, *moments.counts]


@pytest.mark.parametrize("kind", KINDS)
def test_log_densities_are_those_of_the_factors(kind: str) -> None:
    model = mixture(kind)
    x = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    fast = Products.of(model)
    none = torch.empty(50, 0, dtype=torch.int64)
    exact = model.log_prob(x - model.means[:, None], none) + model.log_weights[:, None]
    assert (fast.log_joint(fast.expand(x)) - exact).abs().max() < 1e-12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [False, True])
def test_moments_are_those_of_differences(kind: str, missing: bool, monkeypatch: Any) -> None:
    given, model = rows(kind, missing=missing), mixture(kind, tables=(3,))
    fast, fast_log_p = expectation(given, model)
    no_products(monkeypatch)
    exact, exact_log_p = expectation(given, model)
    assert abs(fast_log_p - exact_log_p) < 1e-9
    pairs = zip(tensors(fast), tensors(exact), strict=True)
    assert all((a - b).abs().max() < 1e-11 for a, b in pairs)


@pytest.mark.parametrize("d", [1, 2, 3, 4, 7])
def test_every_pair_of_columns_is_there_once(d: int) -> None:
    i, j = products._pairs(d)
    assert len(i) == d * (d + 1) // 2
    assert {frozenset(pair) for pair in zip(i.tolist(), j.tolist(), strict=True)} == {
        frozenset((a, b)) for a in range(d) for b in range(d)
    }
    x = torch.randn(6, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expanded = torch.cat(Products.of(mixture("full", d=d)).expand(x))
    assert torch.equal(expanded[:d], x.T)
    assert torch.equal(expanded[d:], (x[:, i] * x[:, j]).T)


def test_responsibilities_too_small_to_matter_are_zero() -> None:
    # Denormal numbers, and products of them, are a hundred times as slow.
    joint = torch.tensor([[0.0, 0.0, -800.0], [-720.0, -299.0, -800.0]], dtype=torch.float64)
    r, log_p = em._responsibilities(joint.clone(), None)
    assert r[1].tolist() == [0.0, math.exp(-299.0), 0.5]
    assert log_p == pytest.approx(float(joint.logsumexp(0).sum()))


def test_narrow_components_are_left_to_their_factors() -> None:
    square = torch.eye(2, dtype=torch.float64).repeat(3, 1, 1)
    square[1] = torch.tensor([[1.0, 1 - 1e-7], [1 - 1e-7, 1.0]])
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
    values, _ = next(x.chunks())
    values[:100] = thin.means[1] + 1e-4 * values[:100]  # rows that the thin one explains
    fast, fast_log_p = expectation(x, thin)
    no_products(monkeypatch)
    exact, exact_log_p = expectation(x, thin)
    assert abs(fast_log_p - exact_log_p) < 1e-9 * abs(exact_log_p)
    for a, b in zip(tensors(fast)[:3], tensors(exact)[:3], strict=True):
        assert (a - b).abs().max() < 1e-11


def test_a_part_shares_the_buffer_and_takes_its_components() -> None:
    model = mixture("full")
    x = torch.zeros(5, 3, dtype=torch.float64)
    fast = Products.of(model)
    part = fast.part(slice(1, 3))
    whole = fast.log_joint(fast.expand(x)).clone()
    assert torch.equal(part.log_joint(part.expand(x)), whole[1:3])


@pytest.mark.parametrize("kind", KINDS)
def test_float32_has_the_error_of_float32(kind: str) -> None:
    given, model = rows(kind, n=3000), mixture(kind, tables=(3,))
    exact, log_p = expectation(given, model)
    rough, rough_log_p = expectation(given, model, dtype=torch.float32)
    assert 0 < abs(rough_log_p - log_p) < 1e-6 * abs(log_p)
    for a, b in zip(tensors(rough), tensors(exact), strict=True):
        assert a.dtype == torch.float64
        assert 0 < (a - b).abs().max() < 1e-5 * b.abs().max()


@pytest.mark.parametrize("width", [1.0, 1e-3])
def test_float32_is_left_where_components_are_or_become_narrow(
    width: float, monkeypatch: Any
) -> None:
    given, model = rows("full"), mixture("full", tables=(3,))
    values, _ = next(given.chunks())
    values[:, 2] = values[:, 0] + width * values[:, 2]
    dtypes, inner = [], em._expectation

    def recorded(*args: Any) -> Any:
        dtypes.append(args[3] if len(args) > 3 else torch.float64)
        return inner(*args)

    monkeypatch.setattr(em, "_expectation", recorded)
    none = torch.zeros(3, dtype=torch.float64)
    with Interrupts() as interrupts:
        limit = Limit(None, interrupts)
        first, _ = em._iterated(given, model, none, limit, torch.float32)
        em._iterated(given, first, none, limit, torch.float32)
    low, high = torch.float32, torch.float64
    assert dtypes == ([low, low] if width == 1 else [low, high, high])


def test_symmetric_matrices_come_back_from_their_upper_half() -> None:
    square = torch.arange(9.0, dtype=torch.float64).reshape(1, 3, 3)
    square = square + square.mT
    assert torch.equal(symmetric(products._upper(square), 3), square)
