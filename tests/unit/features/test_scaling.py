import numpy as np
import pytest

from rcnn_dist.features.scaling import ScalingParams, mean_norm, sample_rows, scale_features

PARAMS = ScalingParams()


def test_sample_keeps_both_limits_and_draws_without_repetition():
    counts = np.random.default_rng(0).integers(0, 500, 300)
    counts[::7] = 0
    picks = sample_rows(counts, PARAMS, np.random.default_rng(PARAMS.seed))
    images = [image for image, _ in picks]
    assert len(images) == 200
    assert images == sorted(set(images))
    for image, rows in picks:
        assert len(rows) == min(counts[image], 200) > 0
        assert (np.diff(rows) > 0).all()
        assert 0 <= rows[0] <= rows[-1] < counts[image]


def test_within_the_limits_every_region_is_drawn_whatever_the_generator():
    counts = np.array([3, 0, 200, 1])
    for seed in range(3):
        picks = sample_rows(counts, PARAMS, np.random.default_rng(seed))
        assert [(image, rows.tolist()) for image, rows in picks] == [(0, [0, 1, 2]), (2, list(range(200))), (3, [0])]


def test_sample_depends_on_the_generator_alone():
    counts = np.full(50, 400)
    draws = [sample_rows(counts, PARAMS, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    as_lists = [[(image, rows.tolist()) for image, rows in draw] for draw in draws]
    assert as_lists[0] == as_lists[1] != as_lists[2]


def test_every_region_is_as_likely():
    small = ScalingParams(max_images=2, max_regions=3)
    drawn = np.zeros((4, 6))
    for seed in range(1000):
        for image, rows in sample_rows(np.full(4, 6), small, np.random.default_rng(seed)):
            drawn[image, rows] += 1
    np.testing.assert_allclose(drawn, 250, atol=75)


def test_sample_of_nothing():
    for counts in (np.zeros(0, np.int64), np.zeros(3, np.int64)):
        assert sample_rows(counts, PARAMS, np.random.default_rng(0)) == []


def test_mean_norm_by_hand():
    assert mean_norm(np.array([1.0, 3.0, 5.0])) == (3, 2)
    assert mean_norm(np.array([4.0], np.float32)) == (4, 0)
    with pytest.raises(ValueError, match="no feature row"):
        mean_norm(np.zeros(0))


def test_mean_norm_agrees_with_the_definition():
    norms = np.random.default_rng(1).exponential(20, 1000).astype(np.float32)
    values = norms.tolist()
    mean = sum(values) / 1000
    deviation = (sum((value - mean) ** 2 for value in values) / 999) ** 0.5
    assert mean_norm(norms) == pytest.approx((mean, deviation))


def test_scaled_features_have_the_target_norm():
    features = np.random.default_rng(2).exponential(3, (50, 16)).astype(np.float32)
    mean, _ = mean_norm(np.linalg.norm(features, axis=1))
    scaled = scale_features(features, mean, PARAMS.target_norm)
    assert scaled.dtype == np.float32
    assert mean_norm(np.linalg.norm(scaled, axis=1))[0] == pytest.approx(20, rel=1e-6)
    np.testing.assert_array_equal(scale_features(np.array([[3.0]], np.float32), 12.0, 4.0), [[1]])
    assert scale_features(features[:0], mean, PARAMS.target_norm).shape == (0, 16)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_a_mean_norm_that_is_not_positive_is_refused(bad):
    with pytest.raises(ValueError, match="mean norm"):
        scale_features(np.ones((1, 2), np.float32), bad, 20.0)
