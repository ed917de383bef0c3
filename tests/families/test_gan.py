r"""Adversarial pairs against what is known of them: formulas, optima, slopes, and lost modes."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

import fromnoise as fn
from fromnoise.families.gan import OBJECTIVES, gradient_norm, status_of
from fromnoise.metrics import energy_distance
from fromnoise.training import engine


def small(**arguments: Any) -> fn.GAN:
    given = {"network": "small", "random_state": 0, "budget": "20 steps", **arguments}
    return fn.GAN(**given)


def square(n: int = 200, d: int = 2) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (n, d))


class Linear(nn.Module):
    r"""D(x) = w·x + b."""

    def __init__(self, w: list[float], b: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))
        self.b = nn.Parameter(torch.tensor(b))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return (x.flatten(1) @ self.w + self.b)[:, None]


class Quadratic(Linear):
    r"""D(x) = x·Ax / 2 + w·x."""

    def __init__(self, a: list[list[float]], w: list[float]) -> None:
        super().__init__(w)
        self.a = nn.Parameter(torch.tensor(a))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return super().forward(x) + torch.einsum("ni,ij,nj->n", x, self.a, x)[:, None] / 2


class Constant(nn.Module):
    r"""A generator of one row."""

    def __init__(self, x: list[float]) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor(x))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.x.expand(len(z), *self.x.shape)


def players(generator: nn.Module, critic: nn.Module, d: int, **arguments: Any) -> fn.GAN:
    r"""A model whose losses can be asked for, with these networks in float64, unchanged."""
    model = small(
        network=(generator, critic), budget="1 steps", learning_rate=1e-30, **arguments
    ).fit(square(40, d))
    for name, network in (("generator", generator), ("critic", critic)):
        model.networks_[name].load_state_dict(network.state_dict())
    model.networks_.double().requires_grad_(True)
    return model


def batch(n: int = 16, d: int = 2, k: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(7)
    return tuple(torch.randn(n, m, generator=rng, dtype=torch.float64) for m in (d, k, k))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- formulas ---------------------------------------------------------------------------------

A, B = 0.3, -0.7


def log_sigma(s: float) -> float:
    return math.log(1 / (1 + math.exp(-s)))


@pytest.mark.parametrize(
    ("objective", "critic", "generator"),
    [
        ("minimax", -log_sigma(A) - math.log(1 - math.exp(log_sigma(B))),
         math.log(1 - math.exp(log_sigma(B)))),
        ("non-saturating", -log_sigma(A) - math.log(1 - math.exp(log_sigma(B))), -log_sigma(B)),
        ("least-squares", 0.5 * (0.3 - 1) ** 2 + 0.5 * 0.7**2, 0.5 * (-0.7 - 1) ** 2),
        ("hinge", 0.7 + 0.3, 0.7),
        ("wasserstein", -0.7 - 0.3, 0.7),
        ("relativistic", -log_sigma(0.3 + 0.7), -log_sigma(-0.7 - 0.3)),
    ],
)  # fmt: skip
def test_each_objective_is_its_formula(objective: str, critic: float, generator: float) -> None:
    a, b = torch.tensor([A], dtype=torch.float64), torch.tensor([B], dtype=torch.float64)
    assert OBJECTIVES[objective].critic(a, b).item() == pytest.approx(critic, abs=1e-12)
    assert OBJECTIVES[objective].generator(a, b).item() == pytest.approx(generator, abs=1e-12)
    # and the losses are means of it over the rows that the players see
    model = players(Constant([0.5, -1.0]), Linear([0.4, 0.2], 0.1), 2, objective=objective,
                    penalty="none")  # fmt: skip
    x, *_ = parts = batch()
    real, fake = 0.4 * x[:, 0] + 0.2 * x[:, 1] + 0.1, torch.full((16,), 0.1).double()
    for loss, formula in zip(
        (model.critic_loss, model.generator_loss), OBJECTIVES[objective], strict=True
    ):
        found = loss(parts, None, 0.3, seeded())
        torch.testing.assert_close(found, formula(real, fake).mean(), rtol=1e-7, atol=1e-7)


def test_hinge_does_not_reward_beyond_its_margin() -> None:
    a, b = torch.tensor([5.0]), torch.tensor([-5.0])
    assert OBJECTIVES["hinge"].critic(a, b).item() == 0


def test_row_29_the_value_where_nothing_can_be_told() -> None:
    zero = torch.zeros(3, dtype=torch.float64)
    assert OBJECTIVES["minimax"].critic(zero, zero).mean().item() == pytest.approx(
        2 * math.log(2), abs=1e-12
    )
    assert OBJECTIVES["minimax"].generator(zero, zero).mean().item() == pytest.approx(
        -math.log(2), abs=1e-12
    )


@pytest.mark.parametrize("objective", ["minimax", "non-saturating"])
def test_row_29_the_best_critic_of_two_gaussians_is_p_over_p_plus_q(objective: str) -> None:
    x = torch.linspace(-4, 5, 181, dtype=torch.float64)
    p, q = (torch.from_numpy(norm.pdf(x.numpy(), m, s)) for m, s in ((0, 1), (1.5, 0.7)))
    s = torch.zeros(181, dtype=torch.float64, requires_grad=True)  # one logit for every place
    optimizer = torch.optim.LBFGS([s], max_iter=500, line_search_fn="strong_wolfe",
                                  tolerance_grad=1e-10, tolerance_change=1e-14)  # fmt: skip

    def expected() -> Tensor:
        optimizer.zero_grad()
        flat = torch.full_like(s, torch.inf)
        of_real = OBJECTIVES[objective].critic(s, -flat)  # no generated row there
        of_fake = OBJECTIVES[objective].critic(flat, s)
        loss: Tensor = ((p * of_real + q * of_fake) / (p + q)).sum()
        loss.backward()
        return loss

    optimizer.step(expected)
    seen = (p + q) > 1e-3
    torch.testing.assert_close(torch.sigmoid(s)[seen], (p / (p + q))[seen], rtol=0, atol=1e-3)


# --- slopes -----------------------------------------------------------------------------------


def test_row_27_the_gradient_penalty_of_a_linear_critic() -> None:
    w = torch.tensor([2.0, 3.0, 6.0], dtype=torch.float64, requires_grad=True)
    x = torch.randn(5, 3, dtype=torch.float64, generator=seeded()).requires_grad_()
    penalty = (gradient_norm(x @ w, x) - 1).square().mean()
    assert penalty.item() == pytest.approx(36, abs=1e-12)
    (slope,) = torch.autograd.grad(penalty, w)
    torch.testing.assert_close(slope, 2 * 6 * w.detach() / 7, rtol=1e-12, atol=1e-12)


def test_row_27_norms_are_taken_row_by_row_over_all_dimensions() -> None:
    x = torch.randn(4, 3, 2, 5, dtype=torch.float64, generator=seeded()).requires_grad_()
    found = gradient_norm(x.square().sum((1, 2, 3)) / 2, x)
    torch.testing.assert_close(found, x.detach().flatten(1).norm(dim=1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("weight", ["auto", 3.0])
def test_row_27_the_gradient_penalty_between_real_and_generated_rows(weight: Any) -> None:
    a, w = [[1.5, 0.4], [0.4, -0.8]], [0.3, -0.2]
    model = players(Constant([2.0, 1.0]), Quadratic(a, w), 2, penalty="gradient-penalty",
                    objective="wasserstein", penalty_weight=weight)  # fmt: skip
    x, *_ = parts = batch()
    loss = model.critic_loss(parts, None, 0.9, seeded(3))
    share = torch.rand(16, generator=seeded(3), dtype=torch.float64)[:, None]
    fake = torch.tensor([2.0, 1.0], dtype=torch.float64)
    between = share * x + (1 - share) * fake
    norms = (between @ torch.tensor(a).double() + torch.tensor(w).double()).norm(dim=1)
    critic = model.networks_["critic"]
    gap = critic(x).mean() - critic(fake[None]).mean()
    expected = -gap + (10 if weight == "auto" else 3) * (norms - 1).square().mean()
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)  # weights came as float32


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.25, 0.37, 0.5, 0.9, 1.0])
def test_r1_and_r2_are_paid_at_every_step_and_fall(progress: float) -> None:
    losses = {}
    for penalty in ("none", "r1", "r1-r2"):
        model = players(Constant([2.0, 1.0]), Quadratic([[1.0, 0.0], [0.0, 2.0]], [0.5, 0.5]), 2,
                        penalty=penalty, penalty_weight=4.0)  # fmt: skip
        losses[penalty] = model.critic_loss(batch(), None, progress, seeded()).item()
    scale = torch.tensor([1.0, 2.0], dtype=torch.float64)
    at_real = (batch()[0] * scale + 0.5).square().sum(1).mean().item()
    at_fake = 2.5**2 + 2.5**2
    low = fn.families.gan.LOWEST
    gamma = 4 * low ** min(progress / fn.families.gan.BURN_IN, 1)
    assert losses["r1"] - losses["none"] == pytest.approx(gamma / 2 * at_real, rel=1e-6)
    assert losses["r1-r2"] - losses["r1"] == pytest.approx(gamma / 2 * at_fake, rel=1e-6)


@pytest.mark.parametrize(
    ("penalty", "images", "weight"),
    [("r1", False, 0.1), ("r1-r2", True, 3.0), ("gradient-penalty", True, 10.0)],
)
def test_automatic_weights_of_the_penalties(penalty: str, images: bool, weight: float) -> None:
    X = blobs() if images else square()
    assert small(penalty=penalty, budget="1 steps").fit(X)._weight() == weight


def test_the_second_moments_of_the_optimiser_grow_longer() -> None:
    for player in small().fit(square()).objectives():
        assert player.betas(0.0) == (0.0, pytest.approx(0.9))
        assert player.betas(1.0) == (0.0, pytest.approx(0.99))


@pytest.mark.parametrize("penalty", ["gradient-penalty", "r1", "r1-r2"])
def test_row_28_slopes_of_a_critic_that_is_zero_have_finite_gradients(penalty: str) -> None:
    model = players(Constant([2.0, 1.0]), Quadratic([[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]), 2,
                    penalty=penalty, objective="wasserstein")  # fmt: skip
    model.critic_loss(batch(), None, 0.0, seeded()).backward()
    for weight in model.networks_["critic"].parameters():
        assert torch.isfinite(weight.grad).all()


class Smooth(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(n_in, 3), nn.Tanh(), nn.Linear(3, n_out))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.net(x)


@pytest.mark.parametrize("objective", [*OBJECTIVES])
@pytest.mark.parametrize("penalty", ["none", "r1", "r1-r2", "gradient-penalty"])
def test_row_32_gradients_of_both_losses(objective: str, penalty: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator, critic = Smooth(2, 2), Smooth(2, 1)
    model = players(generator, critic, 2, objective=objective, penalty=penalty)
    for name, loss in (("critic", model.critic_loss), ("generator", model.generator_loss)):
        weights = [*model.networks_[name].parameters()]
        value = lambda: loss(batch(6), None, 0.3, seeded())  # noqa: B023, E731
        for weight, slope in zip(weights, torch.autograd.grad(value(), weights), strict=True):
            flat = weight.data.view(-1)
            for i in range(0, len(flat), 3):
                start, ends = flat[i].item(), []
                for step in (1e-6, -1e-6):
                    flat[i] = start + step
                    ends.append(value().item())
                flat[i] = start
                found = (ends[0] - ends[1]) / 2e-6
                assert slope.view(-1)[i].item() == pytest.approx(found, abs=1e-5)


def test_a_penalised_critic_between_two_points_overshoots_by_a_known_share() -> None:
    distance, weight = 3.0, 10.0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = nn.Sequential(nn.Linear(1, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
    model = players(Constant([distance]), critic, 1, objective="wasserstein",
                    penalty="gradient-penalty", penalty_weight=weight)  # fmt: skip
    critic = model.networks_["critic"]
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    real = torch.zeros(64, 1, dtype=torch.float64)
    z = torch.zeros(64, 2, dtype=torch.float64)
    for step in range(1200):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / 1200)
        optimizer.zero_grad()
        model.critic_loss((real, z, z), None, 1.0, seeded(step)).backward()
        optimizer.step()
    ends = torch.tensor([[0.0], [distance]], dtype=torch.float64)
    gap = -critic(ends).diff(dim=0).item()
    between = torch.linspace(0, distance, 201, dtype=torch.float64)[:, None].requires_grad_()
    mean_norm = gradient_norm(model.criticise(between, None), between).mean().item()
    assert gap == pytest.approx(distance * (1 + distance / (2 * weight)), rel=0.01)
    assert gap / mean_norm == pytest.approx(distance, rel=0.02)


# --- how it is trained ------------------------------------------------------------------------


def test_weight_clipping_cuts_the_critic_after_each_of_its_steps() -> None:
    seen = []

    class Watched(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if self.training and torch.is_grad_enabled():
                seen.append(self.weight.abs().max().item())
            return super().forward(x)

    network = (nn.Linear(2, 2), Watched(2, 1))
    model = fn.families.make("wgan", network=network, budget="25 steps", random_state=0,
                             learning_rate=0.1, weight_bound=0.02).fit(square())  # fmt: skip
    assert max(seen[1:]) <= 0.02 + 1e-8
    assert seen[1:].count(pytest.approx(0.02)) > 5
    assert model.networks_["generator"].weight.abs().max() > 0.02


def test_the_generator_moves_at_every_fifth_step_of_a_wasserstein_critic() -> None:
    model = fn.families.make("wgan-gp", budget="1 steps").fit(square())
    critic, generator = model.objectives()
    assert (critic.every, generator.every) == (1, 5)
    assert (model.objective, model.penalty) == ("wasserstein", "gradient-penalty")
    assert fn.families.make("wgan").penalty == "weight-clipping"


def test_each_player_has_its_own_parameters_and_learning_rate() -> None:
    model = small(learning_rate=1e-4, critic_learning_rate=3e-4).fit(square())
    critic, generator = model.objectives()
    assert (critic.learning_rate, generator.learning_rate) == (3e-4, None)
    for player, name in ((critic, "critic"), (generator, "generator")):
        assert [*map(id, player.parameters)] == [*map(id, model.networks_[name].parameters())]
    assert small(critic_learning_rate="auto").fit(square()).objectives()[0].learning_rate is None


def test_the_players_meet_standardised_rows_and_noise_of_their_own() -> None:
    X = square() * [1.0, 50.0] + [3.0, 0.0]
    model = small(budget="1 steps").fit(X)
    rows = torch.from_numpy(model.encoding_.pack(model.encoding_.encode(X))) * 5 + 2
    model.measure(rows)
    x, z, other = model.prepare(rows, None, seeded())
    torch.testing.assert_close(x.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(2), atol=1e-5, rtol=0)
    assert z.shape == other.shape == (len(X), *model.noise_shape)
    assert not torch.equal(z, other)


def test_history_holds_both_players_and_what_held_out_rows_say() -> None:
    model = small(budget="100 steps").fit(square(1000))
    checked = [line for line in model.history_ if line["validation"] is not None]
    assert 10 <= len(checked) < len(model.history_)
    names = {"critic_loss", "generator_loss", "critic_gradient", "generator_gradient"}
    assert all(names <= line.keys() for line in model.history_)
    assert all({"critic_gap", "distance", "coverage"} <= line.keys() for line in checked)


def test_the_kept_generator_is_the_nearest_to_held_out_rows() -> None:
    values = iter([3.0, 1.0, 2.0] + [4.0] * 100)
    kept: list[Tensor] = []

    class Chosen(fn.GAN):
        def validate(self, *given: Any) -> float:
            kept.append(self.networks_["generator"].last.weight.clone())
            return next(values)

    model = Chosen(network="small", budget="60 steps", random_state=0).fit(square())
    assert torch.equal(model.networks_["generator"].last.weight, kept[1])
    assert not torch.equal(kept[1], kept[-1])


def test_validation_is_a_distance_in_units_of_a_single_point_and_what_is_missed() -> None:
    X = square(400)
    model = small(budget="1 steps").fit(X)
    settings = SimpleNamespace(batch_size=64, seed=0, device="cpu")
    rows = fn.base.neural.TrainingRows(X, model.encoding_, None, np.arange(400))
    model._training, model._augmentation = rows, 0.0
    spread = nn.Linear(2, 2)
    for network, distance, covered in (
        (Constant([0.0, 0.0]), 1.0, 0.0),
        (Constant([9.0, 9.0]), 28.0, 0.0),
        (spread, 0.05, 0.8),
    ):
        with torch.no_grad():
            spread.weight.copy_(torch.eye(2)), spread.bias.zero_()
        model.networks_["generator"] = network
        value, seen = model.validate([], rows, settings), model.observe()
        assert seen["distance"] == pytest.approx(distance, rel=0.2, abs=0.06)
        assert seen["coverage"] == pytest.approx(covered, abs=0.2)
        assert value == pytest.approx(seen["distance"] + 1 - seen["coverage"], abs=1e-9)
    assert model.observe() == {}


# --- learning ---------------------------------------------------------------------------------


def test_it_beats_a_single_gaussian_and_misses_no_mode() -> None:
    X = fn.data.load("8gaussians").X
    train, test = X[:4000], X[4000:6000]
    model = small(budget="450 steps").fit(train)
    drawn = model.sample(2000, random_state=0)
    rival = fn.GaussianMixture(n_components=1).fit(train).sample(2000, random_state=0)
    assert energy_distance(test, drawn).high < energy_distance(test, rival).low
    mode = np.round(np.arctan2(drawn[:, 1], drawn[:, 0]) / (np.pi / 4)).astype(int) % 8
    assert np.bincount(mode, minlength=8).min() > 2000 / 8 / 4
    assert model.status_ == "ok", model.status_reason_


def test_samples_follow_classes() -> None:
    rng = np.random.default_rng(0)
    y = np.array(["low", "high"])[rng.integers(0, 2, 1000)]
    X = rng.normal(size=(1000, 2)) * 0.3 + np.where(y == "low", -3, 3)[:, None]
    model = small(budget="150 steps").fit(X, y)
    assert (model.sample(100, y="low", random_state=0).mean(0) < -2).all()
    assert (model.sample(100, y="high", random_state=0).mean(0) > 2).all()


def test_samples_follow_numbers() -> None:
    rng = np.random.default_rng(0)
    y = rng.uniform(-2, 2, 1000)
    X = y[:, None] * [1.0, -1.0] + 0.2 * rng.normal(size=(1000, 2))
    model = small(budget="250 steps").fit(X, y)
    for value in (-1.5, 0.0, 1.5):
        mean = model.sample(300, y=value, random_state=0).mean(0)
        np.testing.assert_allclose(mean, [value, -value], atol=0.5)


def test_a_table_keeps_the_shares_of_its_categories() -> None:
    rng = np.random.default_rng(0)
    city = rng.choice(["Oslo", "Rome", "Bonn"], 1000, p=[0.6, 0.3, 0.1])
    height = np.where(city == "Oslo", 5.0, 0.0) + rng.normal(size=1000)
    X = pd.DataFrame({"city": city, "height": height})
    drawn = small(budget="300 steps").fit(X).sample(1000, random_state=0)
    shares = drawn["city"].value_counts(normalize=True)
    assert shares["Oslo"] == pytest.approx(0.6, abs=0.12)
    assert shares["Rome"] == pytest.approx(0.3, abs=0.12)
    means = drawn.groupby("city")["height"].mean()
    assert means["Oslo"] > means["Rome"] + 3


def test_a_category_is_the_largest_output_with_the_gradient_of_the_softmax() -> None:
    logits = torch.tensor([[0.5, 2.0, -1.0], [3.0, 0.0, 0.0]], requires_grad=True)
    chosen = fn.families.gan._one_hot(logits)
    assert chosen.tolist() == [[0, 1, 0], [1, 0, 0]]
    weight = torch.tensor([1.0, 2.0, 5.0])
    (slope,) = torch.autograd.grad((chosen * weight).sum(), logits)
    (exact,) = torch.autograd.grad((logits.softmax(1) * weight).sum(), logits)
    torch.testing.assert_close(slope, exact)


def test_the_critic_sees_categories_as_they_are_packed() -> None:
    X = pd.DataFrame({"a": ["x", "y"] * 30, "b": square(60, 1)[:, 0]})
    model = small(budget="2 steps").fit(X)
    drawn = model.draw(torch.randn(50, model.latent_dim_, generator=seeded()), None)
    assert ((drawn[:, 1:] == 1) | (drawn[:, 1:] == -1)).all()
    assert (drawn[:, 1:].sum(1) == 0).all()
    assert (model.moments.mean[1:] == 0).all()
    assert (model.moments.std[1:] == 1).all()


@pytest.mark.parametrize("objective", [*OBJECTIVES])
@pytest.mark.parametrize("penalty", ["none", "r1", "r1-r2", "gradient-penalty", "weight-clipping"])
def test_every_pair_of_objective_and_penalty_fits(objective: str, penalty: str) -> None:
    model = small(objective=objective, penalty=penalty, budget="5 steps").fit(square())
    assert np.isfinite(model.sample(3)).all()


# --- images -----------------------------------------------------------------------------------


def blobs(n: int = 60) -> np.ndarray:
    rng = np.random.default_rng(0)
    images = rng.random((n, 7, 9)) * 0.1
    images[np.arange(n), rng.integers(0, 7, n)] += 0.8
    return images


def test_images_are_standardised_channel_by_channel() -> None:
    X = np.stack([blobs(), 10 * blobs()], axis=1)
    model = small(budget="1 steps").fit(fn.data.images(X, channels="first"))
    assert model.moments.std.shape == (2, 7, 9)
    assert (model.moments.std == model.moments.std[:, :1, :1]).all()
    rows = torch.from_numpy(model.encoding_.pack(model.encoding_.encode(model.encoding_.check(
        fn.data.images(X, channels="first")))))  # fmt: skip
    x = model.moments.standardise(rows)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(2), atol=0.05, rtol=0)


def test_few_images_are_augmented_as_far_as_the_critic_is_surprised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "APART", 1)  # it is adapted at every check
    model = small(budget="21 steps").fit(blobs())
    levels = [line["augmentation"] for line in model.history_ if line.get("validation")]
    assert len(levels) > 10
    assert all(0 <= level <= 0.8 for level in levels)
    steps = np.abs(np.diff([0.0, *levels]))
    assert all(step == pytest.approx(0.1) or level in (0, 0.8)
               for step, level in zip(steps, levels, strict=True))  # fmt: skip
    plain = small(budget="2 steps", augmentation="none").fit(blobs())
    assert "augmentation" not in plain.history_[-1]


def test_the_critic_sees_augmented_rows_and_only_then() -> None:
    model = small(budget="1 steps").fit(blobs())
    x = torch.randn(8, 1, 7, 9, generator=seeded())
    model._augmentation = 0.0
    assert torch.equal(model._seen(x, seeded()), x)
    model._augmentation = 0.8
    assert not torch.equal(model._seen(x, seeded()), x)


def test_augmentation_is_for_images() -> None:
    with pytest.raises(ValueError, match="changes images"):
        small(augmentation="adaptive").fit(square())


# --- status -----------------------------------------------------------------------------------


def line(**more: float) -> dict[str, float]:
    good = {"validation": 0.1, "distance": 0.1, "coverage": 0.9}
    return {**good, "critic_loss": 0.7, "generator_gradient": 0.1, **more}


@pytest.mark.parametrize(
    ("history", "status", "reason"),
    [
        ([line()] * 20, "ok", ""),
        ([line()] * 19 + [line(distance=3.01)], "diverged", "single point"),
        ([line(distance=5.0)] + [line()] * 19, "ok", ""),
        ([line()] * 18 + [line(critic_loss=9e-4)] * 2, "collapsed", "tells all rows apart"),
        ([line()] * 18 + [line(generator_gradient=9e-7)] * 2, "collapsed", "vanished"),
        ([line()] * 19 + [line(validation=0.05, coverage=0.49)], "collapsed", "modes"),
        ([line()] * 19 + [line(validation=0.2, coverage=0.1)], "ok", ""),
        ([], "ok", ""),
    ],
)
def test_the_rules_of_the_status(history: list[Any], status: str, reason: str) -> None:
    found, why = status_of(history, "relativistic")
    assert found == status
    assert reason in why


def test_a_wasserstein_critic_may_reach_any_loss() -> None:
    assert status_of([line(critic_loss=-3.0)], "wasserstein")[0] == "ok"


class OneMode(nn.Linear):
    r"""Draws from one of the eight Gaussians, in standardised units."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.weight.data.copy_(0.07 * torch.eye(2))
        self.bias.data.copy_(torch.tensor([1.41, 0.0]))


def test_a_row_e7_a_generator_that_cannot_move_is_flagged() -> None:
    X = fn.data.load("8gaussians").X[:2000]
    network = (OneMode(), Linear([0.1, 0.1]))
    model = small(network=network, budget="30 steps", learning_rate=1e-9).fit(X)
    assert model.status_ == "collapsed"
    assert "modes are missing" in model.status_reason_


def test_a_row_e7_far_too_large_a_learning_rate_is_flagged() -> None:
    model = small(learning_rate=1.0, budget="100 steps").fit(fn.data.load("8gaussians").X[:2000])
    assert model.status_ in ("diverged", "collapsed")
    assert model.status_reason_
    assert np.isfinite(model.sample(5)).all()


# --- sampling, decoding, inverting ------------------------------------------------------------


def test_truncation_cuts_the_noise_and_nothing_else() -> None:
    z = torch.randn(50_000, 1, generator=seeded())
    cut = fn.families.gan._truncated(z, 0.7)
    assert cut.abs().max() <= 0.7
    expected = norm.cdf(0.35) - norm.cdf(-0.7), norm.cdf(0.7) - norm.cdf(-0.7)
    assert (cut < 0.35).float().mean().item() == pytest.approx(expected[0] / expected[1], abs=0.01)
    torch.testing.assert_close(fn.families.gan._truncated(z, 20.0), z, atol=1e-5, rtol=1e-5)
    own = nn.Linear(2, 2), Linear([0.1, 0.1])
    model = small(network=own, latent_dim=2).fit(square(400))
    whole, codes = model.sample(500, random_state=0), np.random.default_rng(0).normal(size=(3, 2))
    before = model.decode(codes)
    model.set_params(truncation=0.2)
    assert (model.sample(500, random_state=0).std(0) < 0.2 * whole.std(0)).all()
    assert (model.decode(codes) == before).all()


def test_inversion_finds_noise_that_gives_the_row_back() -> None:
    model = small(budget="100 steps").fit(square(400))
    X = model.sample(40, random_state=5)
    z = model.invert(X)
    assert z.shape == (40, *model.noise_shape)
    assert z.dtype == np.float32
    error = np.linalg.norm(model.decode(z) - X, axis=1)
    assert np.median(error) < 1e-3
    coarse = np.linalg.norm(model.decode(model.invert(X, steps=0, starts=1)) - X, axis=1)
    assert np.median(coarse) > 10 * np.median(error)
    assert (model.invert(X[7:8]) == z[7:8]).all()  # whatever rows stand beside it
    assert (model.invert(X, random_state=1) != z).any()


@pytest.mark.parametrize("bad", [{"starts": 0}, {"starts": 65}, {"steps": -1}, {"steps": 1.5}])
def test_bad_arguments_of_the_inversion_are_refused(bad: dict[str, Any]) -> None:
    model = small(budget="1 steps").fit(square())
    with pytest.raises(ValueError, match=next(iter(bad))):
        model.invert(square(3), **bad)


def test_a_conditional_inversion_wants_labels() -> None:
    X, y = square(60), np.arange(60) % 2
    model = small(budget="5 steps").fit(X, y)
    assert model.invert(X[:3], y=1, steps=2).shape == (3, model.noise_shape[0])
    with pytest.raises(fn.DataError, match="Pass y"):
        model.invert(X[:3])


@pytest.mark.parametrize("name", ["score_samples", "score", "encode", "transform"])
def test_what_a_gan_cannot_do_names_those_that_can(name: str) -> None:
    assert not hasattr(small(), name)
    with pytest.raises(AttributeError, match=rf"GAN has no {name}.*FlowMatching has one"):
        getattr(small(), name)


# --- networks of one's own, arguments ---------------------------------------------------------


def test_a_pair_of_ones_own_is_copied_trained_and_asked_for_again(tmp_path: Any) -> None:
    own = (nn.Linear(3, 2), nn.Linear(2, 1))
    before = [part.weight.clone() for part in own]
    model = small(network=own, latent_dim=3).fit(square())
    assert all(torch.equal(p.weight, b) for p, b in zip(own, before, strict=True))
    assert not torch.equal(model.networks_["generator"].weight, before[0])
    assert not torch.equal(model.networks_["critic"].weight, before[1])
    model.save(tmp_path / "run")
    loaded = fn.load(tmp_path / "run", network=own)
    assert (loaded.sample(5, random_state=0) == model.sample(5, random_state=0)).all()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ((nn.Linear(3, 5), nn.Linear(2, 1)), r"generator.*\(2, 2\), got \(2, 5\)"),
        ((nn.Linear(3, 2), nn.Linear(2, 2)), r"critic.*\(2, 1\), got \(2, 2\)"),
        ((nn.Linear(4, 2), nn.Linear(2, 1)), "generator cannot be called"),
    ],
)
def test_a_pair_that_does_not_fit_is_refused(network: Any, message: str) -> None:
    with pytest.raises(fn.DataError, match=message):
        small(network=network, latent_dim=3).fit(square())


@pytest.mark.parametrize("X", [square(), blobs()])
def test_spectral_normalisation_bounds_the_critic_and_is_saved(X: Any, tmp_path: Any) -> None:
    model = small(spectral_norm=True, penalty="none").fit(X)
    for module in model.networks_["critic"].modules():
        if isinstance(module, nn.Linear):
            assert torch.linalg.matrix_norm(module.weight, 2).item() == pytest.approx(1, abs=0.1)
    loaded = fn.load(model.save(tmp_path / "run"))
    assert (loaded.sample(3, random_state=0) == model.sample(3, random_state=0)).all()
    x = torch.zeros(2, *model.encoding_.model_shape)
    assert torch.equal(loaded.criticise(x, None), model.criticise(x, None))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"objective": "wassertein"}, "Did you mean 'wasserstein'"),
        ({"penalty": "r2"}, "penalty"),
        ({"learning_rate": np.inf}, "learning_rate"),
        ({"penalty_weight": 0.0}, "penalty_weight"),
        ({"penalty_weight": "big"}, "penalty_weight"),
        ({"weight_bound": -1}, "weight_bound"),
        ({"weight_bound": "auto"}, "weight_bound"),
        ({"critic_steps": 0}, "critic_steps"),
        ({"critic_steps": 1.5}, "critic_steps"),
        ({"critic_learning_rate": math.nan}, "critic_learning_rate"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"latent_dim": True}, "latent_dim"),
        ({"truncation": 0}, "truncation"),
        ({"truncation": "auto"}, "truncation"),
        ({"spectral_norm": "yes"}, "spectral_norm"),
        ({"augmentation": True}, "augmentation"),
        ({"network": nn.Linear(2, 2)}, "generator, critic"),
    ],
)
def test_bad_arguments_are_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**bad).fit(square())
