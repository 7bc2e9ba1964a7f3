"""One order for the proposals of an image, whatever order the search found them in."""

import numpy as np

from rcnn_dist.arrays import Array, Float64


def order_proposals(boxes: Float64[Array, "R 4"], rng_seed: int, min_side: float = 20.0) -> Float64[Array, "K 4"]:
    """The boxes with both sides at least `min_side`, each once, large ones first in tendency.

    A box's priority is its rank by falling area (1 for the largest, ties by coordinates) times a uniform random number; the order is by
    rising priority. So the first K of them are a spread of all sizes that favours large ones.
    Law: the result depends on the set of boxes only, not on their order or repeats.

    Raises:
        ValueError: a box has a side that is negative or not a number; the message gives its row.

    Reference: fact sheet §3; there the rank is the position in a hierarchy and the random numbers are not seeded.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    wrong = np.flatnonzero(~(sides >= 0).all(axis=1))
    if len(wrong):
        raise ValueError(f"proposal {wrong[0]} is no box: {boxes[wrong[0]].tolist()}")
    distinct = np.unique(boxes[(sides >= min_side).all(axis=1)], axis=0)
    area = (distinct[:, 2] - distinct[:, 0]) * (distinct[:, 3] - distinct[:, 1])
    by_area = distinct[np.argsort(-area, kind="stable")]
    priority = np.arange(1, len(by_area) + 1) * np.random.default_rng(rng_seed).random(len(by_area))
    return by_area[np.argsort(priority, kind="stable")]
