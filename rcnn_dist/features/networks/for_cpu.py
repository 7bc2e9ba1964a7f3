"""What modules become where a CPU only infers: the same numbers up to rounding, in less time."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from rcnn_dist.arrays import Array
from rcnn_dist.compiled import compiled
from rcnn_dist.features.networks.channel_norm import ChannelNorm, PixelNorm


def module_for_cpu(module: nn.Module, before: nn.Module, after: nn.Module, batch_size: int, half: bool) -> nn.Module | None:
    """What takes a module's place in a chain, None where it stays; `before` and `after` are its neighbours, `half` says bfloat16."""
    if has_onednn():
        if isinstance(module, nn.Linear):
            return PackedLinear(module, batch_size, rectified=isinstance(after, nn.ReLU))
        if isinstance(module, nn.Conv2d) and isinstance(after, nn.ReLU):
            return RectifiedConv(module)
        if isinstance(module, nn.ReLU) and isinstance(before, nn.Conv2d | nn.Linear):
            return nn.Identity()  # the product did it
    if isinstance(module, nn.Conv2d) and module.stride[0] > 1 and half:
        return WideConv(module)
    if isinstance(module, nn.MaxPool2d):
        return PixelPool(module)
    if isinstance(module, nn.ReLU) and isinstance(before, nn.MaxPool2d):
        return nn.Identity()  # the pooling did it
    return PixelNorm() if isinstance(module, ChannelNorm) else None


def has_onednn() -> bool:
    """Whether torch computes its products by oneDNN here."""
    return torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


class RectifiedConv(nn.Module):
    """A convolution and the ReLU behind it, which stops at `highest` where one is given, in one pass over the maps."""

    def __init__(self, layer: nn.Conv2d, highest: float | None = None) -> None:
        super().__init__()
        self._weight = layer.weight.detach()
        self._bias = None if layer.bias is None else layer.bias.detach()
        self._shape = (layer.padding, layer.stride, layer.dilation, layer.groups)
        self._rectifier = ("relu", [], "") if highest is None else ("hardtanh", [0.0, highest], "")

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B E I J"]:
        return torch.ops.mkldnn._convolution_pointwise(maps, self._weight, self._bias, *self._shape, *self._rectifier)


class PackedLinear(nn.Module):
    """A fully connected layer, its weights in oneDNN's own order, and the ReLU behind it where it is `rectified`.

    torch multiplies with the weights as they lie, which takes twice as long where a batch has few rows.
    """

    def __init__(self, layer: nn.Linear, batch_size: int, rectified: bool) -> None:
        super().__init__()
        self._rectifier = "relu" if rectified else "none"
        self._weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), batch_size)
        self._bias = layer.bias.detach()

    def forward(self, rows: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        return torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, self._rectifier, [], "")


class WideConv(nn.Module):
    """A convolution of a few channels by steps of s pixels, as one of s times the channels: the s pixels of a step count as one.

    Of three channels the processor's vectors stay empty for the most part. For layers without padding or groups.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self._step, (outputs, channels, height, width) = layer.stride[1], layer.weight.shape
        self._kernel = width
        steps = -(-width // self._step)
        weight = pad(layer.weight.detach(), (0, steps * self._step - width)).reshape(outputs, channels, height, steps, self._step)
        wide = weight.permute(0, 4, 1, 2, 3).reshape(outputs, self._step * channels, height, steps)
        self._weight = wide.contiguous(memory_format=torch.channels_last)
        self._bias = None if layer.bias is None else layer.bias.detach()

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B E I J"]:
        used = ((maps.shape[3] - self._kernel) // self._step + self._weight.shape[3]) * self._step
        rows = pad(maps.permute(0, 2, 3, 1), (0, 0, 0, used - maps.shape[3]))
        wide = rows.reshape(*rows.shape[:2], -1, self._step * maps.shape[1]).permute(0, 3, 1, 2)
        return conv2d(wide, self._weight, self._bias, stride=(self._step, 1))


class PixelPool(nn.Module):
    """Max pooling whose negatives count as zero, as before or after a ReLU; in one thread, all channels of a pixel at once."""

    def __init__(self, layer: nn.MaxPool2d) -> None:
        super().__init__()
        self._size, self._step = (int(np.max(side)) for side in (layer.kernel_size, layer.stride))  # windows are square

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C I J"]:
        pixels = maps.permute(0, 2, 3, 1).contiguous()  # a view where the channels of a pixel lie side by side
        height, width = (-(-(side - self._size) // self._step) + 1 for side in pixels.shape[1:3])
        pooled = torch.empty((len(maps), height, width, maps.shape[1]), dtype=maps.dtype)
        bits = torch.int16 if maps.dtype == torch.bfloat16 else torch.int32
        pool_positive(pixels.view(bits).numpy(), pooled.view(bits).numpy(), self._size, self._step)
        return pooled.permute(0, 3, 1, 2)


@compiled
def pool_positive(pixels: Int[Array, "B H W C"], pooled: Int[Array, "B I J C"], size: int, step: int) -> None:
    """The largest number of each window, at least 0, into `pooled`; a window ends at the edge.

    The numbers are bfloat16 or float32 as their bits, which are ordered as integers are where they are not negative.
    """
    rows = pixels.reshape(*pixels.shape[:2], -1)
    line = np.empty(rows.shape[2], pixels.dtype)  # the largest of each column of a row of windows
    columns = line.reshape(pixels.shape[2:])
    best = np.empty(pixels.shape[3], pixels.dtype)
    for b, i in np.ndindex(pooled.shape[:2]):
        line[:] = 0
        for y in range(i * step, min(i * step + size, len(rows[b]))):
            for k in range(len(line)):
                line[k] = max(line[k], rows[b, y, k])
        for j in range(pooled.shape[2]):
            best[:] = 0
            for x in range(j * step, min(j * step + size, len(columns))):
                for c in range(len(best)):
                    best[c] = max(best[c], columns[x, c])
            pooled[b, i, j] = best
