"""liblinear as rcnn_train.m calls it: the same objective, and as good a minimum."""

from dataclasses import replace

import numpy as np
import pytest

from rcnn_dist.classify.linear_svm import SvmParams, fit_svm, svm_objective
from rcnn_dist.features.scaling import scale_features


@pytest.fixture(scope="module")
def problems(golden):
    """Rows (positives first), the number of positives, and the recorded solutions of each problem."""
    found = []
    for file in golden("svm"):
        for i in range(int(file["n"])):
            problem = {key.removeprefix(f"p{i}_"): value for key, value in file.items() if key.startswith(f"p{i}_")}
            features = scale_features(problem["feat_u8"].astype(np.float32) / 8, float(problem["feat_norm_mean"]), 20.0)
            found.append((features, int(problem["n_pos"]), problem))
    return found


def test_the_objective_is_the_original_s(problems):
    for features, n_pos, recorded in problems:
        for solution in ("orig", "tight"):
            terms = svm_objective(
                features[:n_pos], features[n_pos:], recorded[f"{solution}_w"], float(recorded[f"{solution}_b"]), SvmParams()
            )
            ours = [terms.positive_loss, terms.negative_loss, terms.regularisation]
            np.testing.assert_allclose(ours, recorded[f"{solution}_loss_pos_neg_reg"], rtol=1e-5)
            assert terms.total == pytest.approx(float(recorded[f"{solution}_objective"]), rel=1e-6)


def test_a_tight_fit_is_the_exact_solution(problems):
    for features, n_pos, recorded in problems:
        svm = fit_svm(features[:n_pos], features[n_pos:], replace(SvmParams(), tolerance=1e-12, max_epochs=2_000_000))
        assert svm.objective.total == pytest.approx(float(recorded["tight_objective"]), rel=1e-6)
        np.testing.assert_allclose(features @ svm.weights + svm.bias, recorded["tight_scores"], atol=2e-5)


def test_the_default_fit_is_within_a_thousandth_of_the_minimum(problems):
    for features, n_pos, recorded in problems:
        svm = fit_svm(features[:n_pos], features[n_pos:], SvmParams())
        assert svm.objective.total <= 1.001 * recorded["tight_objective"]
        assert np.corrcoef(features @ svm.weights + svm.bias, recorded["orig_scores"])[0, 1] > 0.999
