r"""Features of a network trained on ImageNet: it must still recognise what is in a photograph."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from fromnoise.errors import DataError
from fromnoise.metrics import EnetLite0, enetlite0, mmd

PALACE, DAISY = 698, 985  # classes of ImageNet


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    r"""A Chinese palace and a flower, (2, 224, 224, 3)."""
    pictures = [Image.fromarray(image).resize((336, 224)) for image in load_sample_images().images]
    return np.stack([np.asarray(picture.crop((56, 0, 280, 224))) for picture in pictures])


def test_photographs_are_recognised(
    photographs: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enetlite0, "_SIDE", 224)
    features = torch.from_numpy(EnetLite0.fit(photographs)(photographs)).float()
    state = torch.load(enetlite0._weights_file(), weights_only=True)
    logits = features @ state["_fc.weight"].T + state["_fc.bias"]
    assert logits.argmax(1).tolist() == [PALACE, DAISY]


def test_the_layout_and_the_range_do_not_matter(photographs: np.ndarray) -> None:
    expected = EnetLite0.fit(photographs)(photographs)
    first = np.moveaxis(photographs, 3, 1)
    unit = (photographs / 255.0).astype(np.float32)
    unit[0, 0, 0] = [0, 1, 0]  # both ends of the range are there
    for images in (first, unit):
        found = EnetLite0.fit(images)(images)
        assert np.abs(found - expected)[1].max() < 1e-4


def test_grey_is_colour_with_three_equal_channels(photographs: np.ndarray) -> None:
    grey = photographs[..., 1]
    colour = np.repeat(grey[..., None], 3, axis=3)
    assert np.array_equal(EnetLite0.fit(grey)(grey), EnetLite0.fit(colour)(colour))


def test_blocks_of_rows_change_nothing() -> None:
    images = np.random.default_rng(0).integers(0, 256, (70, 9, 12), dtype=np.uint8)
    features = EnetLite0.fit(images)
    assert np.abs(features(images)[66:] - features(images[66:])).max() < 1e-4


def test_pixels_are_rounded_as_a_file_would_round_them() -> None:
    images = np.random.default_rng(0).random((6, 16, 16))
    images[0, 0, :2] = 0, 1
    rounded = np.rint(images * 255) / 255
    assert np.abs(EnetLite0.fit(images)(images) - EnetLite0.fit(images)(rounded)).max() < 1e-6


def test_blurred_digits_are_farther_than_other_digits() -> None:
    from sklearn.datasets import load_digits

    digits = (load_digits().images * 15.9).astype(np.uint8)
    smooth = (digits // 2 + np.roll(digits, 1, 2) // 2).astype(np.uint8)
    features = EnetLite0.fit(digits)
    real, other, blurred = (features(x) for x in (digits[:150], digits[150:300], smooth[150:300]))
    near, far = mmd(real, other, kernel="cubic"), mmd(real, blurred, kernel="cubic")
    assert near.high < far.low


def test_what_it_cannot_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="one or three channels"):
        EnetLite0.fit(np.zeros((5, 8, 8, 2), np.uint8))
    with pytest.raises(DataError, match="one or three channels"):
        EnetLite0.fit(np.random.default_rng(0).random((5, 8)))
    monkeypatch.setattr(enetlite0, "_PACKAGE", "no_such_package")
    with pytest.raises(DataError, match=r"fromnoise\[eval\]"):
        EnetLite0.fit(np.zeros((5, 8, 8), np.uint8))
