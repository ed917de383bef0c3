r"""Images: exact round trips in every layout, and arrays that say too little are refused."""

from importlib import import_module

import numpy as np
import pytest

from fromnoise.data import encoding_from_state, fit_encoding, images
from fromnoise.errors import DataError


def rng():
    return np.random.default_rng(0)


def round_trip(encoding, X):
    return encoding.decode(encoding.encode(encoding.check(X)))


# ------------------------------------------------------------------ arrays
def test_row_36_all_256_values_of_a_byte_come_back():
    X = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    encoding = fit_encoding(X)
    encoded = encoding.encode(X)
    assert encoded.values.dtype == np.float32 and encoded.values.shape == (4, 1, 8, 8)
    assert encoded.values.min() == -1 and encoded.values.max() == 1
    assert encoded.codes.shape == (4, 0) and encoded.observed.shape == (1, 1, 1, 1)
    assert np.array_equal(round_trip(encoding, X), X)
    noisy = encoding.dequantise(encoded, rng())
    assert np.array_equal(encoding.decode(noisy), X)
    noise = (noisy.values - encoded.values) * 127.5
    assert np.abs(noise).max() <= 0.5 and noise.var() == pytest.approx(1 / 12, rel=0.2)
    assert np.array_equal(encoding.pack(encoded, rng()), noisy.values)
    assert np.array_equal(encoding.pack(encoded), encoded.values)
    assert np.array_equal(encoding.unpack(encoded.values).values, encoded.values)
    assert not encoding.is_continuous and encoding.cardinalities == ()


@pytest.mark.parametrize(
    ("shape", "model"),
    [
        ((5, 6, 7), (1, 6, 7)),
        ((5, 6, 7, 3), (3, 6, 7)),
        ((5, 2, 6, 7), (2, 6, 7)),
        ((5, 6, 7, 1), (1, 6, 7)),
        ((5, 9, 33, 4), (4, 9, 33)),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64", "float32", "float64"])
def test_layouts_and_dtypes_come_back(shape, model, dtype):
    X = rng().uniform(0, 200, shape).astype(dtype)
    encoding = fit_encoding(X)
    values = encoding.encode(X).values
    assert encoding.shape == encoding.model_shape == model == values.shape[1:]
    assert encoding.n_features == np.prod(model) and encoding.feature_names is None
    moved = X.reshape(5, *model) if shape[-1] > 4 else np.moveaxis(X, -1, 1)
    corner = 2 * (moved[0, -1, 3, 2] - encoding.low) / (encoding.high - encoding.low) - 1
    assert values[0, -1, 3, 2] == pytest.approx(corner, abs=1e-5)
    for other in (encoding, encoding_from_state(encoding.to_state())):
        back = round_trip(other, X)
        assert back.dtype == X.dtype and back.shape == X.shape
        np.testing.assert_allclose(back, X, rtol=0, atol=2e-5 if X.dtype.kind == "f" else 0)


def test_row_24_log_det_and_linear_are_those_of_the_map():
    X = rng().uniform(-3, 5, (4, 6, 7, 3))
    encoding = fit_encoding(X)
    encoded = encoding.encode(X)
    half = (X.max() - X.min()) / 2
    np.testing.assert_allclose(encoding.log_det(encoded), -6 * 7 * 3 * np.log(half), rtol=1e-12)
    shift, scale, active = encoding.linear()
    flat = np.moveaxis(encoded.values, 1, -1).reshape(4, -1)
    np.testing.assert_allclose(shift + scale * flat, X.reshape(4, -1), atol=1e-5)
    assert active.all() and len(active) == 126 and encoding.is_continuous


def test_float_images_come_back_in_the_range_they_had():
    X = rng().uniform(0, 1, (5, 6, 7))
    encoding = fit_encoding(X, index=np.array([0, 1]))
    wild = encoding.unpack(np.full((2, 1, 6, 7), 1.5, np.float32))
    assert encoding.decode(wild).max() == X.max()
    assert fit_encoding((255 * X).astype(np.uint8)).decode(wild).max() == 255


def test_images_of_one_value_come_back():
    X = np.full((3, 6, 7), 0.25)
    assert np.array_equal(round_trip(fit_encoding(X), X), X)


@pytest.mark.parametrize("shape", [(5, 3, 6, 4), (5, 3, 3, 3), (5, 6, 7, 8)])
def test_ambiguous_channels_are_refused_and_can_be_said(shape):
    X = rng().uniform(size=shape)
    with pytest.raises(DataError, match=r'fromnoise.data.images\(X, channels="first"\)'):
        fit_encoding(X)
    first, last = fit_encoding(images(X, "first")), fit_encoding(images(X, "last"))
    assert first.shape == shape[1:] and last.shape == (shape[3], *shape[1:3])
    np.testing.assert_allclose(round_trip(last, X), X, atol=1e-6)
    np.testing.assert_allclose(round_trip(first, images(X, "first")), X, atol=1e-6)
    with pytest.raises(DataError, match="Expected images of shape"):
        first.check(images(X, "last"))


def test_other_shapes_are_refused():
    with pytest.raises(DataError, match="four axes"):
        images(np.zeros((2, 3, 3)), "first")
    with pytest.raises(DataError, match="'first' or 'last'"):
        images(np.zeros((2, 3, 3, 3)), "middle")
    encoding = fit_encoding(rng().uniform(size=(5, 6, 7)))
    with pytest.raises(DataError, match=r"Expected images of shape \(6, 7\), got \(6, 8\)"):
        encoding.check(np.zeros((2, 6, 8)))
    with pytest.raises(
        DataError, match=r"Expected pixels like those of fit .float64, .*got uint8"
    ):
        encoding.check(np.zeros((2, 6, 7), np.uint8))
    with pytest.raises(DataError, match="1 sample"):
        fit_encoding(np.zeros((1, 6, 7)))


def test_c1_pixels_that_are_not_finite_are_refused(monkeypatch):
    # The function of the same name hides the module from a dotted path.
    monkeypatch.setattr(import_module("fromnoise.data.images"), "_BLOCK", 100)
    X = rng().uniform(size=(9, 6, 7))
    encoding = fit_encoding(X)
    X[5, 2, 2] = np.nan
    for missing in ("auto", "model"):
        with pytest.raises(DataError, match="NaN or inf in the pixels of image 5"):
            fit_encoding(X, missing=missing)
    with pytest.raises(DataError, match="NaN or inf"):
        encoding.check(X)
    assert encoding.encode(encoding.check(X, missing_ok=True)).values[5, 0, 2, 2] == 0
    X[5, 2, 2] = np.inf
    with pytest.raises(DataError, match="NaN or inf"):
        encoding.check(X, missing_ok=True)


def test_torch_images_come_back():
    torch = pytest.importorskip("torch")
    X = torch.arange(3 * 3 * 6 * 7).reshape(3, 3, 6, 7).to(torch.uint8)
    back = round_trip(fit_encoding(X), X)
    assert back.dtype == torch.uint8 and torch.equal(back, X)
