import math

import numpy as np
import pytest

from rcnn_dist.geometry.boxes import voc_from_half_open
from rcnn_dist.regress.targets import decode_targets, encode_targets


def random_boxes(n, seed, smallest=2.0):
    generator = np.random.default_rng(seed)
    corner = generator.uniform(-5, 300, (n, 2))
    return np.concatenate([corner, corner + generator.uniform(smallest, 200, (n, 2))], axis=1)


def test_by_hand():
    # sizes without the last pixel: 10 x 20 and 20 x 20; centres (1-based) 6, 11 and 13, 13
    proposal, gt = np.array([[0.0, 0.0, 11.0, 21.0]]), np.array([[2.0, 2.0, 23.0, 23.0]])
    np.testing.assert_allclose(encode_targets(proposal, gt), [[0.7, 0.1, math.log(2), 0]], atol=1e-12)


def slow_targets(proposal, gt):
    (px1, py1, px2, py2), (gx1, gy1, gx2, gy2) = voc_from_half_open(np.array([proposal, gt]))
    eps = 2.0**-52
    pw, ph, gw, gh = px2 - px1 + eps, py2 - py1 + eps, gx2 - gx1 + eps, gy2 - gy1 + eps
    shift = ((gx1 + gw / 2 - px1 - pw / 2) / pw, (gy1 + gh / 2 - py1 - ph / 2) / ph)
    return [*shift, math.log(gw / pw), math.log(gh / ph)]


def test_agrees_with_inclusive_arithmetic():
    proposals, gt = random_boxes(30, 0), random_boxes(30, 1)
    expected = [slow_targets(p, g) for p, g in zip(proposals, gt, strict=True)]
    np.testing.assert_allclose(encode_targets(proposals, gt), expected, rtol=1e-9, atol=1e-12)


def test_decoding_undoes_encoding():
    proposals, gt = random_boxes(50, 2), random_boxes(50, 3)
    np.testing.assert_allclose(decode_targets(proposals, encode_targets(proposals, gt)), gt, atol=1e-9)


def test_decoding_undoes_encoding_for_boxes_of_one_pixel():
    pixel, box = np.array([[3.0, 4.0, 4.0, 5.0]]), np.array([[0.0, 0.0, 6.0, 9.0]])
    for proposal, gt in ((pixel, pixel), (pixel, box), (box, pixel)):
        np.testing.assert_allclose(decode_targets(proposal, encode_targets(proposal, gt)), gt, atol=1e-9)


def test_an_object_is_its_own_target_and_no_deltas_are_no_move():
    boxes = random_boxes(20, 4)
    np.testing.assert_array_equal(encode_targets(boxes, boxes), np.zeros((20, 4)))
    np.testing.assert_allclose(decode_targets(boxes, np.zeros((20, 4))), boxes, atol=1e-9)


def test_targets_do_not_depend_on_the_place_of_the_pair():
    proposals, gt = random_boxes(20, 5), random_boxes(20, 6)
    shift = np.array([7, -3, 7, -3])
    np.testing.assert_allclose(encode_targets(proposals + shift, gt + shift), encode_targets(proposals, gt), atol=1e-9)


@pytest.mark.parametrize("bad", [[1.0, 1.0, 1.0, 5.0], [1.0, 5.0, 3.0, 4.0], [np.nan, 0.0, 1.0, 1.0]])
def test_a_box_without_area_is_named(bad):
    good = random_boxes(3, 7)
    with_bad = good.copy()
    with_bad[1] = bad
    with pytest.raises(ValueError, match="proposal in row 1"):
        encode_targets(with_bad, good)
    with pytest.raises(ValueError, match="object in row 1"):
        encode_targets(good, with_bad)


def test_of_nothing():
    none = np.zeros((0, 4))
    assert encode_targets(none, none).shape == (0, 4)
    assert decode_targets(none, none).shape == (0, 4)
