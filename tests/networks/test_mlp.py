r"""The residual network: what goes in and out, how it starts, and its gradients."""

import pytest
import torch

from fromnoise.networks import ConditionEmbedding, ResidualMLP, null_condition
from fromnoise.transport.paths import LINEAR, bridge


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


def build(kind, d=3, out=3):
    condition = {
        "classes": lambda: ConditionEmbedding(3, 0, 8),
        "numbers": lambda: ConditionEmbedding(0, 2, 8),
    }.get(kind, lambda: None)()
    return ResidualMLP(d, out, width=8, depth=2, timed=kind != "plain", condition=condition)


def inputs(kind, n=6, d=3):
    x = torch.randn(n, d)
    extra = {
        "plain": (),
        "timed": (torch.rand(n),),
        "classes": (torch.rand(n), torch.arange(n) % 4),
        "numbers": (torch.rand(n), torch.randn(n, 2)),
    }[kind]
    return x, *extra


KINDS = ["plain", "timed", "classes", "numbers"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("d", "out"), [(1, 1), (3, 5), (70, 2)])
def test_shapes(kind, d, out):
    assert build(kind, d, out)(*inputs(kind, d=d)).shape == (6, out)


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_at_zero_and_deepens(kind):
    net, (x, *rest) = build(kind), inputs(kind)
    assert not net(x, *rest).any()
    (net(x, *rest) - 1).square().sum().backward()
    assert net.last.weight.grad.any()  # the last layer learns at once,
    torch.nn.init.normal_(net.last.weight)
    torch.testing.assert_close(net(x, *rest), net.last(net.first(x)))  # a linear map at first,
    net(x, *rest).square().sum().backward()
    assert all(layer.weight.grad.any() for layer in net.back)  # then the blocks


@pytest.mark.parametrize("kind", KINDS)
def test_permuted_rows_give_permuted_results(kind):
    net, parts = awake(build(kind)), inputs(kind)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    permuted = net(*(part[order] for part in parts))
    torch.testing.assert_close(permuted, net(*parts)[order], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_padding_change_nothing(kind):
    net, parts = awake(build(kind)), inputs(kind)
    padded = [torch.cat([part[:4], torch.zeros_like(part[4:])]) for part in parts]
    assert torch.equal(net(*padded)[:4], net(*parts)[:4])


@pytest.mark.parametrize("kind", KINDS[1:])
def test_time_and_condition_matter(kind):
    net, (x, t, *y) = awake(build(kind)), inputs(kind)
    assert (net(x, t, *y) - net(x, 1 - t, *y)).abs().max() > 1e-3
    if y:
        other = null_condition(y[0], 3 if kind == "classes" else 0)
        assert (net(x, t, *y)[:3] - net(x, t, other)[:3]).abs().max(dim=1).values.min() > 1e-4


def gradcheck_parameters(net, function):
    r"""Row 32: compare the gradients of every parameter with finite differences."""
    names = [name for name, _ in net.named_parameters()]

    def of_parameters(*values):
        call = lambda *parts: torch.func.functional_call(  # noqa: E731
            net, dict(zip(names, values, strict=True)), parts
        )
        return function(call)

    start = [p.detach().clone().requires_grad_() for p in net.parameters()]
    return torch.autograd.gradcheck(of_parameters, start, eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_row_32_gradients_of_the_network(kind):
    condition = build(kind).condition and ConditionEmbedding(
        *((3, 0) if kind == "classes" else (0, 2)), 3
    )
    net = ResidualMLP(2, 2, width=3, depth=1, timed=kind != "plain", condition=condition)
    net = awake(net).double()
    parts = [p.double() if p.is_floating_point() else p for p in inputs(kind, n=3, d=2)]
    assert gradcheck_parameters(net, lambda call: call(*parts))
    x = parts[0].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: net(x, *parts[1:]), x, eps=1e-6, atol=1e-5)


def test_row_32_gradients_of_the_flow_matching_loss():
    net = awake(ResidualMLP(2, 2, width=3, depth=1, timed=True)).double()
    x_0, x_1, t = torch.randn(4, 2).double(), torch.randn(4, 2).double(), torch.rand(4).double()
    x_t, u_t = bridge(LINEAR, x_0, x_1, t)
    assert gradcheck_parameters(net, lambda call: (call(x_t, t) - u_t).square().mean())
