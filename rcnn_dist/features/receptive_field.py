"""Which pixels of a warped region a unit of a convolutional layer sees."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from rcnn_dist.arrays import Array, Float64
from rcnn_dist.features.networks.base import Network


@dataclass(frozen=True, slots=True)
class LayerMap:
    """The maps of a layer [channels, side, side], whose unit number is in channel, row, column order, and the fields of its cells.

    A cell's receptive field has `size` pixels a side; the first cell's centre is pixel `first` (0-based), the next `stride` further.
    """

    channels: int
    side: int
    size: int
    stride: int
    first: float
    input_size: int

    @property
    def units(self) -> int:
        return self.channels * self.side**2

    def place(self, unit: int) -> tuple[int, int, int]:
        """(row, column, channel) of a unit, 0-based."""
        channel, cell = divmod(unit, self.side**2)
        return (*divmod(cell, self.side), channel)

    def unit(self, row: int, column: int, channel: int) -> int:
        """Law: unit(*place(u)) == u."""
        return channel * self.side**2 + row * self.side + column

    def field(self, unit: int) -> Float64[Array, "4"]:
        """The unit's field as a box in the warped frame, cut at its border.

        Paper: §3.1, App. D. Reference: utils/receptive_field_sizes.m for the size; the centres are those of the network's geometry.
        """
        row, column, _ = self.place(unit)
        centre = self.first + self.stride * np.array([column, row], np.float64)
        reach = (self.size - 1) / 2
        return np.clip(np.concatenate([centre - reach, centre + reach + 1]), 0, self.input_size)


def layer_map(network: Network, layer: str) -> LayerMap | None:
    """The maps of a layer; None where its units see the whole region, or where the network does not say how it is built."""
    path = network.path_to(layer)
    return _walk(path, network.input_size) if path else None


def _walk(path: Iterable[nn.Module], input_size: int) -> LayerMap | None:
    channels, side, size, stride, first = 3, input_size, 1, 1, 0.0
    for module in path:
        if isinstance(module, nn.Linear):
            return None
        if isinstance(module, nn.AdaptiveMaxPool2d):
            if side % _one(module.output_size):
                return None
            kernel = step = side // _one(module.output_size)
            padding, ceil = 0, False
        elif isinstance(module, nn.Conv2d | nn.MaxPool2d):
            kernel, step, padding = _one(module.kernel_size), _one(module.stride), _one(module.padding)
            ceil = isinstance(module, nn.MaxPool2d) and module.ceil_mode
            channels = module.out_channels if isinstance(module, nn.Conv2d) else channels
        else:
            continue  # changes each value alone, or across channels
        size += (kernel - 1) * stride
        first += ((kernel - 1) / 2 - padding) * stride
        stride *= step
        room = side + 2 * padding - kernel
        side = (-(-room // step) if ceil else room // step) + 1
    return LayerMap(channels, side, size, stride, first, input_size)


def _one(value: Any) -> int:
    """The side of a square kernel, stride or padding."""
    return int(value[0] if isinstance(value, tuple) else value)
