r"""Generators and critics: shapes, what they depend on, how they start, what they cost."""

import math

import pytest
import torch
from torch import nn

from fromnoise.networks import ConditionEmbedding
from fromnoise.networks.adversarial import (
    ImageCritic,
    ImageGenerator,
    VectorCritic,
    VectorGenerator,
    critic_features,
    pyramid,
    spectrally_normalised,
)
from fromnoise.networks.defaults import (
    adversarial_rate,
    adversarial_steps,
    default_adversaries,
    default_noise,
)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


SHAPES = [(1,), (5,), (40,), (1, 1, 1), (1, 8, 8), (3, 28, 28), (2, 7, 30), (4, 33, 5)]
LABELS = {
    "none": ({}, lambda n: ()),
    "classes": ({"n_classes": 3}, lambda n: (torch.arange(n) % 3,)),
    "numbers": ({"n_columns": 2}, lambda n: (torch.randn(n, 2),)),
}


def awake(net):
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return net


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("labels", [*LABELS])
def test_shapes_and_conditions(shape, labels):
    given, make = LABELS[labels]
    generator, critic = map(awake, default_adversaries(6, shape, "small", **given))
    y = make(4)
    x = generator(torch.randn(4, 6), *y)
    assert x.shape == (4, *shape)
    assert critic(x, *y).shape == (4, 1)
    if y:
        other = ((y[0] + 1) % 3,) if labels == "classes" else (y[0] + 1,)
        assert (generator(torch.ones(4, 6), *y) - generator(torch.ones(4, 6), *other)).any()
        assert (critic(x, *y) - critic(x, *other)).abs().min() > 1e-6


@pytest.mark.parametrize("shape", [(5,), (2, 7, 9)])
def test_a_row_does_not_depend_on_the_others(shape):
    generator, critic = map(awake, default_adversaries(6, shape, "small"))
    z = torch.randn(8, 6)
    x = generator(z)
    torch.testing.assert_close(generator(z[3:4]), x[3:4], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(critic(x[3:4]), critic(x)[3:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(5,), (1, 28, 28), (3, 64, 64)])
def test_rows_start_with_about_the_size_of_standardised_data(shape):
    generator, critic = default_adversaries(16, shape, "small")
    x = generator(torch.randn(64, 16))
    assert 0.1 < x.std() < 3
    assert x.std(0).mean() > 0.05  # and they differ
    assert 0.01 < critic(torch.randn(64, *shape)).std() < 10


def test_the_projection_is_a_bilinear_form_in_features_and_label():
    critic = VectorCritic(2, width=8, depth=1, condition=ConditionEmbedding(2, 0, 8))
    x, y = torch.randn(5, 2), torch.tensor([0, 1, 1, 0, 0])
    features = critic.body(_waves(x))
    dot = (critic.condition.table(y) * features).sum(1, keepdim=True)
    torch.testing.assert_close(critic(x, y), critic.last(features) + dot / math.sqrt(8))


def _waves(x):
    angles = [k * x for k in (1.0, 2.0, 4.0)]
    order = torch.stack(angles, 2).flatten(1)
    return torch.cat([x, order.sin(), order.cos()], dim=1)


def test_residual_branches_start_at_zero():
    net = ImageCritic((1, 8, 8), width=8, depth=2)
    h = torch.randn(2, 8, 8, 8)
    assert torch.equal(net.blocks[0](h), h)


def test_the_pyramid_halves_down_to_four():
    assert pyramid(4, 4) == [(4, 4)]
    assert pyramid(64, 64)[-1] == (4, 4)
    assert pyramid(1, 9) == [(1, 9), (1, 5), (1, 3)]
    assert critic_features((1, 8, 8), 16) == 32


def test_multiplications_are_counted_as_convolutions_do_them():
    for net, x in (
        (ImageGenerator(6, (3, 9, 14), width=8, depth=2), torch.zeros(1, 6)),
        (ImageCritic((3, 9, 14), width=8, depth=2), torch.zeros(1, 3, 9, 14)),
    ):
        counted = []

        def count(module, given, out, counted=counted):
            size = sum(p.numel() for p in module.parameters())
            counted.append(size * math.prod(out.shape[2:]))

        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(count)
        net(x)
        assert net.multiplications == sum(counted)


def test_the_default_for_28_by_28_costs_less_than_ten_million_operations():
    for net in default_adversaries(64, (1, 28, 28), "small"):
        assert 2 * net.multiplications < 10e6


def test_tables():
    assert [default_noise(s) for s in ((1,), (2,), (9,), (99,), (1, 3, 3))] == [2, 2, 9, 64, 32]
    vectors, images = (default_adversaries(8, s, "medium") for s in ((2,), (1, 8, 8)))
    assert isinstance(vectors[0], VectorGenerator) and isinstance(images[0], ImageGenerator)
    assert vectors[1].last.in_features == 128
    assert default_adversaries(8, (33,), "medium")[1].last.in_features == 256
    assert adversarial_rate(images=True) < adversarial_rate(images=False)


def test_automatic_steps():
    vectors = nn.ModuleList(default_adversaries(2, (2,), "small"))
    images = nn.ModuleList(default_adversaries(64, (1, 28, 28), "small"))
    assert adversarial_steps(vectors, 10**6, 256) == 20_000
    assert adversarial_steps(vectors, 256, 256) == 2000
    assert adversarial_steps(vectors, 2, 2) == 2000
    each = sum(net.multiplications for net in images)
    assert adversarial_steps(images, 10**6, 64) == round(600 / (5e-3 + 20 * each * 64 / 2e10))


def test_spectral_normalisation_wakes_what_starts_at_zero():
    net = ImageCritic((1, 8, 8), width=8, depth=1)
    spectrally_normalised(net)
    assert torch.isfinite(net(torch.randn(3, 1, 8, 8))).all()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            norm = torch.linalg.matrix_norm(module.weight.flatten(1), 2).item()
            assert norm == pytest.approx(1, abs=0.2)
