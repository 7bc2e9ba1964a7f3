"""The nearest of very many descriptors to each of some: blocked, exact, and the same however the many are shared out."""

from dataclasses import dataclass

import numpy as np

from rcnn_dist.arrays import Array, Float32, Float64, Int64

_ROWS, _QUERIES = 4096, 2048  # of a block of products, 32 MB
_MARGIN = 1e-4  # above the error of a squared distance in single precision, relative to the squared lengths


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest rows of each query, nearest first, ties by the row's number; a place is empty where the distance is infinite."""

    distances: Float64[Array, "Q K"]
    rows: Int64[Array, "Q K"]


def no_neighbours(queries: int, k: int) -> Neighbours:
    return Neighbours(np.full((queries, k), np.inf), np.full((queries, k), -1, np.int64))


def nearest_rows(queries: Float32[Array, "Q D"], rows: Float32[Array, "P D"], numbers: Int64[Array, "P"], k: int) -> Neighbours:
    """The k nearest rows of each query by Euclidean distance.

    Products in single precision find candidates, whose distances are computed again in double precision, row by row: so the result
    depends neither on the blocks nor on the order of the rows.

    Args:
        numbers: of the rows, in the whole set.
    """
    found = no_neighbours(len(queries), k)
    for first in range(0, len(rows), _ROWS):
        block = slice(first, first + _ROWS)
        parts = [_nearest(queries[q : q + _QUERIES], rows[block], numbers[block], k) for q in range(0, len(queries), _QUERIES)]
        if parts:
            near = Neighbours(np.concatenate([part.distances for part in parts]), np.concatenate([part.rows for part in parts]))
            found = merge_neighbours(found, near)
    return found


def merge_neighbours(a: Neighbours, b: Neighbours) -> Neighbours:
    """The nearest of two disjoint shares of the rows; law: the order of the shares does not matter."""
    distances, rows = np.hstack([a.distances, b.distances]), np.hstack([a.rows, b.rows])
    order = np.lexsort((rows, distances), axis=1)[:, : a.rows.shape[1]]
    return Neighbours(np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1))


def _nearest(queries: Array, rows: Array, numbers: Array, k: int) -> Neighbours:
    lengths, query_lengths = (rows * rows).sum(axis=1), (queries * queries).sum(axis=1)[:, None]
    squares = queries @ rows.T
    squares *= -2
    squares += lengths
    squares += query_lengths
    kept = min(k, len(rows))
    limit = np.partition(squares, kept - 1, axis=1)[:, kept - 1 : kept] + _MARGIN * (query_lengths + lengths.max())
    at_query, at_row = np.nonzero(squares <= limit)
    distances = _exact(queries, rows, at_query, at_row)
    order = np.lexsort((numbers[at_row], distances, at_query))
    at_query, at_row, distances = at_query[order], at_row[order], distances[order]
    place = np.arange(len(at_query)) - np.searchsorted(at_query, at_query)
    near, chosen = no_neighbours(len(queries), k), place < k
    near.distances[at_query[chosen], place[chosen]] = distances[chosen]
    near.rows[at_query[chosen], place[chosen]] = numbers[at_row[chosen]]
    return near


def _exact(queries: Array, rows: Array, at_query: Array, at_row: Array) -> Float64[Array, "C"]:
    found = np.empty(len(at_query))
    for first in range(0, len(found), _ROWS):
        part = slice(first, first + _ROWS)
        differences = queries[at_query[part]].astype(np.float64) - rows[at_row[part]]
        found[part] = np.sqrt((differences * differences).sum(axis=1))
    return found
