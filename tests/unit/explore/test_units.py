import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_dist.explore.units import add_image, merge, no_regions


def make_images(seed, images=5, rows=30, units=4, levels=6):
    """Activations with many ties, some negative or not finite, and boxes that overlap in every way."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(images):
        count = int(rng.integers(0, rows))
        values = rng.integers(-2, levels, (count, units)).astype(np.float16)
        values[rng.random(values.shape) < 0.03] = np.inf
        values[rng.random(values.shape) < 0.03] = np.nan
        corners = rng.integers(0, 20, (count, 2)).astype(np.float64)
        found.append((values, np.hstack([corners, corners + rng.integers(1, 15, (count, 2))])))
    return found


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def brute_force(images, unit, k):
    """Sort every image's regions, suppress, then sort what is left of all images: (activation, image, region)."""
    left = []
    for number, (values, boxes) in enumerate(images):
        kept = []
        ranked = sorted((row for row in range(len(values)) if 0 < values[row, unit] < np.inf), key=lambda row: (-values[row, unit], row))
        for row in ranked:
            if all(iou(boxes[row], boxes[other]) <= 0.1 for other in kept):
                kept.append(row)
        left += [(float(values[row, unit]), number, row) for row in kept]
    return sorted(left, key=lambda found: (-found[0], *found[1:]))[:k]


def one_pass(images, k, units=4, first=0):
    top = no_regions(units, k)
    for number, (values, boxes) in enumerate(images, first):
        top = add_image(top, values, number, np.arange(len(values)), boxes)
    return top


def listed(top, unit):
    rows = zip(top.activations[unit], top.images[unit], top.regions[unit], strict=True)
    return [(float(value), int(image), int(region)) for value, image, region in rows if value > 0]


def test_the_hand_example():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]], np.float64)
    values = np.array([[3, 0], [4, 0], [2, -1]], np.float16)
    top = add_image(no_regions(2, 3), values, 0, np.array([7, 8, 9]), boxes)
    assert listed(top, 0) == [(4, 0, 8), (2, 0, 9)]
    assert listed(top, 1) == []
    assert top.boxes[0, 1].tolist() == [20, 20, 30, 30]


@given(st.integers(0, 10_000), st.sampled_from([1, 3, 8]))
def test_one_pass_finds_what_sorting_everything_finds(seed, k):
    images = make_images(seed)
    top = one_pass(images, k)
    for unit in range(4):
        assert listed(top, unit) == brute_force(images, unit, k)
        for place, (_, image, region) in enumerate(listed(top, unit)):
            assert top.boxes[unit, place].tolist() == images[image][1][region].tolist()


@given(st.integers(0, 10_000), st.integers(0, 6), st.integers(0, 6))
def test_shares_of_the_images_merge_to_the_same_bytes_in_any_order(seed, a, b):
    images = make_images(seed, images=6)
    cuts = sorted((a, b))
    shares = [one_pass(images[i:j], 3, first=i) for i, j in zip([0, *cuts], [*cuts, 6], strict=True)]
    whole = one_pass(images, 3)
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        top = no_regions(4, 3)
        for share in order:
            top = merge(top, shares[share])
        for name in ("bits", "images", "regions", "boxes"):
            assert getattr(top, name).tobytes() == getattr(whole, name).tobytes()


@pytest.mark.parametrize("rows", [0, 1])
def test_no_rows_and_no_activations(rows):
    top = add_image(no_regions(3, 2), np.zeros((rows, 3), np.float16), 0, np.arange(rows), np.tile([0.0, 0, 5, 5], (rows, 1)))
    assert not top.bits.any()
