r"""Figures of codes: what stands where, and what is said of it."""

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fromnoise.comparison.code_figures import (
    COLOURS,
    code_map,
    interpolation,
    reconstructions,
    traversal,
)
from fromnoise.comparison.codes import LEVELS, STEPS
from fromnoise.comparison.jobs import Codes
from fromnoise.comparison.pictures import MODEL, REAL

RNG = np.random.default_rng(0)


def grey(images):
    r"""Images `(n, 1, 8, 8)` of one grey each."""
    return np.asarray(images, float).reshape(-1, 1, 1, 1) * np.ones((1, 1, 8, 8))


def tiles(picture):
    r"""The grey of each tile of a sheet, row by row, in [-1, 1]."""
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.light.partition(",")[2]))))
    side = 64
    gap = side // 12
    height, width = (-(-size // (side + gap)) for size in sheet.shape[:2])
    middle = np.arange(max(height, width)) * (side + gap) + side // 2
    return sheet[middle[:height]][:, middle[:width], 0] / 127.5 - 1


def texts(picture):
    svg = base64.b64decode(picture.light.partition(",")[2]).decode()
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


# --- images -----------------------------------------------------------------------------------


def test_each_image_stands_above_its_reconstruction():
    values = np.linspace(-1, 1, 20)
    codes = Codes(2, reconstructed=grey(-values[:15]))
    (picture,) = reconstructions("images", codes, grey(values), None)
    found = tiles(picture)
    assert found.shape == (4, 6)
    assert np.allclose(found[[0, 2]].ravel(), values[:12], atol=0.01)
    assert np.allclose(found[[1, 3]].ravel(), -values[:12], atol=0.01)
    assert picture.alt == "12 held-out images, each above its reconstruction"


def test_few_images_fill_one_row():
    codes = Codes(2, reconstructed=grey([0.5, 0.2]))
    (picture,) = reconstructions("images", codes, grey([0.1, 0.3, 0.9]), None)
    assert np.allclose(tiles(picture), [[0.1, 0.3], [0.5, 0.2]], atol=0.01)


def test_a_traversal_has_a_row_for_each_number():
    values = np.linspace(-1, 1, 2 * len(LEVELS))
    codes = Codes(7, traversed=grey(values), dimensions=(4, 0))
    (picture,) = traversal(codes)
    assert np.allclose(tiles(picture).ravel(), values, atol=0.01)
    assert "numbers 5, 1 of 7" in picture.caption and "−2 to 2" in picture.caption
    assert traversal(Codes(7)) == []


@pytest.mark.parametrize(("spherical", "said"), [(True, "arc (spherical)"), (False, "straight")])
def test_an_interpolation_stands_between_the_images_it_joins(spherical, said):
    between = np.concatenate([np.linspace(-0.5, 0.5, len(STEPS))] * 2)
    codes = Codes(2, between=grey(between), ends=((2, 0), (1, 1)), spherical=spherical)
    (picture,) = interpolation(codes, grey([-1, 0, 1]))
    found = tiles(picture)
    assert np.allclose(found[:, 0], [1, 0], atol=0.01)
    assert np.allclose(found[:, -1], [-1, 0], atol=0.01)
    assert np.allclose(found[:, 1:-1].ravel(), between, atol=0.01)
    assert said in picture.caption


# --- rows -------------------------------------------------------------------------------------


def test_rows_stand_above_what_is_decoded():
    codes = Codes(2, reconstructed=np.arange(12.0).reshape(4, 3) + 0.5)
    (table,) = reconstructions("vectors", codes, np.arange(12.0).reshape(4, 3), ["a", "b", "c"])
    assert table["header"] == ["a", "b", "c"] and table["titles"] == ("original", "decoded")
    assert table["pairs"][1] == [["3.00", "4.00", "5.00"], ["3.50", "4.50", "5.50"]]


def test_tables_show_their_columns():
    frame = pd.DataFrame({"a": [1.5, 2.5], "kind": ["x", "y"]})
    codes = Codes(2, reconstructed=frame[::-1])
    (table,) = reconstructions("table", codes, frame, None)
    assert table["header"] == ["a", "kind"]
    assert table["pairs"][0] == [["1.50", "x"], ["2.50", "y"]]


def test_rows_in_the_plane_are_joined_to_theirs():
    X = RNG.normal(size=(30, 2))
    (picture,) = reconstructions("vectors", Codes(1, reconstructed=X + 1), X, None)
    assert {"x[0]", "x[1]"} <= set(texts(picture)) and picture.light != picture.dark


def test_what_a_model_does_not_reconstruct_is_left_out():
    assert reconstructions("images", Codes(2), grey([0]), None) == []


# --- the map ----------------------------------------------------------------------------------


def mapped(labels, n=200, **options):
    codes = Codes(9, points=RNG.normal(size=(n, 2)), **options)
    (picture,) = code_map(codes, labels)
    return picture


def test_a_map_says_what_its_axes_are():
    picture = mapped(None, explained=0.457)
    assert picture.caption == (
        "The first two principal components of 9 numbers: 46% of their variance."
    )
    assert {"first component", "second component"} <= set(texts(picture))
    assert mapped(None).caption == "" and {"code 1", "code 2"} <= set(texts(mapped(None)))
    assert code_map(Codes(1), None) == []


def legend(picture, names):
    return [text for text in texts(picture) if text in names]


def test_classes_are_named_in_their_order_row_by_row():
    names = [str(i) for i in range(12)]
    picture = mapped(np.arange(200) % 12)
    found = legend(picture, [*names, "−1", "−2"])
    # Columns are written one after the other: 0, 5, 10, then 1, 6, 11, and so on.
    assert [found.index(name) for name in names[:5]] == sorted(found.index(n) for n in names[:5])
    assert set(names) <= set(found)
    assert "coloured by 12 classes" in picture.alt


@pytest.mark.parametrize(("count", "named"), [(3, 3), (10, 10), (20, 20), (21, 19), (60, 19)])
def test_many_classes_share_grey(count, named):
    labels = np.array([f"class {i}" for i in range(count)] * 10)
    picture = mapped(labels, n=len(labels))
    found = {text for text in texts(picture) if text.startswith("class")}
    assert len(found) == named and ("others" in texts(picture)) == (named < count)
    assert f"coloured by {count} classes" in picture.alt


def test_numbers_are_a_ramp_and_no_classes():
    picture = mapped(RNG.uniform(2, 5, 200))
    assert "coloured by y" in picture.alt and "Colour: y from 2.0" in picture.caption
    assert not legend(picture, ["others"])


def test_labels_that_do_not_fit_are_not_used():
    assert mapped(np.arange(7)).alt.endswith("in the plane")
    assert mapped(RNG.normal(size=(200, 2))).alt.endswith("in the plane")


def test_hostile_labels_are_cut_and_escaped():
    labels = np.array(["<script>alert(1)</script>", "a\nb$_$", "\u202egnp"] * 70, object)
    text = " ".join(texts(mapped(labels[:200])))
    assert "<" not in text and "\n" not in text and "\u202e" not in text and "…" in text


def luminance(colour):
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_colours_of_classes_are_seen_on_white_and_on_black():
    assert len(set(COLOURS) | {REAL}) == len(COLOURS) + 1 and MODEL in COLOURS
    for colour in COLOURS:
        value = luminance(colour) + 0.05
        assert 1.05 / value > 3 and value / (luminance("#181b20") + 0.05) > 3, colour
