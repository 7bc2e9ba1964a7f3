"""Detections and objects as COCO's JSON has them: lists of entries with [x, y, width, height]."""

from collections.abc import Mapping, Sequence
from typing import Any

from rcnn_dist.arrays import Array, Float64
from rcnn_dist.evaluate.voc import ClassDetections, ClassObjects

Number = int | str  # an id in COCO's files


def results_entries(
    detections: Mapping[str, ClassDetections], image_numbers: Sequence[Number], category_numbers: Mapping[str, Number]
) -> list[dict[str, Any]]:
    """COCO's results format, class by class; `image_numbers` are the ids of the images by index."""
    return [
        {"image_id": image_numbers[image], "category_id": category_numbers[name], "bbox": _xywh(box), "score": score}
        for name, found in detections.items()
        for image, box, score in zip(found.image.tolist(), found.boxes, found.scores.tolist(), strict=True)
    ]


def annotation_entries(
    objects: Mapping[str, ClassObjects], image_numbers: Sequence[Number], category_numbers: Mapping[str, Number]
) -> list[dict[str, Any]]:
    """The `annotations` of an instances file, class by class, numbered from 1; difficult objects are crowds."""
    entries = [
        {"image_id": image_numbers[image], "category_id": category_numbers[name], "bbox": _xywh(box), "iscrowd": int(crowd)}
        for name, own in objects.items()
        for image, box, crowd in zip(own.image.tolist(), own.boxes, own.difficult.tolist(), strict=True)
    ]
    return [{"id": number, **entry, "area": entry["bbox"][2] * entry["bbox"][3]} for number, entry in enumerate(entries, start=1)]


def _xywh(box: Float64[Array, " 4"]) -> list[float]:
    x1, y1, x2, y2 = box.tolist()
    return [x1, y1, x2 - x1, y2 - y1]
