"""rcnn_feature_stats.m and rcnn_scale_features.m, on pool5 and on the fc layers above it."""

import numpy as np
import pytest

from rcnn_dist.features.scaling import ScalingParams, mean_norm, sample_rows, scale_features

RTOL = 1e-5


@pytest.fixture(scope="module")
def cases(golden):
    return [
        {key.removeprefix(f"{letter}_"): value for key, value in file.items() if key.startswith(f"{letter}_")}
        for file in golden("feature_scale")
        for letter in file["cases"]
    ]


def layer_features(case, image):
    """Features of an image at the case's layer, computed as rcnn_pool5_to_fcX.m does."""
    features = case["feat_u8"][image].astype(np.float32) / 8
    for layer in range(6, int(case["layer"]) + 1):
        features = np.maximum(0, features @ case[f"W{layer}"] + case[f"b{layer}"])
    return features


def norms(case, picks):
    return np.concatenate([np.linalg.norm(layer_features(case, image)[rows], axis=1) for image, rows in picks])


def assert_recorded(case, picks):
    mean, deviation = mean_norm(norms(case, picks))
    assert mean == pytest.approx(float(case["feat_norm_mean"]), rel=RTOL)
    assert deviation == pytest.approx(float(case["feat_norm_std"]), rel=RTOL)


def test_mean_norm_of_the_rows_that_the_original_drew(cases):
    for case in cases:
        present = ~np.isin(case["picked_images"], case["missing_images"])
        picked = zip(case["picked_images"][present], case["picked_boxes"][present], strict=True)
        assert_recorded(case, [(image, rows[rows >= 0]) for image, rows in picked])


def test_mean_norm_of_our_own_draw_where_it_takes_every_row(cases):
    params = ScalingParams()
    for case in cases:
        if case["exhaustive"]:
            n_images, n_regions = case["feat_u8"].shape[:2]
            counts = np.full(n_images, n_regions)
            counts[case["missing_images"]] = 0
            assert_recorded(case, sample_rows(counts, params, np.random.default_rng(params.seed)))


def test_scaled_features(cases):
    for case in cases:
        features = layer_features(case, 0)
        np.testing.assert_allclose(features, case["image0_fc"], rtol=RTOL, atol=1e-5)
        scaled = scale_features(features, float(case["feat_norm_mean"]), ScalingParams().target_norm)
        np.testing.assert_allclose(scaled, case["image0_scaled"], rtol=RTOL, atol=1e-5)
