"""The verdict on all classes: from detections and objects to AP, mAP and the files that VOC's and ILSVRC's kits take (paper §2.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float32, Float64, Int64
from rcnn_dist.evaluate.average_precision import average_precision, precision_recall
from rcnn_dist.evaluate.coco import match_coco
from rcnn_dist.evaluate.ilsvrc import match_ilsvrc
from rcnn_dist.evaluate.matching import Matches, match_voc
from rcnn_dist.geometry.boxes import voc_from_half_open

__all__ = [
    "VARIANTS",
    "ClassDetections",
    "ClassObjects",
    "ClassResult",
    "Variant",
    "evaluate_class",
    "mean_average_precision",
    "median_average_precision",
    "results_file",
    "submission_lines",
    "variants",
]

Variant = Literal["voc07", "area", "coco", "ilsvrc"]
VARIANTS: tuple[Variant, ...] = ("voc07", "area", "coco")


@dataclass(frozen=True, slots=True)
class ClassDetections:
    """One class's detections over a set, image by image."""

    image: Int64[Array, "K"]
    boxes: Float64[Array, "K 4"]
    scores: Float32[Array, "K"]


@dataclass(frozen=True, slots=True)
class ClassObjects:
    """One class's annotated objects over a set."""

    image: Int64[Array, "G"]
    boxes: Float64[Array, "G 4"]
    difficult: Bool[Array, "G"]
    truncated: Bool[Array, "G"] | None = None  # None: not annotated
    noted: Mapping[str, Mapping[str, Bool[Array, "G"]]] = field(default_factory=dict)  # characteristic -> subset, where somebody noted it


@dataclass(frozen=True, slots=True)
class ClassResult:
    """How one class's detections fare: matches and curve by VOC's rules or ILSVRC's, AP by each variant's own."""

    matches: Matches
    recall: Float64[Array, "K"]
    precision: Float64[Array, "K"]
    ap: Mapping[Variant, float]  # NaN: no object to find
    matched: Mapping[Variant, Matches]  # by each variant's own rules


def variants(chosen: Variant) -> tuple[Variant, ...]:
    """The variants that are computed where one is chosen: those of VOC and COCO, and ILSVRC's where that is it."""
    return (*VARIANTS, "ilsvrc") if chosen == "ilsvrc" else VARIANTS


def evaluate_class(detections: ClassDetections, objects: ClassObjects, min_iou: float, chosen: Variant = "voc07") -> ClassResult:
    """Matches, curve and AP of one class; a class without objects that are not difficult has the AP NaN.

    Example:
        >>> boxes = np.array([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
        >>> image = np.array([0, 0])
        >>> objects = ClassObjects(image, boxes, difficult=np.array([False, False]))
        >>> found = ClassDetections(image[:1], boxes[:1], np.array([0.9], np.float32))
        >>> round(evaluate_class(found, objects, min_iou=0.5).ap["area"], 3)
        0.5
    """
    both = (detections.image, detections.boxes, detections.scores, objects.image, objects.boxes, objects.difficult, min_iou)
    matches = match_voc(*both)
    matched: dict[Variant, Matches] = {"voc07": matches, "area": matches, "coco": match_coco(*both)}
    if chosen == "ilsvrc":
        matched["ilsvrc"] = match_ilsvrc(*both[:5])
        matches = matched["ilsvrc"]
    recall, precision = precision_recall(matches)
    if not matched["voc07"].n_positives:
        return ClassResult(matches, recall, precision, dict.fromkeys(variants(chosen), float("nan")), matched)
    ap = {v: average_precision(*precision_recall(own), curve_of(v)) for v, own in matched.items()}
    return ClassResult(matches, recall, precision, ap, matched)


def curve_of(variant: Variant) -> Literal["voc07", "area", "coco"]:
    """How a variant turns its curve into a number: ILSVRC differs from `area` by its matching alone."""
    return "area" if variant == "ilsvrc" else variant


def mean_average_precision(results: Mapping[str, ClassResult], variant: Variant) -> float:
    """Mean AP over the classes that have objects; NaN where none has."""
    values = [r.ap[variant] for r in results.values() if not np.isnan(r.ap[variant])]
    return float(np.mean(values)) if values else float("nan")


def median_average_precision(results: Mapping[str, ClassResult]) -> float:
    """Median AP over the classes that have objects; NaN where none has."""
    values = [r.ap["ilsvrc"] for r in results.values() if not np.isnan(r.ap["ilsvrc"])]
    return float(np.median(values)) if values else float("nan")


def results_file(detections: ClassDetections, image_ids: Sequence[str]) -> str:
    """The devkit's `comp4_det_test_<class>.txt`: image id, score, box in VOC's 1-based inclusive pixels, one line each."""
    boxes = voc_from_half_open(detections.boxes)
    return "".join(
        f"{image_ids[image]} {score:.6f} " + " ".join(f"{edge:.6f}" for edge in box) + "\n"
        for image, score, box in zip(detections.image, detections.scores.tolist(), boxes.tolist(), strict=True)
    )


def submission_lines(detections: ClassDetections, class_id: int, image_numbers: Sequence[int]) -> str:
    """One class's lines of the submission: image, class, score, box in 1-based inclusive pixels.

    Args:
        image_numbers: of each image of the set: its number in the kit's list.
    """
    boxes = voc_from_half_open(detections.boxes)
    return "".join(
        f"{image_numbers[image]} {class_id} {score:.6f} " + " ".join(f"{edge:.3f}" for edge in box) + "\n"
        for image, score, box in zip(detections.image, detections.scores.tolist(), boxes.tolist(), strict=True)
    )
