import colorsys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rcnn_dist.arrays import Array
from rcnn_dist.proposals.colour_spaces import COLOUR_SPACES, colour_planes

images = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(lambda size: arrays(np.uint8, (*size, 3)))


def one(rgb: tuple[int, int, int], space: str) -> list[int]:
    return colour_planes(np.array([[rgb]], np.uint8), space)[:, 0, 0].tolist()


def test_colours_by_hand() -> None:
    assert one((255, 0, 0), "hsv") == [0, 255, 255]
    assert one((0, 0, 200), "hsv") == [170, 255, 200]
    assert one((255, 255, 255), "lab") == [255, 128, 128]
    assert one((0, 0, 0), "lab") == [0, 128, 128]
    assert one((200, 100, 0), "rgi") == [170, 85, 100]
    assert one((0, 0, 0), "rgi") == [85, 85, 0]
    assert one((0, 255, 0), "h") == [85, 85, 85]
    assert one((30, 60, 90), "i") == [60, 60, 60]


@given(images)
@settings(deadline=None)
def test_hsv_equals_the_standard_librarys(image: Array) -> None:
    planes = colour_planes(image, "hsv")
    for y, x in np.ndindex(*image.shape[:2]):
        expected = 255 * np.array(colorsys.rgb_to_hsv(*(image[y, x] / 255)))
        assert planes[:, y, x] == pytest.approx(expected, abs=0.51)


def test_lab_is_within_a_level_or_two_of_opencvs() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    expected = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).transpose(2, 0, 1)
    difference = np.abs(colour_planes(image, "lab").astype(int) - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.3


@given(images)
@settings(deadline=None)
def test_rgi_equals_its_definition(image: Array) -> None:
    total = image.sum(axis=2, dtype=float)
    planes = colour_planes(image, "rgi")
    for c in range(2):
        share = np.divide(255 * image[:, :, c].astype(float), total, out=np.full(total.shape, 85.0), where=total > 0)
        assert planes[c] == pytest.approx(share, abs=0.51)
    assert planes[2] == pytest.approx(total / 3, abs=0.51)


@pytest.mark.parametrize("space", COLOUR_SPACES)
def test_every_space_gives_three_planes_of_bytes(space: str) -> None:
    assert colour_planes(np.zeros((1, 5, 3), np.uint8), space).shape == (3, 1, 5)
