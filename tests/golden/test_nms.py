"""nms.m and boxoverlap.m, as the original computed them, in single and in double precision."""

import numpy as np

from rcnn_dist.geometry.boxes import half_open_from_voc, iou_matrix
from rcnn_dist.geometry.nms import nms


def test_picks_are_those_of_the_original(golden):
    for file in golden("nms"):
        for i, name in enumerate(file["names"]):
            rows = file[f"boxes_{i:02d}"]
            picked = nms(half_open_from_voc(rows[:, :4]), rows[:, -1], float(file["threshold"][i]))
            np.testing.assert_array_equal(picked, file[f"keep_{i:02d}"], err_msg=str(name))


def test_overlaps_are_those_of_the_original(golden):
    for file in golden("nms"):
        for i in range(int(file["n_overlap"])):
            boxes, expected = file[f"ov_a_{i:02d}"], file[f"ov_{i:02d}"]
            one_box = file[f"ov_b_{i:02d}"][None].astype(boxes.dtype)
            iou = iou_matrix(half_open_from_voc(boxes), half_open_from_voc(one_box))
            assert iou.dtype == expected.dtype
            np.testing.assert_allclose(iou[:, 0], expected, atol=1e-6, err_msg=f"overlap case {i}")
