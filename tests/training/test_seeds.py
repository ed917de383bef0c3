r"""Random streams are pure functions of their keys, and no global state is touched."""

import random

import numpy as np
import pytest
import torch
from scipy import stats

from fromnoise.training import entropy, normal_rows, numpy_rng, seed_of, torch_rng


def test_keys_of_any_length_give_different_seeds():
    keys = [(), (0,), (0, 0), (0, 0, 0), (1,), (1, 0), (0, 1), (2**40,), (2**64 + 5, 3)]
    assert len({seed_of(*key) for key in keys}) == len(keys)
    assert all(0 <= seed_of(*key) < 2**64 for key in keys)


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 28, 28), (2, 5)])
def test_first_normal_rows_do_not_depend_on_how_many_there_are(shape):
    full = torch.randn(1024, *shape, generator=torch_rng(3))
    for n in (1, 7, 16, 17, 300, 1023, 1024):
        assert torch.equal(normal_rows(n, *shape, generator=torch_rng(3)), full[:n])


def test_neighbouring_keys_give_unrelated_numbers():
    first = [numpy_rng(0, 1, k).random() for k in range(2000)]
    assert stats.kstest(first, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.1


@pytest.mark.parametrize("key", [(0,), (7, 3), (1, 2, 3)])
def test_a_stream_is_a_function_of_its_key(key):
    assert numpy_rng(*key).random() == numpy_rng(*key).random() != numpy_rng(*key, 0).random()
    a, b, c = (torch.rand(4, generator=torch_rng(*k)) for k in (key, key, (*key, 0)))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_streams_are_the_same_in_every_version():
    # Stored models sample with these; a change here changes what they draw.
    assert seed_of(0, 1) == 14012510431042805325
    assert numpy_rng(0, 1).integers(1000, size=3).tolist() == [92, 976, 127]


def test_entropy_of_what_scikit_learn_accepts():
    assert entropy(7) == entropy(np.int32(7)) == 7
    assert entropy(0) == 0 and entropy(2**70) == 2**70
    assert len({entropy(None) for _ in range(4)}) == 4
    for make in (np.random.default_rng, np.random.RandomState):
        state = make(3)
        drawn = [entropy(state), entropy(state)]
        assert drawn[0] != drawn[1] and drawn[0] == entropy(make(3)) >= 0
    assert type(entropy(np.int64(5))) is int


@pytest.mark.parametrize("bad", ["0", 1.0, True, [1], np.random])
def test_entropy_refuses_what_is_no_seed(bad):
    with pytest.raises(TypeError, match="random_state must be"):
        entropy(bad)


def test_entropy_refuses_negative_seeds():
    with pytest.raises(ValueError, match="-1"):
        entropy(-1)


def test_no_global_state_is_touched():
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    entropy(None)
    numpy_rng(1).random()
    torch.rand(3, generator=torch_rng(1))
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.get_rng_state(), before[2])
