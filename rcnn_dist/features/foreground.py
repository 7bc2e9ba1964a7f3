"""Warped regions without their surroundings."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rcnn_dist.arrays import Array


def keep_foreground(batch: Float[Tensor, "B 3 S S"], inside: Bool[Array, "R S S"]) -> Float[Tensor, "B 3 S S"]:
    """The first R regions of a batch with 0, which is the mean, wherever `inside` is false; the batch's padding becomes 0.

    Paper: §5.
    """
    shown = torch.zeros((len(batch), *inside.shape[1:]), dtype=torch.bool)
    shown[: len(inside)] = torch.from_numpy(inside)
    return batch * shown.to(batch.device)[:, None]
