import numpy as np
import pytest

from rcnn_dist.features.warp import WarpParams, warp_geometry, warp_regions
from rcnn_dist.segment.regions import best_regions, class_overlaps, object_overlaps, tight_box, warp_masks


def test_void_pixels_belong_to_neither_mask_nor_object():
    objects = np.array([[1, 1, 255, 2], [1, 1, 255, 0]], np.uint8)
    mask = np.array([[1, 1, 1, 1], [0, 0, 1, 0]], bool)
    assert object_overlaps(mask, objects, 3).tolist() == [2 / 5, 1 / 3, 0.0]
    assert object_overlaps(np.zeros((2, 4), bool), objects, 2).tolist() == [0, 0]
    assert object_overlaps(mask, objects, 0).shape == (0,)


def test_overlaps_are_those_of_a_literal_count():
    rng = np.random.default_rng(0)
    for _ in range(20):
        objects = rng.choice(np.array([0, 1, 2, 3, 255], np.uint8), (6, 7))
        mask = rng.random((6, 7)) < 0.5
        for k, found in enumerate(object_overlaps(mask, objects, 3), start=1):
            pixels = [(m, o == k) for m, o in zip(mask.ravel(), objects.ravel(), strict=True) if o != 255]
            either = sum(m or o for m, o in pixels)
            wanted = sum(m and o for m, o in pixels) / either if any(o for _, o in pixels) else 0
            assert found == pytest.approx(wanted)


def test_a_class_has_the_best_overlap_of_its_objects():
    overlaps = np.array([[0.1, 0.5, 0.3, 0.9], [0.0, 0.0, 0.2, 0.9]])
    assert np.allclose(class_overlaps(overlaps, np.array([2, 2, 1, 0]), 3), [[0.3, 0.5, 0], [0.2, 0, 0]])
    assert class_overlaps(np.zeros((0, 0)), np.zeros(0, np.int64), 2).shape == (0, 2)


def test_the_box_of_a_mask_is_tight():
    mask = np.zeros((5, 6), bool)
    mask[1, 2] = mask[3, 4] = True
    assert tight_box(mask).tolist() == [2, 1, 5, 4]
    with pytest.raises(ValueError, match="no box"):
        tight_box(np.zeros((2, 2), bool))


def test_a_mask_of_the_whole_image_is_true_where_the_frame_shows_the_image():
    boxes = np.array([[0, 0, 20, 10], [30, 25, 40, 30], [5, 5, 12, 25]], np.float64)
    geometry = warp_geometry(boxes, 30, 40, WarpParams(context_padding=8), 64)
    shown = warp_regions(np.full((30, 40, 3), 200, np.uint8), boxes, WarpParams(context_padding=8), 64, np.zeros(3, np.float32))
    found = warp_masks([np.ones((30, 40), bool)] * 3, geometry, 64)
    assert (found == (shown[..., 0] == 200)).all()
    assert not found.all()


def test_the_mask_follows_the_pixels_of_its_region():
    image, mask = np.zeros((30, 40, 3), np.uint8), np.zeros((30, 40), bool)
    mask[8:20, 10:30] = True
    mask[12:15, 15:20] = False
    image[mask] = 255
    box = np.array([[10, 8, 30, 20]], np.float64)
    geometry = warp_geometry(box, 30, 40, WarpParams(context_padding=8), 64)
    pixels = warp_regions(image, box, WarpParams(context_padding=8), 64, np.zeros(3, np.float32))[0, ..., 0]
    found = warp_masks([mask], geometry, 64)[0]
    clear = (pixels < 1) | (pixels > 254)
    assert (found == (pixels > 127))[clear].all()
    assert clear.mean() > 0.7
    assert len(warp_masks([], geometry[:0], 64)) == 0


def test_the_best_region_of_an_object_covers_more_than_half():
    overlaps = np.array([[0.6, 0.5, 0.0], [0.6, 0.2, 0.0], [0.1, 0.4, 0.8]])
    assert best_regions(overlaps).tolist() == [0, 2]
    assert best_regions(np.empty((3, 0))).tolist() == []
    assert best_regions(np.empty((0, 2))).tolist() == []
