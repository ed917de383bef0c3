r"""Inpainting by exact fields: its draws have the law of what is missing given what is seen."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from fromnoise.transport.inpainting import inpaint, inpainting_times
from fromnoise.transport.paths import LINEAR, VP_COSINE, Path, convert, linear
from fromnoise.transport.solvers import Field

N = 1000


@dataclass
class Mixture:
    r"""A mixture of Gaussians, its exact velocity, and its exact conditionals."""

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def field(self, path: Path) -> Field:
        def velocity(x: Tensor, t: Tensor) -> Tensor:
            time = t[:1]
            alpha, sigma = path.alpha(time), path.sigma(time)
            noisy = alpha**2 * self.covariances + sigma**2 * torch.eye(x.shape[1])
            miss = x[:, None] - alpha * self.means
            solved = torch.einsum("kij,nkj->nki", torch.linalg.inv(noisy), miss)
            log_p = -0.5 * (miss * solved).sum(2) - 0.5 * torch.logdet(noisy) + self.weights.log()
            each = self.means + alpha * torch.einsum("kij,nkj->nki", self.covariances, solved)
            data = (log_p.softmax(1)[:, :, None] * each).sum(1)
            return convert(path, x, time, data, "data", "velocity")

        return velocity

    def given(self, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return weights, means and deviations of the last columns given the first."""
        s = len(seen)
        own, cross = self.covariances[:, :s, :s], self.covariances[:, s:, :s]
        gain = cross @ torch.linalg.inv(own)
        miss = seen - self.means[:, :s]
        log_p = torch.distributions.MultivariateNormal(self.means[:, :s], own).log_prob(seen)
        means = self.means[:, s:] + (gain @ miss[:, :, None]).squeeze(2)
        rest = self.covariances[:, s:, s:] - gain @ cross.mT
        weights = (log_p + self.weights.log()).softmax(0)
        return weights, means, rest.diagonal(dim1=1, dim2=2).sqrt()

    def moments_given(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        w, mean, std = self.given(seen)
        total = w @ mean
        return total, (w @ (mean**2 + std**2) - total**2).sqrt()


def mixture(weights: Any, means: Any, covariances: Any) -> Mixture:
    parts = (torch.tensor(part, dtype=torch.float64) for part in (weights, means, covariances))
    return Mixture(*parts)


def correlated(d: int, seed: int) -> Mixture:
    a = torch.randn(d, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    square = a @ a.T / d + 0.05 * torch.eye(d, dtype=torch.float64)
    scale = square.diagonal().rsqrt()
    return mixture([1.0], [[0.0] * d], (square * scale * scale[:, None])[None].tolist())


def draws(truth: Mixture, seen: Tensor, path: Path = LINEAR, particles: int = 16,
          steps: int = 64, start: float = 0.0) -> Tensor:  # fmt: skip
    g = torch.Generator().manual_seed(0)
    x = torch.full((N, truth.means.shape[1]), 7.0, dtype=torch.float64)
    x[:, : len(seen)] = seen
    known = torch.zeros(x.shape, dtype=torch.bool)
    known[:, : len(seen)] = True
    drawn = inpaint(
        truth.field(path), x, known, inpainting_times(path, steps, start), path=path,
        particles=particles,
        normal=lambda *shape: torch.randn(N, *shape, dtype=torch.float64, generator=g),
        uniform=lambda *shape: torch.rand(N, *shape, dtype=torch.float64, generator=g),
    )  # fmt: skip
    assert torch.equal(drawn[:, : len(seen)], x[:, : len(seen)])
    return drawn[:, len(seen) :]


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("truth", "seen"),
    [
        (mixture([1.0], [[0.0, 0.0]], [[[1.0, 0.9], [0.9, 1.0]]]), vector(1.5)),
        (mixture([1.0], [[0.0, 0.0]], [[[1.0, 0.99], [0.99, 1.0]]]), vector(-1.0)),
        (correlated(6, 3), vector(1.0, -1.0, 0.5)),
        (correlated(6, 3), vector(1.0, -1.0, 0.5, 0.0, 1.0)),
    ],
)
@pytest.mark.parametrize("path", [LINEAR, VP_COSINE])
def test_a_gaussian_given_some_columns(truth: Mixture, seen: Tensor, path: Path) -> None:
    drawn = draws(truth, seen, path)
    mean, std = truth.moments_given(seen)
    assert ((drawn.mean(0) - mean) / std).abs().max() < 0.12  # 0.03 of them are chance
    assert (drawn.std(0) / std - 1).abs().max() < 0.08  # 0.02 of them are chance


# The columns that are missing tell the modes apart, those that are seen less so.
TWO = mixture([0.5, 0.5], [[-0.87, -0.98], [0.87, 0.98]], [[[0.25, 0], [0, 0.04]]] * 2)
RARE = mixture([0.9, 0.1], [[-0.3, -0.33], [1.2, 2.9]], [[[0.5, 0], [0, 0.04]]] * 2)


@pytest.mark.parametrize(("truth", "seen"), [(TWO, 0.3), (TWO, -0.1), (RARE, 1.2)])
def test_modes_have_their_weights(truth: Mixture, seen: float) -> None:
    drawn = draws(truth, vector(seen))[:, 0]
    weights, means, _ = truth.given(vector(seen))
    upper = drawn > means.mean()
    assert abs(upper.double().mean() - weights[1]) < 0.05
    for side, mean in ((~upper, means[0]), (upper, means[1])):
        assert abs(drawn[side].mean() - mean) < 0.05
        assert abs(drawn[side].std() - 0.2) < 0.03


def test_without_weights_the_modes_are_wrong() -> None:
    alone = draws(TWO, vector(0.3), particles=1)[:, 0]
    assert (alone > 0).double().mean() < TWO.given(vector(0.3))[0][1] - 0.1


def test_few_particles_are_mended_by_langevin() -> None:
    truth, seen = correlated(6, 3), vector(1.0, -1.0, 0.5)
    mean, std = truth.moments_given(seen)
    drawn = draws(truth, seen, particles=8)
    assert ((drawn.mean(0) - mean) / std).abs().max() < 0.15
    assert (drawn.std(0) / std - 1).abs().max() < 0.1


def test_every_step_but_the_last_is_corrected() -> None:
    calls: list[int] = []

    def counted(x: Tensor, t: Tensor) -> Tensor:
        calls.append(len(x))
        return TWO.field(LINEAR)(x, t)

    x, known = torch.ones(3, 2), torch.tensor([[True, False]]).expand(3, -1)
    inpaint(
        counted, x, known, inpainting_times(LINEAR, 10), path=LINEAR, particles=4,
        normal=lambda *shape: torch.ones(3, *shape),
        uniform=lambda *shape: torch.full((3, *shape), 0.5),
    )  # fmt: skip
    assert calls == [12] * 19


def test_a_path_may_begin_late_and_end_with_noise() -> None:
    truth, seen = correlated(6, 3), vector(1.0, -1.0, 0.5)
    mean, std = truth.moments_given(seen)
    for path, start in ((VP_COSINE, 0.004), (linear(0.01), 0.0)):
        drawn = draws(truth, seen, path, start=start)
        assert ((drawn.mean(0) - mean) / std).abs().max() < 0.12
        assert (drawn.std(0) / std - 1).abs().max() < 0.08


def test_where_nothing_is_known_the_model_is_drawn_from() -> None:
    truth = correlated(3, 1)
    drawn = draws(truth, vector())
    assert drawn.mean(0).abs().max() < 0.13
    assert (torch.cov(drawn.T) - truth.covariances[0]).abs().max() < 0.12


def test_rows_follow_their_own_noise() -> None:
    x, known = torch.ones(5, 2), torch.tensor([[True, False]]).expand(5, -1)

    def streams(n: int) -> Any:
        generators = [torch.Generator().manual_seed(i) for i in range(n)]
        return [
            lambda *shape, f=f: torch.stack([f(*shape, generator=g) for g in generators])
            for f in (torch.randn, torch.rand)
        ]

    def run(n: int) -> Tensor:
        normal, uniform = streams(n)
        times = inpainting_times(LINEAR, 20)
        return inpaint(
            TWO.field(LINEAR), x[:n], known[:n], times, path=LINEAR, particles=8,
            normal=normal, uniform=uniform,
        )  # fmt: skip

    assert torch.equal(run(5)[:2], run(2))


@pytest.mark.parametrize("path", [LINEAR, VP_COSINE, linear(0.1)])
def test_steps_get_shorter_towards_the_data(path: Path) -> None:
    times = inpainting_times(path, 50, 0.01)
    assert (times[0], times[-1]) == (0.01, 1.0)
    turns = torch.atan2(path.alpha(times), path.sigma(times)).diff()
    assert (turns > 0).all()
    assert (turns.diff() < 1e-9).all()
