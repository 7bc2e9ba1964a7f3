"""First pass of training: what can be picked from the training features without a detector.

Each shard yields its ground-truth rows (the positives), its regression pairs, and the norms of a random sample of rows, from
which the scale of the features is taken.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.classify.labelling import NO_CLASS, svm_labels
from rcnn_dist.classify.mining import MiningParams
from rcnn_dist.regress.ridge import select_pairs
from rcnn_dist.regress.targets import encode_targets
from rcnn_dist.stages.base import worker_name
from rcnn_dist.stages.labels import COLUMNS, LabelledRegions, label_regions
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files, rows
from rcnn_dist.store.query import matrix
from rcnn_dist.store.shards import read_images

TARGETS = ("tx", "ty", "tw", "th")
ALL_CLASSES = 0  # the class of every pair, where one regressor serves all


@dataclass(frozen=True, slots=True)
class CollectTask:
    part: str
    sample: dict[str, Array]  # image id -> rows whose norms count


@dataclass(frozen=True, slots=True)
class CollectReport:
    task: CollectTask
    worker: str


def positives_url(scratch: str, part: str) -> str:
    return files.join(scratch, f"positives-{part}.arrow")


def pairs_url(scratch: str, part: str) -> str:
    return files.join(scratch, f"pairs-{part}.arrow")


def read_norms(scratch: str, part: str) -> dict[str, list[float]]:
    """Layer -> norms of the sampled rows of a shard."""
    norms: dict[str, list[float]] = json.loads(rows.map_rows(positives_url(scratch, part)).extra)
    return norms


def positive_rows(labels: LabelledRegions, mining: MiningParams) -> tuple[Array, Array]:
    """Rows that are a class's positives, in order, and the class of each."""
    positive, _ = svm_labels(labels.overlap, labels.gt_class != NO_CLASS, labels.gt_class, mining.negative_iou, mining.positive_iou)
    region, of_class = np.nonzero(positive)
    return region, of_class


def regression_pairs(labels: LabelledRegions, min_iou: float, shared: bool = False) -> tuple[Array, Array]:
    """Rows that train the trained classes' regressors, and the row of each one's object; with `shared`, pairs of every class.

    Objects of all classes compete for a region, trained or not, so that a class's pairs do not depend on which others are trained.
    """
    annotated = np.flatnonzero(labels.is_object)
    region, index = select_pairs(labels.boxes, labels.boxes[annotated], min_iou)
    target = annotated[index]
    trained = (labels.gt_class[target] != NO_CLASS) | shared
    return region[trained], target[trained]


class CollectWork:
    heavy = False

    def __init__(self, run: Run, features: str, scratch: str) -> None:
        self._run = run
        self._features = features
        self._scratch = scratch

    def make_worker(self) -> "CollectWork":
        return self

    def run(self, task: CollectTask) -> CollectReport:
        regress, svm_layer = self._run.config.regress, self._run.config.classify.layer
        layers = sorted({svm_layer, regress.layer} if regress.enabled else {svm_layer})
        norms: dict[str, list[float]] = {layer: [] for layer in layers}
        positives, pairs = _Picked(), _Picked()
        for image_id, table in read_images(self._features, task.part, columns=[*COLUMNS, *layers]):
            features = {layer: matrix(table, layer) for layer in layers}
            sampled = task.sample.get(image_id, np.empty(0, np.int64))
            for layer in layers:
                norms[layer] += np.linalg.norm(features[layer][sampled].astype(np.float32), axis=1).tolist()
            labels = label_regions(table, self._run.classes)
            region, of_class = positive_rows(labels, self._run.config.mining)
            positives.add(features[svm_layer][region], of_class)
            if regress.enabled:
                region, target = regression_pairs(labels, regress.min_iou, regress.shared)
                if not self._run.dataset.exhaustive(image_id):  # the original trains regressors on completely annotated images alone
                    region, target = region[:0], target[:0]
                targets = encode_targets(labels.boxes[region], labels.boxes[target])
                classes = np.full(len(target), ALL_CLASSES) if regress.shared else labels.gt_class[target]
                pairs.add(features[regress.layer][region], classes, targets)
        if regress.enabled:
            pairs.write(pairs_url(self._scratch, task.part), TARGETS)
        positives.write(positives_url(self._scratch, task.part), (), json.dumps(norms).encode())
        return CollectReport(task, worker_name())


@dataclass(slots=True)
class _Picked:
    """The row file of a shard in the making."""

    features: list[Array] = field(default_factory=list)
    classes: list[Array] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)

    def add(self, features: Array, classes: Array, values: Array | None = None) -> None:
        self.features.append(features)
        self.classes.append(classes)
        self.values.append(np.empty((len(features), 0)) if values is None else values)

    def write(self, url: str, names: Sequence[str], extra: bytes = b"") -> None:
        columns = dict(zip(names, np.concatenate(self.values).T, strict=True))
        rows.write_rows(url, np.concatenate(self.features), np.concatenate(self.classes)[:, None].tolist(), columns, extra)
