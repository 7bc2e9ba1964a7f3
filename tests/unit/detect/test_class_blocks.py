import numpy as np
import pytest

from rcnn_dist.detect.class_blocks import (
    BLOCK,
    BlockParams,
    _product,
    _torch_product,
    class_ranges,
    padded_classes,
    score_classes,
    suppress,
    to_bfloat16,
)
from rcnn_dist.geometry.nms import nms

PARAMS = BlockParams(min_score=0.5, max_per_image=4)


def padded(weights, biases):
    rows = padded_classes(len(weights))
    whole, bias = np.zeros((rows, weights.shape[1]), np.float32), np.full(rows, -np.inf, np.float32)
    whole[: len(weights)], bias[: len(weights)] = weights, biases
    return whole, bias


def random_case(n_classes, n_regions=40, size=24, seed=0):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(n_regions, size)).astype(np.float32)
    weights = generator.normal(size=(n_classes, size)).astype(np.float32) / 5
    corner = generator.uniform(0, 60, (n_regions, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(5, 60, (n_regions, 2))], axis=1)
    return features, *padded(weights, generator.normal(size=n_classes).astype(np.float32) / 5), boxes


def slow_scores(features, weights, biases, params):
    rows = []
    for c in range(len(weights)):
        scores = features.astype(float) @ weights[c].astype(float) + biases[c]
        ranked = sorted((-s, r) for r, s in enumerate(scores.tolist()) if s > params.min_score)
        rows += [(c, r, -s) for s, r in ranked[: params.max_per_image]]
    return rows


@pytest.mark.parametrize("n_classes", [1, BLOCK, BLOCK + 30])
def test_agrees_with_a_slow_twin(n_classes):
    features, weights, biases, _ = random_case(n_classes)
    found, slow = score_classes(features, weights, biases, PARAMS), slow_scores(features, weights, biases, PARAMS)
    assert len(slow) > 0 and [(c, r) for c, r, _ in slow] == list(zip(found.class_index.tolist(), found.region.tolist(), strict=True))
    np.testing.assert_allclose(found.score, [s for *_, s in slow], atol=1e-5)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_a_class_has_the_same_bits_however_many_others_there_are(half):
    features, weights, biases, boxes = random_case(3 * BLOCK, n_regions=300, size=512)
    weights = to_bfloat16(weights) if half else weights
    alone_weights, alone_biases = weights[:BLOCK].copy(), biases[:BLOCK].copy()
    alone_weights[7:], alone_biases[7:] = 0, -np.inf
    all_of, seven = (score_classes(features, w, b, PARAMS) for w, b in ((weights, biases), (alone_weights, alone_biases)))
    own = all_of.class_index < 7
    assert len(seven.score) > 0
    for field in ("region", "class_index", "score"):
        np.testing.assert_array_equal(getattr(seven, field), getattr(all_of, field)[own])
    np.testing.assert_array_equal(suppress(seven, boxes, PARAMS), suppress(all_of, boxes, PARAMS)[own])


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("n_ranges", [1, 2, 3])
def test_ranges_of_blocks_scored_apart_have_the_rows_of_all_at_once(half, n_ranges):
    features, weights, biases, boxes = random_case(3 * BLOCK - 5, n_regions=200, size=256)
    weights = to_bfloat16(weights) if half else weights
    row_bytes = 256 * weights.itemsize
    ranges = class_ranges(3 * BLOCK - 5, row_bytes, {1: 3, 2: 2, 3: 1}[n_ranges] * BLOCK * row_bytes)
    assert len(ranges) == n_ranges
    whole = score_classes(features, weights, biases, PARAMS)
    parts = [score_classes(features, weights[r.start : r.stop].copy(), biases[r.start : r.stop], PARAMS) for r in ranges]
    assert all(len(part.score) > 0 for part in parts)
    np.testing.assert_array_equal(whole.region, np.concatenate([part.region for part in parts]))
    np.testing.assert_array_equal(whole.score, np.concatenate([part.score for part in parts]))
    np.testing.assert_array_equal(
        whole.class_index, np.concatenate([part.class_index + r.start for part, r in zip(parts, ranges, strict=True)])
    )
    np.testing.assert_array_equal(suppress(whole, boxes, PARAMS), np.concatenate([suppress(part, boxes, PARAMS) for part in parts]))


@pytest.mark.parametrize("limit", [80, 100, 160, 1000])
def test_ranges_are_whole_blocks_within_the_limit(limit):
    ranges = class_ranges(9, row_bytes=20, limit=limit, block=4)
    assert [i for r in ranges for i in r] == list(range(12))
    assert all(len(r) % 4 == 0 and len(r) * 20 <= limit for r in ranges)


def test_a_block_that_exceeds_the_limit_is_refused():
    with pytest.raises(ValueError, match="the weights of 4 classes, one block, take 80 bytes, and 79 are allowed"):
        class_ranges(9, row_bytes=20, limit=79, block=4)


def test_half_precision_is_near_the_whole():
    features, weights, biases, _ = random_case(BLOCK)
    whole, half = (
        score_classes(features, w, biases, BlockParams(min_score=-9.0, max_per_image=99)) for w in (weights, to_bfloat16(weights))
    )
    matrices = [np.zeros((BLOCK, len(features)), np.float32) for _ in range(2)]
    for matrix, found in zip(matrices, (whole, half), strict=True):
        matrix[found.class_index, found.region] = found.score
    assert 0 < np.abs(matrices[0] - matrices[1]).max() < 0.05


def test_the_product_of_other_devices_is_that_of_the_processor():
    features, weights, *_ = random_case(BLOCK)
    expected = _product(features, BLOCK)(weights)
    np.testing.assert_allclose(_torch_product(features, False, "cpu")(weights), expected, atol=1e-5)


def test_suppression_is_that_of_each_class():
    features, weights, biases, boxes = random_case(50)
    found = score_classes(features, weights, biases, BlockParams(min_score=-1.0))
    kept = suppress(found, boxes, PARAMS)
    for c in range(50):
        rows = np.flatnonzero(found.class_index == c)
        np.testing.assert_array_equal(np.flatnonzero(kept[rows]), np.sort(nms(boxes[found.region[rows]], found.score[rows], 0.3)))


def test_of_nothing():
    features, weights, biases, boxes = random_case(3)
    for found in (score_classes(features[:0], weights, biases, PARAMS), score_classes(features, weights, biases - 99, PARAMS)):
        assert len(found.score) == 0 and suppress(found, boxes, PARAMS).shape == (0,)
    with pytest.raises(ValueError, match=f"3 classes: weights are padded to whole blocks of {BLOCK}"):
        score_classes(features, weights[:3], biases[:3], PARAMS)
