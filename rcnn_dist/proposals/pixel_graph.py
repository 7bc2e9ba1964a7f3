"""Step 1a of selective search: the graph of an image's pixels, its edges in order of weight.

Neighbours are joined by edges weighted with the distance of their colours, after a little smoothing.
"""

import math

import numpy as np

from rcnn_dist.arrays import Array, Float32, UInt8
from rcnn_dist.compiled import compiled

_LIGHTEST = 2.0**-10  # squared weights below are one bucket
_BUCKET_BITS = 14  # of a float32's 23 bits of fraction dropped: buckets of 0.1% of the weight
_1 = np.uint32(1)  # unsigned, as all indices in the loops over edges: numba then spares a check for negative ones


def _gaussian(sigma: float) -> Float32[Array, " T"]:
    radius = max(1, math.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(radius + 1) / max(sigma, 1e-3)) ** 2)
    return (weights / (weights[0] + 2 * weights[1:].sum())).astype(np.float32)


@compiled
def _convolve(planes: Array, weights: tuple[np.float32, ...]) -> Array:
    """`weights` is a tuple, so that the loops over it are unrolled and those over a row vectorised."""
    channels, height, width = planes.shape
    radius = len(weights) - 1
    out = np.empty((channels, height, width), np.float32)
    line = np.empty(width + 2 * radius, np.float32)
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                total = weights[0] * np.float32(planes[c, y, x])
                for t in range(1, len(weights)):
                    total += weights[t] * np.float32(np.int32(planes[c, max(y - t, 0), x]) + np.int32(planes[c, min(y + t, height - 1), x]))
                line[radius + x] = total
            line[:radius] = line[radius]
            line[radius + width :] = line[radius + width - 1]
            for x in range(width):
                total = weights[0] * line[radius + x]
                for t in range(1, len(weights)):
                    total += weights[t] * (line[radius + x - t] + line[radius + x + t])
                out[c, y, x] = total
    return out


def smooth(planes: UInt8[Array, "3 H W"], sigma: float) -> Float32[Array, "3 H W"]:
    """The planes under a Gaussian of `sigma` pixels, cut at 3 sigma, the image's border pixels repeated outwards."""
    return _convolve(planes, tuple(_gaussian(sigma)))


_FIRST_BUCKET = int(np.float32(_LIGHTEST).view(np.int32)) >> _BUCKET_BITS
_BUCKETS = (int(np.float32(2.0**18).view(np.int32)) >> _BUCKET_BITS) - _FIRST_BUCKET + 1
_MIDDLES = (((np.arange(_BUCKETS, dtype=np.int64) + _FIRST_BUCKET) << _BUCKET_BITS) + (1 << (_BUCKET_BITS - 1))).astype(np.int32)
BUCKET_WEIGHTS = np.sqrt(_MIDDLES.view(np.float32).astype(np.float64)).astype(np.float32)


@compiled
def _bucket_row(planes: Array, y: int, first: int, dy: int, dx: int, count: int, squares: Array, buckets: Array) -> None:
    """Buckets of the edges from row y, columns first.. to the pixels (dy, dx) away."""
    a, b, c = planes[0, y, first:], planes[1, y, first:], planes[2, y, first:]
    d, e, f = planes[0, y + dy, first + dx :], planes[1, y + dy, first + dx :], planes[2, y + dy, first + dx :]
    for x in range(count):
        u, v, w = a[x] - d[x], b[x] - e[x], c[x] - f[x]
        squares[x] = u * u + v * v + w * w
    bits = squares.view(np.int32)
    for x in range(count):
        buckets[first + x] = np.uint16(max((bits[x] >> _BUCKET_BITS) - _FIRST_BUCKET, 0))


@compiled
def _edge_buckets(planes: Array, directions: int) -> Array:
    """Bucket of the edge from each pixel to its right, lower, lower right and lower left neighbour; `_BUCKETS` where there is none."""
    _, height, width = planes.shape
    buckets = np.empty((directions, height, width), np.uint16)
    squares = np.empty(width, np.float32)
    for y in range(height):
        buckets[0, y, width - 1] = _BUCKETS
        _bucket_row(planes, y, 0, 0, 1, width - 1, squares, buckets[0, y])
        if y == height - 1:
            buckets[1:, y] = _BUCKETS
            break
        _bucket_row(planes, y, 0, 1, 0, width, squares, buckets[1, y])
        if directions == 4:
            buckets[2, y, width - 1] = _BUCKETS
            _bucket_row(planes, y, 0, 1, 1, width - 1, squares, buckets[2, y])
            buckets[3, y, 0] = _BUCKETS
            _bucket_row(planes, y, 1, 1, -1, width - 1, squares, buckets[3, y])
    return buckets


@compiled
def _counting_sort(buckets: Array) -> tuple[Array, Array]:
    directions = len(buckets)
    flat = buckets.reshape(directions, -1)
    ends = np.zeros(_BUCKETS + 2, np.uint32)
    for d in range(directions):
        for b in flat[d]:
            ends[b + _1] += _1
    for b in range(_BUCKETS + 1):
        ends[b + 1] += ends[b]
    edges = np.empty(flat.size, np.uint32)
    for p in range(flat.shape[1]):
        for d in range(directions):
            b = flat[d, p]
            edges[ends[b]] = p * directions + d
            ends[b] += _1
    return edges, ends[:_BUCKETS]


def sorted_edges(planes: Float32[Array, "3 H W"], neighbours: int) -> tuple[Array, Array]:
    """Edges of the pixel graph by weight, ties in raster order, and where each weight bucket ends.

    `neighbours` is 4 or 8. Edge number p * directions + d leads from pixel p to its d-th neighbour (right, below, lower right,
    lower left). Bucket b holds edges[ends[b-1]:ends[b]], weights within 0.1% of `BUCKET_WEIGHTS[b]`: sorting then takes one
    pass, and serves every k.
    """
    return _counting_sort(_edge_buckets(planes, neighbours // 2))
