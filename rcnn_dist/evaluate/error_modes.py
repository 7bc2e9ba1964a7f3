"""What kind of mistake each false positive is, as Hoiem, Chodpathumwan and Dai (ECCV 2012) tell them apart.

Matching differs from VOC's: a detection takes the object that it overlaps most among those that no surer one has taken, and a difficult
object is taken once like any other. Annotated classes that the run does not detect are no objects here.

Paper: §3.4, Figure 5. Reference: fact sheet §14.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float64, Int64
from rcnn_dist.evaluate.matching import rank
from rcnn_dist.evaluate.voc import ClassDetections, ClassObjects
from rcnn_dist.geometry.boxes import iou_pairs

MODES = ("localisation", "similar", "other", "background")  # in order of precedence
WEAK_IOU = 0.1  # an overlap of this much is no accident
N_J_PER_IMAGE = 0.15  # positives that every class is taken to have, per image; 742.8 for VOC2007 test
TREND = (25, 50, 100, 200, 400, 800, 1600, 3200, 6400)  # false positives
VOC_SIMILAR: tuple[tuple[str, ...], ...] = (
    ("bird", "cat", "cow", "dog", "horse", "person", "sheep"),
    ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
    ("bicycle", "motorbike"),
    ("chair", "diningtable", "sofa"),
    ("aeroplane", "bird"),
)
VOC_GROUPS: dict[str, tuple[str, ...]] = {
    "animals": ("bird", "cat", "cow", "dog", "horse", "sheep"),
    "vehicles": ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
    "furniture": ("chair", "diningtable", "sofa"),
}


@dataclass(frozen=True, slots=True, eq=False)
class ObjectPool:
    """The objects of all classes; a class's rows are together, in its own order."""

    image: Int64[Array, "G"]
    boxes: Float64[Array, "G 4"]
    difficult: Bool[Array, "G"]
    class_index: Int64[Array, "G"]
    first: Int64[Array, "C"]  # row of each class's first object


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """What each detection of one class overlaps most; objects are rows of the pool, -1 where the image has none."""

    own_iou: Float64[Array, "K"]  # with an object of its class
    own_object: Int64[Array, "K"]
    similar_iou: Float64[Array, "K"]  # with an object of a similar class
    other_iou: Float64[Array, "K"]  # with an object of any other class
    other_object: Int64[Array, "K"]
    candidates: Mapping[int, Int64[Array, "_"]]  # detection -> objects of its class at min_iou or more, by falling overlap


@dataclass(frozen=True, slots=True, eq=False)
class ErrorModes:
    """One class's detections in rank order."""

    order: Int64[Array, "K"]  # input row of each rank
    label: Int64[Array, "K"]  # 1: right, 0: took a difficult object, -1: wrong
    mode: Int64[Array, "K"]  # index into MODES; -1: not wrong
    matched_object: Int64[Array, "K"]  # row of the class's objects; -1: none
    n_positives: int  # objects that are not difficult


def pool_objects(objects: Mapping[str, ClassObjects]) -> ObjectPool:
    """All objects in one table, the classes in their order.

    Raises:
        ValueError: there is no class.
    """
    counts = np.array([len(o.image) for o in objects.values()], np.int64)
    image, boxes, difficult = (np.concatenate([getattr(o, name) for o in objects.values()]) for name in ("image", "boxes", "difficult"))
    return ObjectPool(image, boxes, difficult, np.repeat(np.arange(len(counts)), counts), np.cumsum(counts) - counts)


def similar_classes(classes: Sequence[str], sets: Sequence[Sequence[str]]) -> dict[str, frozenset[str]]:
    """The classes that each class may be taken for: those of all sets that name it, without itself."""
    return {name: frozenset(c for group in sets if name in group for c in group if c in classes and c != name) for name in classes}


def find_overlaps(
    detections: ClassDetections, class_index: int, pool: ObjectPool, similar: Sequence[int], min_iou: float = 0.5
) -> Overlaps:
    """The overlaps of one class's detections with the objects of their images; the first object among equal overlaps."""
    row, target = _same_image(detections.image, pool.image)
    iou = iou_pairs(detections.boxes[row], pool.boxes[target])
    own = pool.class_index[target] == class_index
    n = len(detections.image)
    own_iou, own_object = _best(row, target, iou, own, n)
    similar_iou, _ = _best(row, target, iou, np.isin(pool.class_index[target], np.array(similar, np.int64)), n)
    other_iou, other_object = _best(row, target, iou, ~own, n)
    return Overlaps(own_iou, own_object, similar_iou, other_iou, other_object, dict(_candidates(row, target, iou, own & (iou >= min_iou))))


def judge(detections: ClassDetections, class_index: int, pool: ObjectPool, overlaps: Overlaps) -> ErrorModes:
    """Matches one class's detections from the surest on and names the mistake of each wrong one.

    Localisation: an overlap of WEAK_IOU or more with an object of its class, however taken or difficult; that is a weak match or a
    duplicate. Else similar, other: so much overlap with an object of a similar, of any other class. Else background.
    """
    order = rank(detections.scores)
    taken: set[int] = set()
    matched = np.full(len(order), -1)
    for k, detection in enumerate(order.tolist()):
        free = [target for target in overlaps.candidates.get(detection, ()) if target not in taken]
        if free:
            matched[k] = free[0]
            taken.add(free[0])
    label = np.where(matched < 0, -1, np.where(pool.difficult[matched], 0, 1)) if len(pool.image) else np.full(len(order), -1)
    near = [values[order] >= WEAK_IOU for values in (overlaps.own_iou, overlaps.similar_iou, overlaps.other_iou)]
    mode = np.where(label < 0, np.select(near, [0, 1, 2], default=3), -1)
    positives = int(np.count_nonzero((pool.class_index == class_index) & ~pool.difficult))
    return ErrorModes(order, label, mode, np.where(matched < 0, -1, matched - pool.first[class_index]), positives)


def count_modes(modes: ErrorModes, ranks: int | None = None) -> dict[str, int]:
    """False positives of each kind among the first ranks."""
    return dict(zip(MODES, np.bincount(modes.mode[:ranks][modes.mode[:ranks] >= 0], minlength=len(MODES)).tolist(), strict=True))


def top_counts(modes: ErrorModes) -> dict[str, int]:
    """Right detections and mistakes among as many of the surest detections as the class has positives; difficult ones are in neither."""
    return {"right": int(np.count_nonzero(modes.label[: modes.n_positives] == 1)), **count_modes(modes, modes.n_positives)}


def trend(group: Sequence[ErrorModes]) -> dict[int, dict[str, float]]:
    """Number of false positives -> share of each kind among so many of the surest ones of a group of classes.

    The classes go down their ranks side by side; a share is read where the group's false positives first reach the number.
    """
    longest = max((len(modes.mode) for modes in group), default=0)
    counts = np.zeros((longest, len(MODES)), np.int64)
    for modes in group:
        ranks = np.flatnonzero(modes.mode >= 0)
        np.add.at(counts, (ranks, modes.mode[ranks]), 1)
    reached = counts.cumsum(axis=0)
    totals = reached.sum(axis=1)
    shares = {}
    for number in TREND:
        if longest and totals[-1] >= number:
            at = int(np.searchsorted(totals, number))
            shares[number] = dict(zip(MODES, (reached[at] / totals[at]).tolist(), strict=True))
    return shares


def normalised_ap(label: Int64[Array, "K"], n_positives: int, n_j: float) -> float:
    """Area-like AP with the precision that the class would have with n_j positives; NaN without positives.

    P_N = R n_j / (R n_j + F) at recall R with F false positives, made falling, averaged over the positives; a missed one counts 0.
    Law: equal recalls at equal false positives give equal values however rare the class is.
    """
    if not n_positives:
        return float("nan")
    recall = np.cumsum(label == 1) / n_positives
    false = np.cumsum(label == -1)
    precision = np.divide(recall * n_j, recall * n_j + false, out=np.zeros(len(label)), where=recall > 0)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float(falling[label == 1].sum() / n_positives)


def _same_image(images: Int64[Array, "K"], gt_images: Int64[Array, "G"]) -> tuple[Int64[Array, "P"], Int64[Array, "P"]]:
    """Every pair of a detection and an object of its image, the detections in order and each one's objects in order."""
    by_image = np.argsort(gt_images, kind="stable")
    low, high = (np.searchsorted(gt_images[by_image], images, side) for side in ("left", "right"))
    counts = high - low
    rows = np.repeat(np.arange(len(images)), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows, by_image[np.repeat(low, counts) + within]


def _best(
    row: Int64[Array, "P"], target: Int64[Array, "P"], iou: Float64[Array, "P"], wanted: Bool[Array, "P"], n: int
) -> tuple[Float64[Array, "K"], Int64[Array, "K"]]:
    """The largest wanted overlap of each of n rows and whose it is; 0 and -1 where there is none."""
    pairs = _by_overlap(row, iou, wanted)
    rows, first = np.unique(row[pairs], return_index=True)
    best, found = np.zeros(n), np.full(n, -1)
    best[rows], found[rows] = iou[pairs][first], target[pairs][first]
    return best, found


def _candidates(
    row: Int64[Array, "P"], target: Int64[Array, "P"], iou: Float64[Array, "P"], wanted: Bool[Array, "P"]
) -> Iterator[tuple[int, Int64[Array, "_"]]]:
    pairs = _by_overlap(row, iou, wanted)
    rows, starts = np.unique(row[pairs], return_index=True)
    return zip(rows.tolist(), np.split(target[pairs], starts[1:]), strict=False)


def _by_overlap(row: Int64[Array, "P"], iou: Float64[Array, "P"], wanted: Bool[Array, "P"]) -> Int64[Array, "_"]:
    """The wanted pairs by row, then falling overlap, then their order."""
    pairs = np.flatnonzero(wanted)
    return pairs[np.lexsort((-iou[pairs], row[pairs]))]
