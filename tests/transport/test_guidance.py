r"""Guidance is v_∅ + g (v_y − v_∅), and costs nothing when g = 1."""

import pytest
import torch

from fromnoise.transport.guidance import guided
from fromnoise.transport.solvers import SOLVERS, integrate

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
        guided(conditional, unconditional, strength)(x, t),
        v + strength * (v_y - v),
        rtol=1e-12,
        atol=1e-12,
    )


def test_strength_one_is_the_conditional_field_itself():
    def never(x, t):
        raise AssertionError("strength 1 needs no second evaluation")

    assert guided(conditional, never, 1.0) is conditional
    assert guided(conditional, never, 1) is conditional


def test_guidance_pushes_beyond_the_class_along_the_flow():
    # Two constant fields: the class moves by 1, no class by 0, so g moves by g.
    field = guided(lambda x, t: torch.ones_like(x), lambda x, t: torch.zeros_like(x), 3.0)
    start = torch.zeros(2, 1, dtype=torch_64)
    end = integrate(field, start, torch.linspace(0, 1, 5, dtype=torch_64), SOLVERS["euler"])
    torch.testing.assert_close(end, start + 3, rtol=0, atol=1e-12)
