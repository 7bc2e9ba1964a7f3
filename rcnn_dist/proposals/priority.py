"""Step 4 of selective search: one order for the regions of all hierarchies, so that the first few hundred are worth having."""

import math
from typing import Literal

import numpy as np

from rcnn_dist.arrays import Array, Float64, Int64
from rcnn_dist.proposals.compiled import compiled

__all__ = ["Order", "order_regions", "region_ranks"]

Order = Literal["large_first", "lasting"]


def region_ranks(children: Array, order: Order) -> Float64[Array, " T"]:
    """Rank of each of the 2N - 1 regions of a hierarchy (its `children`, int32 [N-1, 2]); a small rank comes early.

    large_first: the whole image is 1, the union before it 2, and so on; the N initial regions are all N.
    lasting: that, times sqrt(N) / the number of unions made while the region stood alone. What is unlike everything around it, as
    objects are, is joined late. The square root holds back fine hierarchies, of whose many regions fewer are objects.

    Reference: large_first: fact sheet §3. lasting: ours.
    """
    count = len(children) + 1
    born = np.maximum(np.arange(2 * count - 1) - (count - 1), 0)
    rank = (count - born).astype(np.float64)
    if order == "large_first":
        return rank
    joined = np.full(2 * count - 1, count)
    joined[children] = np.arange(1, count)[:, None]
    return rank * math.sqrt(count) / (joined - born)


@compiled
def _first_of_each(boxes: Array, order: Array) -> Array:
    """The numbers in `order` of the boxes that equal none before them."""
    slots = 64
    while slots < 2 * len(order):
        slots *= 2
    table = np.full(slots, -1, np.int32)
    kept = np.empty(len(order), np.int64)
    count = 0
    for i in order:
        x1, y1, x2, y2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
        slot = ((x1 * 73856093) ^ (y1 * 19349663) ^ (x2 * 83492791) ^ (y2 * 49979687)) & (slots - 1)
        while table[slot] >= 0:
            other = boxes[table[slot]]
            if other[0] == x1 and other[1] == y1 and other[2] == x2 and other[3] == y2:
                break
            slot = (slot + 1) & (slots - 1)
        if table[slot] < 0:
            table[slot] = i
            kept[count] = i
            count += 1
    return kept[:count]


def order_regions(boxes: Int64[Array, "T 4"], ranks: Float64[Array, " T"], min_side: int, rng: np.random.Generator) -> Int64[Array, " R"]:
    """Numbers of the boxes with both sides at least `min_side`, by rising rank times a uniform random number, each box once.

    Of equal boxes the first stays. Law: the random numbers depend on nothing but `rng` and the number of boxes.

    Reference: selective_search_boxes.m (fact sheet §3, order of operations).
    """
    priority = ranks * rng.random(len(ranks))
    large = np.flatnonzero((boxes[:, 2] - boxes[:, 0] >= min_side) & (boxes[:, 3] - boxes[:, 1] >= min_side))
    return _first_of_each(boxes, large[np.argsort(priority[large], kind="stable")])
