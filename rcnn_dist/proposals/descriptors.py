"""Step 2 of selective search: what a region looks like, in numbers that two regions joined can share.

A histogram of colours and one of textures per region, from one pass over the pixels, because every pixel is first turned
into one byte per histogram and channel. Paper: Uijlings et al. 2013, §3.2.
"""

from typing import NamedTuple

import numpy as np

from rcnn_dist.arrays import Array, Float32, UInt8
from rcnn_dist.compiled import compiled

COLOUR_BINS = 25  # per channel, Uijlings et al. §3.2
ORIENTATIONS = 8  # Uijlings et al. §3.2
MAGNITUDES = 10  # bins per orientation, Uijlings et al. §3.2
_TEXTURE_BINS = ORIENTATIONS * MAGNITUDES
_TEXTURE_START = 96  # three channels of colour, rounded up for vectors of 32
HISTOGRAM_SIZE = 352  # and three of texture
FULL = 65535  # of a histogram of three channels, so that sums of minima fit 16 bits
_GRADIENT_STEP = np.float32(0.25)  # levels of central difference to magnitude bins: bin 9 starts at a slope of 18 levels per pixel


class Regions(NamedTuple):
    """N regions: pixels, boxes, and counts of each histogram bin (colours from 0, textures from `_TEXTURE_START`)."""

    sizes: Array  # int32 [N]
    boxes: Array  # int32 [N, 4], half-open
    counts: Array  # int32 [N, HISTOGRAM_SIZE]


@compiled
def _codes(planes: Array, smoothed: Array) -> Array:
    channels, height, width = planes.shape
    codes = np.empty((2 * channels, height, width), np.uint8)
    dx, dy = np.zeros(width, np.float32), np.empty(width, np.float32)
    for c in range(channels):
        for y in range(height):
            levels, colour, texture = planes[c, y], codes[c, y], codes[channels + c, y]
            for x in range(width):
                colour[x] = np.uint8((np.int32(levels[x]) * COLOUR_BINS >> 8) + c * COLOUR_BINS)
            row, above, below = smoothed[c, y], smoothed[c, max(y - 1, 0)], smoothed[c, min(y + 1, height - 1)]
            for x in range(1, width - 1):
                dx[x] = (row[x + 1] - row[x - 1]) * _GRADIENT_STEP
            for x in range(width):
                dy[x] = (below[x] - above[x]) * _GRADIENT_STEP
            for x in range(width):
                u, v = dx[x], dy[x]
                magnitude = min(np.int32(np.sqrt(u * u + v * v)), MAGNITUDES - 1)
                octant = int(u < 0) + 2 * int(v < 0) + 4 * int(abs(u) < abs(v))
                texture[x] = np.uint8(octant * MAGNITUDES + magnitude)  # type: ignore[operator]
    return codes


def pixel_codes(planes: UInt8[Array, "3 H W"], smoothed: Float32[Array, "3 H W"]) -> UInt8[Array, "6 H W"]:
    """Histogram bin of every pixel: of its colour in three channels, then of its gradient (octant and magnitude) in three.

    Colour codes carry their channel (channel * 25 + bin), texture codes are octant * 10 + magnitude bin, 0..79. Paper: §3.2 counts
    Gaussian derivatives in eight directions, 10 bins each; one joint bin per pixel says nearly as much at an eighth of the work.
    """
    return _codes(planes, smoothed)


@compiled
def _describe(labels: Array, codes: Array, count: int) -> tuple[Array, Array, Array]:
    height, width = labels.shape
    sizes = np.zeros(count, np.int32)
    boxes = np.empty((count, 4), np.int32)
    boxes[:, :2], boxes[:, 2:] = max(height, width), 0
    counts = np.zeros((count, HISTOGRAM_SIZE), np.int32)
    first = np.uint64(_TEXTURE_START)  # unsigned indices need no check for negative ones
    second, third = first + np.uint64(_TEXTURE_BINS), first + np.uint64(2 * _TEXTURE_BINS)
    for y in range(height):
        row = labels[y]
        a, b, c, d, e, f = codes[0, y], codes[1, y], codes[2, y], codes[3, y], codes[4, y], codes[5, y]
        x = 0
        while x < width:
            label, start = row[x], x
            histogram = counts[label]
            while x < width and row[x] == label:
                histogram[a[x]] += 1
                histogram[b[x]] += 1
                histogram[c[x]] += 1
                histogram[first + d[x]] += 1
                histogram[second + e[x]] += 1
                histogram[third + f[x]] += 1
                x += 1
            sizes[label] += x - start
            box = boxes[label]
            box[0], box[1] = min(box[0], start), min(box[1], y)
            box[2], box[3] = max(box[2], x), y + 1
    return sizes, boxes, counts


def describe(labels: Array, codes: UInt8[Array, "6 H W"], count: int) -> Regions:
    """Sizes, boxes and histograms of the regions 0..count-1 of a label image (int32 [H, W]).

    Law: each channel of a region's histograms counts every pixel of it once.
    """
    return Regions(*_describe(labels, codes, count))


@compiled
def _join(sizes: Array, boxes: Array, counts: Array, number: Array, total: int) -> tuple[Array, Array, Array]:
    new_sizes, new_counts = np.zeros(total, np.int32), np.zeros((total, counts.shape[1]), np.int32)
    new_boxes = np.empty((total, 4), np.int32)
    new_boxes[:, :2], new_boxes[:, 2:] = np.int32(2**31 - 1), 0
    for i in range(len(sizes)):
        j = number[i]
        new_sizes[j] += sizes[i]
        for t in range(2):
            new_boxes[j, t] = min(new_boxes[j, t], boxes[i, t])
            new_boxes[j, 2 + t] = max(new_boxes[j, 2 + t], boxes[i, 2 + t])
        source, target = counts[i], new_counts[j]
        for t in range(len(source)):
            target[t] += source[t]
    return new_sizes, new_boxes, new_counts


def join_regions(regions: Regions, number: Array, total: int) -> Regions:
    """The regions 0..total-1 that arise when region i becomes part of region number[i]; law: the same as describing them from pixels."""
    return Regions(*_join(*regions, number, total))


@compiled
def _boundary_pairs(labels: Array) -> Array:
    height, width = labels.shape
    count = 0
    for y in range(height):
        for x in range(width - 1):
            count += int(labels[y, x] != labels[y, x + 1])
    for y in range(height - 1):
        for x in range(width):
            count += int(labels[y, x] != labels[y + 1, x])
    pairs = np.empty((count, 2), np.int32)
    count = 0
    for y in range(height):
        for x in range(width):
            here = labels[y, x]
            if x + 1 < width and here != labels[y, x + 1]:
                pairs[count, 0], pairs[count, 1] = here, labels[y, x + 1]
                count += 1
            if y + 1 < height and here != labels[y + 1, x]:
                pairs[count, 0], pairs[count, 1] = here, labels[y + 1, x]
                count += 1
    return pairs


@compiled
def _distinct(pairs: Array) -> Array:
    """Each unordered pair of different numbers once, in order of first appearance; a hash table finds the repeats."""
    slots = 64
    while slots < 2 * len(pairs):
        slots *= 2
    table = np.full(slots, -1, np.int64)
    distinct = np.empty_like(pairs)
    count = 0
    previous = np.int64(-1)
    for i in range(len(pairs)):
        low, high = min(pairs[i, 0], pairs[i, 1]), max(pairs[i, 0], pairs[i, 1])
        key = (np.int64(low) << 32) | np.int64(high)
        if low == high or key == previous:
            continue
        previous = key
        slot = ((low * 73856093) ^ (high * 19349663)) & (slots - 1)
        while table[slot] >= 0 and table[slot] != key:
            slot = (slot + 1) & (slots - 1)
        if table[slot] < 0:
            table[slot] = key
            distinct[count, 0], distinct[count, 1] = low, high
            count += 1
    return distinct[:count].copy()


def adjacent_pairs(labels: Array) -> Array:
    """Pairs of regions (int32 [E, 2], the smaller number first) of a label image that share a side of a pixel, in raster order."""
    return _distinct(_boundary_pairs(labels))


def joined_pairs(pairs: Array, number: Array) -> Array:
    """The pairs left when region i becomes part of region number[i]."""
    return _distinct(number[pairs])


@compiled
def _normalised(sizes: Array, counts: Array) -> tuple[Array, Array]:
    colour = np.empty((len(sizes), _TEXTURE_START), np.uint16)
    texture = np.empty((len(sizes), HISTOGRAM_SIZE - _TEXTURE_START), np.uint16)
    for i in range(len(sizes)):
        scale = np.float32(FULL // 3) / np.float32(sizes[i])
        for t in range(_TEXTURE_START):
            colour[i, t] = np.uint16(np.float32(counts[i, t]) * scale)
        for t in range(HISTOGRAM_SIZE - _TEXTURE_START):
            texture[i, t] = np.uint16(np.float32(counts[i, _TEXTURE_START + t]) * scale)
    return colour, texture


def normalised(regions: Regions) -> tuple[Array, Array]:
    """Colour and texture histograms (uint16 [N, 96] and [N, 256]) as shares of the region, in units of 1 / 65535, rounded down."""
    return _normalised(regions.sizes, regions.counts)
