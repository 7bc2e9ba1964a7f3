"""A run's detections, and the objects they are judged by, as COCO JSON."""

import json
from typing import Any

from rcnn_dist.data.coco import CocoDataset
from rcnn_dist.data.images import image_size, read_file
from rcnn_dist.errors import BadImageError
from rcnn_dist.evaluate.coco_files import Number, annotation_entries, results_entries
from rcnn_dist.stages.evaluate import evaluate
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files

DETECTIONS = "detections.json"
INSTANCES = "instances.json"


def export_coco(run: Run, out: str) -> list[str]:
    """Writes `detections.json` (COCO's results format) and, where the test images are annotated, `instances.json`; their urls.

    Images and classes keep the ids of a data set in COCO's layout, others are numbered from 1. Detections are those of the evaluation:
    after suppression, of all scores.

    Raises:
        MissingShardError: the detections are not complete.
    """
    found = evaluate(run)
    images, categories = _numbers(run)
    written: dict[str, Any] = {DETECTIONS: results_entries(found.detections, images, categories)}
    if found.objects:
        written[INSTANCES] = {
            "images": [_image(run, image_id, number) for image_id, number in zip(found.image_ids, images, strict=True)],
            "categories": [{"id": number, "name": name} for name, number in categories.items()],
            "annotations": annotation_entries(found.objects, images, categories),
        }
    for name, content in written.items():
        files.write_bytes(files.join(out, name), json.dumps(content).encode())
    return [files.join(out, name) for name in written]


def _numbers(run: Run) -> tuple[list[Number], dict[str, Number]]:
    """COCO's ids of the test images, in order, and of the classes."""
    image_ids = run.image_ids("test")
    if isinstance(run.dataset, CocoDataset):
        images, categories = run.dataset.numbers(run.image_set("test"))
        return [images[i] for i in image_ids], {name: categories.get(name, name) for name in run.classes}
    return list(range(1, len(image_ids) + 1)), {name: number for number, name in enumerate(run.classes, start=1)}


def _image(run: Run, image_id: str, number: Number) -> dict[str, Any]:
    """An entry of `images`; without its size where the image cannot be read."""
    url = run.dataset.image_url(image_id)
    entry = {"id": number, "file_name": url.removeprefix(f"{str(run.config.data.root).rstrip('/')}/")}
    try:
        width, height = image_size(read_file(url))
    except BadImageError:
        return entry
    return {**entry, "width": width, "height": height}
