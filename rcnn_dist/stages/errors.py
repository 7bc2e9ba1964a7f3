"""What the detector gets wrong, and why, as `evaluation/errors.json` holds it."""

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.detect.postprocess import set_cap, set_cap_threshold
from rcnn_dist.errors import MissingShardError
from rcnn_dist.evaluate.error_cost import cost_json, judge_mistakes, mistake_costs
from rcnn_dist.evaluate.error_modes import (
    N_J_PER_IMAGE,
    ErrorModes,
    ObjectPool,
    Overlaps,
    count_modes,
    find_overlaps,
    judge,
    normalised_ap,
    pool_objects,
    similar_classes,
    top_counts,
    trend,
)
from rcnn_dist.evaluate.missed import CAUSES, blame_missed
from rcnn_dist.evaluate.sensitivity import sensitivities, sensitivity_json
from rcnn_dist.evaluate.voc import ClassResult
from rcnn_dist.stages import detect, propose
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files
from rcnn_dist.store.query import DetectionRows, detections_by_class
from rcnn_dist.store.shards import read_images, read_markers
from rcnn_dist.store.tables import boxes_of

if TYPE_CHECKING:
    from rcnn_dist.stages.evaluate import Evaluation

FAILED = "failed image"


def analyse_errors(run: Run, found: "Evaluation") -> dict[str, Any]:
    """What `errors.json` holds; empty where the test set has no annotations."""
    if not found.results:
        return {}
    section = run.config.evaluate
    names = list(found.results)
    pool, overlaps, modes = judge_modes(run, found)
    groups = {group: [n for n in members if n in names] for group, members in section.groups.items()}
    groups = {group: members for group, members in groups.items() if members} | {"all classes": names}
    n_j = N_J_PER_IMAGE * len(found.image_ids)
    by_class = {name: _class_json(one, n_j) for name, one in modes.items()}
    variant: Literal["voc07", "area"] = "voc07" if section.variant == "voc07" else "area"
    judged = [judge_mistakes(found.detections[n].scores, r.matches, overlaps[n], section.min_iou) for n, r in found.results.items()]
    return {
        "modes": by_class,
        "groups": {group: _group_json([modes[n] for n in members], members) for group, members in groups.items()},
        "cost": {"variant": variant, **cost_json(mistake_costs(judged, _found_objects(found), pool, variant))},
        "normalised_ap": {"n_j": n_j, "mean": _mean([one["normalised_ap"] for one in by_class.values()])},
        "sensitivity": sensitivity_json(sensitivities(modes, found.objects, n_j)),
        "missed": _blame_where_proposals_stand(run, found),
    }


def judge_modes(run: Run, found: "Evaluation") -> tuple[ObjectPool, dict[str, Overlaps], dict[str, ErrorModes]]:
    """All objects, what each class's detections overlap, and the kind of each mistake."""
    names, min_iou = list(found.results), run.config.evaluate.min_iou
    pool = pool_objects(found.objects)
    similar = {name: [names.index(c) for c in others] for name, others in similar_classes(names, run.config.evaluate.similar).items()}
    overlaps = {n: find_overlaps(found.detections[n], i, pool, similar[n], min_iou) for i, n in enumerate(names)}
    return pool, overlaps, {n: judge(found.detections[n], i, pool, overlaps[n]) for i, n in enumerate(names)}


def _blame_where_proposals_stand(run: Run, found: "Evaluation") -> dict[str, Any] | None:
    try:
        propose.ProposeStage(run).require("test")
    except MissingShardError:
        return None  # a run may be kept without its proposals
    return blame(run, found)


def blame(run: Run, found: "Evaluation") -> dict[str, Any]:
    """How many objects are to be found and missed, and by which step, per class and together."""
    missed = {name: _missed_rows(result, found.objects[name].difficult) for name, result in found.results.items()}
    url = files.join(detect.folder(run), "test")
    rows = detections_by_class(url, run.classes, found.image_ids)
    limit = set_cap(run.config.detect, len(found.image_ids))
    per_image = {name: _rows_by_image(rows[name], len(found.image_ids), limit) for name in missed}
    causes: dict[str, Counter[str]] = {name: Counter() for name in missed}
    stage, numbers = propose.ProposeStage(run), {image_id: i for i, image_id in enumerate(found.image_ids)}
    usable = {numbers[image_id] for marker in read_markers(url) for image_id, _ in marker.images}
    for task in stage.tasks("test"):
        for image_id, table in read_images(stage.folder("test"), task.part, columns=["x1", "y1", "x2", "y2"]):
            image = numbers[image_id]
            proposals = boxes_of(table)[: run.config.extract.max_proposals]
            for name, lost in missed.items():
                objects = found.objects[name]
                boxes = objects.boxes[lost[objects.image[lost] == image]]
                if len(boxes) and image in usable:
                    own = per_image[name][image]
                    chosen = (rows[name].proposals[own], rows[name].boxes[own], rows[name].kept[own])
                    causes[name].update(blame_missed(boxes, proposals, *chosen, run.config.evaluate.min_iou))
    for name, lost in missed.items():
        causes[name][FAILED] += sum(image not in usable for image in found.objects[name].image[lost].tolist())
    counts = {name: {cause: causes[name][cause] for cause in (*CAUSES, FAILED)} for name in missed}
    return {
        "objects": sum(r.matches.n_positives for r in found.results.values()),
        "missed": sum(len(lost) for lost in missed.values()),
        "causes": {cause: sum(one[cause] for one in counts.values()) for cause in (*CAUSES, FAILED)},
        "classes": counts,
    }


def _class_json(modes: ErrorModes, n_j: float) -> dict[str, Any]:
    hundredth = np.flatnonzero(modes.mode >= 0)[:100]
    return {
        "false_positives": count_modes(modes),
        "top": top_counts(modes),
        "first_100": count_modes(modes, int(hundredth[-1]) + 1 if len(hundredth) else 0),
        "normalised_ap": json_number(normalised_ap(modes.label, modes.n_positives, n_j)),
    }


def _group_json(modes: list[ErrorModes], members: list[str]) -> dict[str, Any]:
    top: Counter[str] = Counter()
    for one in modes:
        top.update(top_counts(one))
    return {"classes": members, "top": dict(top), "trend": trend(modes)}


def _found_objects(found: "Evaluation") -> Array:
    """Which objects of the pool a right detection covers, bool [G]."""
    masks = []
    for name, result in found.results.items():
        mask = np.zeros(len(found.objects[name].image), bool)
        mask[result.matches.matched_object[result.matches.is_true_positive]] = True
        masks.append(mask)
    return np.concatenate(masks)


def _missed_rows(result: ClassResult, difficult: Array) -> Array:
    missed = ~difficult
    missed[result.matches.matched_object[result.matches.is_true_positive]] = False
    return np.flatnonzero(missed)


def _rows_by_image(rows: DetectionRows, n_images: int, limit: int) -> list[Array]:
    """The rows of each image that the cap over the whole set leaves, as in the evaluation."""
    best = np.flatnonzero(rows.scores >= set_cap_threshold(rows.scores, limit))
    order = best[np.argsort(rows.image[best], kind="stable")]
    return np.split(order, np.searchsorted(rows.image[order], np.arange(1, n_images)))


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def json_number(value: float) -> float | None:
    """A figure for a JSON file, which has no NaN."""
    return None if math.isnan(value) else value
