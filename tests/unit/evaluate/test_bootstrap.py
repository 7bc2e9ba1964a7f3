import numpy as np
import pytest

from rcnn_dist.evaluate.bootstrap import RankedClass, draw_images, interval, mean_ap_difference, ranked_class, resampled_ap
from rcnn_dist.evaluate.voc import ClassDetections, ClassObjects, evaluate_class, variants

VARIANTS = variants("ilsvrc")


def random_class(seed, n_images=7, decimals=4):
    """Objects, some difficult, and detections near them or anywhere; few decimals make equal scores."""
    rng = np.random.default_rng(seed)
    n, k = rng.integers(1, 9), rng.integers(0, 40)
    boxes = np.concatenate([low := rng.uniform(0, 200, (n, 2)), low + rng.uniform(10, 60, (n, 2))], axis=1)
    chosen = rng.integers(0, n, k)
    image = rng.integers(0, n_images, n)
    near = boxes[chosen] + rng.normal(0, 4, (k, 4))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    det_image = np.where(rng.random(k) < 0.8, image[chosen], rng.integers(0, n_images, k))
    order = np.argsort(det_image, kind="stable")
    scores = np.round(rng.normal(size=k), decimals).astype(np.float32)
    found = ClassDetections(det_image[order], near[order], scores[order])
    return found, ClassObjects(image, boxes, rng.random(n) < 0.3)


def literal_ap(found, objects, times, variant):
    """The set in which every image stands as often as it was drawn, each copy an image of its own, evaluated from the start."""
    firsts = np.cumsum(times) - times

    def copied(image):
        rows = np.repeat(np.arange(len(image)), times[image])
        copy = np.concatenate([np.arange(n) for n in times[image]] or [np.zeros(0)]).astype(np.int64)
        return rows, firsts[image[rows]] + copy

    rows, image = copied(found.image)
    gt_rows, gt_image = copied(objects.image)
    detections = ClassDetections(image, found.boxes[rows], found.scores[rows])
    drawn = ClassObjects(gt_image, objects.boxes[gt_rows], objects.difficult[gt_rows])
    return evaluate_class(detections, drawn, 0.5, "ilsvrc").ap[variant] if len(gt_rows) else np.nan


def ranked(found, objects, variant):
    return ranked_class(found, objects, evaluate_class(found, objects, 0.5, "ilsvrc").matched[variant], variant)


def test_by_hand():
    # image 0: its object is found first; image 1: a wrong detection, and an object that none finds
    right = np.array([True, False])
    two = RankedClass(np.array([0, 1]), right, ~right, np.array([0, 1]))
    copies = np.array([[1, 1], [2, 0], [0, 2], [1, 0]])
    assert resampled_ap(two, copies, "area").tolist() == [0.5, 1, 0, 1]
    assert resampled_ap(two, copies, "voc07").tolist() == pytest.approx([6 / 11, 1, 0, 1])
    # the wrong one is surer: twice it, once the right one -> precision 1/3 at recall 1/3
    worse = RankedClass(np.array([1, 0]), ~right, right, np.array([0, 1]))
    assert resampled_ap(worse, np.array([[1, 2]]), "area").tolist() == pytest.approx([1 / 9])


@pytest.mark.parametrize("variant", VARIANTS)
def test_agrees_with_evaluating_a_set_of_copies(variant):
    rng = np.random.default_rng(1)
    compared = 0
    for seed in range(40):
        found, objects = random_class(seed, decimals=9 if variant == "coco" else 1)
        if variant == "ilsvrc":
            objects = ClassObjects(objects.image, objects.boxes, np.zeros(len(objects.image), bool))
        copies = draw_images(7, 6, rng)
        expected = [literal_ap(found, objects, times, variant) for times in copies]
        got = resampled_ap(ranked(found, objects, variant), copies, variant)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
        compared += np.count_nonzero(got > 0)
    assert compared > 50


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_image_once_is_the_set(variant):
    for seed in range(20):
        found, objects = random_class(seed)
        if variant == "ilsvrc" and objects.difficult.all():
            continue
        expected = evaluate_class(found, objects, 0.5, "ilsvrc").ap[variant]
        np.testing.assert_allclose(resampled_ap(ranked(found, objects, variant), np.ones((1, 7), np.int64), variant), expected, atol=1e-12)


def test_draws_are_of_as_many_images_and_repeat():
    copies = draw_images(50, 400, np.random.default_rng(3))
    assert copies.shape == (400, 50) and (copies.sum(axis=1) == 50).all() and copies.min() == 0
    assert abs((copies == 0).mean() - (1 - 1 / 50) ** 50) < 0.01  # the share that a draw leaves out
    np.testing.assert_array_equal(copies, draw_images(50, 400, np.random.default_rng(3)))


def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    """Both detectors find each object with their own probability and make no mistake: the true difference of area AP is that of these."""
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        images, ap = np.arange(60), []
        copies = draw_images(60, 200, np.random.default_rng(trial))
        for chance in (0.5, 0.7):
            found = np.flatnonzero(rng.random(60) < chance)
            sure = np.ones(len(found), bool)
            ap.append(resampled_ap(RankedClass(found, sure, ~sure, images), copies, "area")[None])
        low, high = interval(mean_ap_difference(*ap))
        covered += low <= 0.2 <= high
    assert 0.90 <= covered / 100 <= 0.99


def test_a_mean_is_over_the_classes_with_objects_and_exchanging_negates():
    one, other = np.array([[0.2, 0.4], [np.nan, 0.6]]), np.array([[0.5, 0.4], [np.nan, 0.8]])
    np.testing.assert_allclose(mean_ap_difference(one, other), [0.3, 0.1])
    np.testing.assert_allclose(mean_ap_difference(other, one), [-0.3, -0.1])
    np.testing.assert_allclose(interval(np.array([np.nan, *np.arange(201.0)])), [5, 195])


@pytest.mark.parametrize("variant", VARIANTS)
def test_empties(variant):
    nothing, no_one = np.zeros(0, np.int64), np.zeros(0, bool)
    once = np.ones((2, 3), np.int64)
    assert resampled_ap(RankedClass(nothing, no_one, no_one, np.array([0])), once, variant).tolist() == [0, 0]
    assert np.isnan(resampled_ap(RankedClass(nothing, no_one, no_one, nothing), once, variant)).all()
    assert resampled_ap(RankedClass(nothing, no_one, no_one, nothing), np.zeros((0, 3), np.int64), variant).shape == (0,)
    assert draw_images(3, 0, np.random.default_rng(0)).shape == (0, 3)
    assert np.isnan(interval(np.zeros(0))).all() and np.isnan(mean_ap_difference(np.zeros((0, 2)), np.zeros((0, 2)))).all()
