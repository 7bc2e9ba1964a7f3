"""Local response normalisation across channels as Caffe does it: for any device with gradients, and in one pass on a CPU."""

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt16
from torch import Tensor, nn
from torch.nn.functional import conv2d

from rcnn_dist.arrays import Array
from rcnn_dist.compiled import compiled

_SIZE = 5
_FACTOR = 1e-4 / _SIZE


class ChannelNorm(nn.Module):
    """Caffe's local response normalisation across n = 5 channels: x * (1 + alpha / n * sum of squares) ** -0.75.

    The window is cut off at the first and the last channel. Note that alpha is divided by n, and that 1 is added where Krizhevsky adds 2.

    Reference: BVLC/caffe, src/caffe/layers/lrn_layer.cpp.
    """

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        channel = torch.arange(maps.shape[1], device=maps.device)
        window = (channel[:, None] - channel).abs() <= _SIZE // 2
        kernel = window[:, :, None, None].to(maps.dtype) * _FACTOR
        root = conv2d(maps.square(), kernel, maps.new_ones(len(channel))).rsqrt()  # a product with a band matrix: fast at any precision
        return maps * root * root.sqrt()


class PixelNorm(nn.Module):
    """`ChannelNorm` in one pass over the pixels by one thread, in place; bfloat16 is computed in float32 and rounded once."""

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        pixels = maps.permute(0, 2, 3, 1).contiguous()  # a view where the channels of a pixel lie side by side
        rows = pixels.view(-1, maps.shape[1])
        if maps.dtype == torch.bfloat16:
            normalise_half(rows.view(torch.uint16).numpy())
        else:
            normalise(rows.numpy())
        return pixels.permute(0, 3, 1, 2)


@compiled
def normalise(rows: Float32[Array, "P C"]) -> None:
    """x * (1 + alpha / 5 * sum of the squares of five neighbours) ** -0.75 along each row, in place."""
    squares = np.zeros(rows.shape[1] + 4, np.float32)  # two zeros on each side
    for p in range(len(rows)):
        _normalise_row(rows[p], squares)


@compiled
def normalise_half(rows: UInt16[Array, "P C"]) -> None:
    """The same of bfloat16, given as its bits."""
    channels = rows.shape[1]
    bits = np.empty(channels, np.uint32)
    values = bits.view(np.float32)
    squares = np.zeros(channels + 4, np.float32)
    for p in range(len(rows)):
        for c in range(channels):
            bits[c] = np.uint32(rows[p, c]) << np.uint32(16)
        _normalise_row(values, squares)
        for c in range(channels):  # to the nearest, ties to even
            odd = (bits[c] >> np.uint32(16)) & np.uint32(1)
            rows[p, c] = np.uint16((bits[c] + np.uint32(0x7FFF) + odd) >> np.uint32(16))


@compiled
def _normalise_row(values: Float32[Array, "C"], squares: Float32[Array, "C+4"]) -> None:
    for c in range(len(values)):
        squares[c + 2] = values[c] * values[c]
    for c in range(len(values)):
        window = squares[c] + squares[c + 1] + squares[c + 2] + squares[c + 3] + squares[c + 4]
        root = np.sqrt(np.float32(1) + np.float32(_FACTOR) * window)
        values[c] /= root * np.sqrt(root)
