r"""Map-style data sets: what their items become, and which are refused by number."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
)

import fromnoise as fn
from fromnoise.data import datasets, load
from fromnoise.errors import DataError


class Items(Dataset):
    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        if isinstance(self.items[i], Exception):
            raise self.items[i]
        return self.items[i]


class Duck:
    def __len__(self):
        return 3

    def __getitem__(self, i):
        return np.full(2, i, np.float32), i * 0.5


X = torch.arange(12.0).reshape(6, 2)
Y = torch.tensor([0, 1, 0, 1, 2, 2])


def test_a_tensor_dataset_is_taken_apart_without_a_copy():
    data = load(TensorDataset(X, Y))
    assert data.X is X and data.y is Y and data.kind == "vectors" and data.name == "TensorDataset"
    assert load(TensorDataset(X)).y is None


def test_a_subset_of_tensors_is_cut_without_a_loop(monkeypatch):
    monkeypatch.setattr(TensorDataset, "__getitem__", None)
    data = load(Subset(Subset(TensorDataset(X, Y), [5, 1, 3]), torch.tensor([2, 0])))
    assert torch.equal(data.X, X[[3, 5]]) and data.y.tolist() == [1, 2]


def test_a_class_made_of_those_of_pytorch_gives_its_own_items():
    class Doubled(TensorDataset):
        def __getitem__(self, i):
            return (2 * super().__getitem__(i)[0],)

    class Some(Subset):
        def __getitem__(self, i):
            return (-super().__getitem__(i)[0],)

        def __getitems__(self, indices):  # PyTorch wants both or neither
            return [self[i] for i in indices]

    assert torch.equal(load(Doubled(X)).X, 2 * X)
    assert torch.equal(load(Subset(Doubled(X), [3, 1])).X, 2 * X[[3, 1]])
    assert torch.equal(load(Some(TensorDataset(X), [3, 1])).X, -X[[3, 1]])


def test_a_dataset_may_have_any_attributes():
    named = Items(*X)
    named.columns, named.shape = ["a", "b"], (2,)
    assert torch.equal(load(named).X, X)


def test_items_are_read_once_into_the_container_they_come_in():
    data = load(ConcatDataset([TensorDataset(X[:2], Y[:2]), TensorDataset(X[2:], Y[2:])]))
    assert torch.equal(data.X, X) and data.X.dtype == X.dtype and torch.equal(data.y, Y)
    data = load(Duck())
    assert data.X.dtype == np.float32 and data.X.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert data.y.tolist() == [0, 0.5, 1] and data.kind == "vectors"
    data = load(Items((np.eye(5), "cat"), (np.ones((5, 5)), "horse")))
    assert data.kind == "images" and data.y.tolist() == ["cat", "horse"]
    assert load(Items(X[0], X[1])).y is None
    bright = Items(torch.zeros(1, 8, 8, dtype=torch.uint8), torch.ones(1, 8, 8, dtype=torch.uint8))
    assert load(bright).X.dtype == torch.uint8 and load(bright).X.shape == (2, 1, 8, 8)


def test_pictures_become_pixels_as_in_a_folder():
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    grey = Image.fromarray(pixels)
    data = load(Items((grey, 3), (grey, 4)))
    assert data.kind == "images" and data.X.dtype == np.uint8 and data.y.tolist() == [3, 4]
    assert np.array_equal(data.X[0], pixels)
    assert load(Items(grey.convert("P"), grey.convert("RGB"))).X.shape == (2, 8, 8, 3)
    deep = Image.fromarray(np.full((8, 8), 65_535, np.uint16))
    assert load(Items(deep, deep)).X.max() == 1
    with pytest.raises(DataError, match="item 1 cannot be used: has pixels of mode F"):
        load(Items(grey, grey.convert("F")))


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([X[0], X[1, :1]], r"item 1 is of float32 and shape \(1,\), item 0 of .* shape \(2,\)"),
        ([X[0], X[1].double()], r"item 1 is of float64 and .*item 0 of float32"),
        ([(X[0], 1), (X[1], 0.5)], "y of item 1 is of float64 .*item 0 of int64"),
        ([(X[0], "a"), (X[1], 1)], "y of item 1 is of int64 .*item 0 text"),
        ([(X[0], 1), X[1]], "item 1 has 1 parts, item 0 has 2"),
        ([(X[0], 1, 2)], r"item 0 has 3 parts: expected x or \(x, y\)"),
        ([{"x": X[0]}], "item 0 holds dict: expected tensors"),
        (["text"], "item 0 holds str"),
        ([[torch.ones(1, requires_grad=True)]], "item 0 cannot be used"),
        ([X[0], OSError("x.png is gone")], "item 1 cannot be read: OSError: x.png is gone"),
        ([], "Items holds no items"),
    ],
)
def test_items_that_do_not_fit_are_refused_by_number(items, message):
    with pytest.raises(DataError, match=message):
        load(Items(*items))


def test_streams_and_loaders_are_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(X)

    with pytest.raises(DataError, match=r"Stream is an IterableDataset.*\.npy"):
        load(Stream())
    with pytest.raises(DataError, match=r"loader\.dataset"):
        load(DataLoader(TensorDataset(X)))
    with pytest.raises(DataError, match="has no length"):
        load(Dataset())
    with pytest.raises(DataError, match="holds 3 tensors"):
        load(TensorDataset(X, X, X))


def test_a_dataset_larger_than_memory_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr("fromnoise.data.memory.available", lambda: 20)
    with pytest.raises(MemoryError, match=r"Items, read whole, takes about 0.0 GB.*\.npy"):
        datasets.read_dataset(Items(*X, OSError("never reached")))


@pytest.mark.parametrize(
    "model",
    [fn.FlowMatching(network="small", budget="2 steps"), fn.GaussianMixture(n_components=1)],
)
def test_fit_takes_a_dataset_for_its_rows_and_labels(model):
    rows = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(60) % 2
    model.set_params(random_state=0)
    expected = model.fit(rows, labels).sample(4, random_state=1)
    drawn = model.fit(TensorDataset(rows, labels)).sample(4, random_state=1)
    assert isinstance(drawn, torch.Tensor) and torch.equal(drawn, expected)
    assert model.condition_.n_classes == 2
    with pytest.raises(DataError, match=r"only fit, load and compare take: .*load\(dataset\).X"):
        model.score_samples(TensorDataset(rows, labels))
    with pytest.raises(DataError, match=r"holds \(x, y\), and y was given as well"):
        model.fit(TensorDataset(rows, labels), labels)
    assert model.fit(TensorDataset(rows), labels).condition_.n_classes == 2
