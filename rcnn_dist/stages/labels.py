"""The labels of one image, from the rows of a features table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.classify.labelling import NO_CLASS
from rcnn_dist.geometry.boxes import class_overlap
from rcnn_dist.store.tables import boxes_of

COLUMNS = ("is_ground_truth", "x1", "y1", "x2", "y2", "gt_class")


@dataclass(frozen=True, slots=True)
class LabelledRegions:
    """Regions of one image as training sees them."""

    boxes: Array  # float64 [R, 4]
    is_object: Array  # bool [R]: an annotated object, of any class
    gt_class: Array  # int64 [R]; NO_CLASS for proposals and for objects of classes that are not trained
    overlap: Array  # float64 [R, C]

    @property
    def objects(self) -> Array:
        """Rows of the annotated objects of the classes that are trained."""
        return np.flatnonzero(self.gt_class != NO_CLASS)


def label_regions(table: Any, classes: Sequence[str]) -> LabelledRegions:
    """Boxes, classes and overlaps of an image's rows (columns `COLUMNS`)."""
    index = {name: i for i, name in enumerate(classes)}
    boxes = boxes_of(table)
    is_object = np.asarray(table["is_ground_truth"])
    names = table["gt_class"].to_pylist()
    gt_class = np.array([index.get(name, NO_CLASS) if own else NO_CLASS for name, own in zip(names, is_object, strict=True)], np.int64)
    objects = gt_class != NO_CLASS
    return LabelledRegions(boxes, is_object, gt_class, class_overlap(boxes, boxes[objects], gt_class[objects], len(classes)))
