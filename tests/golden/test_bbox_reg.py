"""rcnn_train_bbox_regressor.m and rcnn_predict_bbox_regressor.m: pairs, targets, regressors, boxes."""

import numpy as np
import pytest

from rcnn_dist.features.scaling import scale_features
from rcnn_dist.geometry.boxes import clip_boxes, half_open_from_voc, voc_from_half_open
from rcnn_dist.regress.ridge import BoxRegressionParams, fit_box_regressor, predict_deltas, select_pairs
from rcnn_dist.regress.targets import decode_targets, encode_targets


@pytest.fixture(scope="module")
def cases(golden):
    found = []
    for file in golden("bbox_reg"):
        for letter in file["cases"]:
            case = {key.removeprefix(f"{letter}_"): value for key, value in file.items() if key.startswith(f"{letter}_")}
            assert not case["binarize"]
            found.append(case)
    return found


def scaled(case, stored):
    return scale_features(stored.astype(np.float32) / 8, float(case["feat_norm_mean"]), 20.0)


def training_pairs(case):
    """Features, targets and classes of all pairs, in visit order."""
    features, targets, classes = [], [], []
    for boxes, is_gt, roi_class, stored in zip(case["boxes"], case["gt"], case["class"], case["feat_u8"], strict=True):
        boxes = half_open_from_voc(boxes.astype(np.float64))
        rows, objects = select_pairs(boxes, boxes[is_gt], float(case["min_overlap"]))
        features.append(scaled(case, stored[rows]))
        targets.append(encode_targets(boxes[rows], boxes[is_gt][objects]))
        classes.append(roi_class[is_gt][objects].astype(np.int64) - 1)
    return np.concatenate(features), np.concatenate(targets), np.concatenate(classes)


def regressors(case):
    features, targets, classes = training_pairs(case)
    params = BoxRegressionParams(min_iou=float(case["min_overlap"]), ridge=float(case["lambda"]))
    return [fit_box_regressor(features[classes == c], targets[classes == c], params) for c in range(len(case["Beta"]))]


def test_pairs_and_targets(cases):
    for case in cases:
        features, targets, classes = training_pairs(case)
        trained_on = case["ex_O"] > case["min_overlap"].astype(np.float32)
        np.testing.assert_array_equal(classes, case["ex_C"][trained_on])
        np.testing.assert_array_equal(np.bincount(classes, minlength=len(case["Beta"])), case["n_train_per_class"])
        np.testing.assert_array_equal(features, scaled(case, case["ex_X_u8"][trained_on]))
        np.testing.assert_allclose(targets, case["ex_Y"][trained_on], atol=2e-7)


def test_regressors(cases):
    for case in cases:
        for c, regressor in enumerate(regressors(case)):
            np.testing.assert_allclose(regressor.weights, case["Beta"][c], atol=2e-5)
            np.testing.assert_allclose(regressor.target_mean, case["mu"][c], atol=1e-6)
            np.testing.assert_allclose(regressor.whitening, case["T"][c], atol=5e-5)
            np.testing.assert_allclose(regressor.unwhitening, case["T_inv"][c], atol=5e-5)


def test_boxes_of_held_out_proposals(cases):
    for case in cases:
        fitted = regressors(case)
        proposals, features = half_open_from_voc(case["heldout_boxes"]), scaled(case, case["heldout_feat_u8"])
        deltas = np.stack([predict_deltas(fitted[c], features[i : i + 1])[0] for i, c in enumerate(case["heldout_class"])])
        moved = decode_targets(proposals, deltas)
        np.testing.assert_allclose(voc_from_half_open(moved), case["heldout_pred"], atol=5e-3)
        np.testing.assert_allclose(voc_from_half_open(clip_boxes(moved, 500, 375)), case["heldout_pred_clipped"], atol=5e-3)
