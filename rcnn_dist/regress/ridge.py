"""One ridge regressor of boxes per class, on whitened targets."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from rcnn_dist.arrays import Array, Float, Float32, Float64, Int64
from rcnn_dist.geometry.boxes import best_object
from rcnn_dist.regress.params import BoxRegressionParams

__all__ = ["BoxRegressionParams", "BoxRegressor", "fit_box_regressor", "predict_deltas", "select_pairs"]


@dataclass(frozen=True, slots=True)
class BoxRegressor:
    """deltas = ([features, 1] @ weights) @ unwhitening + target_mean."""

    weights: Float32[Array, "inputs 4"]  # D + 1 inputs, the last one the constant 1
    target_mean: Float64[Array, "4"]
    whitening: Float64[Array, "4 4"]
    unwhitening: Float64[Array, "4 4"]


def select_pairs(boxes: Float[Array, "R 4"], gt_boxes: Float[Array, "G 4"], min_iou: float) -> tuple[Int64[Array, "P"], Int64[Array, "P"]]:
    """Rows that train the regressor, and the object of each: the one of any class that it overlaps most, the first on ties.

    A pair's IoU is strictly greater than min_iou; its class is its object's. Ground-truth rows pair with themselves.

    Paper: App. C. Reference: bbox_regression/rcnn_train_bbox_regressor.m.
    """
    index, iou = best_object(boxes, gt_boxes)
    rows = np.flatnonzero(iou > iou.dtype.type(min_iou))
    return rows, index[rows]


def fit_box_regressor(features: Float32[Array, "P D"], targets: Float64[Array, "P 4"], params: BoxRegressionParams) -> BoxRegressor:
    """The ridge regression from features (scaled to mean norm 20) to whitened targets, its constant term penalised as the rest.

    Law: weights minimise |[features, 1] @ weights - (targets - mean) @ whitening|² + ridge * |weights|².

    Raises:
        ValueError: there is no pair to learn from.

    Paper: §3.5, App. C. Reference: bbox_regression/rcnn_train_bbox_regressor.m.

    Example:
        >>> features = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
        >>> targets = 0.1 * features.astype(np.float64)  # so that each delta is a tenth of one feature
        >>> regressor = fit_box_regressor(features, targets, BoxRegressionParams(ridge=1.0))
        >>> bool(np.abs(predict_deltas(regressor, features) - targets).max() < 0.01)
        True
    """
    if len(features) == 0:
        raise ValueError("a box regressor needs at least one pair: lower min_iou, or leave this class's boxes as they are")
    target_mean = targets.mean(axis=0)
    whitening, unwhitening = _whitening(targets - target_mean, params.whitening_epsilon)
    inputs = np.hstack([features, np.ones((len(features), 1), dtype=np.float32)])
    weights = _solve_ridge(inputs, (targets - target_mean) @ whitening, params.ridge)
    return BoxRegressor(weights.astype(np.float32), target_mean, whitening, unwhitening)


def predict_deltas(regressor: BoxRegressor, features: Float32[Array, "R D"]) -> Float64[Array, "R 4"]:
    """Deltas for `decode_targets`, from features scaled as in training.

    Reference: bbox_regression/rcnn_predict_bbox_regressor.m.
    """
    whitened = features @ regressor.weights[:-1] + regressor.weights[-1]
    return whitened.astype(np.float64) @ regressor.unwhitening + regressor.target_mean


def _whitening(centred: Float64[Array, "P 4"], epsilon: float) -> tuple[Float64[Array, "4 4"], Float64[Array, "4 4"]]:
    """The symmetric matrix that turns the targets' covariance into (nearly) the identity, and its inverse."""
    variances, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    deviations = np.sqrt(np.maximum(variances, 0) + epsilon)
    return (axes / deviations) @ axes.T, (axes * deviations) @ axes.T


def _solve_ridge(inputs: Float32[Array, "P K"], outputs: Float64[Array, "P 4"], ridge: float) -> Float64[Array, "K 4"]:
    """(X'X + ridge I)^-1 X'Y, or the equal X'(XX' + ridge I)^-1 Y where pairs are fewer than features (pool5 has 9,216 or 25,088)."""
    if len(inputs) < inputs.shape[1]:
        return _product(inputs, _solve_shifted(_product(inputs.T, inputs.T), ridge, outputs))
    return _solve_shifted(_product(inputs, inputs), ridge, _product(inputs, outputs))


def _solve_shifted(gram: Float64[Array, "K K"], ridge: float, outputs: Float64[Array, "K 4"]) -> Float64[Array, "K 4"]:
    """(gram + ridge I)^-1 outputs; gram is overwritten."""
    gram[np.diag_indices_from(gram)] += ridge
    # the transpose is the same matrix in the memory order that LAPACK can factor in place
    return cho_solve(cho_factor(gram.T, lower=True, overwrite_a=True), outputs)


def _product(left: Float[Array, "N K"], right: Float[Array, "N L"]) -> Float64[Array, "K L"]:
    """left' right in double precision, by blocks of rows: a double copy of all inputs would be the largest array of a fit."""
    total = np.zeros((left.shape[1], right.shape[1]))
    for start in range(0, len(left), 2048):
        rows = slice(start, start + 2048)
        block = left[rows].astype(np.float64)
        total += block.T @ (block if right is left else right[rows].astype(np.float64))
    return total
