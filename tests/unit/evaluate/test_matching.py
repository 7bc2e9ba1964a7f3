import numpy as np

from rcnn_dist.evaluate.matching import match_voc
from rcnn_dist.geometry.boxes import iou_matrix


def match(detections, objects, **options):
    """Detections are (image, box, score), objects (image, box, difficult)."""
    det_image, det_boxes, det_scores = zip(*detections, strict=True) if detections else ((), (), ())
    gt_image, gt_boxes, difficult = zip(*objects, strict=True) if objects else ((), (), ())
    return match_voc(
        np.array(det_image, dtype=np.int64),
        np.array(det_boxes, dtype=np.float64).reshape(-1, 4),
        np.array(det_scores, dtype=np.float64),
        np.array(gt_image, dtype=np.int64),
        np.array(gt_boxes, dtype=np.float64).reshape(-1, 4),
        np.array(difficult, dtype=bool),
        **options,
    )


LEFT, RIGHT, FAR = (0, 0, 10, 10), (5, 0, 15, 10), (50, 50, 60, 60)


def test_by_hand():
    detections = [(7, LEFT, 0.5), (7, LEFT, 0.9), (7, FAR, 0.8), (3, LEFT, 0.7), (9, LEFT, 0.6)]
    objects = [(3, LEFT, True), (7, LEFT, False), (8, FAR, False)]
    matches = match(detections, objects)
    np.testing.assert_array_equal(matches.order, [1, 2, 3, 4, 0])
    np.testing.assert_array_equal(matches.is_true_positive, [True, False, False, False, False])
    np.testing.assert_array_equal(matches.is_false_positive, [False, True, False, True, True])  # rank 2 is on a difficult object
    np.testing.assert_array_equal(matches.matched_object, [1, -1, 0, -1, 1])
    assert matches.n_positives == 2


def test_a_duplicate_is_wrong_even_beside_a_free_object():
    # the second detection overlaps LEFT most, though RIGHT is free and covered by half, too
    matches = match([(0, LEFT, 2.0), (0, (1, 0, 11, 10), 1.0)], [(0, LEFT, False), (0, RIGHT, False)], min_iou=0.4)
    np.testing.assert_array_equal(matches.is_false_positive, [False, True])


def test_iou_of_exactly_a_half_is_enough():
    assert match([(0, (0, 0, 10, 5), 1.0)], [(0, LEFT, False)]).is_true_positive.all()
    assert match([(0, (0, 0, 10, 4.99), 1.0)], [(0, LEFT, False)]).is_false_positive.all()


def test_scores_rank_as_written_with_six_decimals():
    detections = [(0, FAR, 0.12345649), (0, FAR, 0.123456), (0, FAR, 0.1234568)]
    np.testing.assert_array_equal(match(detections, []).order, [2, 0, 1])


def slow_match(detections, objects, min_iou):
    ranked = sorted(range(len(detections)), key=lambda i: (-float(f"{detections[i][2]:.6f}"), i))
    taken, outcome = set(), []
    for i in ranked:
        image, box, _ = detections[i]
        best, best_iou = None, -1.0
        for g, (gt_image, gt_box, _) in enumerate(objects):
            iou = iou_matrix(np.array([box], float), np.array([gt_box], float))[0, 0]
            if gt_image == image and iou > best_iou:
                best, best_iou = g, iou
        if best_iou < min_iou:
            outcome.append("wrong")
        elif objects[best][2]:
            outcome.append("ignored")
        else:
            outcome.append("wrong" if best in taken else "right")
            taken.add(best)
    return ranked, outcome


def random_scene(seed):
    generator = np.random.default_rng(seed)

    def box():
        corner, size = generator.integers(0, 6, 2), generator.integers(4, 9, 2)
        return (*corner.tolist(), *(corner + size).tolist())

    detections = [(int(generator.integers(0, 5)), box(), float(generator.integers(0, 20) / 10)) for _ in range(60)]
    return detections, [(int(generator.integers(0, 4)), box(), bool(generator.random() < 0.3)) for _ in range(12)]


def test_agrees_with_a_slow_twin():
    for seed in range(10):
        detections, objects = random_scene(seed)
        matches = match(detections, objects)
        ranked, outcome = slow_match(detections, objects, 0.5)
        np.testing.assert_array_equal(matches.order, ranked)
        np.testing.assert_array_equal(matches.is_true_positive, [o == "right" for o in outcome])
        np.testing.assert_array_equal(matches.is_false_positive, [o == "wrong" for o in outcome])


def test_one_true_positive_per_object_and_none_for_a_difficult_one():
    for seed in range(10):
        detections, objects = random_scene(seed)
        matches = match(detections, objects)
        found = matches.matched_object[matches.is_true_positive]
        assert len(found) == len(set(found))
        assert not any(objects[g][2] for g in found)
        assert not (matches.is_true_positive & matches.is_false_positive).any()
        assert matches.n_positives == sum(not difficult for _, _, difficult in objects)


def test_of_nothing():
    assert len(match([], [(0, LEFT, False)]).order) == 0
    without_objects = match([(0, LEFT, 1.0)], [])
    assert without_objects.is_false_positive.all()
    assert without_objects.n_positives == 0
