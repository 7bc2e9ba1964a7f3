import warnings
from dataclasses import replace

import numpy as np
import pytest

from rcnn_dist.classify.linear_svm import SvmParams, fit_svm, svm_objective

TIGHT = SvmParams(tolerance=1e-10, max_iterations=1_000_000)


def problem(n_positives, n_negatives, n_features, seed=0, shift=1.0):
    generator = np.random.default_rng(seed)
    positives = generator.normal(shift, 4, (n_positives, n_features)).astype(np.float32)
    return positives, generator.normal(0, 4, (n_negatives, n_features)).astype(np.float32)


def slow_fit(positives, negatives, params, sweeps=2000):
    """Exact coordinate descent in the dual: each row's weight moves to its best value within [0, its cost]."""
    signs = np.repeat([1.0, -1.0], [len(positives), len(negatives)])
    rows = np.concatenate([positives, negatives]).astype(np.float64)
    rows = np.hstack([rows, np.full((len(rows), 1), params.bias_scale)])
    costs = np.where(signs > 0, params.cost * params.positive_weight, params.cost)
    multipliers, w = np.zeros(len(rows)), np.zeros(rows.shape[1])
    for _ in range(sweeps):
        for i, row in enumerate(rows):
            better = np.clip(multipliers[i] - (signs[i] * (w @ row) - 1) / (row @ row), 0, costs[i])
            w += (better - multipliers[i]) * signs[i] * row
            multipliers[i] = better
    return w[:-1], w[-1] * params.bias_scale


def test_objective_by_hand():
    positives, negatives = np.array([[1.0, 0.0], [5.0, 0.0]], np.float32), np.array([[0.0, 1.0]], np.float32)
    terms = svm_objective(positives, negatives, np.array([0.5, -0.25], np.float32), 0.2, SvmParams())
    # scores 0.7 and 2.7, and -0.05
    assert terms.positive_loss == pytest.approx(1e-3 * 2 * 0.3)
    assert terms.negative_loss == pytest.approx(1e-3 * 0.95)
    assert terms.regularisation == pytest.approx((0.25 + 0.0625 + 0.02**2) / 2)
    assert terms.total == pytest.approx(6e-4 + 9.5e-4 + 0.3127 / 2, rel=1e-3)


def test_solution_by_hand_where_every_row_is_within_the_margin():
    # with so small a cost each row pulls with its full weight
    positives, negatives = np.array([[1.0, 2.0]], np.float32), np.array([[3.0, 0.0], [0.0, 1.0]], np.float32)
    svm = fit_svm(positives, negatives, SvmParams(cost=1e-6))
    np.testing.assert_allclose(svm.weights, [1e-6 * (2 * 1 - 3), 1e-6 * (2 * 2 - 1)], rtol=1e-5)
    assert svm.bias == pytest.approx(1e-6 * 10 * 10 * (2 - 2), abs=1e-12)


def test_agrees_with_a_slow_twin():
    positives, negatives = problem(15, 40, 6)
    weights, bias = slow_fit(positives, negatives, TIGHT)
    svm = fit_svm(positives, negatives, TIGHT)
    np.testing.assert_allclose(svm.weights, weights, atol=1e-5)
    assert svm.bias == pytest.approx(bias, abs=1e-5)


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])  # inseparable, hard, easy
def test_default_objective_is_within_a_percent_of_the_minimum_without_a_warning(shift):
    positives, negatives = problem(60, 600, 40, seed=1, shift=shift)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svm = fit_svm(positives, negatives, SvmParams())
    assert svm.objective <= 1.01 * fit_svm(positives, negatives, TIGHT).objective
    assert svm.objective == svm_objective(positives, negatives, svm.weights, svm.bias, SvmParams()).total


def test_no_step_from_a_tight_solution_is_downhill():
    positives, negatives = problem(20, 80, 5, seed=2)
    svm = fit_svm(positives, negatives, TIGHT)
    for direction in np.concatenate([np.eye(6), -np.eye(6)]) * 1e-2:
        moved = svm_objective(positives, negatives, svm.weights + direction[:5].astype(np.float32), svm.bias + direction[5], TIGHT)
        assert moved.total > svm.objective


def test_same_rows_same_bits():
    positives, negatives = problem(30, 200, 20, seed=3)
    first, second = (fit_svm(positives, negatives, SvmParams()) for _ in range(2))
    np.testing.assert_array_equal(first.weights, second.weights)
    assert (first.weights.dtype, first.bias, first.objective) == (np.float32, second.bias, second.objective)
    assert first.bias == np.float32(first.bias)


def test_heavier_positives_raise_their_scores():
    positives, negatives = problem(30, 300, 10, seed=4)
    means = []
    for weight in (1.0, 2.0, 8.0):
        svm = fit_svm(positives, negatives, replace(SvmParams(), positive_weight=weight))
        means.append((positives @ svm.weights + svm.bias).mean())
    assert means == sorted(means)


def test_of_nothing():
    rows, none = np.ones((3, 4), np.float32), np.zeros((0, 4), np.float32)
    with pytest.raises(ValueError, match="needs positives"):
        fit_svm(none, rows, SvmParams())
    with pytest.raises(ValueError, match="needs negatives"):
        fit_svm(rows, none, SvmParams())
    terms = svm_objective(none, none, np.zeros(4, np.float32), 0.0, SvmParams())
    assert terms.total == 0
