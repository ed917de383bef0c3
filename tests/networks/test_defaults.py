r"""The tables that choose networks, batches and steps, number by number."""

import pytest
import torch
from torch import nn

from fromnoise.networks import PatchTransformer, ResidualMLP, default_network
from fromnoise.networks.defaults import (
    NETWORK_SIZES,
    auto_steps,
    default_size,
    patch_size,
    training_table,
)


def facts(net):
    if isinstance(net, ResidualMLP):
        return net.first.out_features, len(net.back)
    return net.first.out_features, len(net.blocks), net.blocks[0].heads


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((2,), "small", (64, 2)),
        ((2,), "medium", (128, 3)),
        ((2,), "large", (512, 5)),
        ((32,), "small", (64, 2)),
        ((33,), "small", (128, 2)),
        ((33,), "medium", (256, 3)),
        ((1, 8, 8), "small", (96, 3, 3)),
        ((1, 8, 8), "medium", (192, 5, 6)),
        ((1, 8, 8), "large", (384, 10, 6)),
    ],
)
def test_the_table_of_networks(shape, size, expected):
    net = default_network(shape, size)
    assert facts(net) == expected and net.time is not None and net.condition is None


@pytest.mark.parametrize(
    ("shape", "n_rows", "device", "size"),
    [
        ((2,), 299, "cpu", "small"),
        ((2,), 300, "cpu", "medium"),
        ((2,), 300, "cuda", "medium"),
        ((1, 8, 8), 10**6, "cpu", "small"),
        ((1, 8, 8), 299, "cuda:0", "small"),
        ((1, 8, 8), 300, "cuda:0", "medium"),
    ],
)
def test_the_table_of_sizes(shape, n_rows, device, size):
    assert default_size(shape, n_rows=n_rows, device=device) == size


def test_the_sizes_have_names():
    assert NETWORK_SIZES == ("small", "medium", "large")


@pytest.mark.parametrize("shape", [(3,), (1, 4, 4)])
def test_conditions_get_an_embedding(shape):
    classes = default_network(shape, "small", n_classes=3).condition
    assert classes.table.num_embeddings == 4 and not classes.n_columns
    numbers = default_network(shape, "small", n_columns=2).condition
    assert numbers.n_columns == 2 and numbers.table.num_embeddings == 1


@pytest.mark.parametrize(
    ("height", "width", "patch"),
    [(1, 1, 1), (3, 3, 1), (3, 9, 1), (3, 21, 1), (3, 22, 2), (4, 4, 2), (8, 8, 2), (16, 16, 2),
     (17, 16, 4), (28, 28, 4), (32, 32, 4), (33, 32, 8), (30, 45, 8), (64, 64, 8), (100, 1, 2)],
)  # fmt: skip
def test_the_patch_is_the_smallest_that_leaves_64_tokens(height, width, patch):
    assert patch_size(height, width) == patch
    tokens = -(-height // patch) * -(-width // patch)
    assert tokens <= 64
    net = default_network((1, height, width), "small")
    assert isinstance(net, PatchTransformer) and net.rows * net.columns == tokens


@pytest.mark.parametrize(
    ("parameters", "rate"),
    [(499_999, 4e-3), (500_000, 2e-3), (1_999_999, 2e-3), (2_000_000, 1e-3)],
)
def test_the_table_of_training(parameters, rate):
    assert training_table(parameters, False, "cpu") == (256, rate, "float32")
    assert training_table(parameters, True, "cpu") == (64, rate / 2, "float32")
    assert training_table(parameters, True, "cuda:1") == (64, rate / 2, "bfloat16")
    assert training_table(parameters, False, "cuda") == (256, rate, "float32")


def of_size(n):
    net = nn.Module()
    net.weight = nn.Parameter(torch.empty(n, device="meta"))
    return net


@pytest.mark.parametrize(
    ("parameters", "n_rows", "batch", "steps"),
    [
        (10, 10**6, 256, 20_000),  # small networks: the cap
        (10**6, 10**6, 256, 2970),  # 120 / (0.002 + 6e6 * 256 / 4e10)
        (10**8, 10**6, 256, 500),  # large ones: the floor
        (10, 256, 256, 2000),  # few rows: 2,000 passes
        (10, 1000, 256, 7812),
        (10, 2, 256, 500),
    ],
)
def test_auto_steps(parameters, n_rows, batch, steps):
    assert auto_steps(of_size(parameters), n_rows, batch) == steps


def test_auto_steps_counts_the_tokens_of_images():
    net = default_network((1, 28, 28), "small")
    parameters = sum(p.numel() for p in net.parameters())
    exact = round(120 / (2e-3 + 6 * parameters * 49 * 16 / 4e10))
    assert auto_steps(net, 10**6, 16) == exact and 500 < exact < 20_000
    assert auto_steps(nn.ModuleDict({"velocity": net}), 10**6, 16) == exact
