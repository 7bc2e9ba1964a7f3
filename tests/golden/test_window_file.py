"""rcnn_make_window_file.m: our windows and their text, byte for byte."""

import numpy as np

from rcnn_dist.finetune.window_file import ImageWindows, format_window_file, parse_window_file
from rcnn_dist.finetune.windows import best_class
from rcnn_dist.geometry.boxes import class_overlap, half_open_from_voc


def image_windows(file, i):
    """Image i of a golden file: ground truth, then proposals, with overlaps of our own."""
    height, width = file["sizes_hw"][i].tolist()
    gt_boxes = half_open_from_voc(file[f"im{i:02d}_gt_box"].reshape(-1, 4))
    proposals = half_open_from_voc(file[f"im{i:02d}_proposals_yxyx"][:, [1, 0, 3, 2]])
    boxes = np.concatenate([gt_boxes, proposals])
    overlap = class_overlap(boxes, gt_boxes, file[f"im{i:02d}_gt_class"].astype(np.int64), len(file["class_names"]))
    np.testing.assert_allclose(overlap, file[f"im{i:02d}_roi_overlap"], atol=1e-6)
    np.testing.assert_array_equal(boxes, half_open_from_voc(file[f"im{i:02d}_roi_boxes"].astype(np.float64)))
    label, best = best_class(overlap)
    return ImageWindows(f"{file['image_path_prefix']}{file['image_ids'][i]}.jpg", height, width, boxes, label, best)


def test_the_window_file_is_the_originals(golden):
    for file in golden("window_file"):
        images = [image_windows(file, i) for i in range(len(file["image_ids"]))]
        text = bytes(file["window_file_bytes"]).decode()
        assert format_window_file(images) == text
        for found, image in zip(parse_window_file(text), images, strict=True):
            assert (found.path, found.height, found.width) == (image.path, image.height, image.width)
            np.testing.assert_array_equal(found.boxes, image.boxes)
            np.testing.assert_array_equal(found.label, image.label)
            np.testing.assert_allclose(found.overlap, image.overlap, atol=0.0005 + 1e-9)
