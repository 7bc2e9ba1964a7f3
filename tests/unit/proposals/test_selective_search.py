import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rcnn_dist.arrays import Array
from rcnn_dist.errors import BadImageError
from rcnn_dist.geometry.boxes import iou_matrix
from rcnn_dist.proposals.selective_search import PRESETS, SelectiveSearchParams, selective_search, selective_search_regions

images = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(lambda size: arrays(np.uint8, (*size, 3)))
presets = st.sampled_from(sorted(PRESETS)).map(PRESETS.__getitem__)


def scene(seed: int, height: int, width: int) -> Array:
    """Rectangles of one colour each, with noise."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 90, float)
    for _ in range(12):
        y, x = rng.integers(0, height), rng.integers(0, width)
        image[y : y + rng.integers(5, height), x : x + rng.integers(5, width)] = rng.uniform(0, 255, 3)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def test_paper_states_the_settings_of_the_original() -> None:
    paper = PRESETS["paper"]
    assert paper == SelectiveSearchParams()
    assert (paper.colour_spaces, paper.scales, paper.sigma, paper.min_size_per_k) == (("hsv", "lab"), (50, 100), 0.8, 1.0)
    assert [tuple(s) for s in paper.strategies] == [(1, 1, 1, 1), (0, 1, 1, 1)]
    assert (paper.resolution, paper.min_side, paper.order, paper.nested) == (1.0, 20, "large_first", False)
    quality = PRESETS["quality"]
    assert (len(quality.colour_spaces), len(quality.scales), len(quality.strategies)) == (5, 4, 4)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_clear_rectangle_is_among_the_first_proposals(preset: str) -> None:
    image = np.full((120, 160, 3), 60, np.uint8)
    image[30:90, 40:120] = (200, 30, 30)
    boxes = selective_search(image, PRESETS[preset])
    assert iou_matrix(boxes[:10], np.array([[40.0, 30.0, 120.0, 90.0], [0.0, 0.0, 160.0, 120.0]])).max(axis=0).min() > 0.85


@given(images, presets, st.booleans())
@settings(deadline=None, max_examples=40)
def test_boxes_are_distinct_inside_the_image_and_long_enough(image: Array, params: SelectiveSearchParams, small: bool) -> None:
    height, width = image.shape[:2]
    boxes = selective_search(image, replace(params, min_side=1 if small else 8))
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (width, height)).all()
    assert (boxes == np.round(boxes)).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert (boxes[:, 2:] - boxes[:, :2] >= (1 if small else 8)).all()
    assert ([0, 0, width, height] in boxes.tolist()) == (small or min(height, width) >= 8)


@given(images, presets, st.sampled_from([0.5, 1.0, 0.37]))
@settings(deadline=None, max_examples=30)
def test_a_box_is_the_bounding_box_of_its_mask(image: Array, params: SelectiveSearchParams, resolution: float) -> None:
    params = replace(params, min_side=2, resolution=resolution)
    boxes, masks = selective_search_regions(image, params)
    assert (boxes == selective_search(image, params)).all()
    assert len(masks) == len(boxes)
    for i, box in enumerate(boxes):
        ys, xs = np.nonzero(masks.decode(i))
        assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_the_last_cells_of_the_segmentation_have_pixels() -> None:
    rng = np.random.default_rng(0)
    for height in range(2, 30):  # 11 px at 2.7 px per cell are 5 rows, where the fifth would round to nothing
        image = rng.integers(0, 256, (height, 11, 3), dtype=np.uint8)
        boxes, masks = selective_search_regions(image, replace(PRESETS["paper"], min_side=1, resolution=0.37))
        for i, box in enumerate(boxes):
            ys, xs = np.nonzero(masks.decode(i))
            assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_masks_follow_the_colours() -> None:
    image = np.full((60, 80, 3), 40, np.uint8)
    image[10:30, 10:40] = (220, 40, 40)
    image[30:50, 10:25] = (220, 40, 40)
    boxes, masks = selective_search_regions(image, PRESETS["swift"])
    found = next(masks.decode(i) for i, box in enumerate(boxes) if box.tolist() == [10, 10, 40, 50])
    object_pixels = image[:, :, 0] == 220
    assert (found & object_pixels).sum() > 0.9 * (found | object_pixels).sum()


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_calls_threads_and_memory_layout_change_nothing(preset: str) -> None:
    params = PRESETS[preset]
    scenes = [scene(seed, 90 + 7 * seed, 120 - 5 * seed) for seed in range(4)]
    alone = [selective_search(image, params) for image in scenes]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: selective_search(np.asfortranarray(image), params), scenes * 3))
    assert all((a == b).all() for a, b in zip(alone * 3, together, strict=True))


def test_the_seed_changes_the_order_only() -> None:
    image = scene(1, 100, 130)
    one, other = (selective_search(image, replace(PRESETS["paper"], seed=seed)) for seed in (1, 2))
    assert one.tolist() != other.tolist()
    assert sorted(one.tolist()) == sorted(other.tolist())


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (1, 3000), (2, 2000), (900, 3)])
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_thin_images_have_thin_boxes_or_none(preset: str, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert selective_search(image, PRESETS[preset]).shape == (0, 4)
    everything = selective_search(image, replace(PRESETS[preset], min_side=1))
    assert [0, 0, shape[1], shape[0]] in everything.tolist()


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_flat_image_is_one_box(preset: str) -> None:
    assert selective_search(np.full((50, 70, 3), 128, np.uint8), PRESETS[preset]).tolist() == [[0, 0, 70, 50]]


def test_a_grey_image_works() -> None:
    grey = scene(2, 80, 100)[:, :, :1].repeat(3, axis=2)
    assert len(selective_search(grey, PRESETS["quality"])) > 3


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_a_clear_error(image: Array) -> None:
    with pytest.raises(BadImageError, match=r"give an RGB image, uint8 \[H, W, 3\]"):
        selective_search(image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour_spaces": ("xyz",)}, "name one or more of hsv, lab"),
        ({"scales": ()}, "at least one"),
        ({"nested": True, "scales": (100.0, 50.0)}, "sort them"),
        ({"neighbours": 6}, "4 or 8"),
        ({"resolution": 0.0}, "resolution 0"),
        ({"resize_width": 0}, "resize_width 0"),
    ],
)
def test_wrong_settings_are_a_clear_error(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PRESETS["paper"], **change)


def test_a_resize_searches_the_resized_image_and_maps_back_as_the_original_does() -> None:
    image = scene(3, 120, 160)
    resized = replace(PRESETS["paper"], resize_width=80)
    plain = replace(PRESETS["paper"], resolution=0.5, min_side=40)
    half = selective_search(image, replace(plain, scales=(100.0, 200.0), min_size_per_k=2.0)) / 2
    expected = half * 2
    expected[:, 2:] = (half[:, 2:] - 1) * 2 + 1
    assert selective_search(image, resized).tolist() == expected.tolist()


@given(st.integers(30, 60), st.integers(30, 60), st.integers(20, 90), presets)
@settings(deadline=None, max_examples=30)
def test_after_a_resize_boxes_cover_their_masks(height: int, width: int, resize_width: int, params: SelectiveSearchParams) -> None:
    params = replace(params, resize_width=resize_width, min_side=5)
    boxes, masks = selective_search_regions(scene(height, height, width), params)
    factor = width / resize_width
    assert (boxes[:, 2] <= (resize_width - 1) * factor + 1 + 1e-9).all()
    assert (boxes[:, 3] <= (math.ceil(height / factor) - 1) * factor + 1 + 1e-9).all()
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        ys, xs = np.nonzero(masks.decode(i))
        assert len(xs) == 0 or (x1 <= xs.min() and y1 <= ys.min() and xs.max() + 1 <= x2 and ys.max() + 1 <= y2)


def test_the_segmentations_size_can_be_given_as_a_width() -> None:
    image = scene(4, 90, 120)
    half = selective_search(image, replace(PRESETS["swift"], resolution=0.5))
    assert selective_search(image, replace(PRESETS["swift"], canonical_width=60)).tolist() == half.tolist()


def test_a_large_image_is_segmented_within_the_bound() -> None:
    image = np.repeat(np.repeat(scene(5, 75, 100), 30, axis=0), 30, axis=1)
    boxes, masks = selective_search_regions(image, replace(PRESETS["swift"], max_pixels=20_000))
    assert [0, 0, 3000, 2250] in boxes.tolist()
    assert (masks.height, masks.width) == (2250, 3000)


def test_a_large_image_is_searched_as_if_it_were_shrunk() -> None:
    small = scene(6, 60, 80)
    large = np.repeat(np.repeat(small, 8, axis=0), 8, axis=1)
    params = replace(PRESETS["swift"], max_pixels=30 * 40)
    assert selective_search(large, params).tolist() == (8 * selective_search(small, params)).tolist()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """What three processes find that start at once, on the simplest processor and with nothing compiled: kernels compiled, and boxes."""
    code = (
        "import json, numpy as np\n"
        "from rcnn_dist.proposals import pixel_graph, selective_search\n"
        "selective_search.warm_up()\n"
        "image = np.random.default_rng(8).integers(0, 256, (9, 12, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)\n"
        "compiled = sum(pixel_graph._counting_sort.stats.cache_misses.values())\n"
        "print(json.dumps([compiled, selective_search.selective_search(image).tolist()]))"
    )
    folder = str(tmp_path_factory.mktemp("kernels"))
    environment = {**os.environ, "NUMBA_CACHE_DIR": folder, "NUMBA_CPU_NAME": "generic", "TMPDIR": folder}
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    return [json.loads(process.communicate()[0]) for process in processes]


def test_of_many_processes_one_compiles(elsewhere) -> None:
    assert sorted(compiled for compiled, _ in elsewhere) == [0, 0, 1]


def test_boxes_do_not_depend_on_the_processor(elsewhere) -> None:
    image = np.random.default_rng(8).integers(0, 256, (9, 12, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    here = selective_search(image).tolist()
    assert len(here) > 20
    assert all(boxes == here for _, boxes in elsewhere)
