import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_dist.evaluate.coco import match_coco
from rcnn_dist.evaluate.voc import ClassDetections, ClassObjects, evaluate_class


def random_case(seed, n_images=6, most_detections=130, grid=None):
    """Objects, some of them crowds, and detections: some near an object, some anywhere; on a grid there are equal overlaps and scores."""
    rng = np.random.default_rng(seed)
    boxes = []
    for n in (rng.integers(0, 12), rng.integers(0, most_detections)):
        low = rng.uniform(0, 100, (n, 2))
        boxes.append(np.concatenate([low, low + rng.uniform(5, 60, (n, 2))], axis=1))
    objects, detections = boxes
    n, k = len(objects), len(detections)
    if n and k:
        near = rng.random(k) < 0.7
        detections[near] = objects[rng.integers(0, n, near.sum())] + rng.normal(0, 3, (near.sum(), 4))
        detections[:, 2:] = np.maximum(detections[:, 2:], detections[:, :2] + 1)
    scores = rng.normal(size=k).astype(np.float32)
    if grid:
        objects, detections, scores = np.round(objects / grid) * grid, np.round(detections / grid) * grid, np.round(scores, 1)
        objects[:, 2:], detections[:, 2:] = objects[:, 2:] + grid, detections[:, 2:] + grid
    det_image = np.sort(rng.integers(0, n_images, k))
    found = ClassDetections(det_image, detections, scores)
    return found, ClassObjects(rng.integers(0, n_images, n), objects, rng.random(n) < 0.25)


def pycocotools_ap(found, objects, min_iou, n_images=6):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def xywh(box):
        return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]

    truth, results = COCO(), COCO()
    images, categories = [{"id": i + 1} for i in range(n_images)], [{"id": 1, "name": "dog"}]
    annotations = [
        {
            "id": i + 1,
            "image_id": int(image) + 1,
            "category_id": 1,
            "bbox": xywh(box),
            "area": xywh(box)[2] * xywh(box)[3],
            "iscrowd": int(crowd),
        }
        for i, (image, box, crowd) in enumerate(zip(objects.image, objects.boxes, objects.difficult, strict=True))
    ]
    detections = [
        {
            "id": i + 1,
            "image_id": int(image) + 1,
            "category_id": 1,
            "bbox": xywh(box),
            "area": xywh(box)[2] * xywh(box)[3],
            "score": float(score),
        }
        for i, (image, box, score) in enumerate(zip(found.image, found.boxes, found.scores, strict=True))
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        for coco, entries in ((truth, annotations), (results, detections)):
            coco.dataset = {"images": images, "categories": categories, "annotations": entries}
            coco.createIndex()
        evaluation = COCOeval(truth, results, "bbox")
        evaluation.params.iouThrs = np.array([min_iou])
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, 0, 0, 2]
    return float("nan") if (precision < 0).all() else float(precision.mean())


@pytest.mark.parametrize("grid", [None, 4.0], ids=["anywhere", "many ties"])
@pytest.mark.parametrize("min_iou", [0.5, 0.75])
def test_average_precision_is_that_of_pycocotools(grid, min_iou):
    values = []
    for seed in range(80):
        found, objects = random_case(seed, grid=grid)
        ours = evaluate_class(found, objects, min_iou).ap["coco"]
        assert ours == pytest.approx(pycocotools_ap(found, objects, min_iou), abs=1e-9, nan_ok=True), seed
        values.append(ours)
    assert np.nanstd(values) > 0.05, "the cases differ"


def test_the_hundred_best_of_an_image_count():
    boxes = np.array([[0, 0, 10, 10]] * 101 + [[0, 0, 10, 10]], float)
    found = ClassDetections(np.array([0] * 101 + [1]), boxes, np.linspace(2, 1, 102, dtype=np.float32))
    objects = ClassObjects(np.array([1]), boxes[:1], np.array([False]))
    matches = match_coco(found.image, found.boxes, found.scores, objects.image, objects.boxes, objects.difficult)
    assert len(matches.order) == 101 and 100 not in matches.order
    assert matches.is_true_positive.tolist() == [False] * 100 + [True]


def test_a_detection_takes_its_second_best_object_where_the_best_is_taken():
    objects = np.array([[0, 0, 10, 10], [0, 0, 10, 9]], float)
    detections = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], float)
    matches = match_coco(np.zeros(2, int), detections, np.array([2.0, 1.0]), np.zeros(2, int), objects, np.zeros(2, bool))
    assert matches.is_true_positive.tolist() == [True, True] and matches.matched_object.tolist() == [0, 1]


def test_a_crowd_swallows_any_number_and_objects_come_first():
    objects = np.array([[0, 0, 100, 100], [0, 0, 10, 10]], float)
    detections = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60], [95, 95, 115, 115]], float)
    crowd = np.array([True, False])
    matches = match_coco(np.zeros(4, int), detections, np.array([4.0, 3.0, 2.0, 1.0]), np.zeros(2, int), objects, crowd)
    assert matches.is_true_positive.tolist() == [True, False, False, False]
    assert matches.is_false_positive.tolist() == [False, False, False, True]
    assert matches.matched_object.tolist() == [1, 0, 0, -1] and matches.n_positives == 1


@given(st.integers(0, 10**6))
def test_an_object_is_found_once_at_most_and_a_crowd_never(seed):
    found, objects = random_case(seed, n_images=2, most_detections=20)
    matches = match_coco(found.image, found.boxes, found.scores, objects.image, objects.boxes, objects.difficult)
    hit = matches.matched_object[matches.is_true_positive]
    assert len(set(hit)) == len(hit) and not objects.difficult[hit].any()
    assert not (matches.is_true_positive & matches.is_false_positive).any()
    assert sorted(matches.order) == list(range(len(found.scores)))


def test_nothing_against_nothing():
    none = np.zeros(0, int)
    matches = match_coco(none, np.zeros((0, 4)), np.zeros(0), none, np.zeros((0, 4)), np.zeros(0, bool))
    assert len(matches.order) == 0 and matches.n_positives == 0
    found = ClassDetections(none, np.zeros((0, 4)), np.zeros(0, np.float32))
    one = ClassObjects(np.zeros(1, int), np.array([[0.0, 0, 1, 1]]), np.array([False]))
    assert evaluate_class(found, one, 0.5).ap["coco"] == 0
