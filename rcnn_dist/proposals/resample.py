"""The image at the resolution of the segmentation: area means where it shrinks, linear interpolation where it grows."""

import math

import numpy as np

from rcnn_dist.arrays import Array, Float32, UInt8
from rcnn_dist.compiled import compiled


def _taps(size: int, scale: float) -> tuple[Array, Float32[Array, "O T"]]:
    """First input pixel (int64 [O]) and weights of each of the ceil(size / scale) output pixels; the last cell ends with the image."""
    out = math.ceil(size / scale - 1e-9)
    index = np.arange(out)
    if scale > 1:
        start, stop = index * scale, np.minimum((index + 1) * scale, size)
    else:
        start = np.clip((index + 0.5) * scale - 0.5, 0, size - 1)
        stop = start + 1
    first = np.floor(start + 1e-9).astype(np.int64)
    count = int(np.max(np.ceil(stop - 1e-9).astype(np.int64) - first))
    pixel = first[:, None] + np.arange(count)
    overlap = np.minimum(stop[:, None], pixel + 1) - np.maximum(start[:, None], pixel)
    overlap[(overlap < 1e-9) | (pixel >= size)] = 0
    return first, (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)


@compiled
def _weigh(image: Array, rows: Array, row_weights: Array, columns: Array, column_weights: Array) -> Array:
    width = image.shape[1]
    out = np.empty((len(rows), len(columns), 3), np.uint8)
    line = np.empty(3 * width, np.float32)
    flat = image.reshape(len(image), 3 * width)
    for y in range(len(rows)):
        line[:] = np.float32(0.5)
        for t in range(row_weights.shape[1]):
            weight = row_weights[y, t]
            if weight > 0:
                source = flat[rows[y] + t]
                for i in range(3 * width):
                    line[i] += weight * np.float32(source[i])
        for x in range(len(columns)):
            r = g = b = np.float32(0)
            for t in range(column_weights.shape[1]):
                weight = column_weights[x, t]
                if weight > 0:
                    at = 3 * (columns[x] + t)
                    r += weight * line[at]
                    g += weight * line[at + 1]
                    b += weight * line[at + 2]
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = int(r), int(g), int(b)
    return out


def resample(image: UInt8[Array, "H W 3"], scale: float) -> UInt8[Array, "h w 3"]:
    """The image with pixels of `scale` times the side: h = ceil(H / scale), w = ceil(W / scale).

    Pixel (i, j) is the mean of the image's square [i*scale, (i+1)*scale) x [j*scale, (j+1)*scale), as far as the image goes;
    a scale under 1 interpolates linearly between pixel centres. Law: scale 1 gives the image itself, a constant image stays constant.
    """
    if scale == 1:
        return image
    return _weigh(np.ascontiguousarray(image), *_taps(image.shape[0], scale), *_taps(image.shape[1], scale))
