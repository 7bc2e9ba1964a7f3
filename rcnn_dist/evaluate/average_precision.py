"""Average precision of one class from its ranked matches, in the two variants of PASCAL VOC and that of COCO."""

from typing import Literal

import numpy as np

from rcnn_dist.arrays import Array, Float64
from rcnn_dist.evaluate.matching import Matches

__all__ = ["RECALL_LEVELS", "average_precision", "precision_recall"]

# The recall levels of VOC2007 as MATLAB's 0:0.1:1 builds them, from both ends: 0.6 and 0.7 are the doubles of these literals, 0.3 is
# 3 * 0.1 and lies one bit above its literal. Octave and NumPy count k * 0.1 throughout and so miss a recall of exactly 0.6 or 0.7;
# a tolerance would add the recall of exactly 0.3 that both leave out, and move an AP by up to a few points against recorded results.
RECALL_LEVELS = np.concatenate([np.arange(6) * 0.1, 1 - np.arange(4, -1, -1) * 0.1])


def precision_recall(matches: Matches) -> tuple[Float64[Array, "K"], Float64[Array, "K"]]:
    """Recall and precision (in this order) after each ranked detection, ignored detections counting for neither.

    Precision is NaN until a detection counts; recall is NaN for a class without objects to find.
    Law: recall never falls.
    """
    true_positives = np.cumsum(matches.is_true_positive).astype(np.float64)
    counted = true_positives + np.cumsum(matches.is_false_positive)
    with np.errstate(divide="ignore", invalid="ignore"):
        return true_positives / matches.n_positives, true_positives / counted


def average_precision(recall: Float64[Array, "K"], precision: Float64[Array, "K"], variant: Literal["voc07", "area", "coco"]) -> float:
    """Average precision: `voc07` at 11 recall levels (up to 2009), `area` under the falling envelope of precision (from 2010), `coco` the
    envelope's mean at 101 recall levels.

    A precision of NaN (0/0: nothing counted yet) is skipped, so the edges are those of the original: only ignored detections give NaN
    for `voc07` and 0 for `area`, detections of a class without objects 0 and NaN, no detections 0 and 0.
    Law: within [0, 1] where it is a number.

    Paper: §2.4. Reference: VOCdevkit 2007 VOCevaldet.m; 2010 VOCap.m; pycocotools, cocoeval.py.

    Example:
        >>> recall, precision = np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 2 / 3])
        >>> [round(average_precision(recall, precision, variant), 3) for variant in ("voc07", "area")]
        [0.848, 0.833]
    """
    return {"voc07": _voc07, "area": _area, "coco": _coco}[variant](recall, precision)


def _voc07(recall: Float64[Array, "K"], precision: Float64[Array, "K"]) -> float:
    reached = [precision[recall >= level] for level in RECALL_LEVELS]
    return float(sum(np.fmax.reduce(values) for values in reached if len(values)) / len(RECALL_LEVELS))


def _area(recall: Float64[Array, "K"], precision: Float64[Array, "K"]) -> float:
    steps = np.diff(np.concatenate([[0.0], recall, [1.0]]))
    envelope = np.fmax.accumulate(np.concatenate([precision, [0.0]])[::-1])[::-1]
    return float(steps @ envelope)


def _coco(recall: Float64[Array, "K"], precision: Float64[Array, "K"]) -> float:
    envelope = np.maximum.accumulate(np.nan_to_num([*precision, 0.0])[::-1])[::-1]
    return float(envelope[np.searchsorted(recall, np.linspace(0, 1, 101))].mean())
