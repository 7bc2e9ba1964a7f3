"""How far chance in the choice of test images moves an AP: the images are drawn again with replacement, and judged again.

Detections are matched image by image, so an image that is drawn twice brings its verdicts twice, and no box is looked at again.
"""

from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float64, Int64
from rcnn_dist.evaluate.average_precision import average_precision
from rcnn_dist.evaluate.matching import Matches
from rcnn_dist.evaluate.voc import ClassDetections, ClassObjects, Variant, curve_of

_OUTSIDE = (2.5, 97.5)  # percentiles: what lies between them is 95% of the draws


@dataclass(frozen=True, slots=True, eq=False)
class RankedClass:
    """One class's detections in rank order and the objects to find, by image; a row neither right nor wrong does not count."""

    image: Int64[Array, "K"]
    is_true_positive: Bool[Array, "K"]
    is_false_positive: Bool[Array, "K"]
    object_image: Int64[Array, "P"]


def ranked_class(detections: ClassDetections, objects: ClassObjects, matches: Matches, variant: Variant) -> RankedClass:
    """What of one class's evaluation its AP is made of."""
    wanted = objects.image if variant == "ilsvrc" else objects.image[~objects.difficult]
    return RankedClass(detections.image[matches.order], matches.is_true_positive, matches.is_false_positive, wanted)


def draw_images(n_images: int, resamples: int, generator: np.random.Generator) -> Int64[Array, "S N"]:
    """How often each of N images is drawn, in each of S draws of N images with replacement; law: each row's sum is N."""
    draws = [np.bincount(generator.integers(n_images, size=n_images), minlength=n_images) for _ in range(resamples)]
    return np.array(draws, np.int64).reshape(resamples, n_images)


def resampled_ap(ranked: RankedClass, copies: Int64[Array, "S N"], variant: Variant) -> Float64[Array, "S"]:
    """AP of one class on each draw of images: that of the set in which image i stands copies[s, i] times; NaN without an object to find.

    Copies of a detection are equally sure and stand side by side.
    Law: with every image once it is the AP of the set.

    Example:
        >>> right = np.array([True, False])
        >>> ranked = RankedClass(np.array([0, 1]), right, ~right, object_image=np.array([0, 1]))
        >>> resampled_ap(ranked, np.array([[1, 1], [2, 0], [0, 2]]), "area").tolist()
        [0.5, 1.0, 0.0]
    """
    counted = ranked.is_true_positive | ranked.is_false_positive
    image, right = ranked.image[counted], np.flatnonzero(ranked.is_true_positive[counted])
    image = image[: right[-1] + 1] if len(right) else image[:0]  # what follows the last right detection moves no AP
    ap = np.full(len(copies), np.nan)
    for draw, times in enumerate(copies):
        if n_positives := int(times[ranked.object_image].sum()):
            ap[draw] = _ap(times[image], right, n_positives, variant) if times[image[right]].any() else _ap_of_none(ranked, times, variant)
    return ap


def mean_ap_difference(first: Float64[Array, "C S"], other: Float64[Array, "C S"]) -> Float64[Array, "S"]:
    """mAP of other less that of first on each of S draws of images, the same for both.

    A mAP is the mean over the classes that have an AP, NaN where none has.
    Law: exchanging the two negates.
    """
    return _means(other) - _means(first)


def interval(values: Float64[Array, "S"]) -> tuple[float, float]:
    """The ends between which 95% of the values lie, NaN left out; NaN where nothing is left.

    Example:
        >>> interval(np.arange(1001.0))
        (25.0, 975.0)
    """
    known = values[~np.isnan(values)]
    low, high = np.percentile(known, _OUTSIDE) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def _ap(times: Int64[Array, "K"], right: Int64[Array, "T"], n_positives: int, variant: Variant) -> float:
    """From the points of the curve where an object is found: no variant looks at others."""
    drawn = times[right] > 0
    found, counted = np.cumsum(times[right])[drawn], np.cumsum(times)[right][drawn]
    return average_precision(found / n_positives, found / counted, curve_of(variant))


def _ap_of_none(ranked: RankedClass, times: Int64[Array, "N"], variant: Variant) -> float:
    """Where no object is found; see `average_precision` for what only ignored detections give."""
    wrong = np.cumsum(ranked.is_false_positive[times[ranked.image] > 0])
    return average_precision(np.zeros(len(wrong)), np.where(wrong > 0, 0.0, np.nan), curve_of(variant))


def _means(ap: Float64[Array, "C S"]) -> Float64[Array, "S"]:
    known = ~np.isnan(ap)
    with np.errstate(invalid="ignore"):
        return np.where(known, ap, 0.0).sum(axis=0) / known.sum(axis=0)
