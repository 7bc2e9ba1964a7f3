"""From a wanted precision to the score that a detection needs."""

import numpy as np

from rcnn_dist.arrays import Array, Float, Float64


def operating_points(scores: Float[Array, "K"], precision: Float64[Array, "K"]) -> Float64[Array, "P 2"]:
    """The (score, precision) pairs of a class that any wanted precision can end at, both strictly rising.

    Args:
        scores: of the ranked detections; ranks may disagree with scores that differ by less than is written to results files.
        precision: after each rank; NaN while nothing counts.

    Law: of all scores that a threshold can have, the lowest one with at least a given precision is among these.
    """
    scores = scores.astype(np.float64)
    lowest = np.minimum.accumulate(scores)
    highest_after = np.append(np.maximum.accumulate(scores[::-1])[::-1][1:], -np.inf)
    cuts = np.flatnonzero((highest_after < lowest) & ~np.isnan(precision))[::-1]  # where a score parts the ranks in two; ascending scores
    before = np.append(-1.0, np.maximum.accumulate(precision[cuts])[:-1])[: len(cuts)]
    rising = cuts[precision[cuts] > before]
    return np.stack([lowest[rising], precision[rising]], axis=1)


def score_at_precision(points: Float64[Array, "P 2"], precision: float) -> float | None:
    """The lowest score whose detections, it included, were at least so precise; None where the class never was."""
    reached = points[points[:, 1] >= precision]
    return float(reached[0, 0]) if len(reached) else None
