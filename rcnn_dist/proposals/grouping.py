"""Step 3 of selective search: the two most similar neighbours become one region, until one region is left.

Paper: Uijlings et al. 2013, §3.1 (hierarchical grouping), §3.2 (similarities).
"""

from typing import NamedTuple

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.compiled import compiled
from rcnn_dist.proposals.descriptors import FULL, Regions, normalised

_ONE = 2**24  # similarities are compared as integers with this many steps


class Likeness(NamedTuple):
    """Weights of the four similarities of one strategy; each similarity is 1 at most."""

    colour: float
    texture: float
    size: float
    fill: float


class Neighbours(NamedTuple):
    """A segmentation ready to be grouped, by any number of strategies."""

    sizes: Array  # int32 [N]
    boxes: Array  # int32 [N, 4]
    colour: Array  # uint16 [N, 96]
    texture: Array  # uint16 [N, 256]
    pairs: Array  # int32 [E, 2]
    shared: Array  # int32 [E, 2], common colour and texture of each pair in 1 / 65535


class Hierarchy(NamedTuple):
    """Regions 0..N-1 and the N-1 that grouping made of them, N.., the last one the whole image."""

    boxes: Array  # int32 [2N-1, 4]
    children: Array  # int32 [N-1, 2]


@compiled
def _common(a: Array, b: Array) -> np.uint16:
    """Sum of the smaller of two entries; at most 65535, so that 16 bits hold it and vectors hold many."""
    total = np.uint16(0)
    for t in range(len(a)):
        total = np.uint16(total + min(a[t], b[t]))  # cast, or numba widens it to 64 bits
    return total


@compiled
def _shared(pairs: Array, colour: Array, texture: Array) -> Array:
    shared = np.empty((len(pairs), 2), np.int32)
    for i in range(len(pairs)):
        a, b = pairs[i, 0], pairs[i, 1]
        shared[i, 0], shared[i, 1] = _common(colour[a], colour[b]), _common(texture[a], texture[b])
    return shared


def neighbours(regions: Regions, pairs: Array) -> Neighbours:
    """Histograms as shares, and what each pair of adjacent regions has in common."""
    colour, texture = normalised(regions)
    return Neighbours(regions.sizes, regions.boxes, colour, texture, pairs, _shared(pairs, colour, texture))


@compiled
def _similarity(a: int, b: int, sizes: Array, boxes: Array, colour: int, texture: int, weights: Array, area: np.float32) -> np.int64:
    width = max(boxes[a, 2], boxes[b, 2]) - min(boxes[a, 0], boxes[b, 0])
    height = max(boxes[a, 3], boxes[b, 3]) - min(boxes[a, 1], boxes[b, 1])
    pixels = np.float32(sizes[a] + sizes[b])
    hull = np.float32(width) * np.float32(height)
    histograms = (weights[0] * np.float32(colour) + weights[1] * np.float32(texture)) / np.float32(FULL)
    total = histograms + weights[2] * (np.float32(1) - pixels / area) + weights[3] * (np.float32(1) - (hull - pixels) / area)
    return np.int64(total * np.float32(_ONE))


@compiled
def _greatest(keys: Array) -> np.int64:
    top = keys[0]
    for key in keys:
        top = max(top, key)
    if top < 0:
        raise ValueError("the pairs do not connect the regions: group the regions of one image")
    return top


@compiled
def _blend(target: Array, other: Array, share: int) -> None:
    """Weighted mean of two histograms in place; `share` is that of the other, of 32768."""
    for t in range(len(target)):
        old = np.int32(target[t])
        target[t] = np.uint16(old + (((np.int32(other[t]) - old) * share) >> 15))


@compiled
def _link(pairs: Array, keys: Array, count: int) -> tuple[Array, Array, Array]:
    """Each region's list of edges and the best key among them.

    Entry 2e + side of `after` is the next one in the list of the region at that side of edge e; `heads` starts the lists.
    """
    after, heads = np.empty(2 * len(pairs), np.int32), np.full(count, -1, np.int32)
    best = np.full(count, -1, np.int64)
    for e in range(len(pairs)):
        for side in range(2):
            region = pairs[e, side]
            after[2 * e + side] = heads[region]
            heads[region] = 2 * e + side
            best[region] = max(best[region], keys[e])
    return after, heads, best


@compiled
def _gather(a: int, b: int, ends: Array, after: Array, heads: Array, around: Array, entry: Array) -> int:
    """Hands the edges of b to a. Of two edges to one neighbour the one met first stays; ends of the other become -1."""
    found = 0
    for part in (a, b):
        z = heads[part]
        while z >= 0:
            e, side = z >> 1, z & 1
            if ends[e, 0] >= 0:
                other = ends[e, 1 - side]
                ends[e, side] = a
                twin = entry[other]
                if twin < 0:
                    around[found] = other
                    found += 1
                    entry[other] = z
                elif twin >> 1 < e:
                    ends[e, :] = -1
                else:
                    ends[twin >> 1, :] = -1
                    entry[other] = z
            z = after[z]
    heads[b] = -1
    return found


@compiled
def _best_key(region: int, ends: Array, keys: Array, after: Array, heads: Array) -> np.int64:
    """The best key in a region's list, which loses its dead edges on the way."""
    top, previous, z = np.int64(-1), np.int32(-1), heads[region]
    while z >= 0:
        if ends[z >> 1, 0] >= 0:
            top = max(top, keys[z >> 1])
            previous = z
        elif previous < 0:
            heads[region] = after[z]
        else:
            after[previous] = after[z]
        z = after[z]
    return top


@compiled
def _unify(a: int, b: int, sizes: Array, boxes: Array, colour: Array, texture: Array, with_colour: bool) -> None:
    """Region a becomes the union of a and b."""
    total = sizes[a] + sizes[b]
    share = np.int32(np.float32(sizes[b]) / np.float32(total) * np.float32(32768))
    _blend(texture[a], texture[b], share)
    if with_colour:
        _blend(colour[a], colour[b], share)
    sizes[a] = total
    for t in range(2):
        boxes[a, t] = min(boxes[a, t], boxes[b, t])
        boxes[a, 2 + t] = max(boxes[a, 2 + t], boxes[b, 2 + t])


@compiled
def _group(sizes: Array, boxes: Array, colour: Array, texture: Array, pairs: Array, shared: Array, weights: Array) -> tuple[Array, Array]:
    """Greedy grouping in place: a union takes the place of its first part, whose edges then need no change."""
    count, edges = len(sizes), len(pairs)
    area = np.float32(sizes.sum())
    with_colour = weights[0] > 0
    ends, keys = pairs.copy(), np.empty(edges, np.int64)
    for e in range(edges):  # the key of an edge: similarity, then the edge met first
        like = _similarity(pairs[e, 0], pairs[e, 1], sizes, boxes, shared[e, 0], shared[e, 1], weights, area)
        keys[e] = (like << 32) | (edges - e)
    after, heads, best = _link(pairs, keys, count)
    node, around, entry = np.arange(count), np.empty(count, np.int32), np.full(count, -1, np.int32)
    all_boxes, children = np.empty((2 * count - 1, 4), np.int32), np.empty((count - 1, 2), np.int32)
    all_boxes[:count] = boxes
    for step in range(count - 1):
        e = edges - (_greatest(best) & 0xFFFFFFFF)
        a, b = ends[e, 0], ends[e, 1]
        ends[e, :] = -1
        children[step, 0], children[step, 1] = node[a], node[b]
        node[a] = count + step
        _unify(a, b, sizes, boxes, colour, texture, with_colour)
        all_boxes[count + step] = boxes[a]
        found = _gather(a, b, ends, after, heads, around, entry)
        heads[a] = best[a] = best[b] = -1
        for i in range(found):
            m = around[i]
            z = entry[m]
            e = z >> 1
            entry[m] = -1
            after[z] = heads[a]
            heads[a] = z
            common = _common(colour[a], colour[m]) if with_colour else np.uint16(0)
            like = _similarity(a, m, sizes, boxes, common, _common(texture[a], texture[m]), weights, area)
            keys[e] = (like << 32) | (edges - e)
            best[a] = max(best[a], keys[e])
            old = edges - (best[m] & 0xFFFFFFFF)
            if keys[e] < best[m] and (old == e or ends[old, 0] < 0):
                best[m] = _best_key(m, ends, keys, after, heads)
            else:
                best[m] = max(best[m], keys[e])
    return all_boxes, children


def group(start: Neighbours, weights: Likeness) -> Hierarchy:
    """The binary tree of one strategy: at each step the pair of greatest similarity, ties to the pair met first, becomes one.

    The union of a and b has their pixels and the weighted means of their histograms; of two pairs (a, m) and (b, m) the one met first
    stands for both. Law: N regions give a tree of 2N - 1 nodes, and the last holds every pixel.

    Raises:
        ValueError: the pairs do not connect the regions.

    Paper: Uijlings et al. 2013, algorithm 1.
    """
    sizes, boxes, colour, texture, pairs, shared = start
    copies = (sizes.copy(), boxes.copy(), colour.copy(), texture.copy())
    return Hierarchy(*_group(*copies, pairs, shared, np.array(weights, np.float32)))
