"""Which regions are positives and negatives of each class's SVM."""

from rcnn_dist.arrays import Array, Bool, Float, Int64

NO_CLASS = -1  # gt_class of a proposal


def svm_labels(
    overlap: Float[Array, "R C"],
    is_ground_truth: Bool[Array, "R"],
    gt_class: Int64[Array, "R"],
    negative_iou: float,
    positive_iou: float | None = None,
) -> tuple[Bool[Array, "R C"], Bool[Array, "R C"]]:
    """Positives and negatives of every class: its ground-truth boxes alone, and whatever overlaps it by less than negative_iou.

    With a positive_iou, regions that overlap the class by so much or more are positives too, as in fine-tuning.

    Ground truth of other classes is a negative like any region; a region that is neither is ignored. Difficult objects are positives.
    Law: no region is both.

    Paper: §2.3, App. B. Reference: rcnn_train.m.
    """
    classes = range(overlap.shape[1])
    positive = is_ground_truth[:, None] & (gt_class[:, None] == classes)
    if positive_iou is not None:
        positive |= ~is_ground_truth[:, None] & (overlap >= overlap.dtype.type(positive_iou))
    return positive, (overlap < overlap.dtype.type(negative_iou)) & ~positive
