"""What became of each detection of the test set: right or wrong, which kind of mistake, and how precise its class is up to it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rcnn_dist.arrays import Array, Float64
from rcnn_dist.evaluate.error_modes import MODES
from rcnn_dist.stages.errors import judge_modes
from rcnn_dist.stages.evaluate import Evaluation
from rcnn_dist.stages.run import Run

Judgement = Literal["true", "false", "ignored"]


@dataclass(frozen=True, slots=True)
class Judged:
    """One class's detections, in the order of its rows."""

    verdict: list[Judgement]  # ignored: its object is difficult
    kind: list[str]  # of the mistake; empty where it is none
    precision: Float64[Array, "K"]  # the best that is reached by taking this detection and all surer ones, or more besides
    ranked: list[int]  # rows, the surest first


def judge_detections(run: Run, found: Evaluation) -> dict[str, Judged]:
    """Every class's detections; empty where the test set has no annotations.

    Law: at a precision P, the detections whose `precision` is at least P are those from the score on that `score_at_precision` gives.
    """
    modes = judge_modes(run, found)[2] if found.results else {}
    judged = {}
    for name, result in found.results.items():
        matches, order = result.matches, result.matches.order
        verdict: list[Judgement] = ["ignored"] * len(order)
        kind = [""] * len(order)
        precision = np.zeros(len(order))
        precision[order] = np.maximum.accumulate(np.nan_to_num(result.precision)[::-1])[::-1]
        for rank, row in enumerate(order.tolist()):
            if matches.is_true_positive[rank]:
                verdict[row] = "true"
            elif matches.is_false_positive[rank]:
                verdict[row] = "false"
        for row, mode in zip(modes[name].order.tolist(), modes[name].mode.tolist(), strict=True):
            if mode >= 0 and verdict[row] == "false":
                kind[row] = MODES[mode]
        judged[name] = Judged(verdict, kind, precision, order.tolist())
    return judged
