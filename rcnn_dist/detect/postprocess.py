"""From the scores of an image's proposals to its detections, in the order of the original's VOC code: cap, (regress), NMS."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float, Float32, Float64, Int64

__all__ = ["DetectParams", "best_of_class", "set_cap", "set_cap_threshold", "top_per_class"]


@dataclass(frozen=True, slots=True)
class DetectParams:
    """Which of an image's scored proposals become detections; the defaults are those for VOC."""

    max_per_image: int = 100  # per class, before NMS; this and the next: rcnn_test.m
    max_per_set_per_image: int = 40  # per class, on average over the set
    max_per_set: int | None = None  # per class, in place of that average; ILSVRC: 30,000
    nms_threshold: float = 0.3  # imdb_eval_voc.m
    nms_by_class: Mapping[str, float] = field(default_factory=dict)  # thresholds of single classes instead
    min_score: float = -math.inf  # rcnn_test.m starts there; the demo uses -1, ILSVRC -1.5
    order: Literal["voc", "ilsvrc"] = "voc"  # ilsvrc: non-maximum suppression comes before max_per_image, and again after regression

    def nms_thresholds(self, classes: Sequence[str]) -> Float64[Array, "C"]:
        """The threshold of each class."""
        return np.array([self.nms_by_class.get(name, self.nms_threshold) for name in classes], np.float64)


def top_per_class(
    scores: Float32[Array, "R C"], max_per_image: int, min_score: float
) -> tuple[Int64[Array, "K"], Int64[Array, "K"], Float32[Array, "K"]]:
    """Region, class and score of each class's best regions in one image: before NMS, which may leave fewer.

    Scores are strictly greater than min_score (a score of NaN never is). Ordered by class, then score descending, then region.

    Reference: rcnn_test.m.

    Example:
        >>> scores = np.array([[0.1, -2.0], [0.7, 0.4], [0.3, -3.0]], np.float32)  # three regions, two classes
        >>> regions, classes, best = top_per_class(scores, max_per_image=2, min_score=-1.0)
        >>> regions.tolist(), classes.tolist()
        ([1, 2, 1], [0, 0, 1])
    """
    by_class = scores.T
    regions = np.argsort(-by_class, axis=1, kind="stable")[:, :max_per_image]
    best = np.take_along_axis(by_class, regions, axis=1)
    classes, ranks = np.nonzero(best > np.float32(min_score))
    return regions[classes, ranks], classes, best[classes, ranks]


def set_cap(params: DetectParams, n_images: int) -> int:
    """How many detections of a class a set of n_images keeps."""
    return params.max_per_set_per_image * n_images if params.max_per_set is None else params.max_per_set


def best_of_class(class_index: Int64[Array, "K"], count: int) -> Bool[Array, "K"]:
    """Mask of the first `count` rows of each class; rows are ordered by class."""
    return np.arange(len(class_index)) - np.searchsorted(class_index, class_index) < count


def set_cap_threshold(scores: Float[Array, "K"], limit: int) -> float:
    """The score from which on (inclusively) a class's detections of a whole set are kept: its `limit` best.

    Minus infinity while there are no more than that many. Equal scores at the threshold are all kept, as in the original.

    Reference: rcnn_test.m.
    """
    return float(np.partition(scores, -limit)[-limit]) if len(scores) > limit else -math.inf
