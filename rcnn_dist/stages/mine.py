"""The two kinds of work in hard negative mining: scanning a wave's images, refitting one class (paper §2.3, App. B)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.classify.labelling import svm_labels
from rcnn_dist.classify.linear_svm import fit_svm, score_rows
from rcnn_dist.classify.mining import kept_after_eviction, wanted_negatives
from rcnn_dist.detect.detector import score_regions
from rcnn_dist.features.scaling import scale_factor, scale_features
from rcnn_dist.stages.base import worker_name
from rcnn_dist.stages.labels import COLUMNS, label_regions
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files, rows
from rcnn_dist.store.query import matrix
from rcnn_dist.store.shards import read_images
from rcnn_dist.store.tensors import load_tensors


@dataclass(frozen=True, slots=True)
class ScanTask:
    """The images of one wave that lie in one shard."""

    wave: int
    part: str
    image_ids: tuple[str, ...]
    detectors: str | None  # url of the weights at the wave's start; None in the first wave


@dataclass(frozen=True, slots=True)
class ScanReport:
    task: ScanTask
    worker: str


@dataclass(frozen=True, slots=True)
class RefitTask:
    """One class after one wave: which rows of which row files it trains on."""

    wave: int
    class_index: int
    positive_files: tuple[str, ...]
    negative_files: tuple[str, ...]
    keys: Array  # int64 [M, 2]: index into negative_files, row of that file


@dataclass(frozen=True, slots=True)
class RefitReport:
    wave: int
    class_index: int
    weights: Array  # float32 [D]
    bias: float
    keep: Array  # bool [M]: negatives that stay
    telemetry: dict[str, Any]


def wave_url(scratch: str, wave: int, part: str) -> str:
    return files.join(scratch, f"wave-{wave:05d}-{part}.arrow")


class ScanWork:
    """Scores the rows of a wave for all classes in one product and writes the union of the wanted ones."""

    heavy = False

    def __init__(self, run: Run, features: str, scratch: str, mean_norm: float) -> None:
        self._run = run
        self._features = features
        self._scratch = scratch
        self._mean_norm = mean_norm

    def make_worker(self) -> "ScanWork":
        return self

    def run(self, task: ScanTask) -> ScanReport:
        layer = self._run.config.classify.layer
        detectors = load_tensors(task.detectors)[0] if task.detectors else None
        features, classes = [], []
        for _, table in read_images(self._features, task.part, task.image_ids, [*COLUMNS, layer]):
            stored = matrix(table, layer)
            wanted = self._wanted(table, stored, detectors)
            picked = np.flatnonzero(wanted.any(axis=1))
            features.append(stored[picked])
            classes += [np.flatnonzero(wanted[row]).tolist() for row in picked]
        rows.write_rows(wave_url(self._scratch, task.wave, task.part), np.concatenate(features), classes, {})
        return ScanReport(task, worker_name())

    def _wanted(self, table: object, stored: Array, detectors: dict[str, Array] | None) -> Array:
        mining = self._run.config.mining
        labels = label_regions(table, self._run.classes)
        _, negative = svm_labels(labels.overlap, labels.gt_class >= 0, labels.gt_class, mining.negative_iou)
        if detectors is None:
            return wanted_negatives(negative, None, mining.hard_threshold)
        scaled = scale_features(stored.astype(np.float32), self._mean_norm, self._run.config.scaling.target_norm)
        scores = score_regions(scaled, detectors["weights"], detectors["biases"])
        return wanted_negatives(negative, scores, mining.hard_threshold)


class RefitWork:
    """Fits one class on its positives and cached negatives, then says which negatives stay."""

    heavy = False

    def __init__(self, run: Run, mean_norm: float) -> None:
        self._run = run
        self._mean_norm = mean_norm

    def make_worker(self) -> "RefitWork":
        return self

    def run(self, task: RefitTask) -> RefitReport:
        start = time.perf_counter()
        config = self._run.config
        positives, negatives = _positives(task.positive_files, task.class_index), _rows(task.negative_files, task.keys)
        scale = scale_factor(self._mean_norm, config.scaling.target_norm)
        svm = fit_svm(positives, negatives, config.classify, scale)
        keep = kept_after_eviction(score_rows(negatives, svm.weights, svm.bias, scale), config.mining.evict_threshold)
        telemetry = {
            "class": self._run.classes[task.class_index],
            "wave": task.wave,
            "worker": worker_name(),
            "positives": len(positives),
            "rows": len(negatives),
            "evicted": int(np.count_nonzero(~keep)),
            "objective": svm.objective.total,
            "positive_loss": svm.objective.positive_loss,
            "negative_loss": svm.objective.negative_loss,
            "regularisation": svm.objective.regularisation,
            "seconds": round(time.perf_counter() - start, 4),
        }
        return RefitReport(task.wave, task.class_index, svm.weights, svm.bias, keep, telemetry)


def _positives(urls: Sequence[str], class_index: int) -> Array:
    return np.concatenate([file.features[picked] for file, picked in (rows.map_class_rows(url, class_index) for url in urls)])


def _rows(urls: Sequence[str], keys: Array) -> Array:
    return np.concatenate([rows.map_rows(urls[i]).features[keys[keys[:, 0] == i, 1]] for i in np.unique(keys[:, 0])])
