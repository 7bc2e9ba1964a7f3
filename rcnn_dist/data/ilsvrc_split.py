"""The class-balanced halves of ILSVRC2013's validation set (paper §4.2)."""

from collections.abc import Callable

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float64, Int64


def imbalance(counts: Int64[Array, "N C"], first: Bool[Array, "N"]) -> Float64[Array, "C"]:
    """Per class |a - b| / (a + b), a and b being its objects in the first half and the second; 0 for a class without objects.

    Paper: §4.2.
    """
    return _relative(counts[first].sum(axis=0), counts.sum(axis=0))


def balanced_split(counts: Int64[Array, "N C"], generator: np.random.Generator, trials: int = 8) -> Bool[Array, "N"]:
    """Which images are in the first half, so that the largest imbalance of any class is small: the best of some trials.

    A trial pairs each image, in random order, with the nearest one (L1 distance of class counts) that has no partner yet, flips a coin
    for each pair, then moves single images to the other half while that lowers both the largest and the mean imbalance. There the
    original stops; we go on while a move lowers the sum of the squared imbalances, which takes the largest further down.

    Args:
        counts: objects of each class in each image.

    Paper: §4.2 (which calls the pairs clusters). Reference: imdb/data-splits/imdb_split.m.
    """
    best = np.zeros(len(counts), np.bool_)
    lowest = np.inf
    for _ in range(trials):
        first = _improve(counts, _pair(counts, generator), generator, _largest_and_mean)
        first = _improve(counts, first, generator, _squares)
        largest = imbalance(counts, first).max(initial=0)
        if largest < lowest:
            best, lowest = first, largest
    return best


def _pair(counts: Array, generator: np.random.Generator) -> Array:
    """Halves of pairs of near images, bool [N]."""
    totals, free = counts.sum(axis=1), np.ones(len(counts), np.bool_)
    by_class = np.ascontiguousarray(counts.T)
    first = np.zeros(len(counts), np.bool_)
    for image in generator.permutation(len(counts)):
        if not free[image]:
            continue
        free[image] = False
        others = np.flatnonzero(free)
        coin = generator.random() < 0.5
        first[image] = coin
        if not len(others):
            break
        shared = sum(np.minimum(by_class[c, others], counts[image, c]) for c in np.flatnonzero(counts[image]))
        partner = others[np.argmin(totals[others] - 2 * shared)]  # the L1 distance less the image's own objects
        first[partner], free[partner] = not coin, False
    return first


def _largest_and_mean(then: Array, now: Array) -> bool:
    return bool(then.max(initial=0) < now.max(initial=0) and then.mean() < now.mean())


def _squares(then: Array, now: Array) -> bool:
    return bool(then @ then < now @ now)


def _improve(counts: Array, first: Array, generator: np.random.Generator, is_better: Callable[[Array, Array], bool]) -> Array:
    """Moves single images, from one half and then from the other, until a round moves none."""
    first, whole = first.copy(), counts.sum(axis=0)
    in_first = counts[first].sum(axis=0)
    now = _relative(in_first, whole)
    moved = True
    while moved:
        moved = False
        for side in (True, False):
            for image in generator.permutation(np.flatnonzero(first == side)):
                after = in_first - counts[image] if side else in_first + counts[image]
                then = _relative(after, whole)
                if is_better(then, now):
                    first[image], in_first, now, moved = not side, after, then, True
    return first


def _relative(part: Array, whole: Array) -> Array:
    return np.abs(2 * part - whole) / np.maximum(whole, 1)
