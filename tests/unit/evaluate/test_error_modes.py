import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_dist.evaluate.error_modes import (
    MODES,
    count_modes,
    find_overlaps,
    judge,
    normalised_ap,
    pool_objects,
    similar_classes,
    top_counts,
    trend,
)
from rcnn_dist.evaluate.voc import ClassDetections, ClassObjects
from rcnn_dist.geometry.boxes import iou_matrix

CLASSES = ("cat", "dog", "sofa")
SETS = (("cat", "dog"), ("dog", "horse"))
BOX = (0, 0, 10, 10)
LOWER = (0, 8, 10, 18)  # 1/9 with BOX
FAR = (100, 100, 110, 110)


def found(*rows):
    """(image, box, score) each."""
    image, boxes, scores = zip(*rows, strict=True) if rows else ((), (), ())
    return ClassDetections(np.array(image, np.int64), np.array(boxes, float).reshape(-1, 4), np.array(scores, np.float32))


def annotated(*rows):
    """(image, box, difficult) each."""
    image, boxes, difficult = zip(*rows, strict=True) if rows else ((), (), ())
    return ClassObjects(np.array(image, np.int64), np.array(boxes, float).reshape(-1, 4), np.array(difficult, bool))


def modes_of(name, detections, objects, sets=SETS, min_iou=0.5):
    names = list(objects)
    pool = pool_objects(objects)
    similar = [names.index(other) for other in similar_classes(names, sets)[name]]
    index = names.index(name)
    return judge(detections, index, pool, find_overlaps(detections, index, pool, similar, min_iou))


def literal_labels(detections, objects, min_iou, duplicates_are_wrong):
    """Hoiem's matching as written: surest first, the largest overlap among untaken objects of the image."""
    labels, taken = {}, set()
    for row in sorted(range(len(detections.image)), key=lambda r: (-float(f"{detections.scores[r]:.6f}"), r)):
        overlaps = [
            (iou_matrix(detections.boxes[row : row + 1], objects.boxes[g : g + 1])[0, 0], -g)
            for g in range(len(objects.image))
            if objects.image[g] == detections.image[row]
        ]
        free = [(iou, g) for iou, g in overlaps if -g not in taken and iou >= min_iou]
        if free:
            taken.add(-max(free)[1])
            labels[row] = 0 if objects.difficult[-max(free)[1]] else 1
        else:
            duplicate = any(iou >= min_iou and -g in taken for iou, g in overlaps)
            labels[row] = 0 if duplicate and not duplicates_are_wrong else -1
    return labels


def literal_modes(name, detections, objects, sets=SETS, min_iou=0.5):
    """(label, mode) of each row, in rank order."""
    strong = literal_labels(detections, objects[name], min_iou, True)
    weak = literal_labels(detections, objects[name], 0.1, False)
    similar = {other for group in sets if name in group for other in group} - {name}

    def touches(row, names):
        return any(
            objects[other].image[g] == detections.image[row]
            and iou_matrix(detections.boxes[row : row + 1], objects[other].boxes[g : g + 1])[0, 0] >= 0.1
            for other in names
            if other in objects
            for g in range(len(objects[other].image))
        )

    rows = []
    for row, label in strong.items():
        if label >= 0:
            rows.append((label, None))
        elif weak[row] >= 0:
            rows.append((label, "localisation"))
        elif touches(row, similar):
            rows.append((label, "similar"))
        elif touches(row, set(objects) - {name}):
            rows.append((label, "other"))
        else:
            rows.append((label, "background"))
    return rows


def random_case(seed, n_images=4):
    rng = np.random.default_rng(seed)

    def boxes(n):
        corner = rng.integers(0, 20, (n, 2)).astype(float)
        return np.concatenate([corner, corner + rng.integers(4, 16, (n, 2))], axis=1)

    objects = {}
    for name in CLASSES:
        n = rng.integers(0, 9)
        objects[name] = ClassObjects(rng.integers(0, n_images, n), boxes(n), rng.random(n) < 0.3)
    k = rng.integers(0, 40)
    return ClassDetections(rng.integers(0, n_images, k), boxes(k), np.round(rng.normal(size=k), 1).astype(np.float32)), objects


def test_modes_are_those_of_the_literal_rules():
    seen = set()
    for seed in range(60):
        detections, objects = random_case(seed)
        for name in CLASSES:
            modes = modes_of(name, detections, objects, min_iou=0.4)
            wanted = literal_modes(name, detections, objects, min_iou=0.4)
            assert [(label, MODES[mode] if mode >= 0 else None) for label, mode in zip(modes.label, modes.mode, strict=True)] == wanted
            seen |= set(wanted)
    assert len(seen) == 6, "every outcome occurs"


@pytest.mark.parametrize(
    ("cat", "dog", "sofa", "wanted"),
    [
        ([(0, BOX, False)], [], [], (1, None)),
        ([(0, BOX, True)], [], [], (0, None)),
        ([(0, LOWER, False)], [(0, BOX, False)], [(0, BOX, False)], (-1, "localisation")),
        ([(0, LOWER, True)], [(0, BOX, False)], [], (-1, "localisation")),
        ([(1, BOX, False)], [(0, LOWER, False)], [(0, BOX, False)], (-1, "similar")),
        ([], [(1, BOX, False)], [(0, LOWER, True)], (-1, "other")),
        ([(0, FAR, False)], [(0, FAR, False)], [(1, BOX, False)], (-1, "background")),
        ([], [], [], (-1, "background")),
    ],
)
def test_precedence(cat, dog, sofa, wanted):
    objects = {"cat": annotated(*cat), "dog": annotated(*dog), "sofa": annotated(*sofa)}
    modes = modes_of("cat", found((0, BOX, 1.0)), objects)
    assert (modes.label[0], MODES[modes.mode[0]] if modes.mode[0] >= 0 else None) == wanted


def test_a_duplicate_is_badly_localised_and_a_difficult_object_is_taken_once():
    detections = found((0, BOX, 3.0), (0, BOX, 2.0), (1, BOX, 1.5), (1, BOX, 1.0))
    modes = modes_of("cat", detections, {"cat": annotated((0, BOX, False), (1, BOX, True))})
    assert modes.label.tolist() == [1, -1, 0, -1] and modes.mode.tolist() == [-1, 0, -1, 0]
    assert modes.matched_object.tolist() == [0, -1, 1, -1] and modes.n_positives == 1


def test_a_second_detection_takes_the_object_that_is_free():
    beside = (1, 0, 11, 10)
    modes = modes_of("cat", found((0, BOX, 2.0), (0, BOX, 1.0)), {"cat": annotated((0, BOX, False), (0, beside, False))})
    assert modes.label.tolist() == [1, 1]


def test_similar_classes_are_the_union_of_their_sets():
    classes = ("bird", "aeroplane", "cat", "bottle")
    similar = similar_classes(classes, (("bird", "cat", "dog"), ("aeroplane", "bird")))
    assert similar == {"bird": {"cat", "aeroplane"}, "aeroplane": {"bird"}, "cat": {"bird"}, "bottle": frozenset()}


def test_counts_by_hand():
    objects = {"cat": annotated((0, BOX, False), (1, BOX, False)), "dog": annotated((2, BOX, False)), "sofa": annotated()}
    detections = found((0, BOX, 5.0), (2, BOX, 4.0), (0, BOX, 3.0), (3, BOX, 2.0))
    modes = modes_of("cat", detections, objects)
    assert count_modes(modes) == {"localisation": 1, "similar": 1, "other": 0, "background": 1}
    assert top_counts(modes) == {"right": 1, "localisation": 0, "similar": 1, "other": 0, "background": 0}


def test_trend_sums_a_group_at_equal_ranks():
    one = annotated((0, BOX, False))
    all_background = modes_of("cat", found(*((1, BOX, float(-i)) for i in range(20))), {"cat": one})
    all_localisation = modes_of("cat", found(*((0, LOWER, float(-i)) for i in range(40))), {"cat": one})
    shares = trend([all_background, all_localisation])
    assert list(shares) == [25, 50]
    assert shares[25]["background"] == 0.5  # both have 13 after 13 ranks
    assert shares[50]["localisation"] == pytest.approx(30 / 50)
    assert trend([]) == {}


def test_normalised_ap_by_hand():
    label = np.array([1, -1, 0, 1, -1])
    # after the first: R = 1/4, F = 0; after the second right one: R = 1/2, F = 1
    assert normalised_ap(label, 4, 10.0) == pytest.approx((1 + 5 / 6) / 4)
    assert np.isnan(normalised_ap(label[:0], 0, 10.0)) and normalised_ap(label[:0], 3, 10.0) == 0


def test_normalised_ap_does_not_depend_on_how_rare_a_class_is():
    rare, common = np.array([1, -1, -1]), np.array([1] * 50 + [-1] * 2)
    assert normalised_ap(rare, 2, 100.0) == pytest.approx(normalised_ap(common, 100, 100.0), abs=1e-9)


@given(st.integers(0, 10**6))
def test_a_wrong_detection_has_one_mode_and_an_object_is_taken_once(seed):
    detections, objects = random_case(seed)
    modes = modes_of("dog", detections, objects)
    assert ((modes.mode >= 0) == (modes.label < 0)).all()
    taken = modes.matched_object[modes.matched_object >= 0]
    assert len(set(taken)) == len(taken)
    assert sum(count_modes(modes).values()) == (modes.label < 0).sum()
