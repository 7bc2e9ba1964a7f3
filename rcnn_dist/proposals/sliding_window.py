"""A pyramid of regular windows: proposals that do not look at the image."""

import math
from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Float64

_MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class SlidingWindowParams:
    scales: tuple[float, ...] = (1.0, 0.71, 0.5, 0.35, 0.25, 0.18)  # root of a window's area, as a share of the image's shorter side
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # width / height
    stride: float = 0.25  # at most this share of the window's own side, in each direction

    def __post_init__(self) -> None:
        if not self.scales or not self.aspect_ratios or min(*self.scales, *self.aspect_ratios, self.stride) <= 0:
            raise ValueError(f"{self}: give at least one scale and one aspect ratio, all of them and the stride above 0")


def sliding_windows(width: int, height: int, params: SlidingWindowParams) -> Float64[Array, "R 4"]:
    """All windows that fit into an image of a size in pixels: by scale, largest first, then aspect ratio as given, then row by row.

    Along each side windows are spread evenly from border to border, as few as the stride allows.
    Law: a box of one window's size anywhere in the image overlaps some window by s² / (2 - s²) or more, s = 1 - stride / 2.

    Raises:
        ValueError: there would be more than a million.
    """
    shorter = min(width, height)
    shapes = [
        (scale * shorter * math.sqrt(ratio), scale * shorter / math.sqrt(ratio))
        for scale in sorted(params.scales, reverse=True)
        for ratio in params.aspect_ratios
    ]
    fitting = [(w, h) for w, h in shapes if w <= width and h <= height]
    starts = [(_starts(width, w, params.stride), _starts(height, h, params.stride)) for w, h in fitting]
    if (count := sum(len(x) * len(y) for x, y in starts)) > _MOST:
        raise ValueError(f"{count} sliding windows in an image of {width} x {height}: raise the stride or leave out small scales")
    boxes = [np.empty((0, 4))]
    for (w, h), (x, y) in zip(fitting, starts, strict=True):
        top, left = np.meshgrid(y, x, indexing="ij")
        boxes.append(np.stack([left, top, left + w, top + h], axis=-1).reshape(-1, 4))
    return np.clip(np.concatenate(boxes), 0, np.array([width, height, width, height], np.float64))


def _starts(length: int, side: float, stride: float) -> Float64[Array, "P"]:
    steps = math.ceil((length - side) / (stride * side))
    return np.linspace(0.0, length - side, steps + 1)
