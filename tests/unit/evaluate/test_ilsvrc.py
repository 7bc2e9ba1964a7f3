import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcnn_dist.evaluate.ilsvrc import match_ilsvrc, min_ious
from rcnn_dist.evaluate.voc import (
    ClassDetections,
    ClassObjects,
    evaluate_class,
    mean_average_precision,
    median_average_precision,
    submission_lines,
)


def box(x, y, width, height):
    return [float(x), float(y), float(x + width), float(y + height)]


def boxes_of(rows):
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def match(detections, objects):
    """Each detection is (image, score, box), each object (image, box)."""
    return match_ilsvrc(
        np.array([d[0] for d in detections], np.int64),
        boxes_of([d[2] for d in detections]),
        np.array([d[1] for d in detections], np.float32),
        np.array([o[0] for o in objects], np.int64),
        boxes_of([o[1] for o in objects]),
    )


@pytest.mark.parametrize(("side", "wanted"), [((10, 10), 0.25), ((15, 30), 0.45), ((20, 40), 0.5), ((24, 24), 0.49827), ((25, 25), 0.5)])
def test_thresholds_by_hand(side, wanted):
    assert min_ious(boxes_of([box(3, 5, *side)]))[0] == pytest.approx(wanted, abs=1e-5)


def test_a_small_object_is_found_where_voc_does_not_find_it():
    found = match([(0, 1.0, box(0, 0, 10, 30))], [(0, box(0, 0, 10, 10))])  # IoU 1/3, over 0.25
    assert found.is_true_positive.tolist() == [True]
    assert match([(0, 1.0, box(0, 0, 100, 300))], [(0, box(0, 0, 100, 100))]).is_true_positive.tolist() == [False]


def test_a_second_detection_may_take_a_neighbour_but_a_third_is_wrong():
    objects = [(0, box(0, 0, 100, 100)), (0, box(10, 0, 100, 100))]
    detections = [(0, s, box(0, 0, 100, 100)) for s in (0.9, 0.8, 0.7)]
    found = match(detections, objects)
    assert found.is_true_positive.tolist() == [True, True, False] and found.matched_object.tolist() == [0, 1, -1]


def test_of_nothing():
    assert match([], []).n_positives == 0
    assert match([(0, 1.0, box(0, 0, 9, 9))], []).is_false_positive.tolist() == [True]
    assert match([], [(0, box(0, 0, 9, 9))]).n_positives == 1


def slow_match(detections, objects):
    """The kit's loops, image by image; (row, right) in rank order."""
    right = {}
    for image in sorted({d[0] for d in detections}):
        taken = set()
        rows = sorted((i for i, d in enumerate(detections) if d[0] == image), key=lambda i: (-float(f"{d32(detections[i][1]):.6f}"), i))
        for i in rows:
            x1, y1, x2, y2 = detections[i][2]
            best, chosen = -1.0, None
            for g, (gt_image, (a1, b1, a2, b2)) in enumerate(objects):
                if gt_image != image or g in taken:
                    continue
                w, h = a2 - a1, b2 - b1
                threshold = min(0.5, w * h / ((w + 10) * (h + 10)))
                iw, ih = min(x2, a2) - max(x1, a1), min(y2, b2) - max(y1, b1)
                overlap = iw * ih / ((x2 - x1) * (y2 - y1) + w * h - iw * ih) if iw > 0 and ih > 0 else 0.0
                if overlap >= threshold and overlap > best:
                    best, chosen = overlap, g
            if chosen is not None:
                taken.add(chosen)
            right[i] = chosen is not None
    order = sorted(range(len(detections)), key=lambda i: (-float(f"{d32(detections[i][1]):.6f}"), i))
    return [(i, right[i]) for i in order]


def d32(score):
    return float(np.float32(score))


def slow_ap(flags, n_objects):
    recall, precision, right = [0.0], [0.0], 0
    for place, flag in enumerate(flags, start=1):
        right += flag
        recall.append(right / n_objects)
        precision.append(right / place)
    recall.append(1.0)
    precision.append(0.0)
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


some_box = st.tuples(st.integers(0, 25), st.integers(0, 25), st.integers(1, 40), st.integers(1, 40)).map(lambda b: box(*b))
some_detections = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6).map(lambda s: s / 4), some_box), max_size=14)
some_objects = st.lists(st.tuples(st.integers(0, 2), some_box), max_size=8)


@settings(max_examples=150, deadline=None)
@given(some_detections, some_objects)
def test_agrees_with_the_kits_rules_written_out(detections, objects):
    found, slow = match(detections, objects), slow_match(detections, objects)
    assert found.order.tolist() == [i for i, _ in slow]
    assert found.is_true_positive.tolist() == [right for _, right in slow]
    assert len(set(found.matched_object[found.is_true_positive].tolist())) == found.is_true_positive.sum()
    if objects:
        none = np.zeros(len(objects), bool)
        own = ClassDetections(
            np.array([d[0] for d in detections], np.int64),
            boxes_of([d[2] for d in detections]),
            np.array([d[1] for d in detections], np.float32),
        )
        known = ClassObjects(np.array([o[0] for o in objects], np.int64), boxes_of([o[1] for o in objects]), none)
        result = evaluate_class(own, known, 0.5, "ilsvrc")
        assert result.ap["ilsvrc"] == pytest.approx(slow_ap([right for _, right in slow], len(objects)))
        assert set(result.ap) == {"voc07", "area", "coco", "ilsvrc"}


def test_mean_and_median_leave_out_classes_without_objects():
    nothing = ClassObjects(np.empty(0, np.int64), np.empty((0, 4)), np.empty(0, bool))
    one = ClassObjects(np.array([0]), boxes_of([box(0, 0, 50, 50)]), np.array([False]))
    hit = ClassDetections(np.array([0]), boxes_of([box(0, 0, 50, 50)]), np.array([1], np.float32))
    miss = ClassDetections(np.array([1]), hit.boxes, hit.scores)
    results = {k: evaluate_class(*pair, 0.5, "ilsvrc") for k, pair in {"a": (hit, one), "b": (miss, one), "c": (hit, nothing)}.items()}
    assert (mean_average_precision(results, "ilsvrc"), median_average_precision(results)) == (0.5, 0.5)
    assert np.isnan(median_average_precision({"c": results["c"]}))


def test_lines_of_a_submission():
    found = ClassDetections(np.array([1, 0]), boxes_of([box(0, 4, 10, 20), box(2.5, 0, 1, 1)]), np.array([0.5, -1.25], np.float32))
    assert submission_lines(found, 7, range(1, 9)) == "2 7 0.500000 1.000 5.000 10.000 24.000\n1 7 -1.250000 3.500 1.000 3.500 1.000\n"
