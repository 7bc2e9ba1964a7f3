"""From scored regions to label maps, as O2P does it: the best regions of an image, pasted over each other (paper §5)."""

from collections.abc import Sequence
from itertools import count

import numpy as np

from rcnn_dist.arrays import Array, Bool, Float, Float64, Int64, UInt8
from rcnn_dist.segment.params import PasteParams


def best_segments(scores: Float[Array, "R C"], number: int) -> tuple[Int64[Array, "K"], Int64[Array, "K"]]:
    """The best regions, each under its best class, the highest score first (ties: the first class, the first region); and the classes.

    Regions that the background beats would come after these and be dropped, so the background's score need not be known yet.
    """
    classes = scores.argmax(axis=1) if scores.size else np.zeros(len(scores), np.int64)
    best = scores[np.arange(len(scores)), classes] if scores.size else np.zeros(len(scores))
    rows = np.argsort(-best, kind="stable")[:number]
    return rows.astype(np.int64), classes[rows].astype(np.int64)


def beats_background(scores: Float64[Array, "N K"], background: float, margin: float) -> Bool[Array, "N K"]:
    """Which of each image's best regions, in falling order, are kept: the k-th if it is over background + k * margin."""
    return scores > background + margin * np.arange(scores.shape[1])


def choose_background(scores: Float64[Array, "N K"], params: PasteParams) -> float:
    """The background's score: the first one tried at which the images have few enough segments on average.

    `scores` are those of each image's best regions, in falling order, -inf where there are fewer.

    Paper: §5. Reference: fact sheet §15.
    """
    for step in count():
        background = params.background + step * params.background_step
        if not len(scores) or beats_background(scores, background, params.margin).sum() <= params.most_per_image * len(scores):
            return background
    raise AssertionError("scores are finite")


def paste_segments(masks: Sequence[Bool[Array, "H W"]], classes: Int64[Array, "K"], shape: tuple[int, int]) -> UInt8[Array, "H W"]:
    """The label map of regions given best first: later ones are covered by earlier ones; class i is label i + 1, the rest 0."""
    labels = np.zeros(shape, np.uint8)
    for mask, index in zip(reversed(masks), reversed(classes.tolist()), strict=True):
        labels[mask] = index + 1
    return labels
