"""Masks of regions as run lengths, straight from the tree of a grouping.

A mask's pixels are read row by row; `counts` are the lengths of its runs, background first (0 where the first pixel is inside).
"""

from typing import NamedTuple

import numpy as np

from rcnn_dist.arrays import Array, Bool, Int64
from rcnn_dist.compiled import compiled

__all__ = ["RegionMasks", "decode_mask", "encode_mask", "leaf_order", "region_runs"]


class RegionMasks(NamedTuple):
    """Masks of R regions of one image; mask i is counts[offsets[i] : offsets[i + 1]]."""

    height: int
    width: int
    counts: Array  # int32
    offsets: Int64[Array, " R1"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def decode(self, region: int) -> Bool[Array, "H W"]:
        """One mask as pixels."""
        return decode_mask(self.counts[self.offsets[region] : self.offsets[region + 1]], self.height, self.width)


def encode_mask(mask: Bool[Array, "H W"]) -> Array:
    """Run lengths (int32) of a mask. Law: decode_mask(encode_mask(mask), H, W) == mask.

    Example:
        >>> encode_mask(np.array([[False, True, True], [True, False, False]])).tolist()
        [1, 3, 2]
    """
    pixels = mask.ravel()
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    counts = np.diff(np.concatenate([[0], changes, [len(pixels)]]))
    return np.concatenate([[0], counts] if pixels[0] else [counts]).astype(np.int32)


def decode_mask(counts: Array, height: int, width: int) -> Bool[Array, "H W"]:
    """The mask of run lengths.

    Raises:
        ValueError: the run lengths do not add up to height * width.
    """
    if counts.sum() != height * width:
        raise ValueError(
            f"run lengths of {counts.sum()} pixels do not make a mask of {height} x {width}: give the size they were made with"
        )
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)


@compiled
def _spans(children: Array) -> Array:
    """First and last + 1 leaf of every node, where leaves are numbered so that those of a node follow each other."""
    count = len(children) + 1
    leaves = np.ones(2 * count - 1, np.int32)
    for i in range(count - 1):
        leaves[count + i] = leaves[children[i, 0]] + leaves[children[i, 1]]
    spans = np.empty((2 * count - 1, 2), np.int32)
    spans[-1, 0], spans[-1, 1] = 0, count
    for i in range(count - 2, -1, -1):
        a, b = children[i, 0], children[i, 1]
        start = spans[count + i, 0]
        spans[a, 0], spans[a, 1] = start, start + leaves[a]
        spans[b, 0], spans[b, 1] = start + leaves[a], spans[count + i, 1]
    return spans


def leaf_order(children: Array) -> tuple[Array, Array]:
    """Place of each of the N leaves of a tree (int32 [N]) and the places low..high-1 under each node (int32 [2N-1, 2])."""
    spans = _spans(children)
    return spans[: len(children) + 1, 0], spans


@compiled
def region_runs(place: Array, span: Array, cells: Array, box: Array, rows: Array, columns: Array) -> Array:
    """Run lengths of one region.

    `place` (int32 [h, w]) is the place in the leaf order of every cell, `span` the places of the region, `cells` its box in cells;
    cell (i, j) covers the pixels rows[i]..rows[i+1] and columns[j]..columns[j+1] of the image, as far as they lie in `box`.
    """
    height, width = rows[-1], columns[-1]
    low, high = span[0], span[1]
    lines = max(min(rows[cells[3]], box[3]) - max(rows[cells[1]], box[1]), 0)
    counts = np.empty(lines * (cells[2] - cells[0] + 2) + 2, np.int32)
    used = written = 0
    for i in range(cells[1], cells[3]):
        for y in range(max(rows[i], box[1]), min(rows[i + 1], box[3])):
            j = cells[0]
            while j < cells[2]:
                first = j
                while j < cells[2] and low <= place[i, j] < high:
                    j += 1
                begin, end = y * width + max(columns[first], box[0]), y * width + min(columns[j], box[2])
                if j > first and begin < end:
                    if used > 0 and begin == written:
                        counts[used - 1] += end - begin
                    else:
                        counts[used], counts[used + 1] = begin - written, end - begin
                        used += 2
                    written = end
                j += 1
    if written < height * width:
        counts[used] = height * width - written
        used += 1
    return counts[:used].copy()
