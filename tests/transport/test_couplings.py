r"""Row 26: a coupling is a permutation of least cost, in blocks, within classes."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial.distance import cdist

from fromnoise.transport.couplings import BLOCK, optimal_transport


def draw(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(n, d))), torch.from_numpy(rng.normal(1, 2, (n, d)))


def cost(x_0, x_1):
    return (x_0 - x_1).square().sum().item()


def least(x_0, x_1):
    table = cdist(x_1.numpy(), x_0.numpy(), "sqeuclidean")
    return table[linear_sum_assignment(table)].sum()


def order_of(paired, x_0):
    r"""Return which row of x_0 stands where, by its first column."""
    where = {value: i for i, value in enumerate(x_0.reshape(len(x_0), -1)[:, 0].tolist())}
    return np.array([where[value] for value in paired.reshape(len(x_0), -1)[:, 0].tolist()])


@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 5), (17, 2), (BLOCK, 8), (BLOCK, 100)])
def test_cost_is_that_of_the_assignment_problem(n, d):
    x_0, x_1 = draw(n, d)
    assert cost(optimal_transport(x_0, x_1), x_1) == pytest.approx(least(x_0, x_1), rel=1e-9)


def test_cost_is_that_of_every_permutation_tried_and_of_the_linear_programme():
    x_0, x_1 = draw(6, 2, seed=1)
    found = cost(optimal_transport(x_0, x_1), x_1)
    tried = min(cost(x_0[list(p)], x_1) for p in itertools.permutations(range(6)))
    table = cdist(x_1.numpy(), x_0.numpy(), "sqeuclidean")
    marginals = np.concatenate([np.kron(np.eye(6), np.ones(6)), np.kron(np.ones(6), np.eye(6))])
    plan = linprog(table.ravel(), A_eq=marginals, b_eq=np.ones(12))
    assert found == pytest.approx(tried, rel=1e-9)
    assert found == pytest.approx(plan.fun, rel=1e-9)


def test_in_one_dimension_both_sides_are_sorted_alike():
    x_0, x_1 = draw(BLOCK, 1, seed=2)
    paired = optimal_transport(x_0, x_1)
    assert torch.equal(paired[x_1.argsort(dim=0).squeeze(1)], x_0.sort(dim=0).values)


@pytest.mark.parametrize("n", [3, 64, 65, 150, 256])
@pytest.mark.parametrize("classed", [False, True])
def test_every_row_is_used_exactly_once(n, classed):
    x_0, x_1 = draw(n, 3)
    classes = torch.arange(n) % 3 if classed else None
    order = order_of(optimal_transport(x_0, x_1, classes), x_0)
    assert sorted(order) == list(range(n))


def test_rows_are_assigned_in_blocks_of_64():
    assert BLOCK == 64
    x_0, x_1 = draw(150, 2, seed=3)
    paired = optimal_transport(x_0, x_1)
    order = order_of(paired, x_0)
    for start in (0, 64, 128):
        rows = slice(start, start + 64)
        assert set(order[rows]) == set(range(150)[rows])
        best = least(x_0[rows], x_1[rows])
        assert cost(paired[rows], x_1[rows]) == pytest.approx(best, rel=1e-9)


def test_another_block_size_is_obeyed():
    x_0, x_1 = draw(20, 2)
    assert torch.equal(optimal_transport(x_0, x_1, block=1), x_0)
    order = order_of(optimal_transport(x_0, x_1, block=10), x_0)
    assert set(order[:10]) == set(range(10))


def test_noise_stays_within_its_class_and_is_best_there():
    x_0, x_1 = draw(90, 2, seed=4)
    classes = torch.from_numpy(np.random.default_rng(0).integers(0, 3, 90))
    x_1 += 5 * classes[:, None]  # without the classes, the label would choose the noise
    paired = optimal_transport(x_0, x_1, classes)
    assert torch.equal(classes[order_of(paired, x_0)], classes)
    for label in range(3):
        own = classes == label
        assert cost(paired[own], x_1[own]) == pytest.approx(least(x_0[own], x_1[own]), rel=1e-9)


def numbered(kind, n, seed):
    r"""Rows that a number, or two, all but determine."""
    rng = np.random.default_rng(seed)
    y = rng.uniform(-2, 2, (n, 2 if kind == "plane" else 1))
    other = rng.choice([-1.0, 1.0], (n, 1)) + 0.1 * rng.normal(size=(n, 1))
    x_1 = y + 0.3 * rng.normal(size=y.shape) if kind == "plane" else np.hstack([y, other])
    return torch.from_numpy(rng.normal(size=x_1.shape)), torch.from_numpy(x_1), torch.from_numpy(y)


@pytest.mark.parametrize(("kind", "gain"), [("line", 0.8), ("plane", 0.96)])
def test_numbers_do_not_choose_the_noise(kind, gain):
    x_0, x_1, y = numbered(kind, 64 * 400, seed=5)
    paired, blind = optimal_transport(x_0, x_1, y), optimal_transport(x_0, x_1)
    assert cost(paired, x_1) < gain * cost(x_0, x_1)  # and yet it is shorter
    part = (y[:, 0].argsort().argsort() * 20) // len(y)  # twenty slices of equal size
    for noise_of, low, high in ((paired, 0, 0.12), (blind, 0.6, 3)):
        skew = max(abs(noise_of[part == k, 0].mean().item()) for k in range(20))
        assert low < skew < high
    slices = [paired[part == k, 0].std().item() for k in range(20)]
    assert 0.93 < np.min(slices) <= np.max(slices) < 1.07
    assert abs(np.corrcoef(paired[:, 0], y[:, 0])[0, 1]) < 0.02


def test_numbers_cost_as_the_formula_says():
    x_0, x_1, y = numbered("plane", 40, seed=6)
    far = cdist(y.numpy(), y.numpy(), "sqeuclidean")
    near = np.quantile(far[~np.eye(40, dtype=bool)], 0.05)
    weight = (x_0.var(0, correction=0) + x_1.var(0, correction=0)).sum().item() / 2 / near
    table = cdist(x_1.numpy(), x_0.numpy(), "sqeuclidean") / 2 + weight * far
    rows, columns = linear_sum_assignment(table)
    order = order_of(optimal_transport(x_0, x_1, y), x_0)
    assert table[rows, order].sum() == pytest.approx(table[rows, columns].sum(), rel=1e-12)
    assert (order != rows).any()


def test_numbers_that_are_often_equal_are_classes_and_one_number_is_no_condition():
    x_0, x_1 = draw(64, 2, seed=7)
    y = (torch.arange(64) % 4)[:, None].double()
    assert torch.equal(optimal_transport(x_0, x_1, y), optimal_transport(x_0, x_1, y[:, 0].long()))
    same = optimal_transport(x_0, x_1, torch.zeros(64, 1))
    assert torch.equal(same, optimal_transport(x_0, x_1))
    assert torch.equal(optimal_transport(x_0[:1], x_1[:1], y[:1]), x_0[:1])


def test_images_are_coupled_as_vectors():
    x_0, x_1 = draw(12, 8)
    shaped = optimal_transport(x_0.reshape(12, 2, 2, 2), x_1.reshape(12, 2, 2, 2))
    assert torch.equal(shaped.reshape(12, 8), optimal_transport(x_0, x_1))


def test_dtype_stays_and_inputs_are_left_alone():
    x_0, x_1 = (x.float() for x in draw(10, 2))
    kept = x_0.clone(), x_1.clone()
    assert optimal_transport(x_0, x_1).dtype == torch.float32
    assert torch.equal(x_0, kept[0]) and torch.equal(x_1, kept[1])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_a_cost_that_is_not_finite_raises(bad, side):
    both = draw(8, 2)
    both[side][5, 1] = bad
    with pytest.raises(ValueError, match="not finite"):
        optimal_transport(*both)
