r"""The patch transformer: every size of image, seams that sum to one, and its gradients."""

import pytest
import torch
from torch import nn

from fromnoise.networks import (
    ConditionEmbedding,
    PatchTransformer,
    default_network,
    null_condition,
)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def awake(net):
    r"""Move the weights off zero, so that nothing is hidden by how a network starts."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return net


def build(shape, patch=2, condition=None, width=8):
    return PatchTransformer(shape, patch=patch, width=width, depth=2, heads=2, condition=condition)


SHAPES = [(1, 8, 8), (3, 9, 7), (1, 1, 1), (2, 1, 5), (4, 2, 13), (1, 5, 4), (3, 17, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("patch", [1, 2, 4, 8])
def test_any_size_comes_back_as_it_was(shape, patch):
    net = awake(build(shape, patch))
    result = net(torch.randn(3, *shape), torch.rand(3))
    assert result.shape == (3, *shape) and result.isfinite().all()
    assert len(result.unique()) == result.numel()


@pytest.mark.parametrize("shape", [*SHAPES, (3, 32, 32), (1, 28, 28), (1, 45, 30)])
def test_the_default_network_takes_any_size(shape):
    net = default_network(shape, "small")
    assert net(torch.zeros(2, *shape), torch.zeros(2)).shape == (2, *shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("patch", [1, 2, 4])
def test_the_weights_of_the_windows_sum_to_one_everywhere(shape, patch):
    # If each token paints ones, the image is one: at seams, borders and padded sides alike.
    net = build(shape, patch)
    nn.init.ones_(net.last.bias)
    result = net(torch.randn(2, *shape), torch.rand(2))
    torch.testing.assert_close(result, torch.ones(2, *shape), rtol=1e-6, atol=1e-6)


def test_it_starts_at_zero_and_its_blocks_as_the_identity():
    net = build((2, 6, 6))
    x, t = torch.randn(3, 2, 6, 6), torch.rand(3)
    assert not net(x, t).any()
    h = torch.randn(3, 9, 8)
    for block in net.blocks:
        assert torch.equal(block(h, net.time(t)), h)
    net(x, t).sum().backward()
    assert net.last.weight.grad.any()


def test_every_pixel_is_read_and_painted():
    net = awake(build((2, 5, 7), patch=4))
    x = torch.randn(1, 2, 5, 7, requires_grad=True)
    result = net(x, torch.rand(1))
    (slope,) = torch.autograd.grad(result[0, 1, 4, 6], x)
    assert (slope != 0).all()  # one corner depends on every pixel


def test_what_stands_beyond_an_odd_side_does_not_leak():
    # A 5 x 7 image is read as the 6 x 8 image whose last row and column are zero.
    odd, even = awake(build((1, 5, 7))), build((1, 6, 8))
    state = {k: v for k, v in odd.state_dict().items() if k != "blend"}
    even.load_state_dict(state, strict=False)
    x, t = torch.randn(2, 1, 5, 7), torch.rand(2)
    full = nn.functional.pad(x, (0, 1, 0, 1))
    torch.testing.assert_close(odd(x, t), even(full, t)[:, :, :5, :7], rtol=1e-5, atol=1e-6)


CONDITIONS = {
    "none": (lambda: None, lambda n: ()),
    "classes": (lambda: ConditionEmbedding(3, 0, 8), lambda n: (torch.arange(n) % 4,)),
    "numbers": (lambda: ConditionEmbedding(0, 2, 8), lambda n: (torch.randn(n, 2),)),
}


@pytest.mark.parametrize("kind", CONDITIONS)
def test_permuted_rows_give_permuted_results_and_padding_changes_nothing(kind):
    make, draw = CONDITIONS[kind]
    net = awake(build((2, 5, 5), condition=make()))
    parts = (torch.randn(6, 2, 5, 5), torch.rand(6), *draw(6))
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    permuted = net(*(part[order] for part in parts))
    torch.testing.assert_close(permuted, net(*parts)[order], rtol=1e-4, atol=1e-5)
    padded = [torch.cat([part[:4], torch.zeros_like(part[4:])]) for part in parts]
    torch.testing.assert_close(net(*padded)[:4], net(*parts)[:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", CONDITIONS)
def test_time_and_condition_matter(kind):
    make, draw = CONDITIONS[kind]
    net = awake(build((1, 4, 4), condition=make()))
    x, t, y = torch.randn(3, 1, 4, 4), torch.rand(3), draw(3)
    assert (net(x, t, *y) - net(x, 1 - t, *y)).abs().max() > 1e-3
    if y:
        other = null_condition(y[0], 3 if kind == "classes" else 0)
        assert (net(x, t, *y) - net(x, t, other)).flatten(1).abs().max(dim=1).values.min() > 1e-4


def test_tokens_know_where_they_are():
    # All windows of a black image are alike; only their positions tell the tokens apart.
    result = awake(build((1, 8, 8)))(torch.zeros(1, 1, 8, 8), torch.rand(1))
    assert (result[:, :, 2:4, 2:4] - result[:, :, 4:6, 4:6]).abs().max() > 1e-3


def test_row_32_gradients():
    net = awake(PatchTransformer((1, 3, 2), patch=2, width=4, depth=1, heads=2)).double()
    names = [name for name, _ in net.named_parameters()]
    x, t = torch.randn(2, 1, 3, 2).double(), torch.rand(2).double()

    def of_parameters(x, *values):
        return torch.func.functional_call(net, dict(zip(names, values, strict=True)), (x, t))

    start = [p.detach().clone().requires_grad_() for p in net.parameters()]
    assert torch.autograd.gradcheck(
        of_parameters, [x.requires_grad_(), *start], eps=1e-6, atol=1e-5, fast_mode=True
    )


def test_low_precision_changes_result_and_gradients_by_a_rounding():
    net = awake(build((1, 8, 8)))
    x, t = torch.randn(16, 1, 8, 8), torch.rand(16)
    results = []
    for low in (False, True):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            out = net(x, t)
        out.float().pow(2).mean().backward()
        results.append([out.detach().float(), *(p.grad.clone() for p in net.parameters())])
    for exact, rounded in zip(*results, strict=True):
        assert (rounded - exact).norm() < 0.03 * exact.norm()
