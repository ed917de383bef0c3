r"""What the players of a GAN are handed, and how their fit is judged."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

import fromnoise as fn
from fromnoise.base.neural import TrainingRows
from fromnoise.families import gan
from fromnoise.metrics import coverage

SETTINGS = SimpleNamespace(batch_size=64, seed=0, device="cpu")


def small(**arguments: Any) -> fn.GAN:
    return fn.GAN(**{"network": "small", "random_state": 0, "budget": "1 steps", **arguments})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Shifted(nn.Module):
    r"""G(z, y) = z + a y."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return z + self.a * y[:, None]


class ByLabel(nn.Module):
    r"""D(x, y) = (1 + 2 y) Σ x² / 2."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.one * (1 + 2 * y[:, None]) * x.square().sum(1, keepdim=True) / 2


@pytest.fixture
def conditional() -> fn.GAN:
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = np.arange(60) % 3
    model = small(network=(Shifted(1.0), ByLabel()), latent_dim=2, learning_rate=1e-30)
    model.fit(X, y).networks_.double().requires_grad_(True)
    model.networks_["generator"].load_state_dict(Shifted(1.0).state_dict())
    return model


def batch() -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    parts = torch.randn(3, 30, 2, generator=seeded(7), dtype=torch.float64)
    return (parts[0], parts[1], parts[2]), torch.arange(30) % 3


def score(x: Tensor, y: Tensor) -> Tensor:
    return (1 + 2 * y) * x.square().sum(1) / 2


def test_the_critic_is_told_the_label_of_each_row(conditional: fn.GAN) -> None:
    conditional.penalty = "none"
    (x, z, _), y = batch()
    fake = z + y[:, None]
    loss = conditional.critic_loss(batch()[0], y, 0.5, seeded())
    torch.testing.assert_close(loss, softplus(score(fake, y) - score(x, y)).mean())


def test_the_generator_has_noise_of_its_own(conditional: fn.GAN) -> None:
    (x, _, z), y = batch()
    loss = conditional.generator_loss(batch()[0], y, 0.5, seeded())
    torch.testing.assert_close(loss, softplus(score(x, y) - score(z + y[:, None], y)).mean())


def test_slopes_are_taken_at_a_row_with_its_label(conditional: fn.GAN) -> None:
    (x, z, _), y = batch()
    fake = z + y[:, None]
    scale = 1 + 2 * y[:, None]  # ∇D = scale · x
    losses = {}
    for penalty in ("none", "r1-r2", "gradient-penalty"):
        conditional.set_params(penalty=penalty, penalty_weight=4.0)
        losses[penalty] = conditional.critic_loss(batch()[0], y, 0.0, seeded(3))
    paid = 4.0 / 2 * ((scale * x).square() + (scale * fake).square()).sum(1).mean()
    torch.testing.assert_close(losses["r1-r2"] - losses["none"], paid)
    share = torch.rand(30, generator=seeded(3), dtype=torch.float64)[:, None]
    norms = (scale * (share * x + (1 - share) * fake)).norm(dim=1)
    paid = 4.0 * (norms - 1).square().mean()
    torch.testing.assert_close(losses["gradient-penalty"] - losses["none"], paid)


def test_penalties_stay_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    true = gan.gradient_norm

    def spy(scores: Tensor, x: Tensor) -> Tensor:
        seen.extend((scores.dtype, x.dtype))
        return true(scores, x)

    monkeypatch.setattr(gan, "gradient_norm", spy)
    small(precision="bfloat16").fit(np.random.default_rng(0).normal(size=(60, 2)))
    assert seen
    assert set(seen) == {torch.float32}


def test_both_players_see_both_sets_augmented(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).random((40, 6, 6)).astype(np.float32)
    model = small().fit(X)
    model._augmentation = 0.4
    seen: list[float] = []
    monkeypatch.setattr(gan, "augment", lambda x, p, generator: seen.append(p) or x)
    x = torch.zeros(4, 1, 6, 6)
    z = torch.zeros(4, model.latent_dim_)
    model.networks_.requires_grad_(True)
    model.critic_loss((x, z, z), None, 0.0, seeded())
    assert seen == [0.4, 0.4]
    model.generator_loss((x, z, z), None, 0.0, seeded())
    assert seen == [0.4] * 4


@pytest.mark.parametrize(
    ("trained", "held_out", "drawn", "up"),
    [(1.0, 0.2, 0.0, True), (1.0, 0.8, 0.0, False), (0.0, -0.5, 1.0, False)],
)
def test_augmentation_grows_where_the_critic_knows_its_rows_by_heart(
    trained: float, held_out: float, drawn: float, up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = np.random.default_rng(0).random((40, 6, 6)).astype(np.float32)
    model = small().fit(X)
    values = iter([held_out, drawn, trained])
    monkeypatch.setattr(
        fn.GAN, "_in_parts", lambda *given: torch.full((2,), next(values), dtype=torch.float64)
    )
    model._training, model._augmentation = (
        TrainingRows(X, model.encoding_, None, np.arange(40)),
        0.4,
    )
    x = torch.zeros(4, 1, 6, 6)
    model._watch(model._training, x, None, x, None, SETTINGS)
    assert model.observe()["augmentation"] == pytest.approx(0.5 if up else 0.3)


# --- judgement --------------------------------------------------------------------------------


def test_a_sample_with_wrong_labels_is_judged_as_far() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(300) % 2
    X = rng.normal(scale=0.1, size=(300, 1)) + np.where(y, 1.0, -1.0)[:, None]
    model = small(network=(Shifted(0.0), ByLabel()), latent_dim=1).fit(X, y)
    model._training = TrainingRows(X, model.encoding_, y, np.arange(300))
    model._augmentation = 0.0

    class Side(nn.Module):
        def __init__(self, sign: float) -> None:
            super().__init__()
            self.sign = sign

        def forward(self, z: Tensor, y: Tensor) -> Tensor:
            return self.sign * (2 * y[:, None] - 1) + 0.1 * z

    values = []
    for sign in (1.0, -1.0):
        model.networks_["generator"] = Side(sign)
        values.append(model.validate([], model._training, SETTINGS))
    assert values[0] < 0.3
    assert values[1] > 0.8


@pytest.mark.parametrize(
    "X",
    [
        pd.DataFrame({"a": ["x"] * 298 + ["y"] * 2}),
        np.concatenate([np.full((2, 1), 1.5), np.zeros((298, 1))]),
    ],
    ids=["category", "zeros"],
)
def test_held_out_rows_may_all_be_equal(X: Any) -> None:
    model = small(budget="10 steps", random_state=3).fit(X)
    assert all(np.isfinite(line["validation"] or 0.0) for line in model.history_)


def test_few_held_out_rows_say_nothing_of_divergence() -> None:
    X = np.random.default_rng(0).normal(size=(30, 1))
    for seed in range(3):
        model = small(budget="30 steps", random_state=seed).fit(X)
        assert model.status_ == "ok"
        assert "distance" not in model.history_[-1]


def test_the_unit_of_the_distance_is_positive_for_any_rows() -> None:
    rng = np.random.default_rng(0)
    point = gan._spread(np.zeros((5, 2)))
    line = gan._spread(np.array([[-1.0], [0.0], [1.0]]))
    normal = gan._spread(rng.normal(size=(1000, 1)))
    assert 0 < point <= 0.05
    assert line == pytest.approx(2 * 2 / 3 - 8 / 9)
    assert normal == pytest.approx(2 * np.sqrt(2 / np.pi) - 2 / np.sqrt(np.pi), abs=0.03)


def test_repeated_values_are_covered_by_continuous_ones() -> None:
    X = np.round(np.random.default_rng(0).normal(size=(1000, 1)), 1)
    model = small(latent_dim=1).fit(X)
    rows = TrainingRows(X, model.encoding_, None, np.arange(1000))
    model._training, model._augmentation = rows, 0.0
    model.networks_["generator"] = nn.Identity()
    value, seen = model.validate([], rows, SETTINGS), model.observe()
    fresh = np.random.default_rng(1).normal(size=(1000, 1))
    assert coverage(X, fresh).value < 0.3  # what is to be avoided
    assert seen["coverage"] > 0.9
    assert value < 0.15
