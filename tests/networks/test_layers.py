r"""Embeddings: distinct times, learnt nulls, and gradients that NaN cannot enter."""

import pytest
import torch

from fromnoise.networks import ConditionEmbedding, TimeEmbedding, null_condition
from fromnoise.networks.layers import Zero


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_time_features_are_sines_of_geometric_frequencies():
    embed = TimeEmbedding(5, n_frequencies=4)
    seen = []
    embed.net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    t = torch.tensor([0.0, 0.3, 1.0])
    assert embed(t).shape == (3, 5)
    frequencies = torch.pi / 2 * 256.0 ** (torch.arange(4) / 3)
    angle = t[:, None] * frequencies
    exact = torch.cat([t[:, None], angle.sin(), angle.cos()], dim=1)
    torch.testing.assert_close(seen[0], exact, rtol=1e-5, atol=1e-4)


def test_times_apart_by_a_thousandth_are_told_apart():
    e = TimeEmbedding(16)(torch.linspace(0, 1, 1001))
    assert (e.diff(dim=0).abs().max(dim=1).values > 1e-3).all()


def test_a_class_is_a_row_of_the_table_and_no_class_the_last_one():
    embed = ConditionEmbedding(3, 0, 8)
    assert embed.table.weight.shape == (4, 8)
    y = torch.tensor([2, 0, 1])
    assert torch.equal(embed(y), embed.table.weight[y])
    assert torch.equal(embed(null_condition(y, 3)), embed.table.weight[3].expand(3, 8))


def test_numbers_go_through_a_network_and_no_numbers_have_a_vector():
    embed = ConditionEmbedding(0, 2, 8)
    y = torch.randn(4, 2)
    assert torch.equal(embed(y), embed.net(y))
    assert torch.equal(embed(null_condition(y, 0)), embed.table.weight.expand(4, 8))
    y[2, 1] = torch.nan  # half a condition is none
    assert torch.equal(embed(y)[2], embed.table.weight[0])
    assert torch.equal(embed(y)[[0, 1, 3]], embed.net(y[[0, 1, 3]]))


def test_the_null_is_learnt_from_hidden_rows_only_and_no_nan_leaks():
    embed = ConditionEmbedding(0, 2, 8)
    y = null_condition(torch.randn(4, 2), 0, torch.tensor([True, False, False, True]))
    embed(y).sum().backward()
    assert torch.equal(embed.table.weight.grad, torch.full((1, 8), 2.0))
    assert all(p.grad.isfinite().all() for p in embed.parameters())
    embed.zero_grad()
    embed(null_condition(y, 0)).sum().backward()
    assert all((p.grad == 0).all() for p in embed.net.parameters())


@pytest.mark.parametrize("width", [None, 1, 3])
def test_null_condition_hides_the_rows_it_is_told_to(width):
    y = torch.arange(4) if width is None else torch.arange(4.0)[:, None].repeat(1, width)
    n_classes = 4 if width is None else 0
    hide = torch.tensor([False, True, False, True])
    result = null_condition(y, n_classes, hide)
    assert result.dtype == y.dtype and torch.equal(result[~hide], y[~hide])
    hidden = (result == 4) if width is None else result.isnan()
    assert hidden[hide].all() and not hidden[~hide].any()
    everything = null_condition(y, n_classes)
    assert ((everything == 4) if width is None else everything.isnan()).all()
    assert torch.equal(y[:2].flatten().unique(), torch.arange(2).to(y.dtype))  # y is left alone


def test_zero_starts_at_zero_and_can_leave_it():
    layer = Zero(3, 2)
    assert not layer(torch.randn(5, 3)).any()
    layer(torch.randn(5, 3)).sum().backward()
    assert layer.weight.grad.any() and layer.bias.grad.any()
    assert Zero(3, 2, bias=False).bias is None
