import json
from pathlib import Path

import numpy as np

from rcnn_dist.geometry.boxes import iou_matrix
from rcnn_dist.stages.errors import _rows_by_image, analyse_errors
from rcnn_dist.stages.evaluate import evaluate
from rcnn_dist.stages.propose import ProposeStage
from rcnn_dist.stages.run import Run
from rcnn_dist.store.query import DetectionRows
from rcnn_dist.store.shards import read_images
from rcnn_dist.store.tables import boxes_of


def test_the_errors_of_a_run_add_up(finished_run):
    run = Run(finished_run)
    found = evaluate(run)
    errors = json.loads(Path(run.url, "evaluation", "errors.json").read_text())
    assert errors == json.loads(json.dumps(analyse_errors(run, found)))
    right = {name: int(r.matches.is_true_positive.sum()) for name, r in found.results.items()}
    wrong = sum(int(r.matches.is_false_positive.sum()) for r in found.results.values())
    missed = errors["missed"]
    assert missed["missed"] == missed["objects"] - sum(right.values()) == sum(missed["causes"].values())
    assert errors["cost"]["false positives"]["count"] == wrong
    for name, one in errors["modes"].items():
        assert sum(one["false_positives"].values()) <= len(found.detections[name].scores)


def test_objects_that_no_proposal_reaches_are_the_proposals_fault(finished_run):
    run = Run(finished_run)
    found, stage, wanted = evaluate(run), ProposeStage(run), 0
    ids = {image_id: index for index, image_id in enumerate(found.image_ids)}
    for task in stage.tasks("test"):
        for image_id, table in read_images(stage.folder("test"), task.part):
            boxes = boxes_of(table)[: finished_run.extract.max_proposals]
            for objects in found.objects.values():
                own = objects.boxes[(objects.image == ids[image_id]) & ~objects.difficult]
                wanted += int((iou_matrix(boxes, own).max(axis=0, initial=0) < 0.5).sum())
    causes = analyse_errors(run, found)["missed"]["causes"]
    # a box that regression moved may still have found such an object
    assert causes["proposals"] <= wanted


def test_what_the_cap_of_the_set_left_out_covers_no_object():
    boxes, flags = np.zeros((4, 4)), np.ones(4, bool)
    rows = DetectionRows(np.array([1, 0, 1, 0]), boxes, boxes, np.array([4, 3, 2, 1], np.float32), flags, flags)
    assert [r.tolist() for r in _rows_by_image(rows, 2, 2)] == [[1], [0]]
    assert [r.tolist() for r in _rows_by_image(rows, 3, 6)] == [[1, 3], [0, 2], []]
