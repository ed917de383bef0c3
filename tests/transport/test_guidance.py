r"""Guidance is v + Σ (w − 1) (v − v_i), so v_∅ + g (v_y − v_∅) without a label; free when 1."""

import pytest
import torch

from fromnoise.transport.guidance import guided
from fromnoise.transport.paths import PATHS, convert
from fromnoise.transport.solvers import RUNGE_KUTTA, integrate

torch_64 = torch.float64


def conditional(x, t):
    return x.sin() + t[:, None]


def unconditional(x, t):
    return x.square() - 2 * t[:, None]


@pytest.mark.parametrize("strength", [-1.0, 0.0, 0.3, 1.0, 2.0, 7.5])
def test_the_formula(strength):
    x = torch.randn(6, 3, dtype=torch_64, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0, 1, 6, dtype=torch_64)
    v_y, v = conditional(x, t), unconditional(x, t)
    torch.testing.assert_close(
        guided(conditional, [(unconditional, strength)])(x, t),
        v + strength * (v_y - v),
        rtol=1e-12,
        atol=1e-12,
    )


def test_two_guides_add_what_each_does_alone():
    x = torch.randn(6, 3, dtype=torch_64, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0, 1, 6, dtype=torch_64)
    v, other, worse = conditional(x, t), unconditional(x, t), x.cos()
    guides = [(unconditional, 3.0), (lambda x, t: x.cos(), 1.5)]
    torch.testing.assert_close(
        guided(conditional, guides)(x, t),
        v + 2.0 * (v - other) + 0.5 * (v - worse),
        rtol=1e-12,
        atol=1e-12,
    )


def test_strength_one_is_the_conditional_field_itself():
    def never(x, t):
        raise AssertionError("strength 1 needs no second evaluation")

    assert guided(conditional, [(never, 1.0), (never, 1)]) is conditional
    assert guided(conditional, []) is conditional
    x, t = torch.ones(2, 3), torch.ones(2)
    guided(conditional, [(never, 1.0), (unconditional, 2.0)])(x, t)


def test_guidance_pushes_beyond_the_class_along_the_flow():
    # Two constant fields: the class moves by 1, no class by 0, so g moves by g.
    field = guided(lambda x, t: torch.ones_like(x), [(lambda x, t: torch.zeros_like(x), 3.0)])
    start = torch.zeros(2, 1, dtype=torch_64)
    end = integrate(field, start, torch.linspace(0, 1, 5, dtype=torch_64), RUNGE_KUTTA["euler"])
    torch.testing.assert_close(end, start + 3, rtol=0, atol=1e-12)


def test_an_interval_guides_within_and_saves_the_second_evaluation_without():
    asked = []

    def unguided(x, t):
        asked.append(t)
        return unconditional(x, t)

    field = guided(conditional, [(unguided, 3.0)], interval=(0.3, 0.6))
    x = torch.ones(5, 2, dtype=torch_64)
    t = torch.tensor([0.0, 0.3, 0.45, 0.6, 0.61], dtype=torch_64)
    v_y, v = conditional(x, t), unconditional(x, t)
    expected = torch.where(
        torch.tensor([[False], [True], [True], [True], [False]]), v + 3 * (v_y - v), v_y
    )
    torch.testing.assert_close(field(x, t), expected, rtol=1e-12, atol=1e-12)
    assert len(asked) == 1
    assert torch.equal(field(x, t * 0), conditional(x, t * 0))
    assert len(asked) == 1


@pytest.mark.parametrize("name", ["linear", "vp-cosine", "edm"])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_rescaling_is_of_the_guess_of_the_data(name, share):
    path = PATHS[name]
    x = torch.randn(6, 3, dtype=torch_64, generator=torch.Generator().manual_seed(1))
    t = torch.linspace(0.1, 0.9, 6, dtype=torch_64)

    def data(field):
        return convert(path, x, t, field(x, t), "velocity", "data")

    found = data(guided(conditional, [(unconditional, 4.0)], rescale=share, path=path))
    plain, own = data(guided(conditional, [(unconditional, 4.0)])), data(conditional)
    factor = share * own.norm(dim=1) / plain.norm(dim=1) + 1 - share
    torch.testing.assert_close(found, factor[:, None] * plain, rtol=1e-9, atol=1e-9)


def test_rescaling_leaves_the_end_alone_and_finite():
    field = guided(conditional, [(unconditional, 4.0)], rescale=1.0)
    one = torch.ones(2, dtype=torch_64)
    x = torch.ones(2, 2, dtype=torch_64)
    torch.testing.assert_close(
        field(x, one), guided(conditional, [(unconditional, 4.0)])(x, one), rtol=0, atol=0
    )
