import numpy as np
import pytest

from rcnn_dist.evaluate.error_cost import KINDS, judge_mistakes, mistake_costs
from rcnn_dist.evaluate.error_modes import find_overlaps, pool_objects
from rcnn_dist.evaluate.voc import ClassDetections, ClassObjects, evaluate_class, mean_average_precision

BOX, LOWER, FAR = (0, 0, 10, 10), (0, 6, 10, 16), (100, 100, 110, 110)  # LOWER: IoU 1/4 with BOX


def found(*rows):
    image, boxes, scores = zip(*rows, strict=True) if rows else ((), (), ())
    return ClassDetections(np.array(image, np.int64), np.array(boxes, float).reshape(-1, 4), np.array(scores, np.float32))


def annotated(*rows):
    image, boxes, difficult = zip(*rows, strict=True) if rows else ((), (), ())
    return ClassObjects(np.array(image, np.int64), np.array(boxes, float).reshape(-1, 4), np.array(difficult, bool))


def costs_of(detections, objects, variant="area"):
    pool = pool_objects(objects)
    results = {name: evaluate_class(detections[name], objects[name], 0.5) for name in objects}
    judged, covered = [], []
    for index, (name, result) in enumerate(results.items()):
        overlaps = find_overlaps(detections[name], index, pool, [], 0.5)
        judged.append(judge_mistakes(detections[name].scores, result.matches, overlaps, 0.5))
        mask = np.zeros(len(objects[name].image), bool)
        mask[result.matches.matched_object[result.matches.is_true_positive]] = True
        covered.append(mask)
    return mistake_costs(judged, np.concatenate(covered), pool, variant), mean_average_precision(results, variant), judged


def kinds(judged):
    return [KINDS[k] if k >= 0 else None for k in judged.kind]


def test_each_kind_by_hand():
    objects = {"cat": annotated((0, BOX, False)), "dog": annotated((1, BOX, False), (2, BOX, False), (3, BOX, True))}
    detections = {
        "cat": found((0, BOX, 9.0), (0, BOX, 8.0), (0, LOWER, 7.0), (1, BOX, 6.0), (1, LOWER, 5.0), (5, BOX, 4.0)),
        "dog": found((3, BOX, 1.0)),
    }
    _, _, judged = costs_of(detections, objects)
    assert kinds(judged[0]) == [None, "duplicate", "localisation", "classification", "both", "background"]
    assert kinds(judged[1]) == [None], "a difficult object excuses"


@pytest.mark.parametrize("kind", ["localisation", "classification", "duplicate", "background", "both", "missed"])
def test_one_mistake_costs_what_its_oracle_gains(kind):
    cat, dog = annotated((0, BOX, False)), annotated((1, BOX, False))
    right_dog = (1, BOX, 1.0)
    cats, dogs = {
        "localisation": ([(0, LOWER, 9.0)], [right_dog]),
        "classification": ([(1, BOX, 9.0), (0, BOX, 1.0)], []),
        "duplicate": ([(0, BOX, 9.0), (0, BOX, 8.0)], [right_dog]),
        "background": ([(5, BOX, 9.0), (0, BOX, 1.0)], [right_dog]),
        "both": ([(1, LOWER, 9.0), (0, BOX, 1.0)], [right_dog]),
        "missed": ([(0, BOX, 9.0)], []),
    }[kind]
    costs, before, _ = costs_of({"cat": found(*cats), "dog": found(*dogs)}, {"cat": cat, "dog": dog})
    assert costs[kind].count == 1
    after = {"duplicate": before, "missed": 0.5}.get(kind, 1.0)  # the duplicate comes after full recall; a lone dog stays unfound
    assert before + costs[kind].gain == pytest.approx(after)
    assert all(cost.count == 0 and cost.gain == 0 for name, cost in costs.items() if name in KINDS and name != kind)


def test_without_the_missed_objects_recall_is_of_the_others():
    objects = {"cat": annotated((0, BOX, False), (1, BOX, False))}
    costs, before, _ = costs_of({"cat": found((0, BOX, 1.0))}, objects)
    assert before == 0.5 and costs["missed"].gain == 0.5 and costs["false negatives"].gain == 0.5


def test_an_oracle_moves_one_detection_to_an_object_and_none_to_a_found_one():
    objects = {"cat": annotated((0, BOX, False), (1, BOX, False))}
    detections = {"cat": found((0, BOX, 9.0), (0, LOWER, 8.0), (1, LOWER, 7.0), (1, LOWER, 6.0))}
    costs, before, _ = costs_of(detections, objects)
    assert costs["localisation"].count == 3
    assert before + costs["localisation"].gain == pytest.approx(1.0), "one is put right, two vanish"


def test_random_costs_are_bounded_and_the_baseline_is_the_runs_map():
    rng = np.random.default_rng(3)
    for _ in range(25):

        def boxes(n):
            corner = rng.integers(0, 12, (n, 2)).astype(float)
            return np.concatenate([corner, corner + rng.integers(4, 12, (n, 2))], axis=1)

        objects = {n: ClassObjects(rng.integers(0, 3, 5), boxes(5), rng.random(5) < 0.2) for n in ("cat", "dog")}
        detections = {n: ClassDetections(rng.integers(0, 3, 20), boxes(20), rng.normal(size=20).astype(np.float32)) for n in ("cat", "dog")}
        for variant in ("voc07", "area"):
            costs, before, judged = costs_of(detections, objects, variant)
            assert costs["false positives"].count == sum(costs[k].count for k in KINDS[:-1]) == sum((j.kind >= 0).sum() for j in judged)
            gains = {name: cost.gain for name, cost in costs.items()}
            assert all(before + gain <= 1 + 1e-9 for gain in gains.values())
            assert all(gains[k] >= -1e-12 for k in ("both", "duplicate", "background", "false positives", "false negatives"))


def test_nothing_to_find():
    costs, _, _ = costs_of({"cat": found((0, BOX, 1.0))}, {"cat": annotated()})
    assert np.isnan(costs["background"].gain) and costs["background"].count == 1
