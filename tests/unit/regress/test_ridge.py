import numpy as np
import pytest

from rcnn_dist.regress.ridge import BoxRegressionParams, fit_box_regressor, predict_deltas, select_pairs

# more pairs than features and fewer, within one block of rows and over several
SHAPES = pytest.mark.parametrize(("n_pairs", "n_features"), [(60, 7), (9, 40), (5000, 3), (2, 2100), (1, 3)])


def problem(n_pairs, n_features, seed=0):
    generator = np.random.default_rng(seed)
    features = generator.exponential(3, (n_pairs, n_features)).astype(np.float32)
    return features, features[:, :1] * [0.02, -0.01, 0.03, 0.0] + generator.normal(0, 0.1, (n_pairs, 4))


def test_pairs_by_hand():
    objects = np.array([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0]])
    boxes = np.array([[0.0, 0.0, 10.0, 6.0], [0.0, 0.0, 10.0, 9.0], [0.0, 0.0, 10.0, 9.5], [50.0, 50.0, 60.0, 60.0]])
    rows, index = select_pairs(boxes, objects, 0.6)
    np.testing.assert_array_equal(rows, [0, 1, 2])
    np.testing.assert_array_equal(index, [1, 1, 0])  # 9/9.5 < 9.5/10


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_pair_needs_more_than_the_least_iou(dtype):
    object_, box = np.array([[0, 0, 10, 10]], dtype=dtype), np.array([[0, 0, 10, 6]], dtype=dtype)
    assert len(select_pairs(box, object_, 0.6)[0]) == 0
    assert len(select_pairs(box, object_, 0.59)[0]) == 1


def test_pairs_of_nothing():
    none, box = np.zeros((0, 4)), np.array([[0.0, 0.0, 1.0, 1.0]])
    for boxes, objects in ((none, box), (box, none), (none, none)):
        rows, index = select_pairs(boxes, objects, 0.6)
        assert len(rows) == len(index) == 0


def test_one_feature_by_hand():
    # one pair: its targets are their own mean, so there is nothing left to learn and the mean is predicted everywhere
    regressor = fit_box_regressor(np.array([[2.0]], np.float32), np.array([[1.0, 2.0, 3.0, 4.0]]), BoxRegressionParams())
    np.testing.assert_array_equal(regressor.weights, np.zeros((2, 4)))
    np.testing.assert_allclose(predict_deltas(regressor, np.array([[9.0], [0.0]], np.float32)), [[1, 2, 3, 4], [1, 2, 3, 4]])
    np.testing.assert_allclose(regressor.whitening, np.eye(4) / np.sqrt(1e-3))


@SHAPES
def test_agrees_with_least_squares_on_extended_rows(n_pairs, n_features):
    features, targets = problem(n_pairs, n_features)
    params = BoxRegressionParams(ridge=10.0)
    regressor = fit_box_regressor(features, targets, params)
    inputs = np.hstack([features.astype(np.float64), np.ones((n_pairs, 1))])
    outputs = (targets - targets.mean(axis=0)) @ regressor.whitening
    penalty = np.sqrt(params.ridge) * np.eye(n_features + 1)
    expected = np.linalg.lstsq(np.vstack([inputs, penalty]), np.vstack([outputs, np.zeros((n_features + 1, 4))]), rcond=None)[0]
    np.testing.assert_allclose(regressor.weights, expected, rtol=1e-4, atol=1e-6)


@SHAPES
def test_the_gradient_vanishes(n_pairs, n_features):
    features, targets = problem(n_pairs, n_features, seed=1)
    regressor = fit_box_regressor(features, targets, BoxRegressionParams())
    inputs = np.hstack([features.astype(np.float64), np.ones((n_pairs, 1))])
    residual = inputs @ regressor.weights - (targets - targets.mean(axis=0)) @ regressor.whitening
    np.testing.assert_allclose(inputs.T @ residual, -1000.0 * regressor.weights, rtol=1e-3, atol=1e-2)


def test_whitened_targets_are_nearly_uncorrelated():
    features, targets = problem(500, 3, seed=2)
    targets[:, 1] += 0.5 * targets[:, 0]
    regressor = fit_box_regressor(features, targets, BoxRegressionParams())
    covariance = np.cov(((targets - regressor.target_mean) @ regressor.whitening).T, bias=True)
    np.testing.assert_allclose(covariance, np.eye(4), atol=0.15)
    np.testing.assert_allclose(regressor.whitening @ regressor.unwhitening, np.eye(4), atol=1e-12)
    np.testing.assert_array_equal(regressor.weights.dtype, np.float32)


def test_predictions_undo_the_whitening():
    features, targets = problem(4000, 2, seed=3)
    linear = features.astype(np.float64) @ np.array([[0.1, 0.0, 0.2, 0.0], [0.0, 0.3, 0.0, -0.1]])
    targets = linear + 0.05
    regressor = fit_box_regressor(features, targets, BoxRegressionParams(ridge=1e-3))
    np.testing.assert_allclose(predict_deltas(regressor, features), targets, atol=1e-3)


def test_without_pairs():
    with pytest.raises(ValueError, match="at least one pair"):
        fit_box_regressor(np.zeros((0, 5), np.float32), np.zeros((0, 4)), BoxRegressionParams())
    regressor = fit_box_regressor(*problem(5, 3), BoxRegressionParams())
    assert predict_deltas(regressor, np.zeros((0, 3), np.float32)).shape == (0, 4)
