"""Cost and epsilon of the regressors by cross-validation over the training images (paper §5)."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.errors import ConfigError
from rcnn_dist.segment.accuracy import count_confusion, segmentation_accuracy
from rcnn_dist.segment.paste import best_segments
from rcnn_dist.segment.svr import fit_svrs
from rcnn_dist.stages import evaluate, masks, regions
from rcnn_dist.stages.base import Executor, Progress
from rcnn_dist.stages.pasted import Ranked, find_backgrounds, paste_images
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.svr_work import GatherTask, GatherWork, Method, read_statistics, rows_url, training_rows
from rcnn_dist.store import files
from rcnn_dist.store.query import matrix
from rcnn_dist.store.shards import read_images, read_markers

NAME = "tune"
FIGURES = "tune.json"


@dataclass(frozen=True, slots=True)
class Trial:
    """Values that were tried, and the mean accuracy on images that the regressors had not seen."""

    cost: float
    epsilon: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class TuneTask:
    cost: float
    epsilon: float
    seen: tuple[str, ...]  # shards that are learnt from
    unseen: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TuneReport:
    task: TuneTask
    best: dict[str, Ranked]  # image id -> its best regions


class TuneWork:
    """Fits the regressors of one method on some shards and scores the regions of the others."""

    heavy = False

    def __init__(self, run: Run, method: Method, scratch: str) -> None:
        self._run, self._method, self._scratch = run, method, scratch

    def make_worker(self) -> "TuneWork":
        return self

    def run(self, task: TuneTask) -> TuneReport:
        urls = [rows_url(self._scratch, part, self._method.layer) for part in task.seen]
        statistics = read_statistics(urls, self._method.layer)
        training = training_rows(self._method, urls, range(len(self._run.classes)), statistics)
        params = replace(self._run.config.svr, cost=task.cost, epsilon=task.epsilon)
        weights = (fit_svrs(training.rows, training.targets, params).weights * training.rows.scale).astype(np.float32)
        folder, columns = files.join(regions.folder(self._run), "train"), ["is_ground_truth", *self._method.columns]
        best = {}
        for part in task.unseen:
            for image_id, table in read_images(folder, part, columns=columns):
                features = np.concatenate([matrix(table, column) for column in self._method.columns], axis=1).astype(np.float32)
                best[image_id] = self._best(np.asarray(table["is_ground_truth"]), features @ weights.T + statistics.targets)
        return TuneReport(task, best)

    def _best(self, is_ground_truth: Array, scores: Array) -> Ranked:
        """The best regions among those that were found."""
        found = np.flatnonzero(~is_ground_truth)
        rows, classes = best_segments(scores[found], self._run.config.segment.segments)
        return Ranked(found[rows], classes, scores[found[rows], classes])


def tune(
    run: Run, method: Method, costs: Sequence[float], epsilons: Sequence[float], folds: int, executor: Executor, progress: Progress
) -> list[Trial]:
    """Every pair of values, the best first; also written to `evaluation/tune.json`. Shard i is unseen in fold i mod `folds`.

    Raises:
        MissingShardError: the training features are not complete.
        ConfigError: there are fewer shards than folds.
    """
    regions.RegionsStage(run).require("train")
    features = files.join(regions.folder(run), "train")
    parts = [marker.part for marker in read_markers(features) if marker.rows]
    if len(parts) < folds:
        raise ConfigError(f"{len(parts)} shards do not make {folds} folds: set run.shard_images lower, or --folds")
    scratch = files.join(run.url, "_tune")
    gather = GatherWork(run, features, files.join(masks.folder(run), "train"), scratch)
    for _ in executor.map(gather, [GatherTask(part, method.layer) for part in parts]):
        pass
    splits = [(tuple(p for i, p in enumerate(parts) if i % folds != fold), tuple(parts[fold::folds])) for fold in range(folds)]
    tasks = [TuneTask(cost, epsilon, *split) for cost, epsilon in itertools.product(costs, epsilons) for split in splits]
    progress.start(NAME, len(tasks), "fits")
    ranked: dict[tuple[float, float], dict[str, dict[str, Ranked]]] = {}
    for report in executor.map(TuneWork(run, method, scratch), tasks):
        found = ranked.setdefault((report.task.cost, report.task.epsilon), {})
        found.update({image_id: {method.name: best} for image_id, best in report.best.items()})
        progress.advance(1)
    progress.finish()
    trials = [Trial(*values, _accuracy(run, method, ranked[values])) for values in itertools.product(costs, epsilons)]
    trials.sort(key=lambda trial: -trial.accuracy)
    files.write_bytes(files.join(evaluate.folder(run), FIGURES), (json.dumps(figures(method, folds, trials), indent=1) + "\n").encode())
    files.remove_folder(scratch)
    return trials


def figures(method: Method, folds: int, trials: Sequence[Trial]) -> dict[str, Any]:
    """What `tune.json` holds."""
    rows = [{"cost": t.cost, "epsilon": t.epsilon, "accuracy": t.accuracy} for t in trials]
    return {"method": method.name, "folds": folds, "trials": rows}


def _accuracy(run: Run, method: Method, ranked: dict[str, dict[str, Ranked]]) -> float:
    size = len(run.classes) + 1
    confusion = np.zeros((size, size), np.int64)
    for image in paste_images(run, ranked, find_backgrounds(run.config.segment, [method.name], ranked), "train"):
        if image.truth is not None:
            confusion += count_confusion(image.truth.class_map, image.maps[method.name], size)
    return segmentation_accuracy(confusion).mean
