"""What the report's page shows, as plain data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from rcnn_dist.arrays import Array, Float64

Verdict = Literal["true", "false", "missed"]


@dataclass(frozen=True, slots=True)
class Curve:
    """Recall and precision after each detection of a class, the detections by falling score; each in [0, 1]."""

    recall: Float64[Array, "K"]
    precision: Float64[Array, "K"]


@dataclass(frozen=True, slots=True)
class StageTiming:
    """What one stage cost: `seconds` on the wall, and the seconds of each phase summed over its workers."""

    name: str
    seconds: float
    images: int
    failures: int
    workers: int
    phases: dict[str, float]


@dataclass(frozen=True, slots=True)
class Example:
    """A picture of a detection, or of an object that was missed (its score and precision may be NaN), and why it counts as it does."""

    image_id: str
    class_name: str
    score: float
    verdict: Verdict
    picture_png_or_jpeg: bytes
    reason: str
    precision: float  # of its class's detections from this one up
    kind: str  # of the mistake; empty where it is none


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A detection in a whole image; `verdict` is true, false, or ignored where its object is difficult."""

    class_name: str
    score: float
    precision: float
    verdict: Literal["true", "false", "ignored"]
    kind: str
    box: Float64[Array, "4"]


@dataclass(frozen=True, slots=True)
class DrawnImage:
    """A whole image (JPEG) with its detections and its objects [G, 4], both in pixels of the original size."""

    image_id: str
    width: int
    height: int
    picture: bytes
    boxes: tuple[DrawnBox, ...]
    objects: Float64[Array, "G 4"]


@dataclass(frozen=True, slots=True)
class FalsePositive:
    """One line of the list of the surest mistakes."""

    image_id: str
    class_name: str
    score: float
    precision: float
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that a stage left out."""

    image_id: str
    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refit:
    """One fit of a class's SVM while hard negatives were mined.

    It was fitted to `positives` and to the `negatives` in its cache, of which `found` are newer than the fit before, and `evicted`
    left the cache afterwards; `objective` is that of the fit.
    """

    class_name: str
    wave: int
    positives: int
    negatives: int
    found: int
    evicted: int
    objective: float
    seconds: float


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A row of a published table: AP per class and their mean in percent as printed; `source` is the table and its AP variant."""

    method: str
    values: dict[str, float]
    mean: float
    source: str = ""


@dataclass(frozen=True, slots=True)
class ProposalRecall:
    """How well the test set's proposals cover its objects: budget -> measures, and proposals per image."""

    table: Mapping[str, Any]
    per_image: float


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything the page shows.

    `ap` maps a variant (voc07, area, coco, ilsvrc) to the AP of each class in [0, 1], NaN for a class without objects; it is empty where
    the test set has no annotations, as `errors` is. `variant` is the one that the page begins with, the run's own. `n_objects` counts the
    objects that the evaluation looked for.
    """

    title: str
    data_name: str
    classes: tuple[str, ...]
    ap: dict[str, dict[str, float]]
    curves: dict[str, Curve]
    n_objects: dict[str, int]
    stages: tuple[StageTiming, ...]
    config_yaml: str
    versions: dict[str, str]
    examples: tuple[Example, ...]
    images: tuple[DrawnImage, ...]
    false_positives: tuple[FalsePositive, ...]
    proposals: ProposalRecall | None  # None: not measured
    failures: tuple[Failure, ...]
    telemetry: tuple[Refit, ...]
    published: tuple[PublishedRow, ...]
    errors: Mapping[str, Any]  # what evaluation/errors.json holds
    scaling: Mapping[str, Any] = field(default_factory=dict)  # what scaling/scaling.json holds
    variant: str = "voc07"


def median_ap(values: Iterable[float]) -> float:
    """The median over the classes that have an AP; NaN where none has."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.median(known)) if known else float("nan")
