"""How a network is fine-tuned: the original's settings. Known without torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class FinetuneParams:
    """What the windows, the new layer and the solver are.

    foreground_iou 1 and background_iou 0.3 are the labels of the SVMs: objects alone against what hardly overlaps any (App. B).

    Reference: finetuning/*/pascal_finetune_train.prototxt and _solver.prototxt; of VGG16, batch_size is 24.
    """

    iterations: int = 70_000  # README: gains saturate near 40,000
    batch_size: int = 128  # windows of a step
    foreground_fraction: float = 0.25  # §2.3: 32 of 128
    foreground_iou: float = 0.5  # §2.3: at least this much overlap is foreground
    background_iou: float = 0.5  # less than this is background, without a lower bound; windows between the two are left out
    learning_rate: float = 0.001  # §2.3
    cut_every: int = 20_000  # iterations
    cut: float = 0.1  # the learning rate is multiplied by this
    momentum: float = 0.9
    weight_decay: float = 5e-4  # not of biases
    bias_rate: float = 2.0  # learning rate of biases, times that of weights
    new_layer_rate: float = 10.0  # learning rate of the new layer, times that of the others
    dropout: float = 0.5  # of what the new layer sees
    precision: Literal["float32", "bfloat16"] = "float32"  # of the forward and the backward; the weights stay float32
    workers: int = 1  # processes that share each batch; sums of another number of parts end in other bits
    seed: int = 3

    @property
    def foreground_count(self) -> int:
        """Foreground windows of a batch."""
        return int(self.batch_size * self.foreground_fraction)

    def learning_rate_at(self, iteration: int) -> float:
        """The learning rate of an iteration, counted from 0."""
        return float(self.learning_rate * self.cut ** (iteration // self.cut_every))
