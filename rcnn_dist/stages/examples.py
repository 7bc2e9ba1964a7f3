"""Pictures for the report: the surest true and false detections of each class, and the largest missed objects."""

from collections.abc import Iterator

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.data.images import read_image
from rcnn_dist.errors import BadImageError
from rcnn_dist.evaluate.voc import ClassDetections, ClassObjects, ClassResult
from rcnn_dist.geometry.boxes import best_object
from rcnn_dist.report import BoxKind, Example, Verdict, draw_detections
from rcnn_dist.stages.evaluate import Evaluation
from rcnn_dist.stages.run import Run

_PER_CLASS = 4
_TOTAL = 160


def choose_examples(run: Run, found: Evaluation) -> tuple[Example, ...]:
    """Some of each verdict per class; without annotations, the surest detections, undecided."""
    each = max(1, min(_PER_CLASS, _TOTAL // (3 * max(1, len(run.classes)))))
    examples: list[Example] = []
    for name, result in found.results.items():
        detections = found.detections[name]
        true = result.matches.order[result.matches.is_true_positive][:each]
        false = result.matches.order[result.matches.is_false_positive][:each]
        picked: list[tuple[Verdict, Array]] = [("true", true), ("false", false)]
        for verdict, rows in picked:
            for row in rows:
                reason = _reason(found, name, row, verdict)
                examples += _example(
                    run, found, name, verdict, detections.image[row], detections.boxes[row], detections.scores[row], reason
                )
        objects = found.objects[name]
        for row in _missed(objects, result)[:each]:
            reason = _why_missed(detections, objects, row)
            examples += _example(run, found, name, "missed", objects.image[row], objects.boxes[row], float("nan"), reason)
    return tuple(examples)


def _example(
    run: Run, found: Evaluation, name: str, verdict: Verdict, image: int, box: Array, score: float, reason: str
) -> Iterator[Example]:
    """One picture with the box and the image's objects of all classes; none where the image cannot be read."""
    image_id = found.image_ids[image]
    try:
        pixels = read_image(run.dataset.image_url(image_id), run.config.data.max_pixels, run.config.data.exif_rotation)
    except BadImageError:
        return
    others = [(o.boxes[o.image == image], other) for other, o in found.objects.items()]
    boxes = [box[None], *(b for b, _ in others)]
    labels = [name if np.isnan(score) else f"{name} {score:.2f}"] + [""] * sum(len(b) for b, _ in others)
    annotated: list[BoxKind] = ["object"] * (len(labels) - 1)
    kinds: list[BoxKind] = [verdict, *annotated]
    picture = draw_detections(pixels, np.concatenate(boxes), labels, kinds)
    yield Example(image_id, name, float(score), verdict, picture, reason)


def _reason(found: Evaluation, name: str, row: int, verdict: Verdict) -> str:
    detections, objects = found.detections[name], found.objects[name]
    image, box = detections.image[row], detections.boxes[row : row + 1]
    iou = _best_iou(box, objects, image)
    if verdict == "true":
        return f"IoU {iou:.2f} with its object"
    if iou >= 0.5:
        return f"IoU {iou:.2f} with an object that a surer detection covers"
    if iou >= 0.1:
        return f"IoU {iou:.2f} with an object of the class: badly placed"
    other, other_iou = max(
        ((n, _best_iou(box, o, image)) for n, o in found.objects.items() if n != name), key=lambda x: x[1], default=("", 0)
    )
    return f"IoU {other_iou:.2f} with an object of class {other}" if other_iou >= 0.1 else "background"


def _best_iou(box: Array, objects: ClassObjects, image: int) -> float:
    return float(best_object(box, objects.boxes[objects.image == image])[1][0])


def _missed(objects: ClassObjects, result: ClassResult) -> Array:
    """Objects that no detection covers, the largest first; difficult ones do not count."""
    missed = ~objects.difficult
    missed[result.matches.matched_object[result.matches.is_true_positive]] = False
    rows = np.flatnonzero(missed)
    areas = np.prod(objects.boxes[rows, 2:] - objects.boxes[rows, :2], axis=1)
    return rows[np.argsort(-areas, kind="stable")]


def _why_missed(detections: ClassDetections, objects: ClassObjects, row: int) -> str:
    boxes = detections.boxes[detections.image == objects.image[row]]
    if len(boxes) == 0:
        return "no detection of the class in this image"
    iou = best_object(objects.boxes[row : row + 1], boxes)[1][0]
    return f"the nearest detection of the class has IoU {iou:.2f}"
