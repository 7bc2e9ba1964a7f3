"""From the scores of an image's proposals to its detections, in the order of the original's VOC code: cap, (regress), NMS."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rcnn_dist.arrays import Array, Float, Float32, Float64, Int64


@dataclass(frozen=True, slots=True)
class DetectParams:
    max_per_image: int = 100  # per class, before NMS; this and the next: rcnn_test.m
    max_per_set_per_image: int = 40  # per class, on average over the set
    nms_threshold: float = 0.3  # imdb_eval_voc.m
    nms_by_class: Mapping[str, float] = field(default_factory=dict)  # thresholds of single classes instead
    min_score: float = -math.inf  # rcnn_test.m starts there; the demo uses -1, ILSVRC -1.5

    def nms_thresholds(self, classes: Sequence[str]) -> Float64[Array, "C"]:
        """The threshold of each class."""
        return np.array([self.nms_by_class.get(name, self.nms_threshold) for name in classes], np.float64)


def top_per_class(
    scores: Float32[Array, "R C"], max_per_image: int, min_score: float
) -> tuple[Int64[Array, "K"], Int64[Array, "K"], Float32[Array, "K"]]:
    """Region, class and score of each class's best regions in one image: before NMS, which may leave fewer.

    Scores are strictly greater than min_score (a score of NaN never is). Ordered by class, then score descending, then region.

    Reference: rcnn_test.m.
    """
    by_class = scores.T
    regions = np.argsort(-by_class, axis=1, kind="stable")[:, :max_per_image]
    best = np.take_along_axis(by_class, regions, axis=1)
    classes, ranks = np.nonzero(best > np.float32(min_score))
    return regions[classes, ranks], classes, best[classes, ranks]


def set_cap_threshold(scores: Float[Array, "K"], n_images: int, per_image: int) -> float:
    """The score from which on (inclusively) a class's detections of a whole set are kept: its per_image * n_images best.

    Minus infinity while there are no more than that many. Equal scores at the threshold are all kept, as in the original.

    Reference: rcnn_test.m.
    """
    limit = per_image * n_images
    return float(np.partition(scores, -limit)[-limit]) if len(scores) > limit else -math.inf
