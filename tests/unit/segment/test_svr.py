import numpy as np
import pytest
from sklearn.svm import LinearSVR

from rcnn_dist.segment.params import SvrParams
from rcnn_dist.segment.svr import FeatureRows, fit_svrs


def overlaps_and_rows(n=600, size=40, classes=3, seed=0):
    """Rows that say something of their overlaps, most of which are 0."""
    rng = np.random.default_rng(seed)
    label, overlap = rng.integers(0, 4 * classes, n), rng.random(n)
    targets = np.where(label[:, None] == np.arange(classes), overlap[:, None], 0).astype(np.float32)
    rows = np.maximum(rng.standard_normal((n, size)) + targets @ rng.standard_normal((classes, size)), 0)
    return rows.astype(np.float16), targets - targets.mean(axis=0)


def objective(rows, targets, weights, params):
    """The objective row by row."""
    total = sum(w * w for w in weights) / 2
    for row, target in zip(rows, targets, strict=True):
        total += params.cost * max(0.0, abs(target - float(row @ weights)) - params.epsilon) ** 2
    return total


@pytest.mark.parametrize("cost", [0.05, 3.0, 100.0])
def test_objectives_are_within_the_tolerance_of_liblinear(cost):
    stored, targets = overlaps_and_rows()
    scale = np.linspace(0.1, 0.3, stored.shape[1])
    params = SvrParams(cost=cost, epsilon=0.1)
    found = fit_svrs(FeatureRows([stored[:100], stored[100:100], stored[100:]], scale), targets, params)
    rows = stored.astype(np.float64) * scale
    for c in range(targets.shape[1]):
        oracle = LinearSVR(
            C=cost, epsilon=0.1, loss="squared_epsilon_insensitive", fit_intercept=False, tol=1e-8, max_iter=100_000, random_state=0
        ).fit(rows, targets[:, c])
        least = objective(rows, targets[:, c], oracle.coef_, params)
        mine = objective(rows, targets[:, c], found.weights[c], params)
        assert mine == pytest.approx(found.objectives[c], rel=1e-5)
        assert least * (1 - 1e-6) <= mine <= least * (1 + 1e-3)
        assert mine - least <= found.gaps[c] + 1e-6 * least, "the gap is a bound"
        assert found.gaps[c] <= 1e-3 * mine


def test_a_case_by_hand():
    """One row of 2, target 1: w minimises w²/2 + (0.5 - 2w)² * 2, at w = 4/17."""
    found = fit_svrs(FeatureRows([np.array([[2.0]], np.float32)], np.ones(1)), np.ones((1, 1), np.float32), SvrParams(2.0, 0.5, 1e-9))
    assert found.weights[0, 0] == pytest.approx(4 / 17, rel=1e-4)


def test_no_target_over_epsilon_and_no_rows_give_nothing():
    rows = np.ones((4, 3), np.float16)
    found = fit_svrs(FeatureRows([rows], np.ones(3)), np.full((4, 2), 0.2, np.float32), SvrParams(epsilon=0.25))
    assert (found.weights == 0).all()
    assert found.steps == 0
    assert fit_svrs(FeatureRows([], np.ones(3)), np.zeros((0, 2), np.float32), SvrParams()).weights.shape == (2, 3)


def test_blocks_are_only_how_the_rows_lie(monkeypatch):
    stored, targets = overlaps_and_rows(n=300)
    whole = fit_svrs(FeatureRows([stored], np.ones(40)), targets, SvrParams(0.1, 0.1))
    monkeypatch.setattr("rcnn_dist.segment.svr._IN_FLOAT32", 0)
    monkeypatch.setattr("rcnn_dist.segment.svr._ROWS", 32)
    split = fit_svrs(FeatureRows(np.array_split(stored, 7), np.ones(40)), targets, SvrParams(0.1, 0.1))
    assert split.objectives == pytest.approx(whole.objectives, rel=1e-3)
