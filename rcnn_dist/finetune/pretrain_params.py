"""How a network is pre-trained on whole images: the paper's settings. Known without torch."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class PretrainParams:
    """Classification of whole images, one label each.

    Reference: BVLC/caffe, examples/imagenet/imagenet_solver.prototxt and imagenet_train.prototxt (fact sheet §6).
    """

    iterations: int = 310_000  # the snapshot that R-CNN starts from
    batch_size: int = 256  # images of a step, of all workers
    learning_rate: float = 0.01
    schedule: Literal["steps", "cosine"] = "steps"
    warmup: int = 0  # iterations in which the learning rate rises from 0
    cut_every: int = 100_000  # iterations, of `steps`
    cut: float = 0.1  # the learning rate is multiplied by this, of `steps`
    momentum: float = 0.9
    weight_decay: float = 5e-4  # not of biases
    bias_rate: float = 2.0  # learning rate of biases, times that of weights
    dropout: float = 0.5  # of what the last layer sees
    crop: Literal["shift", "scale"] = "shift"  # a part of the stretched image at its size, or a part of any size and shape resized
    stretch: int | None = None  # side to which images are stretched; None: 256 for an input of 227, others in proportion
    mean_image: bool = False  # subtract the mean of the stretched training images instead of the network's own mean
    label_smoothing: float = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"  # of the forward and the backward; the weights stay float32
    workers: int = 1  # processes that share each batch; sums of another number of parts end in other bits
    seed: int = 3

    def learning_rate_at(self, iteration: int) -> float:
        """The learning rate of an iteration, counted from 0."""
        if iteration < self.warmup:
            return self.learning_rate * (iteration + 1) / self.warmup
        if self.schedule == "steps":
            return float(self.learning_rate * self.cut ** (iteration // self.cut_every))
        done = (iteration - self.warmup) / max(1, self.iterations - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def stretched_side(self, input_size: int) -> int:
        """The side of the stretched images, for a network of that input size."""
        return self.stretch or round(input_size * 256 / 227)
