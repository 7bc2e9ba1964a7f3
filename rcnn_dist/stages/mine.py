"""The two kinds of work in hard negative mining: scanning a wave's images, refitting one class (paper §2.3, App. B).

Memory does not grow with the data set. A scan holds the row group that it reads and the wanted rows of its task's images, which are
at most `mining.wave_images` and at most those of one shard; the driver holds two numbers per cached row. A refit holds its class's rows
once, as float16; what it does not train on is not read.
"""

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
from rcnn_dist.stages.mining_state import refit_url
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files, rows
from rcnn_dist.store.query import matrix
from rcnn_dist.store.shards import read_images
from rcnn_dist.store.tensors import load_tensors, save_tensors


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
    keys: Array  # int64 [M, 2], sorted: index into negative_files, row of that file
    found: int  # negatives added since the class's last fit
    previous: str | None  # url of that fit, from which this one starts; None: the first


@dataclass(frozen=True, slots=True)
class RefitReport:
    task: RefitTask
    worker: str


@dataclass(frozen=True, slots=True)
class Refit:
    """What a refit leaves in its file."""

    weights: Array  # float32 [D]
    bias: float
    keep: Array  # bool [M]: negatives that stay
    telemetry: dict[str, Any]


def wave_url(scratch: str, wave: int, part: str) -> str:
    return files.join(scratch, f"wave-{wave:05d}-{part}.arrow")


def read_refit(scratch: str, wave: int, class_index: int) -> Refit:
    """The result of a refit.

    Raises:
        MissingShardError: the class was not refitted after that wave.
    """
    tensors, telemetry = load_tensors(refit_url(scratch, wave, class_index))
    return Refit(tensors["weights"], float(tensors["bias"][0]), tensors["keep"], telemetry)


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
        _, negative = svm_labels(labels.overlap, labels.gt_class >= 0, labels.gt_class, mining.negative_iou, mining.positive_iou)
        if detectors is None:
            return wanted_negatives(negative, None, mining.hard_threshold)
        scaled = scale_features(stored.astype(np.float32), self._mean_norm, self._run.config.scaling.target_norm)
        scores = score_regions(scaled, detectors["weights"], detectors["biases"])
        return wanted_negatives(negative, scores, mining.hard_threshold)


class RefitWork:
    """Fits one class on its positives and cached negatives, says which negatives stay, and writes both to a file of its own."""

    heavy = False

    def __init__(self, run: Run, scratch: str, mean_norm: float) -> None:
        self._run = run
        self._scratch = scratch
        self._scale = scale_factor(mean_norm, run.config.scaling.target_norm)

    def make_worker(self) -> "RefitWork":
        return self

    def run(self, task: RefitTask) -> RefitReport:
        start = time.perf_counter()
        config = self._run.config
        positives, negatives = _positives(task.positive_files, task.class_index), _negatives(task.negative_files, task.keys)
        multipliers = np.zeros(len(positives) + len(negatives))
        if task.previous:
            kept = load_tensors(task.previous)[0]["multipliers"]
            multipliers[: len(kept)] = kept
        svm = fit_svm(positives, negatives, config.classify, self._scale, multipliers)
        keep = kept_after_eviction(score_rows(negatives, svm.weights, svm.bias, self._scale), config.mining.evict_threshold)
        telemetry = {
            "class": self._run.classes[task.class_index],
            "wave": task.wave,
            "worker": worker_name(),
            "positives": len(positives),
            "rows": len(negatives),
            "found": task.found,
            "evicted": int(np.count_nonzero(~keep)),
            "objective": svm.objective.total,
            "positive_loss": svm.objective.positive_loss,
            "negative_loss": svm.objective.negative_loss,
            "regularisation": svm.objective.regularisation,
            "gap": svm.gap,
            "seconds": round(time.perf_counter() - start, 4),
        }
        stay = np.concatenate([np.ones(len(positives), np.bool_), keep])
        tensors = {"weights": svm.weights, "bias": np.array([svm.bias], np.float32), "keep": keep, "multipliers": svm.multipliers[stay]}
        save_tensors(refit_url(self._scratch, task.wave, task.class_index), tensors, telemetry)
        return RefitReport(task, worker_name())


def _positives(urls: Sequence[str], class_index: int) -> Array:
    return np.concatenate([file.features[picked] for file, picked in (rows.map_class_rows(url, class_index) for url in urls)])


def _negatives(urls: Sequence[str], keys: Array) -> Array:
    """The rows of sorted keys, float16 [M, D]; one file is mapped at a time, and only these rows of it are read."""
    used, starts = np.unique(keys[:, 0], return_index=True)
    gathered = np.empty((len(keys), rows.map_rows(urls[used[0]]).features.shape[1]), np.float16)
    for index, start, picked in zip(used, starts, np.split(keys[:, 1], starts[1:]), strict=True):
        gathered[start : start + len(picked)] = rows.map_rows(urls[index]).features[picked]
    return gathered
