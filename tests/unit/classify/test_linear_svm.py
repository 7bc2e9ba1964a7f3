import tracemalloc
import warnings
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import LinearSVC

from rcnn_dist.classify.linear_svm import SvmParams, fit_svm, score_rows, svm_objective

TIGHT = SvmParams(tolerance=1e-12, max_epochs=1_000_000)


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


def least_objective(positives, negatives, params):
    """liblinear's minimum."""
    solver = LinearSVC(
        loss="hinge",
        C=params.cost,
        class_weight={1: params.positive_weight, -1: 1.0},
        intercept_scaling=params.bias_scale,
        tol=1e-6,
        max_iter=1_000_000,
        random_state=0,
    )
    solver.fit(np.concatenate([positives, negatives], dtype=np.float64), np.repeat([1, -1], [len(positives), len(negatives)]))
    return svm_objective(positives, negatives, solver.coef_[0].astype(np.float32), float(solver.intercept_[0]), params).total


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


@given(
    n_positives=st.integers(1, 40),
    n_negatives=st.integers(1, 200),
    n_features=st.integers(1, 70),
    shift=st.sampled_from([0.0, 0.5, 3.0]),  # inseparable, hard, easy
    cost=st.sampled_from([1e-5, 1e-3, 1e-1]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_objective_is_within_a_thousandth_of_liblinear_s_minimum(n_positives, n_negatives, n_features, shift, cost, seed):
    positives, negatives = problem(n_positives, n_negatives, n_features, seed, shift)
    params = SvmParams(cost=cost)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        least = least_objective(positives, negatives, params)
        svm = fit_svm(positives, negatives, params)
    assert least * (1 - 1e-6) <= svm.objective.total <= least * (1 + params.tolerance)
    terms = svm_objective(positives, negatives, svm.weights, svm.bias, params)
    assert astuple(svm.objective) == pytest.approx(astuple(terms), rel=1e-5, abs=1e-5 * terms.total)


def test_hard_negatives_of_many_features(hard_rows):
    positives, negatives = (rows.astype(np.float32) for rows in hard_rows)
    svm = fit_svm(*hard_rows, SvmParams())
    assert svm.objective.total <= 1.001 * least_objective(positives, negatives, SvmParams())
    assert np.mean(positives @ svm.weights + svm.bias > 0) > 0.8, "a detector worth having"


@pytest.fixture(scope="module")
def hard_rows():
    """Sparse features of mean norm 20, float16; the negatives are the nearest of many to the positives."""
    generator = np.random.default_rng(5)
    basis = generator.normal(0, 1, (24, 600)) * np.arange(1, 25)[:, None] ** -0.5

    def features(latent):
        return np.maximum(latent @ basis + generator.normal(0, 1, (len(latent), 600)) - 1.2, 0)

    direction = np.full(24, 24**-0.5)
    latent = generator.normal(0, 1, (6000, 24))
    positives = features(generator.normal(0, 0.8, (80, 24)) + 4 * direction)
    negatives = features(latent[np.argsort(-latent @ direction)[:1500]])
    scale = 20 / np.linalg.norm(negatives, axis=1).mean()
    return (positives * scale).astype(np.float16), (negatives * scale).astype(np.float16)


def test_no_step_from_a_tight_solution_is_downhill():
    positives, negatives = problem(20, 80, 5, seed=2)
    svm = fit_svm(positives, negatives, TIGHT)
    for direction in np.concatenate([np.eye(6), -np.eye(6)]) * 1e-2:
        moved = svm_objective(positives, negatives, svm.weights + direction[:5].astype(np.float32), svm.bias + direction[5], TIGHT)
        assert moved.total > svm.objective.total


def test_same_rows_same_bits():
    positives, negatives = problem(30, 200, 20, seed=3)
    first, second = (fit_svm(positives, negatives, SvmParams()) for _ in range(2))
    np.testing.assert_array_equal(first.weights, second.weights)
    assert (first.weights.dtype, first.bias, first.objective) == (np.float32, second.bias, second.objective)
    assert first.bias == np.float32(first.bias)


def test_the_scale_is_that_of_the_features(hard_rows):
    positives, negatives = hard_rows
    by_scale = fit_svm(positives, negatives, TIGHT, scale=0.25)
    scaled = [rows.astype(np.float32) * np.float32(0.25) for rows in hard_rows]
    before = fit_svm(*scaled, TIGHT)
    np.testing.assert_allclose(by_scale.weights, before.weights, atol=1e-6)
    assert by_scale.objective.total == pytest.approx(before.objective.total, rel=1e-9)
    np.testing.assert_array_equal(
        score_rows(negatives, before.weights, before.bias, 0.25), score_rows(scaled[1], before.weights, before.bias)
    )


def test_every_float16_is_read_as_it_is():
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    numbers = every[np.isfinite(every)]
    np.testing.assert_array_equal(score_rows(numbers[:, None], np.ones(1, np.float32), 0.0), numbers.astype(np.float32))


def test_rows_are_not_copied():
    positives, negatives = problem(100, 3000, 500, seed=6)
    rows = positives.astype(np.float16), negatives.astype(np.float16)
    fit_svm(*rows, SvmParams())
    tracemalloc.start()
    fit_svm(*rows, SvmParams())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * rows[1].nbytes


def test_heavier_positives_raise_their_scores():
    positives, negatives = problem(30, 300, 10, seed=4)
    means = []
    for weight in (1.0, 2.0, 8.0):
        svm = fit_svm(positives, negatives, replace(SvmParams(), positive_weight=weight))
        means.append((positives @ svm.weights + svm.bias).mean())
    assert means == sorted(means)


def test_a_fit_that_starts_at_an_earlier_one_s_end_has_little_to_do(hard_rows):
    positives, negatives = hard_rows
    before = fit_svm(positives, negatives[:-100], SvmParams())
    start = np.concatenate([before.multipliers, np.zeros(100)])
    least = fit_svm(positives, negatives, TIGHT).objective.total
    warm = fit_svm(positives, negatives, SvmParams(), start=start)
    assert warm.objective.total <= least * (1 + 1e-3)
    again = fit_svm(positives, negatives, SvmParams(max_epochs=1), start=warm.multipliers)
    np.testing.assert_array_equal(again.multipliers, warm.multipliers, "it is at its end already: no epoch, and no warning")


def test_a_start_outside_the_bounds_is_moved_to_them(hard_rows):
    svm = fit_svm(*hard_rows, SvmParams(), start=np.full(sum(len(rows) for rows in hard_rows), 7.0))
    assert svm.objective.total <= 1.001 * fit_svm(*hard_rows, TIGHT).objective.total
    assert svm.multipliers.min() >= 0 and svm.multipliers.max() <= 2e-3


def test_too_few_epochs_are_said():
    positives, negatives = problem(60, 600, 40, seed=1)
    with pytest.warns(RuntimeWarning, match=r"above its minimum after 2 epochs: raise classify.max_epochs"):
        fit_svm(positives, negatives, SvmParams(max_epochs=2))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_feature_that_is_no_number_is_refused(value):
    positives, negatives = problem(5, 20, 4)
    negatives[7, 2] = value
    with pytest.raises(ValueError, match="not finite"):
        fit_svm(positives, negatives, SvmParams())


def test_of_nothing():
    rows, none = np.ones((3, 4), np.float32), np.zeros((0, 4), np.float32)
    with pytest.raises(ValueError, match="needs positives"):
        fit_svm(none, rows, SvmParams())
    with pytest.raises(ValueError, match="needs negatives"):
        fit_svm(rows, none, SvmParams())
    terms = svm_objective(none, none, np.zeros(4, np.float32), 0.0, SvmParams())
    assert terms.total == 0
    assert score_rows(none, np.zeros(4, np.float32), 1.0).shape == (0,)
