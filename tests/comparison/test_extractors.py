r"""Which features are chosen, how numbers are named for them, and what is refused."""

import numpy as np
import pytest
import torch

from fromnoise.comparison.extractors import check_features, extractor, simple
from fromnoise.errors import DataError
from fromnoise.metrics import EnetLite0, enetlite0

RNG = np.random.default_rng(0)


def chosen(features, shape, channels=1):
    X = RNG.integers(0, 256, (9, *shape), dtype=np.uint8)
    rows = X.reshape(9, channels, *shape[:2]) / 255.0
    default = simple("images", rows)
    return extractor(features, default, X, (channels, *shape[:2])), default


@pytest.mark.parametrize(
    ("shape", "channels", "ending"),
    [((32, 32), 1, "_enetlite0"), ((32, 40, 3), 3, "_enetlite0"), ((31, 40), 1, "_pca"),
     ((40, 31), 1, "_pca"), ((40, 40, 4), 4, "_pca")],
)  # fmt: skip
def test_auto_is_the_network_for_images_that_it_can_see(shape, channels, ending):
    found, default = chosen("auto", shape, channels)
    assert found.ending == ending and (found is default) == (ending == "_pca")


def test_without_the_weights_auto_is_components_and_a_wish_is_an_error(monkeypatch):
    monkeypatch.setattr(enetlite0, "_PACKAGE", "no_such_package")
    assert chosen("auto", (32, 32))[0].ending == "_pca"
    with pytest.raises(DataError, match="eval"):
        chosen("enetlite0", (8, 8))


def test_names_say_what_is_measured():
    found, default = chosen("pixels", (4, 4))
    images = RNG.normal(size=(3, 1, 4, 4))
    assert (found.name, found.ending, found.given) == ("pixels", "_pixels", False)
    assert np.array_equal(found.function(images), images.reshape(3, 16))
    found, default = chosen("pca", (4, 4))
    assert found is default and found.name == "pixel-pca-9"  # nine images
    found, _ = chosen("enetlite0", (4, 4))
    assert found.given and found.costly and isinstance(found.function, EnetLite0)


class Named:
    name = "My Own!"

    def __call__(self, X):
        return X[:, :1]


@pytest.mark.parametrize(
    ("function", "name"),
    [(Named(), "my_own"), (lambda X: X, "features"), (np.asarray, "asarray"),
     (type("Plain", (), {"__call__": lambda self, X: X})(), "plain")],
)  # fmt: skip
def test_a_function_is_named(function, name):
    default = simple("vectors", np.eye(3))
    found = extractor(function, default, np.eye(3), ())
    assert (found.name, found.ending, found.given) == (name, f"_{name}", True)


def test_what_a_function_returns_is_checked():
    default = simple("vectors", np.eye(3))

    def apply(function):
        return extractor(function, default, np.eye(3), ()).function(np.eye(3))

    assert apply(lambda X: torch.from_numpy(X)).tolist() == np.eye(3).tolist()
    with pytest.raises(DataError, match="one row a row, got 2 for 3"):
        apply(lambda X: X[:2])
    with pytest.raises(DataError, match="failed: ZeroDivisionError"):
        apply(lambda X: 1 / 0)
    with pytest.raises(DataError, match=r"expected the result of features=features as \(n, d\)"):
        apply(lambda X: X[0])
    with pytest.raises(DataError, match="finite"):
        apply(lambda X: X * np.nan)


@pytest.mark.parametrize(
    ("features", "kind", "words"),
    [("pixel", "images", "Did you mean 'pixels'"), (3, "vectors", "got 3"),
     ("pca", "table", "is for images"), ("enetlite0", "vectors", "is for images")],
)  # fmt: skip
def test_what_names_no_features_is_refused(features, kind, words):
    with pytest.raises(ValueError, match=words):
        check_features(features, kind)


def test_what_names_some_is_not():
    for kind in ("images", "table", "vectors"):
        check_features("auto", kind)
        check_features(len, kind)
    check_features("enetlite0", "images")
