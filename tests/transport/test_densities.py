r"""Densities: exact divergences, random ones without bias, and integrals that are one."""

import math

import pytest
import torch
from torch import nn

from fromnoise.transport.densities import divergence, log_densities, log_density
from fromnoise.transport.solvers import RUNGE_KUTTA, integrate
from transport_fields import MEAN, SCALE, gaussian, grid, noise, swirl


def network(d, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(d, 8), nn.Tanh(), nn.Linear(8, d)).double()
    return lambda x, t: (net(x.flatten(1)) * (1 + t[:, None])).reshape(x.shape)


@pytest.mark.parametrize("shape", [(1,), (4,), (2, 3, 2)])
def test_divergence_is_the_trace_of_the_jacobian(shape):
    field = network(math.prod(shape))
    x = noise(5, math.prod(shape)).reshape(5, *shape)
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    velocity, div = divergence(field, x, t)
    assert torch.equal(velocity, field(x, t).detach()) and not velocity.requires_grad
    for i in range(5):
        jacobian = torch.autograd.functional.jacobian(
            lambda row, i=i: field(row[None], t[i : i + 1])[0].flatten(), x[i]
        )
        exact = jacobian.reshape(math.prod(shape), -1).trace()
        torch.testing.assert_close(div[i, 0], exact, rtol=1e-12, atol=1e-12)


def test_divergence_works_where_gradients_are_off_and_leaves_none_behind():
    x = noise(3, 2)
    with torch.no_grad():
        _, div = divergence(swirl, x, torch.zeros(3, dtype=torch.float64))
    assert div.abs().min() > 0 and not div.requires_grad and x.grad is None


def test_row_22_log_density_of_a_gaussian():
    x = MEAN + SCALE * noise(100, 3).clamp(-3, 3)
    exact = torch.distributions.Normal(MEAN, SCALE).log_prob(x).sum(1)
    found = log_density(gaussian, x, grid(1, 0, 64), RUNGE_KUTTA["rk4"])
    # Column 1 needs finer steps for 1e-6: its scale makes the field stiffer than row 22's.
    fine = log_density(gaussian, x, grid(1, 0, 256), RUNGE_KUTTA["rk4"])
    torch.testing.assert_close(fine, exact, rtol=0, atol=1e-6)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-4)


def test_row_22_log_density_of_the_gaussian_of_the_table():
    x = MEAN[0] + SCALE[0] * noise(100, 1)
    exact = torch.distributions.Normal(MEAN[0], SCALE[0]).log_prob(x).squeeze(1)
    found = log_density(gaussian, x, grid(1, 0, 64), RUNGE_KUTTA["rk4"])
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-6)


def test_log_density_is_that_of_the_change_of_variables():
    x_0 = noise(6, 2)
    solve = lambda row: integrate(swirl, row[None], grid(0, 1, 64), RUNGE_KUTTA["rk4"])[0]  # noqa: E731
    x_1 = torch.stack([solve(row) for row in x_0])
    jacobians = torch.stack([torch.autograd.functional.jacobian(solve, row) for row in x_0])
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(x_0).sum(1)
    exact = prior - torch.linalg.slogdet(jacobians).logabsdet
    found = log_density(swirl, x_1, grid(1, 0, 64), RUNGE_KUTTA["rk4"])
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-7)


def test_images_have_the_density_of_their_pixels():
    field, x = network(8), noise(3, 8)
    flat = log_density(field, x, grid(1, 0, 8), RUNGE_KUTTA["heun"])
    shaped = log_density(field, x.reshape(3, 2, 2, 2), grid(1, 0, 8), RUNGE_KUTTA["heun"])
    torch.testing.assert_close(flat, shaped, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "field", [gaussian, lambda x, t: (2 * x).sin() * (1 + t[:, None]) + 0.2 * x]
)
def test_row_23_density_integrates_to_one_on_the_line(field):
    x = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    p = log_density(field, x[:, None], grid(1, 0, 64), RUNGE_KUTTA["rk4"]).exp()
    assert torch.trapezoid(p, x).item() == pytest.approx(1, abs=1e-6)


def test_row_23_density_integrates_to_one_on_the_plane():
    axis = torch.linspace(-9, 9, 301, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    p = log_density(swirl, points, grid(1, 0, 16), RUNGE_KUTTA["rk4"]).exp().reshape(301, 301)
    assert torch.trapezoid(torch.trapezoid(p, axis), axis).item() == pytest.approx(1, abs=1e-4)


# --- random probes ----------------------------------------------------------------------------

A = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(8))


def probes(n, k, d, seed=0):
    return torch.randint(0, 2, (n, k, d), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1


def test_row_25_mean_and_variance_of_the_estimate():
    n = 40_000
    _, found = divergence(lambda x, t: x @ A.T, noise(n, 6), torch.zeros(n), probes(n, 1, 6))
    symmetric = (A + A.T) / 2
    variance = 2 * (symmetric.square().sum() - symmetric.diagonal().square().sum())
    assert abs(found.mean() - A.trace()) < 5 * (variance / n).sqrt()
    assert found.var().item() == pytest.approx(variance.item(), rel=0.05)
    _, several = divergence(lambda x, t: x @ A.T, noise(n, 6), torch.zeros(n), probes(n, 4, 6))
    assert several.shape == (n, 4)
    assert several.mean(1).var().item() == pytest.approx(variance.item() / 4, rel=0.05)


def test_row_25_a_probe_asks_for_the_transposed_product():
    e = probes(3, 2, 6)
    _, found = divergence(lambda x, t: x @ A.T, noise(3, 6), torch.zeros(3), e)
    exact = torch.einsum("nki,ij,nkj->nk", e.double(), A, e.double())
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)


def test_all_basis_vectors_as_probes_make_the_exact_divergence():
    field, x, t = network(4), noise(5, 4), torch.zeros(5, dtype=torch.float64)
    basis = 2 * torch.eye(4).expand(5, 4, 4)  # the mean of four e·J e, each of size 2² over 4
    exact, found = divergence(field, x, t)[1], divergence(field, x, t, basis)[1]
    torch.testing.assert_close(found.mean(1, keepdim=True), exact, rtol=1e-12, atol=1e-12)


def test_every_probe_has_a_density_and_their_mean_is_the_estimate():
    field, x, e = network(4), noise(5, 4), probes(5, 3, 4)
    each = log_densities(field, x, grid(1, 0, 16), RUNGE_KUTTA["rk4"], e)
    assert each.shape == (5, 3)
    for k in range(3):
        alone = log_density(field, x, grid(1, 0, 16), RUNGE_KUTTA["rk4"], e[:, k : k + 1])
        torch.testing.assert_close(each[:, k], alone, rtol=1e-12, atol=1e-12)
    mean = log_density(field, x, grid(1, 0, 16), RUNGE_KUTTA["rk4"], e)
    torch.testing.assert_close(each.mean(1), mean, rtol=1e-12, atol=1e-12)


def test_row_22_the_estimated_density_is_right_on_average():
    x = (MEAN + SCALE * noise(4, 3)).repeat_interleave(2000, 0)
    exact = torch.distributions.Normal(MEAN, SCALE).log_prob(x).sum(1)
    rotated = torch.linalg.qr(A[:3, :3])[0]  # a diagonal Jacobian would have no variance

    def turned(x, t):
        return gaussian(x @ rotated, t) @ rotated.T

    found = log_density(
        turned, x @ rotated.T, grid(1, 0, 64), RUNGE_KUTTA["rk4"], probes(len(x), 1, 3)
    )
    error = (found - exact).reshape(4, 2000)
    assert error.std(dim=1).min() > 0.01
    assert (error.mean(1).abs() < 5 * error.std(dim=1) / 2000**0.5 + 1e-4).all()
