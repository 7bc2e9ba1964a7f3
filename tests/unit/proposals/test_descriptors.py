import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rcnn_dist.arrays import Array
from rcnn_dist.proposals.descriptors import adjacent_pairs, describe, join_regions, joined_pairs, normalised, pixel_codes
from rcnn_dist.proposals.pixel_graph import smooth

sizes = st.tuples(st.integers(1, 8), st.integers(1, 8))
label_images = sizes.flatmap(lambda size: arrays(np.int32, size, elements=st.integers(0, 5)))


def compact(labels: Array) -> Array:
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)


def codes_for(labels: Array, seed: int = 0) -> Array:
    planes = np.random.default_rng(seed).integers(0, 256, (3, *labels.shape), dtype=np.uint8)
    return pixel_codes(planes, smooth(planes, 0.8))


def test_codes_of_a_ramp() -> None:
    planes = np.zeros((3, 3, 4), np.uint8)
    smoothed = np.zeros((3, 3, 4), np.float32)
    smoothed[0] = [0, 8, 16, 24]  # rises to the right by 8 levels per pixel: central difference 16, magnitude bin 4
    smoothed[1] = -smoothed[0]
    smoothed[2] = np.array([0, 100, 200])[:, None]  # rises downwards, more than the last bin holds
    planes[0, 0] = [0, 11, 128, 255]
    codes = pixel_codes(planes, smoothed)
    assert codes[0, 0].tolist() == [0, 1, 12, 24]
    assert (codes[1, 0, 0], codes[2, 0, 0]) == (25, 50)
    assert codes[3, 1].tolist() == [0, 4, 4, 0]  # the gradient across a border column is taken as 0
    assert codes[4, 1, 1:3].tolist() == [14, 14]
    assert codes[5, 1].tolist() == [49] * 4


@given(sizes.flatmap(lambda size: arrays(np.uint8, (3, *size))))
@settings(deadline=None)
def test_codes_equal_a_pixel_by_pixel_computation(planes: Array) -> None:
    smoothed = smooth(planes, 0.8)
    codes = pixel_codes(planes, smoothed)
    _, height, width = planes.shape
    for c, y, x in np.ndindex(*planes.shape):
        assert codes[c, y, x] == 25 * c + int(planes[c, y, x]) * 25 // 256
        dx = np.float32(0)
        if 0 < x < width - 1:
            dx = (smoothed[c, y, x + 1] - smoothed[c, y, x - 1]) * np.float32(0.25)
        dy = (smoothed[c, min(y + 1, height - 1), x] - smoothed[c, max(y - 1, 0), x]) * np.float32(0.25)
        octant = (dx < 0) + 2 * (dy < 0) + 4 * (abs(dx) < abs(dy))
        assert codes[3 + c, y, x] == 10 * octant + min(int(np.sqrt(dx * dx + dy * dy)), 9)


def test_two_regions_by_hand() -> None:
    labels = np.array([[0, 0, 1], [0, 1, 1]], np.int32)
    codes = np.zeros((6, 2, 3), np.uint8)
    codes[1], codes[2] = 25, 50
    codes[0, 0, 2] = 7
    codes[3, 1, 2] = 79
    regions = describe(labels, codes, 2)
    assert regions.sizes.tolist() == [3, 3]
    assert regions.boxes.tolist() == [[0, 0, 2, 2], [1, 0, 3, 2]]
    assert regions.counts[1, [0, 7, 25, 50]].tolist() == [2, 1, 3, 3]
    assert regions.counts[1, 96 + 79] == 1


@given(label_images)
@settings(deadline=None)
def test_descriptors_equal_those_of_each_mask(labels: Array) -> None:
    labels = compact(labels)
    codes = codes_for(labels)
    regions = describe(labels, codes, int(labels.max()) + 1)
    starts = (0, 0, 0, 96, 96 + 80, 96 + 160)
    for region in range(labels.max() + 1):
        mask = labels == region
        ys, xs = np.nonzero(mask)
        histogram = sum(np.bincount(start + codes[c][mask].astype(int), minlength=352) for c, start in enumerate(starts))
        assert regions.sizes[region] == mask.sum()
        assert regions.boxes[region].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert (regions.counts[region] == histogram).all()
    assert (regions.counts[:, :75].sum(axis=1) == 3 * regions.sizes).all()
    assert (regions.counts[:, 96:].sum(axis=1) == 3 * regions.sizes).all()


@given(label_images, st.integers(0, 99))
@settings(deadline=None)
def test_joined_regions_are_those_described_from_the_pixels(labels: Array, seed: int) -> None:
    labels = compact(labels)
    number = compact(np.random.default_rng(seed).integers(0, 3, int(labels.max()) + 1))
    codes = codes_for(labels, seed)
    joined = join_regions(describe(labels, codes, len(number)), number, int(number.max()) + 1)
    expected = describe(number[labels], codes, int(number.max()) + 1)
    assert all((a == b).all() for a, b in zip(joined, expected, strict=True))
    pairs = joined_pairs(adjacent_pairs(labels), number)
    assert {tuple(p) for p in pairs} == {tuple(p) for p in adjacent_pairs(number[labels])}


def test_pairs_by_hand() -> None:
    labels = np.array([[0, 1, 1], [0, 2, 1], [3, 3, 3]], np.int32)
    assert adjacent_pairs(labels).tolist() == [[0, 1], [1, 2], [0, 2], [0, 3], [2, 3], [1, 3]]
    assert joined_pairs(adjacent_pairs(labels), np.array([0, 1, 0, 0], np.int32)).tolist() == [[0, 1]]


@given(label_images)
@settings(deadline=None)
def test_pairs_are_those_that_share_a_side(labels: Array) -> None:
    labels = compact(labels)
    expected = []
    for y, x in np.ndindex(*labels.shape):
        for near in ((y, x + 1), (y + 1, x)):
            if near[0] < labels.shape[0] and near[1] < labels.shape[1]:
                pair = sorted((int(labels[y, x]), int(labels[near])))
                if pair[0] != pair[1] and pair not in expected:
                    expected.append(pair)
    assert adjacent_pairs(labels).tolist() == expected


def test_one_region_has_no_pairs() -> None:
    assert adjacent_pairs(np.zeros((3, 4), np.int32)).shape == (0, 2)
    assert adjacent_pairs(np.zeros((1, 1), np.int32)).shape == (0, 2)


@given(label_images)
@settings(deadline=None)
def test_normalised_histograms_are_shares_rounded_down(labels: Array) -> None:
    labels = compact(labels)
    regions = describe(labels, codes_for(labels), int(labels.max()) + 1)
    colour, texture = normalised(regions)
    exact = regions.counts * (65535 // 3) / regions.sizes[:, None]
    both = np.concatenate([colour, texture], axis=1)
    assert both == pytest.approx(exact, abs=1)
    assert (both <= exact + 0.01).all()
    assert (colour.sum(axis=1, dtype=int) <= 65535).all()
