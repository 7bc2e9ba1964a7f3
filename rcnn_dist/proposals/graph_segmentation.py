"""Step 1 of selective search: the initial regions, after Felzenszwalb and Huttenlocher (IJCV 2004).

The edges of the graph of pixels are taken in order of weight; two components become one where the edge is no heavier than what
holds each of them together, plus k / size. Components under the minimum size then join a neighbour. A greater k gives larger regions.
"""

from typing import NamedTuple

import numpy as np

from rcnn_dist.arrays import Array, Float32
from rcnn_dist.compiled import compiled
from rcnn_dist.proposals.pixel_graph import BUCKET_WEIGHTS

_BLOCK = 256  # edges looked at together
_0, _1 = np.uint32(0), np.uint32(1)  # unsigned, as all indices in the loops over edges: numba then spares a check for negative ones
_DONE = np.uint32(2**31)
_SPREAD = np.uint32(40503)


@compiled
def _find(parent: Array, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled
def _decide(pairs: Array, weights: Array, forest: tuple[Array, ...], k: np.float32) -> None:
    """Joins the components of each pair, in order, where the weight lets it; a component that refuses is done.

    Once a weight is more than a component takes, so is every later one: it can never grow again. Its root then points to
    root | `_DONE`, and so in time do its other nodes.
    """
    parent, size, inner, limit = forest
    for i in range(len(pairs)):
        a, b, weight = pairs[i, 0], pairs[i, 1], weights[i]
        while a < _DONE and parent[a] != a:
            a = parent[a]
        while b < _DONE and parent[b] != b:
            b = parent[b]
        if a == b or (a | b) >= _DONE:
            continue
        if weight <= min(limit[a], limit[b]):
            total = size[a] + size[b]
            kept, lost = (a, b) if size[a] >= size[b] else (b, a)
            parent[lost] = kept
            size[kept] = total
            inner[kept] = weight
            limit[kept] = weight + k / np.float32(total)
        else:
            if weight > limit[a]:
                parent[a] = a | _DONE
            if weight > limit[b]:
                parent[b] = b | _DONE


@compiled
def _steps(directions: int, width: int) -> tuple[Array, np.uint32]:
    """How far each neighbour of a pixel is, and the bits of an edge number that say which it is."""
    return np.array([1, width, width + 1, width - 1]).astype(np.uint32), np.uint32(directions >> 1)


@compiled
def _unite(edges: Array, ends: Array, bucket_weights: Array, width: int, pixels: int, k: np.float32) -> tuple[Array, Array, Array]:
    """Union-find over the pixel graph: the forest, sizes and inner weights.

    Most edges lie inside a component or touch one that is done. They are sorted out a block at a time, without a branch that a processor
    could guess wrong: components only grow, so whatever two steps up the forest finds in one component stays in one.
    """
    step, shift = _steps(len(edges) // pixels, width)
    mask = (_1 << shift) - _1
    parent, size = np.arange(pixels).astype(np.uint32), np.ones(pixels, np.int32)
    inner, limit = np.zeros(pixels, np.float32), np.full(pixels, k, np.float32)
    pairs, weights, number = np.empty((_BLOCK, 2), np.uint32), np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.uint32)
    bucket = 0
    for start in range(0, ends[-1], _BLOCK):
        open_edges = _0
        for i in range(start, min(start + _BLOCK, ends[-1])):
            p = edges[i] >> shift
            q = p + step[edges[i] & mask]
            a, b = parent[parent[p] & ~_DONE], parent[parent[q] & ~_DONE]
            parent[p], parent[q] = a, b
            pairs[open_edges, 0], pairs[open_edges, 1] = a, b
            number[open_edges] = i
            open_edges += np.uint32((a != b) & ((a | b) < _DONE))
        for i in range(open_edges):
            while ends[bucket] <= number[i]:
                bucket += 1
            weights[i] = bucket_weights[bucket]
        _decide(pairs[:open_edges], weights, (parent, size, inner, limit), k)
    return parent, size, inner


@compiled
def _unite_regions(sizes: Array, inner: Array, edges: Array, weights: Array, k: np.float32) -> tuple[Array, Array, Array]:
    """The same for a graph of regions."""
    parent, size, inner = np.arange(len(sizes)).astype(np.uint32), sizes.copy(), inner.copy()
    limit = inner + k / size.astype(np.float32)
    _decide(edges, weights, (parent, size, inner, limit), k)
    return parent, size, inner


@compiled
def _boundary_edges(edges: Array, ends: Array, bucket_weights: Array, width: int, roots: Array) -> tuple[Array, Array]:
    """The edges that were refused, which are those between different components: roots (uint32 [E, 2]) and weights, in order."""
    step, shift = _steps(len(edges) // len(roots), width)
    mask = (_1 << shift) - _1
    pairs, weights = np.empty((ends[-1], 2), np.uint32), np.empty(ends[-1], np.float32)
    start = count = _0
    for bucket in range(len(ends)):
        for i in range(start, ends[bucket]):
            p = edges[i] >> shift
            a, b = roots[p], roots[p + step[edges[i] & mask]]
            pairs[count, 0], pairs[count, 1] = a, b
            weights[count] = bucket_weights[bucket]
            count += np.uint32(a != b)
        start = ends[bucket]
    return pairs[:count], weights[:count]


@compiled
def _absorb_small(parent: Array, size: Array, refused: Array, min_size: int) -> None:
    """Refused edges, in order, join their ends where one is under the minimum size; the larger keeps its inner weight."""
    for i in range(len(refused)):
        a, b = parent[refused[i, 0]], parent[refused[i, 1]]
        if min(size[a], size[b]) >= min_size:  # what once was a root knows the size it had then: its component is no smaller
            continue
        a, b = _find(parent, a), _find(parent, b)
        if a != b and min(size[a], size[b]) < min_size:
            kept, lost = (a, b) if size[a] >= size[b] else (b, a)
            parent[lost] = kept
            size[kept] = size[a] + size[b]


@compiled
def _flatten(parent: Array) -> Array:
    """Root of every node: each pass halves every path, without a branch."""
    roots = parent & ~_DONE
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
def _number(parent: Array, size: Array, inner: Array) -> tuple[Array, Array, Array]:
    """Component number of every node, in order of first appearance, and sizes and inner weights of the components."""
    roots = _flatten(parent)
    number = np.full(len(parent), -1, np.int32)
    labels, firsts = np.empty(len(parent), np.int32), np.empty(len(parent), np.uint32)
    count = 0
    for node in range(len(parent)):
        root = roots[node]
        if number[root] < 0:
            number[root] = count
            firsts[count] = root
            count += 1
        labels[node] = number[root]
    return labels, size[firsts[:count]], inner[firsts[:count]]


@compiled
def _lightest(refused: Array, weights: Array, labels: Array) -> tuple[Array, Array]:
    """The first edge between each pair of regions; the others decide nothing. A hash table finds the repeats."""
    edges, edge_weights = np.empty_like(refused), np.empty_like(weights)
    count = kept = _0
    for i in range(len(refused)):
        a, b = labels[refused[i, 0]], labels[refused[i, 1]]
        edges[count, 0], edges[count, 1] = min(a, b), max(a, b)
        edge_weights[count] = weights[i]
        count += np.uint32(a != b)
    slots = 64
    while slots < 2 * count:
        slots *= 2
    table, mask = np.zeros((slots, 2), np.uint32), np.uint32(slots - 1)
    for i in range(count):
        a, b = edges[i, 0], edges[i, 1]
        slot = (a * _SPREAD ^ b) & mask
        while table[slot, 1] != b or table[slot, 0] != a:
            if table[slot, 1] == 0:  # free: the greater number of a pair is not 0
                table[slot, 0], table[slot, 1] = a, b
                edges[kept, 0], edges[kept, 1] = a, b
                edge_weights[kept] = edge_weights[i]
                kept += _1
                break
            slot = (slot + _1) & mask
    return edges[:kept].copy(), edge_weights[:kept].copy()


class RegionGraph(NamedTuple):
    """Regions of a segmentation: pixels, heaviest weight that holds each together, and what lies between them."""

    sizes: Array  # int32 [N]
    inner: Float32[Array, " N"]
    region: Array  # int32 [M]: of every node (pixel or region) that the segmentation started from
    edges: Array  # uint32 [E, 2], nodes, by weight: those that were refused
    weights: Float32[Array, " E"]


def segment(edges: Array, ends: Array, shape: tuple[int, int], k: float, min_size: int) -> tuple[Array, RegionGraph]:
    """Region of every pixel (int32 [H, W], numbered in raster order) and the graph of the regions.

    `edges`, `ends` are those of `sorted_edges`. Law: every pixel is in one connected region, and a region smaller than `min_size`
    is the whole image.

    Paper: Felzenszwalb and Huttenlocher 2004, algorithm 1.
    """
    parent, size, inner = _unite(edges, ends, BUCKET_WEIGHTS, shape[1], shape[0] * shape[1], np.float32(k))
    roots = _flatten(parent)
    refused, weights = _boundary_edges(edges, ends, BUCKET_WEIGHTS, shape[1], roots)
    _absorb_small(roots, size, refused, min_size)
    labels, sizes, inner = _number(roots, size, inner)
    return labels.reshape(shape), RegionGraph(sizes, inner, labels, refused, weights)


def coarsen(graph: RegionGraph, k: float, min_size: int) -> tuple[Array, RegionGraph]:
    """The same algorithm carried on with a greater k: the new region of every region (int32 [N]) and the graph of the new ones.

    It costs a hundredth of a segmentation from the pixels, and descriptors of the new regions are sums of the old ones'.
    Law: every new region is a union of old ones.
    """
    edges, weights = _lightest(graph.edges, graph.weights, graph.region)
    parent, size, inner = _unite_regions(graph.sizes, graph.inner, edges, weights, np.float32(k))
    roots = _flatten(parent)
    _absorb_small(roots, size, edges, min_size)
    number, sizes, inner = _number(roots, size, inner)
    return number, RegionGraph(sizes, inner, number, edges, weights)
