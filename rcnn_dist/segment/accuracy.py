"""PASCAL VOC's segmentation accuracy: intersection over union of labels, pooled over the pixels of a whole set (paper §5)."""

from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Float64, Int64, UInt8

VOID = 255  # pixels that count for nothing: the borders of objects and what nobody labelled
BACKGROUND = 0


@dataclass(frozen=True, slots=True)
class SegmentationAccuracy:
    """Per label, the background first: intersection over union in [0, 1], NaN where neither truth nor result has the label."""

    per_label: Float64[Array, "L"]
    mean: float  # over the labels that have a number; NaN where none has
    pixel_accuracy: float  # share of the counted pixels that are right; NaN without pixels
    confusion: Int64[Array, "L L"]  # pixels of label row that were called label column


def count_confusion(truth: UInt8[Array, "H W"], found: UInt8[Array, "h w"], n_labels: int) -> Int64[Array, "L L"]:
    """Pixels of each true label (row) by the label found (column); void pixels of the truth are left out.

    Law: the counts of two images add up to those of both.

    Raises:
        ValueError: the maps differ in size, or have a label of `n_labels` or more (void in the result is such a label).

    Paper: §5. Reference: VOCevalseg.m.
    """
    if truth.shape != found.shape:
        raise ValueError(f"the truth has {truth.shape} pixels, the result {found.shape}: give maps of one image")
    counted = truth != VOID
    rows, columns = truth[counted].astype(np.int64), found[counted].astype(np.int64)
    for name, labels in (("truth", rows), ("result", columns)):
        if len(labels) and labels.max() >= n_labels:
            raise ValueError(f"the {name} has the label {labels.max()}, but labels end at {n_labels - 1}")
    return np.bincount(rows * n_labels + columns, minlength=n_labels**2).reshape(n_labels, n_labels)


def segmentation_accuracy(confusion: Int64[Array, "L L"]) -> SegmentationAccuracy:
    """Accuracy from the counts of a whole set: hits / (hits + misses + false alarms) per label.

    Paper: §5. Reference: VOCevalseg.m.
    """
    hits, pixels = np.diag(confusion), int(confusion.sum())
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    per_label = np.full(len(confusion), np.nan)
    np.divide(hits, union, out=per_label, where=union > 0)
    mean = float(np.nanmean(per_label)) if (union > 0).any() else float("nan")
    return SegmentationAccuracy(per_label, mean, float(hits.sum() / pixels) if pixels else float("nan"), confusion)
