r"""Augmentation: how often, what is changed, and that gradients pass."""

import pytest
import torch

from fromnoise.networks import augment as module
from fromnoise.networks.augment import augment


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=2000, shape=(1, 8, 10)):
    return torch.randn(n, *shape, generator=seeded(1))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_each_change_happens_with_probability_p(p, monkeypatch):
    for name in ("_contrast", "_shift", "_cut_out"):
        monkeypatch.setattr(module, name, lambda x, generator: x)
    x = images()
    changed = (augment(x, p, seeded()) != x).flatten(1).any(1).float().mean().item()
    assert changed == pytest.approx(p, abs=0.04)


def test_nothing_changes_at_zero_and_all_changes_are_independent():
    x = images()
    assert augment(x, 0.0, seeded()) is x
    untouched = (augment(x, 0.3, seeded()) == x).flatten(1).all(1).float().mean().item()
    # a shift by nothing is no change: 3 · 5 of them... of sides 8 and 10 there are 3 and 5
    still = 0.7**3 * (0.7 + 0.3 / 15)
    assert untouched == pytest.approx(still, abs=0.035)


def test_brightness_moves_all_pixels_by_the_same():
    x = images(500)
    moved = module._brightness(x, seeded()) - x
    assert (moved - moved[:, :, :1, :1]).abs().max() < 1e-5
    assert moved[:, 0, 0, 0].abs().max() <= 0.5 + 1e-5
    assert moved[:, 0, 0, 0].std() == pytest.approx(1 / 12**0.5, abs=0.03)


def test_contrast_keeps_the_mean_and_scales_the_rest():
    x = images(500)
    changed = module._contrast(x, seeded())
    torch.testing.assert_close(changed.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=1e-5, rtol=0)
    ratio = changed.std((1, 2, 3)) / x.std((1, 2, 3))
    assert 0.5 <= ratio.min() < 0.55
    assert 1.45 < ratio.max() <= 1.5


@pytest.mark.parametrize("shape", [(3, 8, 10), (1, 1, 2), (1, 28, 28)])
def test_a_shift_moves_by_whole_pixels_and_repeats_the_border(shape):
    _, height, width = shape
    x = images(200, shape)
    moved = module._shift(x, seeded())
    up, left = -(-height // 8), -(-width // 8)
    found = torch.zeros(200, dtype=torch.bool)
    rows, columns = torch.arange(height), torch.arange(width)
    for i in range(-up, up + 1):
        for j in range(-left, left + 1):
            there = x[:, :, (rows + i).clamp(0, height - 1)]
            there = there[:, :, :, (columns + j).clamp(0, width - 1)]
            found |= (there == moved).flatten(1).all(1)
    assert found.all()


def test_a_cut_out_is_a_window_of_at_most_half_the_sides():
    x = torch.ones(2000, 2, 8, 12)
    gone = module._cut_out(x, seeded()) == 0
    assert torch.equal(gone[:, 0], gone[:, 1])
    assert gone[:, 0].any(2).sum(1).max() == 4 and gone[:, 0].any(1).sum(1).max() == 6
    assert gone.any(0).all()  # every pixel is cut from some image


def test_gradients_pass_and_one_generator_gives_one_result():
    x = images(20).requires_grad_()
    augment(x, 0.8, seeded()).sum().backward()
    assert x.grad.any() and torch.isfinite(x.grad).all()
    assert torch.equal(augment(x, 0.8, seeded(3)), augment(x, 0.8, seeded(3)))
    assert not torch.equal(augment(x, 0.8, seeded(3)), augment(x, 0.8, seeded(4)))
