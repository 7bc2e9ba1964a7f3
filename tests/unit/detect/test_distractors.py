import numpy as np
import pytest

from rcnn_dist.detect.distractors import distractors


def test_distractors_have_the_norms_and_biases_of_real_detectors():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(5, 300)).astype(np.float32) * np.array([[1], [2], [3], [4], [5]], np.float32)
    biases = np.array([-1, -2, -3, -4, -np.inf], np.float32)
    made, bias = distractors(weights, biases, 40, np.random.default_rng(1))
    assert set(bias.tolist()) <= {-1.0, -2.0, -3.0, -4.0}, "an untrained class is not a model"
    like = (-bias - 1).astype(int)
    norms = np.linalg.norm(weights, axis=1)[like]
    np.testing.assert_allclose(np.linalg.norm(made[::2], axis=1), norms[::2], rtol=1e-5)
    cosine = np.sum(made * weights[like], axis=1) / np.linalg.norm(made, axis=1) / norms
    assert (np.abs(cosine[::2]) < 0.3).all() and (cosine[1::2] > 0.8).all(), "random directions, and real ones perturbed"
    np.testing.assert_array_equal(distractors(weights, biases, 40, np.random.default_rng(1))[0], made)


def test_nothing_to_be_like():
    with pytest.raises(ValueError, match="no class is trained"):
        distractors(np.zeros((1, 3), np.float32), np.full(1, -np.inf, np.float32), 4, np.random.default_rng(0))
    assert distractors(np.ones((1, 3), np.float32), np.zeros(1, np.float32), 0, np.random.default_rng(0))[0].shape == (0, 3)
