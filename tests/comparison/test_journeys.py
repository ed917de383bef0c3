r"""The way from noise to data: what a worker shows of it, and what a figure makes of that."""

import base64
import re
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import chi2, norm

import fromnoise as fn
from fromnoise.comparison import journeys
from fromnoise.comparison.jobs import Split
from fromnoise.comparison.journey_figures import journey_figures
from fromnoise.comparison.journeys import (
    ALONG,
    RINGS,
    Journey,
    journey_of,
    mesh,
    read_journey,
    write_journey,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 2)) * [1, 3] + [5, 0]
SPLIT = Split(X[:60], None, X[60:], None)
QUICK = {"budget": "3 steps", "network": "small", "random_state": 0}


@pytest.fixture(scope="module")
def flow():
    return fn.FlowMatching(steps=4, **QUICK).fit(X)


class Known:
    r"""A model of the plane with codes of k numbers, which it doubles and moves."""

    family, n_evaluations, prior = "vae", 1, "normal"

    def __init__(self, k=2, kind="vectors"):
        self.k = k
        self.encoding_ = SimpleNamespace(kind=kind, model_shape=(2,), n_features=2)

    def _code_width(self):
        return self.k

    def decode(self, z, y=None):
        moved = 2 * np.repeat(np.asarray(z, float), 2 // self.k, axis=1) + 1
        return moved if y is None else moved + 100 * np.asarray(y, float)[:, None]


# --- what is shown ----------------------------------------------------------------------------


def test_circles_hold_the_mass_that_is_promised():
    lines = mesh(2)
    radii = np.linalg.norm(lines, axis=2)
    for ring, mass in zip(radii, RINGS, strict=False):
        assert np.allclose(chi2.cdf(ring**2, 2), mass)
    rays = lines[len(RINGS) :]
    assert np.allclose(radii[len(RINGS) :, -1], np.sqrt(chi2.ppf(RINGS[-1], 2)))
    assert np.allclose(rays[:, 0], 0) and len(np.unique(rays[:, -1].round(9), axis=0)) == len(rays)
    assert norm.cdf(mesh(1)[0, [0, -1], 0]) == pytest.approx([0.01, 0.99])


def test_the_map_is_that_of_decode():
    found = journey_of(Known(), SPLIT, 0.0)
    assert np.array_equal(found.noise, mesh(2)) and np.allclose(found.mapped, 2 * mesh(2) + 1)
    assert found.paths is None and found.times == ()
    line = journey_of(Known(k=1), SPLIT, 0.0)
    assert line.mapped.shape == (1, ALONG, 2) and np.allclose(line.mapped, 2 * line.noise + 1)


def test_a_conditional_map_is_given_the_first_held_out_label():
    y = np.arange(90) % 3
    found = journey_of(Known(), Split(X[:61], y[:61], X[61:], y[61:]), 0.0)
    assert np.allclose(found.mapped, 2 * mesh(2) + 101)


@pytest.mark.parametrize(
    "model", [Known(kind="table"), Known(k=3), SimpleNamespace(**{**vars(Known()), "family": "x"})]
)
def test_without_a_plane_or_codes_or_decoder_there_is_no_map(model):
    assert journey_of(model, SPLIT, 0.0) is None


def test_codes_that_are_not_normal_have_no_map():
    for name, value in (
        ("prior", "vamp"),
        ("prior", fn.FlowMatching()),
        ("family", "autoencoder"),
    ):
        model = Known()
        setattr(model, name, value)
        assert journey_of(model, SPLIT, 0.0) is None


def test_paths_end_where_samples_are_and_begin_in_the_noise_of_the_map(flow):
    found = journey_of(flow, SPLIT, 1e-6)
    assert found.paths.shape == (200, 5, 2) and found.times == (0, 0.25, 0.5, 0.75, 1)
    assert np.array_equal(found.paths[:, -1], flow.sample(200, random_state=0))
    assert np.allclose(found.mapped.reshape(-1, 2), flow.decode(found.noise.reshape(-1, 2)))
    assert found.images is None


def test_images_have_a_strip(tmp_path):
    images = RNG.integers(0, 256, (60, 6, 5), dtype=np.uint8)
    model = fn.FlowMatching(steps=14, **QUICK).fit(images)
    found = journey_of(model, Split(images, None, images, None), 1e-6)
    assert found.images.shape == (32, 6, 5) and found.images.dtype == np.uint8
    assert len(found.times) == 8 and found.paths is None and found.mapped is None
    assert np.array_equal(found.images[7::8], model.sample(4, random_state=0))
    write_journey(tmp_path / "journey", found)
    back = read_journey(tmp_path / "journey")
    assert back.times == found.times and np.array_equal(back.images, found.images)


@pytest.mark.parametrize("y", [None, np.arange(60) % 2])
def test_a_law_of_codes_has_a_strip_that_is_decoded(y):
    images = RNG.integers(0, 256, (60, 6, 5), dtype=np.uint8)
    prior = fn.FlowMatching(steps=4)
    model = fn.AutoEncoder(prior=prior, **QUICK | {"budget": "100 steps"}).fit(images, y)
    found = journey_of(model, Split(images, y, images, y), 1e-6)
    assert found.images.shape == (20, 6, 5) and found.times == (0, 0.25, 0.5, 0.75, 1)
    given = None if y is None else y[:4]
    codes = model.prior_.sample(4, given, random_state=0)
    assert np.array_equal(found.images[4::5], model.decode(codes, given))
    assert not np.array_equal(found.images[0::5], found.images[4::5])


def test_what_is_written_is_read(tmp_path, flow):
    found = journey_of(flow, SPLIT, 1e-6)
    write_journey(tmp_path / "journey", found)
    back = read_journey(tmp_path / "journey")
    for name in ("paths", "noise", "mapped"):
        assert np.array_equal(getattr(back, name), getattr(found, name))
    assert read_journey(tmp_path / "nothing") is None


def test_what_costs_too_much_is_not_shown(flow, monkeypatch):
    # 200 rows fill one block of 256; the map has 64 · 4 evaluations where a sample has 8.
    assert journey_of(flow, SPLIT, 10.1 / 256) is None
    found = journey_of(flow, SPLIT, 9.9 / 256)
    assert found.paths is not None and found.mapped is None
    assert journey_of(flow, SPLIT, 1 / 1024).mapped is None  # 1,008 points: 32 seconds, not one
    assert journey_of(flow, SPLIT, None) is None
    monkeypatch.setattr(journeys, "trajectory", lambda *_, **__: 1 / 0)
    assert journey_of(flow, SPLIT, 1e-6).paths is None  # the map is shown all the same


# --- figures ----------------------------------------------------------------------------------


def decoded(picture, theme):
    return base64.b64decode(getattr(picture, theme).partition(",")[2]).decode()


def test_figures_are_drawn_in_both_themes_and_are_light(flow):
    found = journey_of(flow, SPLIT, 1e-6)
    pictures = journey_figures(found, X, ["left <b>", "right"])
    assert [p.alt.partition(" ")[0] for p in pictures] == ["200", "A"]
    for picture in pictures:
        assert picture.light != picture.dark and len(picture.light) < 300_000
        assert "left &lt;b&gt;" in decoded(picture, "light")
    assert "97 %" in pictures[1].caption


def test_a_line_has_one_panel():
    found = journey_of(Known(k=1), SPLIT, 0.0)
    (picture,) = journey_figures(found, X, None)
    assert "z[0]" not in decoded(picture, "light") and "one number" in picture.caption


def test_far_paths_leave_a_figure():
    paths = np.zeros((5, 3, 2))
    paths[0, 1] = 1e300
    paths[1, 2] = np.nan
    (picture,) = journey_figures(Journey((0.0, 0.5, 1.0), paths=paths), X, None)
    assert re.search("<svg", decoded(picture, "dark"))


def test_a_strip_has_a_row_for_each_sample():
    images = np.zeros((6, 1, 8, 8))
    (picture,) = journey_figures(Journey((0.0, 0.4, 1.0), images=images), images, None)
    assert picture.alt == "2 rows of 3 images, each from noise to a sample"
    assert picture.caption == "From noise, t = 0, to data, t = 1: t = 0.00, 0.40, 1.00."
