"""Pictures for the report: detections and missed objects of each class, and whole images with all that was found in them."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.data.images import read_image
from rcnn_dist.errors import BadImageError
from rcnn_dist.evaluate.voc import ClassDetections, ClassObjects, ClassResult
from rcnn_dist.geometry.boxes import best_object
from rcnn_dist.report import BoxKind, DrawnBox, DrawnImage, Example, FalsePositive, Verdict, draw_detections, draw_plain
from rcnn_dist.stages.evaluate import Evaluation
from rcnn_dist.stages.judged import Judged
from rcnn_dist.stages.run import Run

_PER_CLASS, _TOTAL = 4, 160
_SIDE, _SMALL_SIDE = 480, 240  # pixels of a picture, of one among very many
_LISTED = 5  # false positives of each class
_IMAGES, _BOXES, _LEAST_PRECISION = 24, 60, 0.1  # whole images, boxes of each, how sure a box has to be to be there


def choose_examples(run: Run, found: Evaluation, judged: Mapping[str, Judged]) -> tuple[Example, ...]:
    """Some of each verdict per class: the surest true and false detections, and the largest missed objects."""
    each, side = picture_plan(len(run.classes))
    examples: list[Example] = []
    for name, result in found.results.items():
        detections, own = found.detections[name], judged[name]
        draw = partial(_example, run, found, name, side)
        verdicts: tuple[Verdict, Verdict] = ("true", "false")
        for verdict in verdicts:
            for row in [row for row in own.ranked if own.verdict[row] == verdict][:each]:
                said = (float(detections.scores[row]), float(own.precision[row]), own.kind[row], _reason(found, name, row, verdict))
                examples += draw(verdict, detections.image[row], detections.boxes[row], said)
        objects = found.objects[name]
        for row in _missed(objects, result)[:each]:
            said = (float("nan"), float("nan"), "", _why_missed(detections, objects, row))
            examples += draw("missed", objects.image[row], objects.boxes[row], said)
    return tuple(examples)


def picture_plan(classes: int) -> tuple[int, int]:
    """How many examples of each verdict a class has, and their longer side in pixels, so that the page stays under 15 MB."""
    each = max(1, min(_PER_CLASS, _TOTAL // (3 * max(1, classes))))
    return each, _SIDE if 3 * each * classes <= _TOTAL else _SMALL_SIDE


def list_false_positives(found: Evaluation, judged: Mapping[str, Judged]) -> tuple[FalsePositive, ...]:
    """The surest false positives of each class."""
    return tuple(
        FalsePositive(
            found.image_ids[found.detections[name].image[row]],
            name,
            float(found.detections[name].scores[row]),
            float(own.precision[row]),
            own.kind[row],
            _reason(found, name, row, "false"),
        )
        for name, own in judged.items()
        for row in [row for row in own.ranked if own.verdict[row] == "false"][:_LISTED]
    )


def draw_images(run: Run, found: Evaluation, judged: Mapping[str, Judged]) -> tuple[DrawnImage, ...]:
    """Images of the test set drawn by chance, the same ones each time, with their surest detections.

    Paper: Figures 8 to 11.
    """
    drawn: list[DrawnImage] = []
    for image in choose_images(found) if judged else ():
        if len(drawn) < _IMAGES:
            drawn += _drawn(run, found, judged, image)
    return tuple(drawn)


def choose_images(found: Evaluation, seed: int = 0) -> list[int]:
    """The numbers of all test images in an order of chance."""
    order: list[int] = np.random.default_rng(seed).permutation(len(found.image_ids)).tolist()
    return order


def draw_image(pixels: Array, boxes: Sequence[DrawnBox], objects: Array, side: int) -> bytes:
    """A JPEG with detections and annotated objects drawn; labels say class and precision."""
    ordered = boxes[::-1]  # the surest last, on top
    kinds: list[BoxKind] = ["found" if box.verdict == "ignored" else box.verdict for box in ordered]
    kinds += ["object"] * len(objects)
    labels = [f"{box.class_name} {box.precision:.2f}" for box in ordered]
    corners = np.concatenate([np.array([box.box for box in ordered], np.float64).reshape(-1, 4), objects])
    return draw_detections(pixels, corners, labels + [""] * len(objects), kinds, side)


def image_boxes(found: Evaluation, judged: Mapping[str, Judged], image: int, precision: float) -> list[DrawnBox]:
    """The detections of an image that are at least so precise, the most precise first."""
    boxes = [
        DrawnBox(name, float(detections.scores[row]), float(own.precision[row]), own.verdict[row], own.kind[row], detections.boxes[row])
        for name, own in judged.items()
        for detections in [found.detections[name]]
        for row in np.flatnonzero((detections.image == image) & (own.precision >= precision)).tolist()
    ]
    return sorted(boxes, key=lambda box: (-box.precision, -box.score, box.class_name))


def image_objects(found: Evaluation, image: int) -> Array:
    """The annotated objects of an image, of all classes, float64 [G, 4]."""
    return np.concatenate([objects.boxes[objects.image == image] for objects in found.objects.values()])


def image_pixels(run: Run, found: Evaluation, image: int) -> Array | None:
    """uint8 [H, W, 3]; None where the image cannot be read."""
    try:
        return read_image(run.dataset.image_url(found.image_ids[image]), run.config.data.max_pixels, run.config.data.exif_rotation)
    except BadImageError:
        return None


def _drawn(run: Run, found: Evaluation, judged: Mapping[str, Judged], image: int) -> Iterator[DrawnImage]:
    """One image; none where it cannot be read."""
    pixels = image_pixels(run, found, image)
    if pixels is not None:
        boxes = image_boxes(found, judged, image, _LEAST_PRECISION)[:_BOXES]
        height, width = pixels.shape[:2]
        yield DrawnImage(found.image_ids[image], width, height, draw_plain(pixels, _SIDE), tuple(boxes), image_objects(found, image))


def _example(
    run: Run, found: Evaluation, name: str, side: int, verdict: Verdict, image: int, box: Array, said: tuple[float, float, str, str]
) -> Iterator[Example]:
    """One picture with the box and the image's objects of all classes; none where the image cannot be read."""
    pixels = image_pixels(run, found, image)
    if pixels is None:
        return
    score, precision, kind, reason = said
    others = [(o.boxes[o.image == image], other) for other, o in found.objects.items()]
    boxes = [box[None], *(b for b, _ in others)]
    labels = [name if np.isnan(score) else f"{name} {score:.2f}"] + [""] * sum(len(b) for b, _ in others)
    annotated: list[BoxKind] = ["object"] * (len(labels) - 1)
    picture = draw_detections(pixels, np.concatenate(boxes), labels, [verdict, *annotated], side)
    yield Example(found.image_ids[image], name, score, verdict, picture, reason, precision, kind)


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
