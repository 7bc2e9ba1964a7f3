"""Stage evaluate: detections against annotations by VOC's rules or ILSVRC's, results files, `evaluation/metrics.json` and `errors.json`."""

import io
import json
import tarfile
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.data.hoiem import read_notes, subsets_of
from rcnn_dist.detect.postprocess import set_cap, set_cap_threshold
from rcnn_dist.errors import BadAnnotationError
from rcnn_dist.evaluate.operating_points import operating_points
from rcnn_dist.evaluate.voc import (
    ClassDetections,
    ClassObjects,
    ClassResult,
    evaluate_class,
    mean_average_precision,
    median_average_precision,
    results_file,
    submission_lines,
    variants,
)
from rcnn_dist.stages import detect, train
from rcnn_dist.stages.base import Executor, Progress
from rcnn_dist.stages.errors import analyse_errors, json_number
from rcnn_dist.stages.ranked import RANKED, save_ranked
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files
from rcnn_dist.store.query import detections_by_class

NAME = "evaluate"
METRICS = "metrics.json"
OPERATING_POINTS = "operating_points.json"
ERRORS = "errors.json"
ARCHIVE = "results.tar.gz"
SUBMISSION = "submission.txt"  # of ILSVRC


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything known about the test set; `results` is empty where it has no annotations."""

    image_ids: tuple[str, ...]
    detections: dict[str, ClassDetections]
    objects: dict[str, ClassObjects]
    results: dict[str, ClassResult]
    unregressed: dict[str, ClassResult]  # of the proposals, without box regression


def folder(run: Run) -> str:
    return files.join(run.url, "evaluation")


class EvaluateStage:
    """Small and quick, so it runs anew each time."""

    name = NAME

    def __init__(self, run: Run) -> None:
        self._run = run

    def run(self, executor: Executor, progress: Progress) -> None:  # noqa: ARG002
        progress.start(NAME, len(self._run.classes), "classes")
        found = evaluate(self._run)
        self._write_results(found)
        files.write_bytes(files.join(folder(self._run), METRICS), (json.dumps(metrics(self._run, found), indent=1) + "\n").encode())
        errors = json.dumps(analyse_errors(self._run, found), indent=1) + "\n"
        files.write_bytes(files.join(folder(self._run), ERRORS), errors.encode())
        points = json.dumps(operating_points_json(self._run, found)) + "\n"
        files.write_bytes(files.join(folder(self._run), OPERATING_POINTS), points.encode())
        save_ranked(files.join(folder(self._run), RANKED), found.image_ids, found.detections, found.objects, found.results)
        progress.advance(len(self._run.classes))
        progress.finish()

    def _write_results(self, found: Evaluation) -> None:
        """The devkit's text files, and an archive in the layout that its server takes; ILSVRC's kit takes one file."""
        if self._run.config.evaluate.variant == "ilsvrc":
            ids = {name: number for number, name in enumerate(self._run.dataset.class_names or self._run.classes, start=1)}
            numbers = range(1, len(found.image_ids) + 1)
            lines = "".join(submission_lines(found.detections[name], ids[name], numbers) for name in self._run.classes)
            files.write_bytes(files.join(folder(self._run), SUBMISSION), lines.encode())
            return
        write_comp4(found, folder(self._run), self._run.image_set("test"), self._run.config.data.year)


def write_comp4(found: Evaluation, out: str, image_set: str, year: str) -> None:
    """The devkit's text file of each class below `comp4/`, and all of them in the archive that VOC's server takes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, detections in found.detections.items():
            text = results_file(detections, found.image_ids).encode()
            file = f"comp4_det_{image_set}_{quote(name, safe=' ')}.txt"  # a name may hold a slash
            files.write_bytes(files.join(out, "comp4", file), text)
            entry = tarfile.TarInfo(f"results/{year}/Main/{file}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    files.write_bytes(files.join(out, ARCHIVE), stream.getvalue())


def evaluate(run: Run) -> Evaluation:
    """Matches the detections of the test set; an image that failed counts as one without detections.

    Raises:
        MissingShardError: the detections are not complete.
    """
    detect.DetectStage(run).require("test")
    url = files.join(detect.folder(run), "test")
    image_ids = run.image_ids("test")
    excluded = excluded_images(run)
    kept, unregressed = {}, {}
    for name, rows in detections_by_class(url, run.classes, image_ids).items():
        best = rows.scores >= set_cap_threshold(rows.scores, set_cap(run.config.detect, len(image_ids)))
        best &= ~np.isin(rows.image, excluded[name])
        kept[name] = _select(rows.image, rows.boxes, rows.scores, best & rows.kept)
        unregressed[name] = _select(rows.image, rows.proposals, rows.scores, best & rows.kept_unregressed)
    objects = judged_objects(run)
    min_iou, chosen = run.config.evaluate.min_iou, run.config.evaluate.variant
    return Evaluation(
        image_ids,
        kept,
        objects,
        {name: evaluate_class(kept[name], objects[name], min_iou, chosen) for name in objects},
        {name: evaluate_class(unregressed[name], objects[name], min_iou, chosen) for name in objects},
    )


def metrics(run: Run, found: Evaluation) -> dict[str, Any]:
    """What `metrics.json` holds; no AP where the test set has no annotations."""
    content: dict[str, Any] = {
        "data": run.dataset.name,
        "split": run.image_set("test"),
        "images": len(found.image_ids),
        "classes": list(run.classes),
        "detections": {name: len(rows.scores) for name, rows in found.detections.items()},
        "archive": SUBMISSION if run.config.evaluate.variant == "ilsvrc" else ARCHIVE,
    }
    if found.results:
        computed = variants(run.config.evaluate.variant)
        content |= {
            "variant": run.config.evaluate.variant,
            "min_iou": run.config.evaluate.min_iou,
            "mAP": {v: json_number(mean_average_precision(found.results, v)) for v in computed},
            "mAP_without_regression": {v: json_number(mean_average_precision(found.unregressed, v)) for v in computed},
            "ap": {name: {v: json_number(r.ap[v]) for v in computed} for name, r in found.results.items()},
            "ap_without_regression": {name: {v: json_number(r.ap[v]) for v in computed} for name, r in found.unregressed.items()},
            "objects": {name: r.matches.n_positives for name, r in found.results.items()},
        }
    if found.results and run.config.evaluate.variant == "ilsvrc":
        both = {"median_AP": found.results, "median_AP_without_regression": found.unregressed}
        content |= {key: json_number(median_average_precision(results)) for key, results in both.items()}
    return content


def operating_points_json(run: Run, found: Evaluation) -> dict[str, Any]:
    """Class -> [score, precision] pairs for `score_at_precision`, and the models that they hold for."""
    classes = {}
    for name, result in found.results.items():
        ranked = found.detections[name].scores[result.matches.order]
        classes[name] = operating_points(ranked, result.precision).tolist()
    return {"models": run.relative(train.folder(run)), "classes": classes}


def excluded_images(run: Run) -> dict[str, Array]:
    """Class -> the test images for which it is not judged."""
    excluded: dict[str, list[int]] = {name: [] for name in run.classes}
    for number, image_id in enumerate(run.image_ids("test")):
        for name in run.dataset.excluded(image_id) & excluded.keys():
            excluded[name].append(number)
    return {name: np.array(numbers, np.int64) for name, numbers in excluded.items()}


def judged_objects(run: Run) -> dict[str, ClassObjects]:
    """The objects that each class is judged by; empty where no test image is annotated."""
    excluded = excluded_images(run)
    return {name: _leave_out(_with_notes(run, name, own), excluded[name]) for name, own in annotated_objects(run).items()}


def _with_notes(run: Run, name: str, objects: ClassObjects) -> ClassObjects:
    """The same objects with what was noted of them, where `evaluate.notes` says where that lies."""
    notes = read_notes(run.config.evaluate.notes, name) if run.config.evaluate.notes else None
    return replace(objects, noted=subsets_of(notes, objects.boxes, objects.difficult, name)) if notes else objects


def _leave_out(objects: ClassObjects, images: Array) -> ClassObjects:
    keep = ~np.isin(objects.image, images)
    truncated = None if objects.truncated is None else objects.truncated[keep]
    noted = {name: {subset: mask[keep] for subset, mask in subsets.items()} for name, subsets in objects.noted.items()}
    return ClassObjects(objects.image[keep], objects.boxes[keep], objects.difficult[keep], truncated, noted)


def _select(image: Array, boxes: Array, scores: Array, mask: Array) -> ClassDetections:
    return ClassDetections(image[mask], boxes[mask], scores[mask])


def annotated_objects(run: Run) -> dict[str, ClassObjects]:
    """The annotated objects of the test set by class; empty where no image is annotated."""
    annotated = []
    for index, image_id in enumerate(run.image_ids("test")):
        try:
            objects = run.dataset.objects(image_id)
        except BadAnnotationError:
            continue  # a row of the failures table already
        if objects is not None:
            annotated.append((index, objects))
    flagged = any(objects.truncated.any() for _, objects in annotated)
    found = {}
    for name in run.classes if annotated else ():
        masks = [(index, objects, np.array([c == name for c in objects.classes], bool)) for index, objects in annotated]
        truncated = np.concatenate([objects.truncated[mask] for _, objects, mask in masks]) if flagged else None
        found[name] = ClassObjects(
            np.concatenate([np.full(np.count_nonzero(mask), index, np.int64) for index, _, mask in masks]),
            np.concatenate([objects.boxes[mask] for _, objects, mask in masks]),
            np.concatenate([objects.difficult[mask] for _, objects, mask in masks]),
            truncated,
        )
    return found
