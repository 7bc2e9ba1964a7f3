import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rcnn_dist.arrays import Array
from rcnn_dist.proposals.resample import resample

images = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda size: arrays(np.uint8, (*size, 3)))


def test_halving_means_blocks_of_four_and_what_is_left_at_the_border() -> None:
    image = np.array([[0, 2, 8], [4, 6, 10], [100, 50, 30]], np.uint8)[:, :, None].repeat(3, axis=2)
    assert resample(image, 2.0)[:, :, 0].tolist() == [[3, 9], [75, 30]]


def test_doubling_interpolates_between_centres() -> None:
    image = np.array([[0, 100]], np.uint8)[:, :, None].repeat(3, axis=2)
    assert resample(image, 0.5)[:, :, 0].tolist() == [[0, 25, 75, 100]] * 2


@given(images, st.floats(1, 5))
@settings(deadline=None)
def test_shrinking_is_the_mean_over_each_square(image: Array, scale: float) -> None:
    small = resample(image, scale)
    height, width = image.shape[:2]
    assert small.shape[:2] == (math.ceil(height / scale - 1e-9), math.ceil(width / scale - 1e-9))
    for i, j, c in np.ndindex(*small.shape):
        rows, columns = (overlap(at, scale, size) for at, size in ((i, height), (j, width)))
        mean = rows @ image[:, :, c].astype(float) @ columns / rows.sum() / columns.sum()
        assert abs(float(small[i, j, c]) - mean) <= 0.51


def overlap(at: int, scale: float, size: int) -> Array:
    pixel = np.arange(size)
    return np.clip(np.minimum((at + 1) * scale, pixel + 1) - np.maximum(at * scale, pixel), 0, None)


@pytest.mark.parametrize("scale", [0.3, 0.5, 1.0, 1.7, 4.0, 100.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (7, 11)])
def test_a_flat_image_stays_flat(scale: float, shape: tuple[int, int]) -> None:
    assert (resample(np.full((*shape, 3), 201, np.uint8), scale) == 201).all()


@given(images)
@settings(deadline=None)
def test_scale_one_gives_the_image(image: Array) -> None:
    assert (resample(image, 1.0) == image).all()
