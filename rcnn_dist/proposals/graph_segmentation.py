"""Step 1 of selective search: the initial regions, after Felzenszwalb and Huttenlocher (IJCV 2004).

Pixels are nodes, neighbours are joined by edges weighted with their colour distance. Edges are taken in order of weight; two
components become one where the edge is no heavier than what holds each of them together, plus k / size. Components under the
minimum size then join a neighbour. A greater k gives larger regions.
"""

import math
from typing import NamedTuple

import numpy as np

from rcnn_dist.arrays import Array, Float32, UInt8
from rcnn_dist.compiled import compiled

__all__ = ["coarsen", "segment", "smooth", "sorted_edges"]

_LIGHTEST = 2.0**-10  # squared weights below are one bucket
_BUCKET_BITS = 14  # of a float32's 23 bits of fraction dropped: buckets of 0.1% of the weight
_BLOCK = 256  # edges looked at together


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
    ends = np.zeros(_BUCKETS + 2, np.int32)
    for d in range(directions):
        for b in flat[d]:
            ends[b + 1] += 1
    for b in range(_BUCKETS + 1):
        ends[b + 1] += ends[b]
    edges = np.empty(flat.size, np.int32)
    for p in range(flat.shape[1]):
        for d in range(directions):
            b = flat[d, p]
            edges[ends[b]] = p * directions + d
            ends[b] += 1
    return edges, ends[:_BUCKETS]


def sorted_edges(planes: Float32[Array, "3 H W"], neighbours: int) -> tuple[Array, Array]:
    """Edges of the pixel graph by weight, ties in raster order, and where each weight bucket ends.

    `neighbours` is 4 or 8. Edge number p * directions + d leads from pixel p to its d-th neighbour (right, below, lower right,
    lower left). Bucket b holds edges[ends[b-1]:ends[b]], weights within 0.1% of `BUCKET_WEIGHTS[b]`: sorting then takes one
    pass, and serves every k.
    """
    return _counting_sort(_edge_buckets(planes, neighbours // 2))


@compiled
def _find(parent: Array, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled
def _decide(
    pairs: Array, weights: Array, forest: tuple[Array, ...], k: np.float32, refused: Array, refused_weights: Array, start: int
) -> int:
    """Joins the components of each pair that its weight lets join, in order, and appends the others to the refused ones."""
    parent, size, inner, limit = forest
    for i in range(len(pairs)):
        a, b, weight = pairs[i, 0], pairs[i, 1], weights[i]
        while parent[a] != a:
            a = parent[a]
        while parent[b] != b:
            b = parent[b]
        if a == b:
            continue
        if weight <= min(limit[a], limit[b]):
            total = size[a] + size[b]
            kept = a if size[a] >= size[b] else b
            parent[a + b - kept] = kept
            size[kept] = total
            inner[kept] = weight
            limit[kept] = weight + k / np.float32(total)
        else:
            refused[start, 0], refused[start, 1] = a, b
            refused_weights[start] = weight
            start += 1
    return start


@compiled
def _unite(edges: Array, ends: Array, width: int, pixels: int, k: np.float32) -> tuple[Array, ...]:
    """Union-find over the pixel graph; hands back the parents, sizes and inner weights, and the refused edges in order.

    Edges inside a component are most of all. They are sorted out a block at a time, without a branch that a processor could guess wrong:
    components only grow, so whatever two steps up the forest finds in one component stays in one.
    """
    directions = len(edges) // pixels
    shift = 1 if directions == 2 else 2
    step = np.array([1, width, width + 1, width - 1]).astype(np.int32)
    parent, size = np.arange(pixels).astype(np.int32), np.ones(pixels, np.int32)
    inner, limit = np.zeros(pixels, np.float32), np.full(pixels, k, np.float32)
    pairs, weights, number = np.empty((_BLOCK, 2), np.int32), np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.int32)
    refused, refused_weights = np.empty((ends[-1], 2), np.int32), np.empty(ends[-1], np.float32)
    count = bucket = 0
    for start in range(0, ends[-1], _BLOCK):
        open_edges = 0
        for i in range(start, min(start + _BLOCK, ends[-1])):
            p = edges[i] >> shift
            q = p + step[edges[i] & (directions - 1)]
            a, b = parent[parent[p]], parent[parent[q]]
            parent[p], parent[q] = a, b
            pairs[open_edges, 0], pairs[open_edges, 1] = a, b
            number[open_edges] = i
            open_edges += int(a != b)
        for i in range(open_edges):
            while ends[bucket] <= number[i]:
                bucket += 1
            weights[i] = BUCKET_WEIGHTS[bucket]
        count = _decide(pairs[:open_edges], weights, (parent, size, inner, limit), k, refused, refused_weights, count)
    return parent, size, inner, refused[:count], refused_weights[:count]


@compiled
def _unite_regions(sizes: Array, inner: Array, edges: Array, weights: Array, k: np.float32) -> tuple[Array, ...]:
    """The same for a graph of regions."""
    parent, size, inner = np.arange(len(sizes)).astype(np.int32), sizes.copy(), inner.copy()
    limit = inner + k / size.astype(np.float32)
    pairs, open_weights = np.empty((_BLOCK, 2), np.int32), np.empty(_BLOCK, np.float32)
    refused, refused_weights = np.empty_like(edges), np.empty_like(weights)
    count = 0
    for start in range(0, len(edges), _BLOCK):
        open_edges = 0
        for i in range(start, min(start + _BLOCK, len(edges))):
            a, b = parent[parent[edges[i, 0]]], parent[parent[edges[i, 1]]]
            pairs[open_edges, 0], pairs[open_edges, 1] = a, b
            open_weights[open_edges] = weights[i]
            open_edges += int(a != b)
        count = _decide(pairs[:open_edges], open_weights, (parent, size, inner, limit), k, refused, refused_weights, count)
    return parent, size, inner, refused[:count], refused_weights[:count]


@compiled
def _absorb_small(parent: Array, size: Array, refused: Array, min_size: int) -> None:
    """Refused edges, in order, join their ends where one is under the minimum size; the larger keeps its inner weight."""
    for i in range(len(refused)):
        a, b = parent[parent[refused[i, 0]]], parent[parent[refused[i, 1]]]
        if min(size[a], size[b]) >= min_size:  # what once was a root knows the size it had then: its component is no smaller
            continue
        a, b = _find(parent, a), _find(parent, b)
        if a != b and min(size[a], size[b]) < min_size:
            kept = a if size[a] >= size[b] else b
            parent[a + b - kept] = kept
            size[kept] = size[a] + size[b]


@compiled
def _flatten(parent: Array) -> Array:
    """Root of every node: each pass halves every path, without a branch."""
    roots = parent
    changed = True
    while changed:
        above = np.empty_like(roots)
        steps = 0
        for node in range(len(roots)):
            above[node] = roots[roots[node]]
        for node in range(len(roots)):
            steps += int(above[node] != roots[node])
        changed = steps > 0
        roots = above
    return roots


@compiled
def _number(parent: Array, size: Array, inner: Array, refused: Array, weights: Array) -> tuple[Array, ...]:
    """Component number of every node, in order of first appearance, and the graph of the components."""
    roots = _flatten(parent)
    number = np.full(len(parent), -1, np.int32)
    labels, firsts = np.empty(len(parent), np.int32), np.empty(len(parent), np.int32)
    count = 0
    for node in range(len(parent)):
        root = roots[node]
        if number[root] < 0:
            number[root] = count
            firsts[count] = root
            count += 1
        labels[node] = number[root]
    sizes, inners = size[firsts[:count]], inner[firsts[:count]]
    kept = 0
    edges, edge_weights = np.empty_like(refused), np.empty_like(weights)
    for i in range(len(refused)):
        a, b = labels[refused[i, 0]], labels[refused[i, 1]]
        edges[kept, 0], edges[kept, 1] = a, b
        edge_weights[kept] = weights[i]
        kept += int(a != b)
    return labels, sizes, inners, edges[:kept], edge_weights[:kept]


class RegionGraph(NamedTuple):
    """Regions of a segmentation: pixels, heaviest weight that holds each together, and the edges between them by weight."""

    sizes: Array  # int32 [N]
    inner: Float32[Array, " N"]
    edges: Array  # int32 [E, 2], a pair of regions appears once for each pixel edge between them
    weights: Float32[Array, " E"]


def segment(edges: Array, ends: Array, shape: tuple[int, int], k: float, min_size: int) -> tuple[Array, RegionGraph]:
    """Region of every pixel (int32 [H, W], numbered in raster order) and the graph of the regions.

    `edges`, `ends` are those of `sorted_edges`. Law: every pixel is in one connected region, and a region smaller than `min_size`
    is the whole image.

    Paper: Felzenszwalb and Huttenlocher 2004, algorithm 1.
    """
    parent, size, *rest = _unite(edges, ends, shape[1], shape[0] * shape[1], np.float32(k))
    _absorb_small(parent, size, rest[1], min_size)
    labels, *graph = _number(parent, size, *rest)
    return labels.reshape(shape), RegionGraph(*graph)


def coarsen(graph: RegionGraph, k: float, min_size: int) -> tuple[Array, RegionGraph]:
    """The same algorithm carried on with a greater k: the new region of every region (int32 [N]) and the graph of the new ones.

    It costs a hundredth of a segmentation from the pixels, and descriptors of the new regions are sums of the old ones'.
    Law: every new region is a union of old ones.
    """
    parent, size, *rest = _unite_regions(*graph, np.float32(k))
    _absorb_small(parent, size, rest[1], min_size)
    labels, *coarse = _number(parent, size, *rest)
    return labels, RegionGraph(*coarse)
