"""How well the first proposals of each image cover its objects, for any proposal source.

Paper: §4.2 (recall of selective search), Uijlings et al. 2013, §5.1 (average best overlap).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float64, Int64
from rcnn_dist.geometry.boxes import iou_matrix

BUDGETS: tuple[int | None, ...] = (100, 500, 1000, 2000, None)  # proposals of an image that count, in order; None: all
SIZE_BANDS = {"small": (0.0, 32.0), "medium": (32.0, 96.0), "large": (96.0, np.inf)}  # root of an object's area in pixels; COCO's bands
_THRESHOLDS = np.arange(10, 20) / 20  # 0.5, 0.55 .. 0.95; COCO's


@dataclass(frozen=True, slots=True)
class Recall:
    """Shares of objects with a proposal at an IoU of the threshold or more, pooled over images and classes, and mean overlaps.

    A number is None where there is no object.
    """

    objects: int
    recall_50: float | None
    recall_70: float | None
    average_recall: float | None  # mean of the recalls at 0.5, 0.55 .. 0.95
    mabo: float | None  # best overlap of an object, averaged within each class and then over the classes


@dataclass(frozen=True, slots=True)
class BudgetRecall:
    """The recall of the first `budget` proposals of each image."""

    budget: int | None
    overall: Recall
    by_size: dict[str, Recall]


@dataclass(frozen=True, slots=True, eq=False)
class ObjectOverlaps:
    """What the proposals make of each object of one or many images."""

    best: Float64[Array, "G K"]  # best IoU with the first proposals, for each budget
    classes: Int64[Array, " G"]
    sizes: Float64[Array, " G"]  # root of the area, pixels


def object_overlaps(
    proposals: Float64[Array, "R 4"],
    gt_boxes: Float64[Array, "G 4"],
    gt_classes: Int64[Array, " G"],
    budgets: Sequence[int | None] = BUDGETS,
) -> ObjectOverlaps:
    """The best overlap of every object of an image with the first proposals; 0 where there are none.

    Objects marked difficult are the caller's to leave out. Law: it grows with the budget.
    """
    iou = iou_matrix(proposals, gt_boxes)
    best = np.stack([iou[:budget].max(axis=0, initial=0.0) for budget in budgets], axis=1)
    sizes = np.sqrt((gt_boxes[:, 2] - gt_boxes[:, 0]) * (gt_boxes[:, 3] - gt_boxes[:, 1]))
    return ObjectOverlaps(best, gt_classes, sizes)


def pool_overlaps(images: Sequence[ObjectOverlaps]) -> ObjectOverlaps:
    """The objects of all images, in their order.

    Raises:
        ValueError: there is no image.
    """
    return ObjectOverlaps(*(np.concatenate([getattr(image, name) for image in images]) for name in ("best", "classes", "sizes")))


def proposal_recall(overlaps: ObjectOverlaps, budgets: Sequence[int | None] = BUDGETS) -> list[BudgetRecall]:
    """Recall and mean overlaps at every budget, over all objects and by size.

    Reference: imdb/roidb_compute_recall.m (recall at an IoU of the threshold or more, pooled).
    """
    table = []
    for i, budget in enumerate(budgets):
        by_size = {
            name: _recall(overlaps.best[:, i], overlaps.classes, (overlaps.sizes >= low) & (overlaps.sizes < high))
            for name, (low, high) in SIZE_BANDS.items()
        }
        everything = np.ones(len(overlaps.sizes), bool)
        table.append(BudgetRecall(budget, _recall(overlaps.best[:, i], overlaps.classes, everything), by_size))
    return table


def recall_json(table: Sequence[BudgetRecall]) -> dict[str, dict[str, object]]:
    """The table for a program: "all" or the budget -> recall_50, recall_70, average_recall, mabo, objects and the same by size."""
    return {
        str(row.budget or "all"): {**asdict(row.overall), "by_size": {name: asdict(recall) for name, recall in row.by_size.items()}}
        for row in table
    }


def _recall(best: Float64[Array, " G"], classes: Int64[Array, " G"], chosen: Bool[Array, " G"]) -> Recall:
    best, classes = best[chosen], classes[chosen]
    if len(best) == 0:
        return Recall(0, None, None, None, None)
    recalls = (best[:, None] >= _THRESHOLDS).mean(axis=0)
    within_class = [best[classes == c].mean() for c in np.unique(classes)]
    return Recall(len(best), float(recalls[0]), float(recalls[4]), float(recalls.mean()), float(np.mean(within_class)))
