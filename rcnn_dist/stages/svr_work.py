"""The two kinds of work in fitting regressors: gathering the rows of a shard into a file that can be mapped, fitting some classes."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.segment.params import Strategy
from rcnn_dist.segment.svr import FeatureRows, fit_svrs
from rcnn_dist.stages.base import worker_name
from rcnn_dist.stages.regions import VIEWS
from rcnn_dist.stages.run import Run
from rcnn_dist.store import files, rows
from rcnn_dist.store.query import matrix
from rcnn_dist.store.shards import read_images
from rcnn_dist.store.tables import lists_of
from rcnn_dist.store.tensors import save_tensors


@dataclass(frozen=True, slots=True)
class Method:
    """One kind of features, named as the paper's tables do."""

    layer: str
    strategy: Strategy

    @property
    def name(self) -> str:
        return f"{self.strategy} {self.layer}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The feature columns that are put side by side."""
        return tuple(f"{self.layer}.{view}" for view in self.strategy.split("+"))


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of all training rows: the mean norm of each feature column, and the mean overlap with each class."""

    norms: dict[str, float]
    targets: Array  # float64 [C]


@dataclass(frozen=True, slots=True)
class GatherTask:
    part: str
    layer: str


@dataclass(frozen=True, slots=True)
class FitTask:
    method: Method
    classes: tuple[int, ...]
    urls: tuple[str, ...]


def rows_url(scratch: str, part: str, layer: str) -> str:
    return files.join(scratch, f"rows-{layer}-{part}.arrow")


def fit_url(scratch: str, task: FitTask) -> str:
    return files.join(scratch, f"fit-{task.method.layer}.{task.method.strategy}-{task.classes[0]:04d}.safetensors")


class GatherWork:
    """Writes the rows of a shard: both views of a layer side by side, the overlaps with every class, and whether targets are centred.

    The region that covers an object best, by more than half, comes twice, the second time with its overlaps as they are (fact sheet §15).
    """

    heavy = False

    def __init__(self, run: Run, features: str, masks: str, scratch: str) -> None:
        self._run, self._features, self._masks, self._scratch = run, features, masks, scratch

    def make_worker(self) -> "GatherWork":
        return self

    def run(self, task: GatherTask) -> GatherTask:
        columns = [f"{task.layer}.{view}" for view in VIEWS]
        masks = dict(read_images(self._masks, task.part, columns=["is_best", "overlap"]))
        features, overlaps, centred, norms = [], [], [], np.zeros(2)
        for image_id, table in read_images(self._features, task.part, columns=columns):
            views = [matrix(table, column) for column in columns]
            best = np.flatnonzero(np.asarray(masks[image_id]["is_best"]))
            overlap = np.array(lists_of(masks[image_id], "overlap")).reshape(table.num_rows, len(self._run.classes))
            norms += [np.linalg.norm(view.astype(np.float64), axis=1).sum() for view in views]
            stored = np.concatenate(views, axis=1)
            features.append(np.concatenate([stored, stored[best]]))
            overlaps.append(np.concatenate([overlap, overlap[best]]))
            centred.append(np.arange(table.num_rows + len(best)) < table.num_rows)
        flags, targets = np.concatenate(centred), np.concatenate(overlaps)
        extra = {"rows": int(flags.sum()), "norms": norms.tolist(), "targets": targets[flags].sum(axis=0, dtype=np.float64).tolist()}
        written = {"centred": flags} | {f"overlap{c}": targets[:, c] for c in range(targets.shape[1])}
        url = rows_url(self._scratch, task.part, task.layer)
        rows.write_rows(url, np.concatenate(features), [[]] * len(flags), written, json.dumps(extra).encode())
        return task


def read_statistics(urls: Sequence[str], layer: str) -> Statistics:
    """What the row files of one layer add up to, in their order."""
    found = [json.loads(rows.map_rows(url).extra) for url in urls]
    total = sum(shard["rows"] for shard in found)
    norms = np.sum([shard["norms"] for shard in found], axis=0) / total
    targets = np.sum([shard["targets"] for shard in found], axis=0) / total
    return Statistics({f"{layer}.{view}": float(norm) for view, norm in zip(VIEWS, norms, strict=True)}, targets)


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """The rows of one method, and each one's overlap less the mean of its class, for some classes."""

    rows: FeatureRows
    targets: Array  # float32 [N, C]


def training_rows(method: Method, urls: Sequence[str], classes: Sequence[int], statistics: Statistics) -> TrainingRows:
    """Maps the rows of a method; features are scaled so that the mean norm of each view is 1."""
    mapped = [rows.map_rows(url) for url in urls]
    half = mapped[0].features.shape[1] // 2
    first, last = VIEWS.index(method.strategy.split("+")[0]), VIEWS.index(method.strategy.split("+")[-1])
    blocks = [file.features[:, first * half : (last + 1) * half] for file in mapped]
    scale = np.repeat([1 / (statistics.norms[column] or 1.0) for column in method.columns], half)
    centred = np.concatenate([file.column("centred") for file in mapped])
    overlaps = np.stack([np.concatenate([file.column(f"overlap{c}") for file in mapped]) for c in classes], axis=1)
    targets = overlaps - np.where(centred[:, None], statistics.targets[list(classes)], 0)
    return TrainingRows(FeatureRows(blocks, scale), targets.astype(np.float32))


class FitWork:
    """Fits some classes of one method and writes their weights, which apply to features as they are stored."""

    heavy = False

    def __init__(self, run: Run, scratch: str, statistics: dict[str, Statistics]) -> None:
        self._run, self._scratch, self._statistics = run, scratch, statistics

    def make_worker(self) -> "FitWork":
        return self

    def run(self, task: FitTask) -> FitTask:
        start, statistics = time.perf_counter(), self._statistics[task.method.layer]
        training = training_rows(task.method, task.urls, task.classes, statistics)
        fit = fit_svrs(training.rows, training.targets, self._run.config.svr)
        tensors = {
            "weights": (fit.weights * training.rows.scale).astype(np.float32),
            "biases": statistics.targets[list(task.classes)].astype(np.float32),
        }
        telemetry: list[dict[str, Any]] = [
            {
                "method": task.method.name,
                "class": self._run.classes[c],
                "rows": len(training.rows),
                "objective": float(fit.objectives[i]),
                "gap": float(fit.gaps[i]),
                "steps": fit.steps,
                "seconds": round((time.perf_counter() - start) / len(task.classes), 4),
                "worker": worker_name(),
            }
            for i, c in enumerate(task.classes)
        ]
        save_tensors(fit_url(self._scratch, task), tensors, {"telemetry": telemetry})
        return task
