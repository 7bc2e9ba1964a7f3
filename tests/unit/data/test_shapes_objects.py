import cv2
import numpy as np
import pytest

from rcnn_dist.data.shapes_objects import OUTLINES, TEXTURES, coverage, texture_weight

TURN = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])


def placed(linear, centre):
    return np.column_stack([np.array(linear, dtype=np.float64), centre])


def test_a_square_covers_its_pixels():
    mask = coverage(OUTLINES["square"], placed(np.eye(2) * 10, (20, 15)), 40, 50)
    assert mask.shape == (40, 50) and mask.dtype == np.float32
    expected = np.zeros((40, 50))
    expected[6:24, 11:29] = 1  # the square's radius is 0.9
    np.testing.assert_allclose(mask, expected, atol=0.3)


@pytest.mark.parametrize("outline", OUTLINES)
def test_coverage_against_a_point_test(outline):
    to_image = placed(TURN @ np.diag([30.0, 20.0]), (40.3, 35.7))
    mask = coverage(OUTLINES[outline], to_image, 70, 80)
    polygons = [(points @ to_image[:, :2].T + to_image[:, 2]).astype(np.float32) for points in OUTLINES[outline]]
    for y, x in np.random.default_rng(0).integers(0, (70, 80), (300, 2)):
        distances = [cv2.pointPolygonTest(points, (float(x) + 0.5, float(y) + 0.5), True) for points in polygons]
        if min(abs(distance) for distance in distances) > 1.5:
            inside = sum(distance > 0 for distance in distances) % 2  # a hole in an outline is a second polygon
            assert mask[y, x] == inside


def test_what_lies_outside_the_image_covers_nothing():
    assert not coverage(OUTLINES["disc"], placed(np.eye(2) * 5, (-30, 10)), 20, 20).any()


@pytest.mark.parametrize("texture", TEXTURES)
def test_textures_are_weights_that_use_their_range(texture):
    weight = texture_weight(TEXTURES[texture], placed(np.eye(2) * 30, (40, 40)), 4.0, 80, 80)
    assert weight.shape == (80, 80) and weight.dtype == np.float32
    assert 0 <= weight.min() < 0.1 and 0.9 < weight.max() <= 1


def test_stripes_repeat_and_turn_with_the_shape():
    upright = texture_weight(TEXTURES["striped"], placed(np.eye(2) * 20, (30, 30)), 4.0, 60, 60)
    np.testing.assert_allclose(upright, np.broadcast_to(upright[0], upright.shape), atol=1e-6)
    np.testing.assert_allclose(upright[:, 10:], upright[:, :-10], atol=1e-4)  # 4 repeats over 40 pixels
    turned = texture_weight(TEXTURES["striped"], placed(np.array([[0, -20], [20, 0]]), (30, 30)), 4.0, 60, 60)
    np.testing.assert_allclose(turned, upright.T, atol=1e-4)


def test_every_outline_fits_the_unit_circle_and_is_its_own():
    for polygons in OUTLINES.values():
        assert np.abs(polygons[0]).max() <= 1 + 1e-9
    masks = {coverage(polygons, placed(np.eye(2) * 20, (20, 20)), 40, 40).tobytes() for polygons in OUTLINES.values()}
    assert len(masks) == len(OUTLINES)
