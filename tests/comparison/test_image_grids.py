import base64
import io

import numpy as np
import pytest
from PIL import Image

from fromnoise.comparison.image_grids import image_grid


def pixels(picture):
    payload = base64.b64decode(picture.light.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(payload)))


def test_grey_images_keep_their_values_and_are_clipped():
    values = np.array([-1.0, 0.0, 1.0, 7.0, -7.0, np.nan], np.float32)
    seen = pixels(image_grid(values.reshape(6, 1, 1, 1).repeat(40, 2).repeat(40, 3)))
    assert seen.shape == (40, 6 * 43 - 3, 4)
    tiles = seen[0, ::43]
    assert tiles[:, 0].tolist() == [0, 128, 255, 255, 0, 0]
    assert (tiles[:, :3] == tiles[:, :1]).all() and (tiles[:, 3] == 255).all()
    assert (seen[:, 40::43, 3] == 0).all()  # the gaps show the page


@pytest.mark.parametrize(
    ("channels", "colour"),
    [
        (1, (255, 255, 255, 255)),
        (2, (255, 255, 255, 255)),
        (3, (255, 0, 128, 255)),
        (4, (255, 0, 128, 0)),
        (5, (255, 255, 255, 255)),
    ],
)
def test_channels_become_colours(channels, colour):
    values = np.array([1.0, -1.0, 0.0, -1.0, -1.0])[:channels].reshape(1, channels, 1, 1)
    assert tuple(pixels(image_grid(values))[0, 0]) == colour


def test_labelled_images_stand_in_rows_of_their_class():
    grey = np.linspace(-1, 1, 9).reshape(9, 1, 1, 1)
    picture = image_grid(grey, ["b", "a", "b", "a", "c", "b", "b", "a", "b"])
    expected = np.rint((grey.ravel() / 2 + 0.5) * 255)
    rows = pixels(picture)[:: 64 + 5, :: 64 + 5]
    assert picture.caption == "Rows: a, b, c"
    for row, members in zip(rows, ([1, 3, 7], [0, 2, 5, 6, 8], [4]), strict=True):
        assert row[: len(members), 0].tolist() == expected[members].tolist()
        assert (row[len(members) :, 3] == 0).all()


def test_grids_hold_what_fits():
    assert image_grid(np.zeros((99, 1, 8, 8))).alt == "36 images of 8 × 8 pixels"
    assert image_grid(np.zeros((99, 1, 80, 20))).alt == "16 images of 80 × 20 pixels"
    assert image_grid(np.zeros((1, 3, 8, 9))).alt == "1 images of 8 × 9 pixels"


def test_large_images_are_made_smaller_by_averaging():
    board = np.indices((192, 192)).sum(0) % 2 * 2.0 - 1
    seen = pixels(image_grid(board[None, None]))
    assert seen.shape[:2] == (96, 96) and set(np.unique(seen[..., 0])) <= {127, 128}


@pytest.mark.parametrize(
    ("size", "factor"),
    [((8, 8), 8), ((28, 28), 2), ((16, 12), 4), ((32, 32), 2), ((33, 33), 1), ((64, 64), 1)],
)
def test_small_images_are_enlarged_pixel_by_pixel(size, factor):
    values = np.random.default_rng(0).uniform(-1, 1, (1, 3, *size))
    seen = pixels(image_grid(values))
    assert seen.shape == (size[0] * factor, size[1] * factor, 4)
    exact = np.rint((values[0] / 2 + 0.5) * 255).transpose(1, 2, 0)
    for i in range(factor):
        for j in range(factor):
            assert np.array_equal(seen[i::factor, j::factor, :3], exact)
