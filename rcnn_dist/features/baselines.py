"""Features that no network has learned, to tell what a network adds: the colours of a region, and numbers that say nothing of it.

Networks of their own by `network.name`, with the tap of the whole module:
`{name: "rcnn_dist.features.baselines:colour_histogram", taps: {histogram: ""}, mean: [0, 0, 0], std: [1, 1, 1], input_size: 64}`.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

_BINS = 8  # per channel


class ColourHistogram(nn.Module):
    """The share of a region's pixels in each of 8 x 8 x 8 colours, [512], of pixels from 0 to 255; its root (Hellinger's kernel)."""

    def forward(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 512"]:
        channel = (pixels.float() * (_BINS / 256)).long().clamp(0, _BINS - 1).flatten(2)
        colour = (channel[:, 0] * _BINS + channel[:, 1]) * _BINS + channel[:, 2]
        counts = torch.zeros(len(pixels), _BINS**3, device=pixels.device)
        counts.scatter_add_(1, colour, torch.ones_like(colour, dtype=counts.dtype))
        return (counts / colour.shape[1]).sqrt()


class Noise(nn.Module):
    """Numbers from -1 to 1 that are the same for the same pixels and have nothing to do with what these show, [64]: chance."""

    def __init__(self) -> None:
        super().__init__()
        self._phases = torch.arange(1, 65, dtype=torch.float64) * 78.233

    def forward(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 64"]:
        total = pixels.double().sum((1, 2, 3))
        return torch.sin(total[:, None] * 12.9898 + self._phases.to(total.device)).mul(43758.5453).remainder(1).mul(2).sub(1).float()


def colour_histogram() -> nn.Module:
    return ColourHistogram()


def noise() -> nn.Module:
    return Noise()
