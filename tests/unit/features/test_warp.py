from fractions import Fraction

import numpy as np
import pytest
import torch

from rcnn_dist.features.warp import WarpParams, paste_regions, warp_geometry, warp_regions
from rcnn_dist.features.warp_torch import warp_regions_torch

MODES = ("warp", "square", "square_tight")
NO_MEAN = np.zeros(3, dtype=np.float32)


def photo(height=60, width=80, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def random_boxes(count, height, width, seed=0):
    rng = np.random.default_rng(seed)
    first = rng.uniform(-0.1, 0.9, (count, 2)) * [width, height]
    last = np.maximum(first + rng.uniform(1, 0.6 * width, (count, 2)), 5)
    return np.concatenate([first, last], axis=1)


def one(box, height, width, params, size):
    geometry = warp_geometry(np.array([box], dtype=np.float64), height, width, params, size)
    return geometry.window[0].tolist(), geometry.offset[0].tolist(), geometry.size[0].tolist()


def nearest(value):
    """Halves away from zero, in exact arithmetic."""
    return (1 if value >= 0 else -1) * int(abs(value) + Fraction(1, 2))


def axis_by_hand(low, high, reach, limit, context, size, tight):
    """One axis in exact fractions and the original's 1-based inclusive pixels: window, offset, size."""
    half = (high - low) / 2
    centre = low + 1 + half
    first, last = nearest(centre - reach * context), nearest(centre + reach * context)
    shown_first, shown_last = max(first, 1), min(last, limit)
    if tight:
        own = half + reach * (context - 1)
        shown_first, shown_last = max(shown_first, nearest(centre - own)), min(shown_last, nearest(centre + own) - 1)
    extent = last - first + 1
    offset = nearest(Fraction((shown_first - first) * size, extent))
    return shown_first - 1, shown_last, offset, min(nearest(Fraction((shown_last - shown_first + 1) * size, extent)), size - offset)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 195, 195), ([0, 0, 212, 212], [16, 16], [211, 211])),
        ((99, 79, 219, 199), ([89, 69, 230, 210], [0, 0], [227, 227])),
        ((399, 299, 500, 375), ([391, 293, 500, 375], [0, 0], [210, 209])),
    ],
)
def test_geometry_of_the_fact_sheet(box, expected):
    assert one(box, 375, 500, WarpParams(), 227) == expected


def test_without_context_the_box_itself_fills_the_frame():
    assert one((10, 20, 50, 30), 60, 80, WarpParams("warp", 0), 32) == ([10, 20, 50, 30], [0, 0], [32, 32])
    assert one((10.4, 19.5, 49.6, 30.4), 60, 80, WarpParams("warp", 0), 32) == ([10, 20, 50, 30], [0, 0], [32, 32])
    assert one((10.2, 20, 10.9, 30), 60, 80, WarpParams("warp", 0), 32) == ([10, 20, 11, 30], [0, 0], [32, 32])


def test_without_context_what_lies_beyond_the_image_stays_empty():
    assert one((-10, 20, 30, 60), 60, 80, WarpParams("warp", 0), 40) == ([0, 20, 30, 60], [10, 0], [30, 40])


def test_tight_square_shows_the_box_alone_and_square_its_surroundings():
    box = (30, 20, 50, 30)
    assert one(box, 60, 80, WarpParams("square", 0), 42) == ([30, 15, 51, 36], [0, 0], [42, 42])
    assert one(box, 60, 80, WarpParams("square_tight", 0), 42) == ([30, 20, 50, 30], [0, 10], [40, 20])


def test_tight_square_has_the_same_context_on_all_four_sides():
    # the long side, 20 px, fills 40 of 60 frame pixels: 10 frame pixels are 5 source pixels, up to the two roundings
    window, _, _ = one((30, 20, 50, 30), 60, 80, WarpParams("square_tight", 10), 60)
    assert window == [25, 15, 55, 35]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("size", "padding"), [(227, 16), (224, 16), (64, 4), (160, 16 * 160 / 227), (50, 1)])
def test_geometry_agrees_with_exact_arithmetic(mode, size, padding):
    boxes = random_boxes(200, 300, 400)
    context = Fraction(size) / (size - 2 * Fraction(padding))
    geometry = warp_geometry(boxes, 300, 400, WarpParams(mode, padding), size)
    for row, box in enumerate(boxes):
        low, high = [Fraction(float(value)) for value in box[:2]], [Fraction(float(value)) for value in box[2:]]
        halves = [(high[axis] - low[axis]) / 2 for axis in (0, 1)]
        for axis, limit in enumerate((400, 300)):
            reach = halves[axis] if mode == "warp" else max(halves)
            expected = axis_by_hand(low[axis], high[axis], reach, limit, context, size, mode == "square_tight")
            got = (geometry.window[row, axis], geometry.window[row, axis + 2], geometry.offset[row, axis], geometry.size[row, axis])
            assert got == expected, box


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", [0, 5.5])
def test_windows_stay_in_the_image_and_places_in_the_frame(mode, padding):
    boxes = random_boxes(300, 60, 80)
    geometry = warp_geometry(np.concatenate([boxes, np.round(boxes)]), 60, 80, WarpParams(mode, padding), 32)
    assert (geometry.window[:, :2] >= 0).all()
    assert (geometry.window[:, :2] < geometry.window[:, 2:]).all()
    assert (geometry.window[:, 2:] <= [80, 60]).all()
    assert (geometry.offset >= 0).all()
    assert (geometry.offset + geometry.size <= 32).all()


def test_slicing_a_geometry_keeps_its_rows():
    geometry = warp_geometry(random_boxes(7, 60, 80), 60, 80, WarpParams(), 64)
    part = geometry[2:5]
    assert len(part) == 3
    np.testing.assert_array_equal(part.window, geometry.window[2:5])
    np.testing.assert_array_equal(part.offset, geometry.offset[2:5])
    np.testing.assert_array_equal(part.size, geometry.size[2:5])


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[1, 1, 9, 9], [5, 5, 5, 9]], r"region 1, box \[5.0, 5.0, 5.0, 9.0\], has no area"),
        ([[1, 1, np.nan, 9]], "region 0.*has no area"),
        ([[1, 1, np.inf, 9]], "region 0.*has no area"),
        ([[1, 1, 9, 9], [100, 1, 130, 9]], "region 1.*shows no pixel of the 80x60 image"),
    ],
)
def test_a_box_that_shows_nothing_is_refused(boxes, message):
    with pytest.raises(ValueError, match=message):
        warp_geometry(np.array(boxes, dtype=np.float64), 60, 80, WarpParams("warp", 4), 64)


@pytest.mark.parametrize("padding", [-1, 32, 40])
def test_context_that_leaves_no_room_is_refused(padding):
    with pytest.raises(ValueError, match="context_padding"):
        warp_geometry(np.array([[1.0, 1, 9, 9]]), 60, 80, WarpParams("warp", padding), 64)


def bilinear_by_hand(image, box, params, size, mean):
    """Pixel by pixel: half-pixel centres, edges replicated inside the window."""
    (x1, y1, x2, y2), (left, top), (width, height) = one(box, *image.shape[:2], params, size)
    crop = np.zeros((size, size, 3))
    for y in range(height):
        for x in range(width):
            source_x = min(max((x + 0.5) * (x2 - x1) / width - 0.5, 0), x2 - x1 - 1)
            source_y = min(max((y + 0.5) * (y2 - y1) / height - 0.5, 0), y2 - y1 - 1)
            column, row = int(source_x), int(source_y)
            right, down = source_x - column, source_y - row
            next_column, next_row = min(column + 1, x2 - x1 - 1), min(row + 1, y2 - y1 - 1)
            above = image[y1 + row, x1 + column] * (1 - right) + image[y1 + row, x1 + next_column] * right
            below = image[y1 + next_row, x1 + column] * (1 - right) + image[y1 + next_row, x1 + next_column] * right
            crop[top + y, left + x] = above * (1 - down) + below * down - mean[top + y, left + x]
    return crop


def by_torch(image, boxes, params, size, mean):
    geometry = warp_geometry(boxes, *image.shape[:2], params, size)
    return warp_regions_torch(torch.from_numpy(image), geometry, size, torch.from_numpy(mean)).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("warp", [warp_regions, by_torch])
@pytest.mark.parametrize("mode", MODES)
def test_pixels_agree_with_a_loop_over_them(warp, mode):
    image, boxes, params = photo(), random_boxes(6, 60, 80, seed=2), WarpParams(mode, 3)
    mean = np.random.default_rng(1).uniform(90, 140, (20, 20, 3)).astype(np.float32)
    expected = np.stack([bilinear_by_hand(image, box, params, 20, mean) for box in boxes])
    np.testing.assert_allclose(warp(image, boxes, params, 20, mean), expected, rtol=0, atol=0.01)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", [0, 16 * 64 / 227])
def test_both_implementations_agree(mode, padding):
    image, boxes, params = photo(500, 700), random_boxes(40, 500, 700), WarpParams(mode, padding)
    mean = np.array([100, 110, 120], dtype=np.float32)
    np.testing.assert_allclose(by_torch(image, boxes, params, 64, mean), warp_regions(image, boxes, params, 64, mean), rtol=0, atol=0.01)


@pytest.mark.parametrize("warp", [warp_regions, by_torch])
def test_outside_the_image_is_exactly_zero_whatever_the_mean(warp):
    mean = np.random.default_rng(1).uniform(90, 140, (32, 32, 3)).astype(np.float32)
    crop = warp(photo(), np.array([[-20.0, 20, 20, 60]]), WarpParams("warp", 0), 32, mean)[0]
    assert (crop[:, :16] == 0).all()
    assert (crop[:, 16:] != 0).any(axis=2).mean() > 0.9


@pytest.mark.parametrize("warp", [warp_regions, by_torch])
def test_a_box_of_the_input_size_is_copied_and_loses_the_mean(warp):
    image, mean = photo(), np.array([1, 2, 3], dtype=np.float32)
    crop = warp(image, np.array([[7.0, 9, 39, 41]]), WarpParams("warp", 0), 32, mean)[0]
    np.testing.assert_array_equal(crop, image[9:41, 7:39] - mean)


@pytest.mark.parametrize("warp", [warp_regions, by_torch])
def test_pixels_beyond_the_window_do_not_bleed_in(warp):
    image = np.full((40, 40, 3), 255, dtype=np.uint8)
    image[10:20, 10:20] = 100
    crop = warp(image, np.array([[10.0, 10, 20, 20]]), WarpParams("warp", 0), 32, NO_MEAN)
    np.testing.assert_allclose(crop, 100, atol=1e-4)


@pytest.mark.parametrize("warp", [warp_regions, by_torch])
def test_a_sliver_that_rounds_to_no_pixel_leaves_an_empty_frame(warp):
    crop = warp(photo(), np.array([[79.0, 10, 2000, 30]]), WarpParams("warp", 0), 32, NO_MEAN)
    assert (crop == 0).all()


@pytest.mark.parametrize("warp", [warp_regions, by_torch])
def test_no_boxes_give_no_crops(warp):
    crops = warp(photo(), np.zeros((0, 4)), WarpParams(), 64, NO_MEAN)
    assert (crops.shape, crops.dtype) == ((0, 64, 64, 3), np.float32)


def test_float32_pixels_give_the_same_crops():
    image, boxes = photo(), random_boxes(5, 60, 80)
    geometry = warp_geometry(boxes, 60, 80, WarpParams(), 64)
    crops = paste_regions(image.astype(np.float32), geometry, 64, NO_MEAN)
    np.testing.assert_array_equal(crops, warp_regions(image, boxes, WarpParams(), 64, NO_MEAN))
