import numpy as np
import pytest

from rcnn_dist.segment.params import PasteParams
from rcnn_dist.segment.paste import beats_background, best_segments, choose_background, paste_segments


def test_each_region_counts_under_its_best_class_and_ties_go_to_the_first():
    scores = np.array([[0.2, 0.1], [0.3, 0.9], [0.5, 0.5], [0.9, 0.0]])
    rows, classes = best_segments(scores, 3)
    assert rows.tolist() == [1, 3, 2]
    assert classes.tolist() == [1, 0, 0]
    assert [len(x) for x in best_segments(np.empty((0, 2)), 3)] == [0, 0]
    assert best_segments(scores[:2], 3)[0].tolist() == [1, 0], "fewer regions than places"


def test_the_margin_grows_with_the_place():
    kept = beats_background(np.array([[0.5, 0.42, 0.33], [0.3, 0.29, -np.inf]]), 0.3, 0.02)
    assert kept.tolist() == [[True, True, False], [False, False, False]]


def segments_literally(image_scores, background, params):
    """O2P's rule step by step, the background as one more class of every region."""
    labelled = []
    for region, row in enumerate(image_scores):
        best = max(range(len(row)), key=lambda c: (row[c], -c))
        labelled.append((row[best], region, best) if row[best] > background else (background, region, None))
    labelled.sort(key=lambda entry: (-entry[0], entry[1]))
    places = enumerate(labelled[: params.segments])
    return [(region, c) for k, (score, region, c) in places if c is not None and score > background + params.margin * k]


def test_the_choice_is_that_of_a_literal_reading():
    rng, params = np.random.default_rng(0), PasteParams(most_per_image=1.5)
    images = [rng.uniform(0, 0.6, (rng.choice([0, 2, 5, 9]), 4)) for _ in range(30)]
    table = np.full((30, 3), -np.inf)
    chosen = [best_segments(scores, 3) for scores in images]
    for row, scores, (regions, classes) in zip(table, images, chosen, strict=True):
        row[: len(regions)] = scores[regions, classes]
    step = 0
    while sum(len(segments_literally(s, 0.28 + 0.01 * step, params)) for s in images) > 1.5 * 30:
        step += 1
    background = choose_background(table, params)
    assert step > 0
    assert background == pytest.approx(0.28 + 0.01 * step)
    kept = beats_background(table, background, params.margin)
    for keep, scores, (regions, classes) in zip(kept, images, chosen, strict=True):
        mine = [(int(r), int(c)) for r, c in zip(regions[keep[: len(regions)]], classes[keep[: len(regions)]], strict=True)]
        assert mine == segments_literally(scores, background, params)


def test_few_segments_leave_the_background_where_it_starts():
    assert choose_background(np.array([[0.9, 0.8, -np.inf]]), PasteParams()) == 0.28
    assert choose_background(np.empty((0, 3)), PasteParams()) == 0.28


def test_the_best_region_lies_on_top():
    left, all_of_it = np.array([[True, False]]), np.array([[True, True]])
    assert paste_segments([left, all_of_it], np.array([1, 0]), (1, 2)).tolist() == [[2, 1]]
    assert paste_segments([all_of_it, left], np.array([0, 1]), (1, 2)).tolist() == [[1, 1]]
    assert paste_segments([], np.empty(0, np.int64), (1, 2)).tolist() == [[0, 0]]
