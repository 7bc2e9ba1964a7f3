import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_dist.geometry.boxes import iou_matrix
from rcnn_dist.proposals.sliding_window import SlidingWindowParams, sliding_windows

SIZES = st.integers(1, 90)


def test_two_scales_by_hand():
    found = sliding_windows(8, 4, SlidingWindowParams(scales=(0.5, 1.0), aspect_ratios=(1.0,), stride=1.0))
    large = [[0, 0, 4, 4], [4, 0, 8, 4]]
    small = [[x, y, x + 2, y + 2] for y in (0, 2) for x in (0, 2, 4, 6)]
    np.testing.assert_array_equal(found, large + small)


def test_a_ratio_of_two_is_twice_as_wide_as_high_and_what_does_not_fit_is_left_out():
    found = sliding_windows(100, 100, SlidingWindowParams(scales=(1.0, 0.5), aspect_ratios=(2.0,)))
    widths, heights = found[:, 2] - found[:, 0], found[:, 3] - found[:, 1]
    np.testing.assert_allclose(widths, 2 * heights)
    np.testing.assert_allclose(np.sqrt(widths * heights), 50)


@given(SIZES, SIZES, st.sampled_from([0.1, 0.25, 0.5, 1.0, 3.0]))
def test_windows_lie_in_the_image_each_once_and_reach_its_borders(width, height, stride):
    found = sliding_windows(width, height, SlidingWindowParams(scales=(1.0, 0.6), aspect_ratios=(0.7, 1.0), stride=stride))
    assert (found[:, :2] >= 0).all() and (found[:, 2] <= width).all() and (found[:, 3] <= height).all()
    assert len(np.unique(found, axis=0)) == len(found)
    for edge, border in enumerate((0, 0, width, height)):
        assert np.isclose(found[:, edge], border).any()


@given(st.data(), SIZES, SIZES, st.sampled_from([0.1, 0.25, 0.5]))
def test_a_box_of_a_window_s_size_anywhere_is_overlapped_as_promised(data, width, height, stride):
    params = SlidingWindowParams(scales=(0.8, 0.4), aspect_ratios=(0.5, 1.0, 2.0), stride=stride)
    windows = sliding_windows(width, height, params)
    w, h = data.draw(st.sampled_from([(b[2] - b[0], b[3] - b[1]) for b in windows.tolist()]))
    x, y = (data.draw(st.floats(0, max(0.0, limit - side))) for limit, side in ((width, w), (height, h)))
    nearest = (1 - stride / 2) ** 2
    assert iou_matrix(np.array([[x, y, x + w, y + h]]), windows).max() >= nearest / (2 - nearest) - 1e-9


def test_what_cannot_be_meant_is_refused():
    for wrong in ({"scales": ()}, {"aspect_ratios": ()}, {"stride": 0.0}, {"scales": (0.5, -1.0)}, {"aspect_ratios": (0.0,)}):
        with pytest.raises(ValueError, match="above 0"):
            SlidingWindowParams(**wrong)
    with pytest.raises(ValueError, match="raise the stride"):
        sliding_windows(4000, 3000, SlidingWindowParams(scales=(0.001,)))
