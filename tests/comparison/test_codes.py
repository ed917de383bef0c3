r"""What a worker shows of codes: by a model whose encoder and decoder are known."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.decomposition import PCA

import fromnoise as fn
from fromnoise.comparison import codes as made
from fromnoise.comparison.codes import LEVELS, STEPS, codes_of, slerp
from fromnoise.comparison.jobs import Codes, Split
from fromnoise.data import Condition
from fromnoise.networks.defaults import evaluation_rows

RNG = np.random.default_rng(0)
SCALES = np.array([1.0, 5.0, 2.0, 0.5, 4.0, 3.0])
X = RNG.normal(size=(90, 1, 2, 3)) * SCALES.reshape(2, 3)


class Known:
    r"""Codes are the pixels; the decoder adds 100 times the label, so that it can be seen."""

    family, prior, n_evaluations = "vae", "normal", 1

    def __init__(self, kind="images", y=None):
        self.encoding_ = SimpleNamespace(kind=kind, model_shape=(1, 2, 3))
        self.condition_ = None if y is None else Condition.fit(y, len(y))

    def encode(self, X, y=None):
        return np.asarray(X, np.float32).reshape(len(X), -1)

    def decode(self, z, y=None):
        images = np.asarray(z, float).reshape(-1, 1, 2, 3)
        return images if y is None else images + 100 * np.asarray(y, float).reshape(-1, 1, 1, 1)

    def reconstruct(self, X, y=None):
        return self.decode(self.encode(X), y) + 0.5


def split(y=None):
    labels = (None, None) if y is None else (y[:60], y[60:])
    return Split(X[:60], labels[0], X[60:], labels[1])


def shown(model, y=None):
    return codes_of(model, split(y), 0.0)


# --- the arc ----------------------------------------------------------------------------------


def test_an_arc_keeps_the_length_and_turns_evenly():
    a, b = RNG.normal(size=(2, 8))
    b *= np.linalg.norm(a) / np.linalg.norm(b)
    t = np.linspace(0, 1, 7)
    points = slerp(a, b, t)
    assert np.allclose(np.linalg.norm(points, axis=1), np.linalg.norm(a))
    assert np.allclose(points[0], a) and np.allclose(points[-1], b)
    cosines = (points[1:] * points[:-1]).sum(1) / (a @ a)
    assert np.allclose(cosines, cosines[0])
    # A straight line through the middle is shorter than both ends.
    assert np.linalg.norm((a + b) / 2) < 0.95 * np.linalg.norm(a)


@pytest.mark.parametrize(
    ("a", "b"), [((1.0, 2.0), (2.0, 4.0)), ((1.0, 2.0), (-1.0, -2.0)), ((0.0, 0.0), (1.0, 1.0))]
)
def test_where_there_is_no_one_arc_the_line_is_taken(a, b):
    points = slerp(np.array(a), np.array(b), np.array([0.0, 0.25, 1.0]))
    assert np.allclose(points, [a, 0.75 * np.array(a) + 0.25 * np.array(b), b])


# --- what is shown ----------------------------------------------------------------------------


def test_reconstructions_are_of_the_first_held_out_rows():
    codes = shown(Known())
    assert np.allclose(codes.reconstructed, X[60:] + 0.5) and codes.size == 6


def test_a_traversal_changes_one_number_at_a_time_from_quantile_to_quantile():
    codes = shown(Known())
    assert codes.dimensions == (1, 4, 5, 2, 0)  # the largest variances, in order
    rows = codes.traversed.reshape(5, len(LEVELS), 6)
    first = X[60].reshape(6)
    for row, dimension in zip(rows, codes.dimensions, strict=True):
        quantiles = np.quantile(X[:60].reshape(60, 6)[:, dimension], norm.cdf(LEVELS))
        assert np.allclose(row[:, dimension], quantiles, atol=1e-5)
        others = np.arange(6) != dimension
        assert np.allclose(row[:, others], first[others], atol=1e-5)
    assert LEVELS[0] == -2 and LEVELS[-1] == 2


@pytest.mark.parametrize(
    ("family", "prior", "spherical"),
    [("vae", "normal", True), ("vae", "vamp", False), ("autoencoder", None, False),
     ("vae", fn.GaussianMixture(), True), ("flow", None, True)],
)  # fmt: skip
def test_codes_in_between_lie_on_an_arc_where_codes_are_normal(family, prior, spherical):
    model = Known()
    model.family, model.prior = family, prior
    codes = shown(model)
    assert codes.spherical is spherical and codes.ends == ((0, 1), (2, 3), (4, 5))
    rows = codes.between.reshape(3, len(STEPS), 6)
    for row, (i, j) in zip(rows, codes.ends, strict=True):
        a, b = X[60 + i].reshape(6), X[60 + j].reshape(6)
        line = a + STEPS[:, None] * (b - a)
        assert np.allclose(row, slerp(a, b, STEPS) if spherical else line, atol=1e-4)


def test_the_map_is_that_of_principal_components_of_training_codes():
    codes = shown(Known())
    pca = PCA(2).fit(X[:60].reshape(60, 6))
    expected = pca.transform(X[60:].reshape(30, 6))
    assert np.allclose(np.abs(codes.points), np.abs(expected), atol=1e-4)
    assert codes.explained == pytest.approx(pca.explained_variance_ratio_.sum(), abs=1e-5)


def test_two_numbers_are_their_own_map_and_one_has_none():
    model = Known("vectors")
    model.encode = lambda X, y=None: X.reshape(len(X), -1)[:, :2]
    model.decode = lambda z, y=None: z
    codes = shown(model)
    assert np.array_equal(codes.points, X[60:].reshape(30, 6)[:, :2]) and codes.explained is None
    assert codes.traversed is None and codes.between is None  # no images
    model.encode = lambda X, y=None: X.reshape(len(X), -1)[:, :1]
    assert shown(model).points is None


# --- conditional models -----------------------------------------------------------------------


def test_decoders_are_given_the_labels_of_their_rows():
    y = np.arange(90) % 7
    codes = shown(Known(y=y), y)
    assert np.allclose(codes.reconstructed, X[60:] + 0.5 + 100 * y[60:, None, None, None])
    labels = np.rint(codes.traversed.mean((1, 2, 3)) / 100)
    assert set(labels) == {y[60]}
    for k, (i, j) in enumerate(codes.ends):
        assert i != j and y[60 + i] == y[60 + j]
        row = codes.between[k * len(STEPS) :][: len(STEPS)]
        assert np.allclose(row[0], X[60 + i] + 100 * y[60 + i], atol=1e-4)
        assert np.allclose(row[-1], X[60 + j] + 100 * y[60 + i], atol=1e-4)


def test_classes_of_one_row_each_still_have_a_row():
    y = np.arange(90)
    assert shown(Known(y=y), y).ends == ((0, 0),)


def test_numbers_as_labels_go_from_one_end_to_the_other():
    y = RNG.normal(size=90)
    codes = shown(Known(y=y), y)
    row = codes.between[: len(STEPS)]
    expected = y[60] + STEPS * (y[61] - y[60])
    pixels = slerp(X[60].reshape(6), X[61].reshape(6), STEPS).reshape(-1, 1, 2, 3)
    assert np.allclose(((row - pixels) / 100).mean((1, 2, 3)), expected, atol=1e-5)


# --- what is not shown ------------------------------------------------------------------------


class Solved(Known):
    family, n_evaluations = "flow", 40
    reconstruct = property()


def test_a_model_that_codes_by_an_ode_shows_an_interpolation_if_it_is_cheap():
    cheap = codes_of(Solved(), split(), 1e-6)
    assert cheap.between is not None and cheap.reconstructed is None and cheap.spherical
    # Two blocks of rows, of 256 evaluations each, where a drawn row takes 40.
    rows = 2 * evaluation_rows((1, 2, 3))
    limit = made.LONGEST_SECONDS / rows * 40 / 256
    assert codes_of(Solved(), split(), 0.99 * limit) is not None
    assert codes_of(Solved(), split(), 1.01 * limit) is None
    assert codes_of(Solved("vectors"), split(), 1e-6) is None


def test_models_without_codes_show_none():
    assert codes_of(fn.GaussianMixture(), split(), 0.0) is None


def test_a_decoder_that_fails_costs_no_fit(caplog):
    model = Known()
    model.decode = lambda z, y=None: 1 / 0
    assert shown(model) == Codes(size=0, failure="ZeroDivisionError: division by zero")
    assert "The codes of Known cannot be shown: division by zero" in caplog.text
