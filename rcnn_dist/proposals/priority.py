"""Step 4 of selective search: one order for the boxes of all hierarchies, so that the first few hundred are worth having."""

from typing import Literal, NamedTuple

import numpy as np

from rcnn_dist.arrays import Array, Int64
from rcnn_dist.compiled import compiled

Order = Literal["large_first", "lasting"]


class Steps(NamedTuple):
    """When the regions of hierarchies came and went: a hierarchy of N regions makes its unions in the steps 1 to N - 1."""

    born: Int64[Array, " T"]  # 0: an initial region
    joined: Int64[Array, " T"]  # the step that made it part of a union; N: the whole image
    regions: Int64[Array, " T"]  # N


def region_steps(children: Array) -> Steps:
    """The steps of the 2N - 1 regions of one hierarchy (its `children`, int32 [N-1, 2])."""
    count = len(children) + 1
    born = np.maximum(np.arange(2 * count - 1) - (count - 1), 0)
    joined = np.full(2 * count - 1, count)
    joined[children] = np.arange(1, count)[:, None]
    return Steps(born, joined, np.full(2 * count - 1, count))


def order_boxes(
    boxes: Int64[Array, "T 4"], steps: Steps, min_side: int | float, order: Order, rng: np.random.Generator
) -> Int64[Array, " R"]:
    """Numbers of the boxes to hand out, in order: those with both sides at least `min_side`, each once.

    large_first: by rising N - born (1 for the whole image, 2 for the union before it, N for an initial region) times a uniform random
    number; of equal boxes the first stays. Reference: selective_search_boxes.m (fact sheet §3, order of operations).

    lasting (ours): a region speaks for its box by the square root of its share of the steps, (joined - born) / N, over that rank, because
    what is unlike everything around it, as objects are, is joined late. Equal boxes add up, and the region that spoke loudest stands
    for them. Boxes come by rising root of a random number over that sum; those that differ from one before them by a tenth of
    their size or less come after all others.
    """
    large = np.flatnonzero((boxes[:, 2] - boxes[:, 0] >= min_side) & (boxes[:, 3] - boxes[:, 1] >= min_side))
    born, joined, regions = (step[large] for step in steps)
    rank = regions - born
    if order == "large_first":
        large = large[np.argsort(rank * rng.random(len(large)), kind="stable")]
        return large[_number(boxes[large])[1]]
    number, first = _number(boxes[large])
    voice = np.sqrt((joined - born) / regions / rank)
    louder = large[_loudest(number, voice, len(first))]
    distinct = louder[np.argsort(np.sqrt(rng.random(len(first))) / np.bincount(number, voice), kind="stable")]
    leading = np.zeros(len(distinct), bool)
    leading[_number(_coarse(boxes[distinct]))[1]] = True
    return np.concatenate([distinct[leading], distinct[~leading]])


@compiled
def _loudest(number: Array, voice: Array, total: int) -> Array:
    """For each number the first of the rows with the greatest voice."""
    best = np.full(total, -1, np.int64)
    for i in range(len(number)):
        if best[number[i]] < 0 or voice[i] > voice[best[number[i]]]:
            best[number[i]] = i
    return best


@compiled
def _coarse(boxes: Array) -> Array:
    """Boxes on a grid of a tenth of their size, which is taken as the nearest power of two, and that power."""
    keys = np.empty((len(boxes), 5), np.int64)
    for i in range(len(boxes)):
        area = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
        size = np.int64(1)
        while area >= 2 * size * size:
            size *= 2
        for t in range(4):
            keys[i, t] = (20 * boxes[i, t] + size) // (2 * size)
        keys[i, 4] = size
    return keys


@compiled
def _number(keys: Array) -> tuple[Array, Array]:
    """Equal rows get equal numbers, in order of first appearance: the number of every row, and the first row of every number."""
    slots = 64
    while slots < 2 * len(keys):
        slots *= 2
    table = np.full(slots, -1, np.int64)
    number, first = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
    count = 0
    for i in range(len(keys)):
        slot = np.int64(0)
        for t in range(keys.shape[1]):
            slot = slot * 1000003 + keys[i, t]
        slot = (slot ^ (slot >> 20)) & (slots - 1)
        while table[slot] >= 0 and not (keys[first[table[slot]]] == keys[i]).all():
            slot = (slot + 1) & (slots - 1)
        if table[slot] < 0:
            table[slot] = count
            first[count] = i
            count += 1
        number[i] = table[slot]
    return number, first[:count]
