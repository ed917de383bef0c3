r"""The convolutional pair: every shape goes in and comes out, and a row is alone."""

from typing import Any

import pytest
import torch
from torch import nn

from fromnoise.networks import ConditionEmbedding, ConvDecoder, ConvEncoder, ResidualMLP
from fromnoise.networks.defaults import auto_steps, default_decoder, default_encoder

ROWS = [(1, 1, 1), (2, 1, 2), (1, 1, 30), (1, 30, 1)]
SHAPES = [*ROWS, (3, 5, 7), (1, 4, 4), (1, 28, 28), (3, 33, 40)]


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def awake(net: nn.Module) -> Any:
    r"""Move the weights off zero, so that nothing is hidden by how a network starts."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return net


def decoder(shape=(1, 9, 6), kind="plain", depth=1) -> ConvDecoder:
    condition = {
        "classes": lambda: ConditionEmbedding(3, 0, 8),
        "numbers": lambda: ConditionEmbedding(0, 2, 8),
    }.get(kind, lambda: None)()
    return ConvDecoder(5, shape, width=8, depth=depth, condition=condition)


def label(kind, n=4):
    return {
        "plain": (),
        "classes": (torch.arange(n) % 3,),
        "numbers": (torch.randn(n, 2),),
    }[kind]


KINDS = ["plain", "classes", "numbers"]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_goes_in_and_comes_out(shape):
    z = ConvEncoder(shape, 5, width=8, depth=2)(torch.randn(4, *shape))
    assert z.shape == (4, 5)
    assert z.isfinite().all()
    assert awake(decoder(shape))(z).shape == (4, *shape)


@pytest.mark.parametrize("kind", KINDS)
def test_every_condition_is_taken(kind):
    assert decoder(kind=kind)(torch.randn(4, 5), *label(kind)).shape == (4, 1, 9, 6)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_pixel_reaches_the_code_and_every_number_of_it_every_pixel(shape):
    net = awake(ConvEncoder(shape, 5, width=8, depth=1)).double()
    x = torch.randn(2, *shape, dtype=torch.float64, requires_grad=True)
    net(x).sum().backward()
    assert (x.grad != 0).all()
    net = awake(decoder(shape)).double()
    z = torch.randn(1, 5, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(net, z)
    assert (jacobian != 0).all()


def test_sides_are_halved_while_longer_than_four():
    net = ConvEncoder((1, 28, 3), 5, width=8, depth=1)
    assert [tuple(layer.stride) for layer in net.shrink] == [(2, 1), (2, 1), (2, 1)]
    assert [layer.out_channels for layer in net.shrink] == [8, 16, 32]
    assert net.last.in_features == 32 * 4 * 3
    tall = ConvEncoder((1, 256, 256), 5, width=8, depth=1)
    assert [layer.out_channels for layer in tall.shrink] == [8, 16, 32, 32, 32, 32]
    assert [tuple(layer.stride) for layer in decoder((1, 3, 28)).grow] == [(1, 2)] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_at_zero_and_deepens(kind):
    net, z, y = decoder(kind=kind), torch.randn(4, 5), label(kind)
    assert not net(z, *y).any()
    (net(z, *y) - 1).square().sum().backward()
    assert net.grow[-1].weight.grad.any()  # the last layer learns at once,
    assert not any(layer.weight.any() for mix in net.mix for layer in mix.back)
    nn.init.normal_(net.grow[-1].weight)
    net(z, *y).square().sum().backward()
    assert all(layer.weight.grad.any() for mix in net.mix for layer in mix.back)  # then the blocks


def test_the_encoder_does_not_start_at_zero():
    # With both ends of an auto-encoder at zero nothing would tell codes apart.
    z = ConvEncoder((1, 9, 6), 5, width=8, depth=1)(torch.randn(4, 1, 9, 6))
    assert (z.std(0) > 1e-3).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_the_others(kind):
    net, z, y = awake(decoder(kind=kind)), torch.randn(4, 5), label(kind)
    padded = torch.cat([z[:2], torch.zeros(2, 5)])
    assert torch.equal(net(padded, *y)[:2], net(z, *y)[:2])
    x = torch.randn(4, 1, 9, 6)
    net = awake(ConvEncoder((1, 9, 6), 5, width=8, depth=1))
    padded = torch.cat([x[:2], torch.zeros(2, 1, 9, 6)])
    assert torch.equal(net(padded)[:2], net(x)[:2])


@pytest.mark.parametrize("kind", KINDS[1:])
def test_the_condition_matters_at_every_pixel(kind):
    net, z = awake(decoder(kind=kind)), torch.randn(4, 5)
    (y,) = label(kind)
    other = (y + 1) % 3 if kind == "classes" else -y
    assert (net(z, y) != net(z, other)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_row_32_gradients(kind):
    net = awake(decoder((1, 5, 3), kind)).double()
    y = tuple(p.double() if p.is_floating_point() else p for p in label(kind, 2))
    z = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: net(z, *y), z, eps=1e-6, atol=1e-5)
    net = awake(ConvEncoder((1, 5, 3), 2, width=8, depth=1)).double()
    x = torch.randn(2, 1, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, x, eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 4)])
@pytest.mark.parametrize("make", ["encoder", "decoder"])
def test_multiplications_are_counted(shape, make):
    if make == "encoder":
        net, x = ConvEncoder(shape, 5, width=8, depth=2), torch.zeros(1, *shape)
    else:
        net, x = decoder(shape, depth=2), torch.zeros(1, 5)
    total = 0

    def count(layer, given, result):
        nonlocal total
        places = {nn.Conv2d: result, nn.ConvTranspose2d: given[0]}.get(type(layer))
        total += layer.weight.numel() * (1 if places is None else places[0, 0].numel())

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            layer.register_forward_hook(count)
    net(x)
    assert net.multiplications == total


@pytest.mark.parametrize(
    ("shape", "size", "width", "depth"),
    [
        ((1, 16, 16), "medium", 32, 1),
        ((3, 28, 28), "medium", 32, 1),
        ((1, 1, 300), "large", 64, 2),
        ((300,), "large", None, None),
        ((1, 28, 28), "small", None, None),
        ((3, 16, 15), "large", None, None),
    ],
)
def test_the_table_of_encoders_and_decoders(shape, size, width, depth):
    encoder, back = default_encoder(shape, size, 7), default_decoder(6, shape, size, n_classes=3)
    if width is None:
        assert isinstance(encoder, ResidualMLP)
        assert isinstance(back, ResidualMLP)
        return
    assert (encoder.shrink[0].out_channels, len(encoder.mix[0].back)) == (width, depth)
    assert (back.grow[-1].in_channels, len(back.mix[0].back)) == (width, depth)
    assert back.condition.table.num_embeddings == 4
    assert encoder(torch.zeros(2, *shape)).shape == (2, 7)
    assert back(torch.zeros(2, 6), torch.tensor([0, 2])).shape == (2, *shape)


def test_auto_steps_count_the_places_of_convolutions():
    pair = nn.ModuleDict({"encoder": ConvEncoder((1, 28, 28), 5, width=8, depth=1),
                          "decoder": decoder((1, 28, 28))})  # fmt: skip
    each = pair["encoder"].multiplications + pair["decoder"].multiplications
    assert auto_steps(pair, 10**6, 64) == round(120 / (2e-3 + 6 * each * 64 / 8e10)) < 20_000
