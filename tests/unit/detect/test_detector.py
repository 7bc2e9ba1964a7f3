import numpy as np
import pytest
import torch

from rcnn_dist.detect.detector import class_probabilities, score_regions


@pytest.mark.parametrize("rows", [0, 1, 3, 257, 2000])
@pytest.mark.parametrize("size", [7, 512])
def test_a_class_s_scores_have_the_same_bits_alone_and_anywhere_among_others(rows, size):
    rng = np.random.default_rng(rows + size)
    features = rng.standard_normal((rows, size)).astype(np.float32)
    weights, biases = rng.standard_normal((40, size)).astype(np.float32), rng.standard_normal(40).astype(np.float32)
    together = score_regions(features, weights, biases)
    np.testing.assert_allclose(together, features @ weights.T + biases, rtol=1e-3, atol=1e-3)
    for index in range(40):
        own = slice(index, index + 1)
        np.testing.assert_array_equal(score_regions(features, weights[own], biases[own]), together[:, own])


def test_a_class_that_could_not_be_trained_scores_below_all():
    scores = score_regions(np.ones((2, 3), np.float32), np.zeros((1, 3), np.float32), np.full(1, -np.inf, np.float32))
    assert np.isneginf(scores).all()


def test_probabilities_by_hand_and_by_torch():
    scores = np.array([[0, np.log(2)], [-np.inf, 0], [900, 900]], np.float32)
    np.testing.assert_allclose(class_probabilities(scores), [[0.25, 0.5], [0, 0.5], [0.5, 0.5]], atol=1e-7)
    scores = np.random.default_rng(0).normal(0, 30, (50, 20)).astype(np.float32)
    with_background = torch.from_numpy(np.pad(scores, ((0, 0), (1, 0)))).double()
    np.testing.assert_allclose(class_probabilities(scores), with_background.softmax(1)[:, 1:], rtol=1e-6, atol=1e-30)
    assert [class_probabilities(np.zeros(shape, np.float32)).shape for shape in ((0, 3), (2, 0))] == [(0, 3), (2, 0)]
