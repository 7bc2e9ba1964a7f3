"""The last layer of the fine-tuned network as detector, instead of SVMs (paper App. B)."""

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.features.scaling import scale_factor
from rcnn_dist.stages import finetune
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files
from rcnn_dist.store.tensors import load_tensors


def softmax_detectors(run: Run, mean_norm: float) -> tuple[Array, Array]:
    """Weights float32 [C, D] and biases [C] of the classes, less those of background, so that background's score is 0.

    The softmax is that of unscaled features; the weights are divided by the scale that detection multiplies its features by.

    Raises:
        MissingShardError: the network is not fine-tuned.

    Paper: App. B. Reference: utils/rcnn_test_softmax.m.
    """
    layer = load_tensors(files.join(finetune.folder(run), finetune.CLASSIFIER))[0]
    weights, biases = layer["weight"].astype(np.float64), layer["bias"]
    scale = scale_factor(mean_norm, run.config.scaling.target_norm)
    return ((weights[1:] - weights[0]) / scale).astype(np.float32), biases[1:] - biases[0]
