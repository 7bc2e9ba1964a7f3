"""Stage svr: for every method, one support vector regressor per class that predicts a region's overlap with it (paper §5)."""

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from rcnn_dist.arrays import Array
from rcnn_dist.errors import DataError
from rcnn_dist.stages import masks, regions
from rcnn_dist.stages.base import Executor, Progress
from rcnn_dist.stages.run import Run
from rcnn_dist.stages.svr_work import (
    FitTask,
    FitWork,
    GatherTask,
    GatherWork,
    Method,
    Statistics,
    fit_url,
    read_statistics,
    rows_url,
)
from rcnn_dist.store import files
from rcnn_dist.store.manifest import MANIFEST, fingerprint, sha256_of, write_signed
from rcnn_dist.store.shards import read_markers
from rcnn_dist.store.tensors import load_tensors, save_tensors

NAME = "svr"
VERSION = 1
TELEMETRY = "telemetry.jsonl"
_SCRATCH = "_rows"


def folder(run: Run) -> str:
    """Where this run's regressors lie, one file per method."""
    return run.folder("regressors", "svr", fingerprint(NAME, VERSION, inputs(run)))


def inputs(run: Run) -> dict[str, Any]:
    """All that shapes the regressors, named as the configuration names it."""
    return {"svr": run.section("svr"), "features": run.relative(regions.folder(run))}


def methods(run: Run) -> tuple[Method, ...]:
    """Every strategy with every stored layer, in the order of the paper's tables."""
    return tuple(Method(layer, strategy) for strategy in run.config.svr.strategies for layer in run.config.extract.layers)


def read_regressors(run: Run, method: Method) -> tuple[Array, Array]:
    """Weights float32 [C, D] and biases [C] of a method, for features as they are stored; their product is the predicted overlap.

    Raises:
        MissingShardError: they are not fitted yet.
    """
    tensors, _ = load_tensors(files.join(folder(run), _file_name(method)))
    return tensors["weights"], tensors["biases"]


class SvrStage:
    """Gathers the rows of every shard, then fits blocks of classes in parallel.

    Law: the files depend on the number of workers in no byte; `classes_per_task` says how classes are put together.
    """

    name = NAME

    def __init__(self, run: Run) -> None:
        self._run = run
        self._folder = folder(run)
        self._scratch = files.join(self._folder, _SCRATCH)

    def run(self, executor: Executor, progress: Progress) -> None:
        """Fits what is missing; a stopped run goes on after the last complete block of classes.

        Raises:
            MissingShardError: the training features are not complete.
            DataError: there are none.
        """
        start = time.perf_counter()
        chosen, classes = methods(self._run), range(len(self._run.classes))
        progress.start(NAME, len(chosen) * len(classes), "regressors")
        if files.exists(files.join(self._folder, MANIFEST)):
            progress.advance(len(chosen) * len(classes))
            progress.finish()
            return
        regions.RegionsStage(self._run).require("train")
        urls = {layer: self._gather(executor, layer) for layer in self._run.config.extract.layers}
        statistics = {layer: read_statistics(found, layer) for layer, found in urls.items()}
        size = self._run.config.svr.classes_per_task
        tasks = [FitTask(m, tuple(classes[i : i + size]), urls[m.layer]) for m in chosen for i in range(0, len(classes), size)]
        missing = [task for task in tasks if not files.exists(fit_url(self._scratch, task))]
        progress.advance(sum(len(task.classes) for task in tasks) - sum(len(task.classes) for task in missing))
        for task in executor.map(FitWork(self._run, self._scratch, statistics), missing):
            progress.advance(len(task.classes))
        progress.finish()
        self._publish(tasks, statistics, time.perf_counter() - start)

    def _gather(self, executor: Executor, layer: str) -> tuple[str, ...]:
        """The row files of a layer, in the order of the shards."""
        features = files.join(regions.folder(self._run), "train")
        parts = [marker.part for marker in read_markers(features) if marker.rows]
        if not parts:
            raise DataError(f"{features} holds no features, so there is nothing to learn from: see failures/regions-train.parquet")
        work = GatherWork(self._run, features, files.join(masks.folder(self._run), "train"), self._scratch)
        tasks = [GatherTask(part, layer) for part in parts if not files.exists(rows_url(self._scratch, part, layer))]
        for _ in executor.map(work, tasks):
            pass
        return tuple(rows_url(self._scratch, part, layer) for part in parts)

    def _publish(self, tasks: Sequence[FitTask], statistics: dict[str, Statistics], seconds: float) -> None:
        """Writes one file per method, the telemetry, then the manifest; removes what was scratch."""
        telemetry: list[dict[str, Any]] = []
        entries = []
        for method in dict.fromkeys(task.method for task in tasks):
            loaded = [load_tensors(fit_url(self._scratch, task)) for task in tasks if task.method == method]
            tensors = {name: np.concatenate([tensors[name] for tensors, _ in loaded]) for name in ("weights", "biases")}
            telemetry += [row for _, about in loaded for row in about["telemetry"]]
            about = {"method": method.name, "classes": list(self._run.classes), "mean_norms": statistics[method.layer].norms}
            url = files.join(self._folder, _file_name(method))
            save_tensors(url, tensors, about)
            entries.append({"method": method.name, "name": _file_name(method), "sha256": sha256_of(url)})
        files.write_bytes(files.join(self._folder, TELEMETRY), "".join(json.dumps(row) + "\n" for row in telemetry).encode())
        manifest = {
            "stage": NAME,
            "version": VERSION,
            "folder": self._folder.split("/")[-1],
            "split": "train",
            "images": len(self._run.image_ids("train")),
            "seconds": {"compute": round(seconds, 3)},
            "workers": sorted({row["worker"] for row in telemetry}),
            "inputs": inputs(self._run),
            "files": entries,
        }
        write_signed(files.join(self._folder, MANIFEST), manifest)
        files.remove_folder(self._scratch)


def _file_name(method: Method) -> str:
    return f"{method.layer}.{method.strategy}.safetensors"
