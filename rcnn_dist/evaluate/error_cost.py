"""How much mAP each kind of mistake costs: the mAP after an oracle has put all mistakes of that kind right, minus the mAP before.

The costs do not add up to 1 - mAP. An oracle works alone, while the other mistakes stay in its way: after its class is put right, a
detection may still meet a surer wrong one; an object that is missed may be so because its only detection is badly placed.

Reference: Bolya et al., TIDE, ECCV 2020; matching and AP are the run's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float, Float64, Int64
from rcnn_dist.evaluate.average_precision import average_precision
from rcnn_dist.evaluate.error_modes import WEAK_IOU, ObjectPool, Overlaps
from rcnn_dist.evaluate.matching import Matches

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
_CLASSIFICATION, _LOCALISATION, _BOTH, _DUPLICATE, _BACKGROUND = range(5)


@dataclass(frozen=True, slots=True, eq=False)
class JudgedClass:
    """One class's detections in input order, with what an oracle could make of them."""

    scores: Float64[Array, "K"]
    right: Bool[Array, "K"]
    kind: Int64[Array, "K"]  # index into KINDS of a wrong one; -1: right or not counted
    target: Int64[Array, "K"]  # row of the pool whose object an oracle moves it to; -1: none


@dataclass(frozen=True, slots=True)
class Cost:
    """Mistakes of one kind, or missed objects, over all classes, and the mAP gained without them."""

    count: int
    gain: float


def judge_mistakes(scores: Float[Array, "K"], matches: Matches, overlaps: Overlaps, min_iou: float) -> JudgedClass:
    """The kind of each wrong detection; the first that fits.

    Localisation: WEAK_IOU <= IoU < min_iou with an object of its class. Classification: min_iou or more with one of another class.
    Duplicate: min_iou or more with one of its class, which a surer detection covers. Background: less than WEAK_IOU with all objects.
    Both: the rest, badly placed on an object of another class.
    """
    right, wrong = np.zeros(len(scores), bool), np.zeros(len(scores), bool)
    right[matches.order] = matches.is_true_positive
    wrong[matches.order] = matches.is_false_positive
    own, other = overlaps.own_iou, overlaps.other_iou
    fits = [(own >= WEAK_IOU) & (own < min_iou), other >= min_iou, own >= min_iou, np.maximum(own, other) < WEAK_IOU]
    kind = np.where(wrong, np.select(fits, [_LOCALISATION, _CLASSIFICATION, _DUPLICATE, _BACKGROUND], default=_BOTH), -1)
    target = np.select([kind == _LOCALISATION, kind == _CLASSIFICATION], [overlaps.own_object, overlaps.other_object], default=-1)
    return JudgedClass(np.asarray(scores, np.float64), right, kind, target)


def mistake_costs(
    judged: list[JudgedClass], found: Bool[Array, "G"], pool: ObjectPool, variant: Literal["voc07", "area"]
) -> dict[str, Cost]:
    """Count and cost of each kind, and of all mistakes together as `false positives` and `false negatives`.

    Args:
        judged: one entry per class, in the order of the pool.
        found: objects of the pool that a right detection covers.
    """
    easy = np.bincount(pool.class_index[~pool.difficult], minlength=len(judged))
    before = _mean_ap(judged, easy, variant)
    costs = {}
    for number, name in enumerate(KINDS[:-1]):
        count = sum(int(np.count_nonzero(j.kind == number)) for j in judged)
        repaired = _without(judged, number)
        if number in (_CLASSIFICATION, _LOCALISATION):
            repaired = _moved(repaired, judged, number, found, pool)
        costs[name] = Cost(count, _mean_ap(repaired, easy, variant) - before)
    reachable = np.concatenate([j.target[j.target >= 0] for j in judged])
    missed = ~found & ~pool.difficult
    all_missed = np.bincount(pool.class_index[missed], minlength=len(judged))
    missed[reachable] = False
    beyond = np.bincount(pool.class_index[missed], minlength=len(judged))
    costs["missed"] = Cost(int(beyond.sum()), _mean_ap(judged, easy - beyond, variant, easy > 0) - before)
    cleaned = [JudgedClass(j.scores[j.right], j.right[j.right], j.kind[j.right], j.target[j.right]) for j in judged]
    wrong = sum(int(np.count_nonzero(j.kind >= 0)) for j in judged)
    costs["false positives"] = Cost(wrong, _mean_ap(cleaned, easy, variant) - before)
    costs["false negatives"] = Cost(int(all_missed.sum()), _mean_ap(judged, easy - all_missed, variant, easy > 0) - before)
    return costs


def cost_json(costs: Mapping[str, Cost]) -> dict[str, dict[str, int | float | None]]:
    return {name: {"count": cost.count, "mAP_gain": None if np.isnan(cost.gain) else cost.gain} for name, cost in costs.items()}


def _without(judged: list[JudgedClass], number: int) -> list[JudgedClass]:
    return [_select(j, j.kind != number) for j in judged]


def _moved(
    repaired: list[JudgedClass], judged: list[JudgedClass], number: int, found: Bool[Array, "G"], pool: ObjectPool
) -> list[JudgedClass]:
    """Adds, as right, the surest mistake of a kind on each object that is neither difficult nor found; the others stay away."""
    scores = np.concatenate([j.scores[j.kind == number] for j in judged])
    targets = np.concatenate([j.target[j.kind == number] for j in judged])
    by_score = np.argsort(-scores, kind="stable")
    objects, first = np.unique(targets[by_score], return_index=True)
    new = ~found[objects] & ~pool.difficult[objects]
    objects, gained = objects[new], scores[by_score][first][new]
    classes = pool.class_index[objects]
    return [_with_right(j, gained[classes == index]) for index, j in enumerate(repaired)]


def _with_right(judged: JudgedClass, scores: Float64[Array, "_"]) -> JudgedClass:
    none = np.full(len(scores), -1)
    return JudgedClass(
        np.concatenate([judged.scores, scores]),
        np.concatenate([judged.right, np.ones(len(scores), bool)]),
        np.concatenate([judged.kind, none]),
        np.concatenate([judged.target, none]),
    )


def _select(judged: JudgedClass, rows: Bool[Array, "K"]) -> JudgedClass:
    return JudgedClass(judged.scores[rows], judged.right[rows], judged.kind[rows], judged.target[rows])


def _mean_ap(
    judged: list[JudgedClass], positives: Int64[Array, "C"], variant: Literal["voc07", "area"], counted: Array | None = None
) -> float:
    """mAP over the classes with positives; a counted class that was left without any has found nothing: 0."""
    counted = positives > 0 if counted is None else counted
    values = [_ap(j, int(n), variant) if n else 0.0 for j, n, use in zip(judged, positives, counted, strict=True) if use]
    return float(np.mean(values)) if values else float("nan")


def _ap(judged: JudgedClass, positives: int, variant: Literal["voc07", "area"]) -> float:
    order = np.argsort(-judged.scores, kind="stable")
    hits = np.cumsum(judged.right[order]).astype(np.float64)
    counted = hits + np.cumsum(judged.kind[order] >= 0)
    precision = np.divide(hits, counted, out=np.full(len(hits), np.nan), where=counted > 0)
    return average_precision(hits / positives, precision, variant)
