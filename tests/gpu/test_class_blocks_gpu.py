import numpy as np
import pytest
import torch

from rcnn_dist.detect.class_blocks import BLOCK, BlockParams, score_classes, to_bfloat16

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_scores_of_the_gpu_repeat_to_the_bit_and_are_near_the_processors(half):
    rng = np.random.default_rng(0)
    features, weights = rng.standard_normal((200, 512), np.float32), rng.standard_normal((2 * BLOCK, 512), np.float32) / 20
    weights = to_bfloat16(weights) if half else weights
    biases, params = np.zeros(2 * BLOCK, np.float32), BlockParams(min_score=-99.0, max_per_image=200)
    first, again, near = (score_classes(features, weights, biases, params, device) for device in ("cuda", "cuda", "cpu"))
    assert first.score.tobytes() == again.score.tobytes()
    matrices = [np.zeros((2 * BLOCK, 200), np.float32) for _ in range(2)]
    for matrix, found in zip(matrices, (first, near), strict=True):
        matrix[found.class_index, found.region] = found.score
    assert np.abs(matrices[0] - matrices[1]).max() < (0.05 if half else 1e-3)
