"""VOCevaldet.m of 2007 and 2010 and imdb_eval_voc.m: ranks, matches, curves, average precision.

Of the two recorded grids of recall levels ours is `matlab_colon`.
"""

import numpy as np
import pytest

from rcnn_dist.evaluate.average_precision import RECALL_LEVELS, average_precision, precision_recall
from rcnn_dist.evaluate.matching import match_voc
from rcnn_dist.geometry.boxes import half_open_from_voc
from rcnn_dist.geometry.nms import nms

TOLERANCE = 1e-9


def class_matches(file, c, image, boxes, scores):
    of_class = file["gt_class"] == c
    return match_voc(
        image.astype(np.int64),
        half_open_from_voc(boxes.astype(np.float64)),
        scores,
        file["gt_image"][of_class].astype(np.int64),
        half_open_from_voc(file["gt_box"][of_class]),
        file["gt_difficult"][of_class],
    )


def assert_recorded(file, prefix, matches):
    np.testing.assert_array_equal(matches.order, file[f"{prefix}order"])
    np.testing.assert_array_equal(matches.is_true_positive, file[f"{prefix}tp"])
    np.testing.assert_array_equal(matches.is_false_positive, file[f"{prefix}fp"])
    recall, precision = precision_recall(matches)
    np.testing.assert_allclose(recall, file[f"{prefix}rec"], atol=TOLERANCE)
    np.testing.assert_allclose(precision, file[f"{prefix}prec"], atol=TOLERANCE)
    voc07, area = file[f"{prefix}ap11_matlab_colon"], file[f"{prefix}ap_area"]
    assert average_precision(recall, precision, "voc07") == pytest.approx(float(voc07), abs=TOLERANCE, nan_ok=True)
    assert average_precision(recall, precision, "area") == pytest.approx(float(area), abs=TOLERANCE, nan_ok=True)


def after_nms(file, c, threshold):
    """Image, boxes and scores of a class's detections in the order of the original's results file."""
    image, boxes, scores = (file[f"c{c}_det_{part}"] for part in ("image", "box", "score"))
    rows_of_images = [np.flatnonzero(image == i) for i in np.unique(image)]
    kept = np.concatenate([rows[nms(half_open_from_voc(boxes[rows]), scores[rows], threshold)] for rows in rows_of_images])
    return image[kept], boxes[kept], scores[kept]


def test_recall_levels(golden):
    for file in golden("voc_ap"):
        np.testing.assert_array_equal(RECALL_LEVELS, file["thresholds_matlab_colon"])


def test_average_precision_of_sequences(golden):
    for file in golden("voc_ap"):
        for i, name in enumerate(file["ap_names"]):
            recall, precision = file[f"seq_{i:02d}_rec"], file[f"seq_{i:02d}_prec"]
            for variant, recorded in (("voc07", "ap11_matlab_colon"), ("area", "ap_area")):
                ours = average_precision(recall, precision, variant)
                assert ours == pytest.approx(float(file[recorded][i]), abs=TOLERANCE, nan_ok=True), (name, variant)


def test_detections_before_nms(golden):
    for file in golden("voc_ap"):
        for c in range(len(file["class_names"])):
            image, boxes, scores = (file[f"c{c}_det_{part}"] for part in ("image", "box", "score"))
            assert_recorded(file, f"c{c}_", class_matches(file, c, image, boxes, scores))


def test_detections_after_nms(golden):
    for file in golden("voc_ap"):
        for c in range(len(file["class_names"])):
            image, boxes, scores = after_nms(file, c, 0.3)
            np.testing.assert_array_equal(image, file[f"c{c}_nms_file_image"])
            np.testing.assert_array_equal(boxes, file[f"c{c}_nms_file_box"])
            np.testing.assert_allclose(scores, file[f"c{c}_nms_file_score"], atol=1e-6)
            assert_recorded(file, f"c{c}_nms_", class_matches(file, c, image, boxes, scores))


def test_area_after_nms_at_half(golden):
    for file in golden("voc_ap"):
        for c in range(len(file["class_names"])):
            recall, precision = precision_recall(class_matches(file, c, *after_nms(file, c, 0.5)))
            assert average_precision(recall, precision, "area") == pytest.approx(float(file[f"c{c}_nms05_ap_area"]), abs=TOLERANCE)
